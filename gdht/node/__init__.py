"""What a node does, as straight-line code over a Runtime: lookup, membership, replication, handlers; no sockets."""
