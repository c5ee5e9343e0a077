"""Every history of a small ring: all interleavings of joins, failures and maintenance steps, to a depth or to the end.

The proof of the protocol begins with r + 1 members and full lists; this covers the rings before that, and the code.
What runs are the real steps and handlers (`gdht.sim.exhaustive.node`), one query at a time
(`gdht.sim.exhaustive.world`). A member fails only where the assumption of the proof, or in a smaller ring its
counterpart, allows it (`gdht.core.invariant.may_fail`). Safety is demanded in every state, and the ideal ring within
a few rounds after quiet (`gdht.sim.exhaustive.quiet`).

    python -m gdht.sim.exhaustive --successors 2 --nodes 4
"""
