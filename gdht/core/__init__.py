"""Pure values and decisions of the ring: identifiers, peers, successors, fingers, records, messages; no IO."""
