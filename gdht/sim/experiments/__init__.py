"""Experiments on simulated rings: the tables and figures of the 2003 paper, ours beside theirs, and how far it scales.

One module per experiment, each with `Options` (what decides it), `run` and what `report` makes of the results. Source:
Stoica et al., "Chord: a scalable peer-to-peer lookup protocol for Internet applications", IEEE/ACM ToN 11(1), 2003.
"""
