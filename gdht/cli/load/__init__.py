"""The load generator behind `gdht bench`: one event loop per process, on plain sockets; no click and no rich in here.

`plan` says what is asked for, `lane` is one connection, `engine` turns all of them, `tally` counts, `worker` is a
process of its own, and `crew` starts and follows several of those.
"""
