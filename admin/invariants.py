"""What must hold of a ring, in a line each, for those who read the verdict of a check."""

EXPLANATIONS = {
    "list_length": "A successor list has no more entries than successor_list_length allows.",
    "list_self": "No node is in its own successor list.",
    "list_order": "Successor lists run clockwise and have no node twice.",
    "live_successor": "Every member has a successor that lives; without one it cannot find the ring again by itself.",
    "at_least_one_ring": "Following first successors leads round a ring.",
    "at_most_one_ring": "All members are in the same ring.",
    "ordered_ring": "The ring goes round the circle once.",
    "connected_appendages": "A member that is not in the ring yet leads to it through its successors.",
    "principals": "At least r + 1 members are skipped by no successor list of r; with fewer, the ring can break.",
    "one_ring": "No node that was lost is in another ring of the same name, as after a partition.",
    "all_answer": "Every node that is in somebody's list answers.",
    "ideal_member": "Every node that is in somebody's list is in the ring.",
    "walk_closes": "Following first successors from this node leads round the ring and back to it.",
    "ideal_successors": "A successor list names exactly the nodes that come next.",
    "ideal_predecessor": "The predecessor is the node that comes right before.",
}


def explanation(invariant: str) -> str:
    """What an invariant says; empty for one that is not known."""
    return EXPLANATIONS.get(invariant, "")
