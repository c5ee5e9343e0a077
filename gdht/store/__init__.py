"""Where a node keeps its records: the implementations of the Store protocol of gdht.node.storage."""
