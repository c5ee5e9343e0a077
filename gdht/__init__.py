"""gdht: a Chord distributed hash table on gevent, with a client API, peer-to-peer and admin port."""

__version__ = "0.1.0"
