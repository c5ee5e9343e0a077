"""Is the ring right? A walk round it, and what the pointers of all nodes met say when they are laid side by side.

A walk is no snapshot: nodes join and leave while it lasts. What is wrong in one walk and right in the next is not
reported.
"""

from gdht.node.inspect import walk
from gdht.node.runtime import Runtime
from gdht.node.state import NodeState
from gdht.node.status import RingCheck


def check(rt: Runtime, node: NodeState, nodes_max: int) -> RingCheck:
    """Walk the ring, at most `nodes_max` nodes of it, and name what is wrong. Switches: yes."""
    started_s = rt.now()
    walked = walk(rt, node, nodes_max)
    return RingCheck(len(walked.nodes), walked.complete, (), rt.now() - started_s)


def check_nearby(rt: Runtime, node: NodeState) -> bool:
    """Whether this node and those in its successor list agree with each other; a few calls. Switches: yes."""
    return not check(rt, node, node.ring.length + 1).violations
