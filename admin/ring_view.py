"""What the ring page shows, ready to draw: the first picture and every refresh are made from this one value."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from gdht.core.ident import distance, ident_hex
from gdht.core.messages import P2pReplyStatus
from gdht.core.peer import Peer
from gdht.errors import GdhtError
from gdht.node.pace import STEADY, Pace
from gdht.node.status import NodeStatus, Walk

from . import ring_layout as layout
from .source import Source
from .text import UNKNOWN, admin_url, count, percent, plural, short, shorten, size

LABELLED_NODES_MAX = 24
"""Rings up to this size have a label at every node; larger ones at those this node points to."""

NOTES_NODES_MAX = 14
"""Rings up to this size have a second line under each label."""

ADDRESS_CHARACTERS_MAX = 22
CHARACTER = 8.2
"""The width of a character of a label, in units of the drawing."""

ROLES = ("this", "predecessor", "successor", "finger", "other", "silent")


class NodeView(TypedDict):
    """One node: where it is drawn, and its texts."""

    key: str
    role: str
    unmet: bool
    quiet: bool  # its label shows only while it is pointed at
    tone: str
    x: float
    y: float
    stem: str
    arc: str
    mark: str
    label_x: float
    label_y: float
    anchor: str
    leader: str
    name: str
    note: str
    aria: str
    admin_url: str
    cells: dict[str, str]


class ChordView(TypedDict):
    """A line from this node to one of its fingers."""

    key: str
    d: str


class RingView(TypedDict):
    """The whole picture. shapes: the outline of a dot by role."""

    refresh_seconds: float
    dot: float
    shapes: dict[str, str]
    nodes: list[NodeView]
    chords: list[ChordView]
    texts: dict[str, str]


@dataclass(frozen=True, slots=True)
class Member:
    """A node of the picture. met: the walk came by; status None: it did not answer or was not asked."""

    peer: Peer
    met: bool
    status: P2pReplyStatus | None
    error: str = ""


def ring_view(source: Source) -> RingView:
    """The picture now; without a walk, what this node knows by itself. Switches: yes."""
    problem = ""
    try:
        walk = source.walk()
    except GdhtError as error:
        walk, problem = Walk((), complete=False), str(error) or type(error).__name__
    return make_view(source.status(), walk, problem, source.turns())


def make_view(status: NodeStatus, walk: Walk, problem: str = "", pace: Pace = STEADY) -> RingView:
    """The picture of a snapshot and a walk. problem: why there is no walk. Switches: as `pace` does."""
    members = _members(status, walk)
    turns = [layout.turn_of(member.peer.ident) for member in members]
    roles = _Roles(status)
    dot = layout.dot_radius(len(members))
    tracks = layout.tracks(turns, dot)
    pace.step()
    arcs = _arcs(members, status, walk.complete, pace)
    quiet = [len(members) > LABELLED_NODES_MAX and not roles.of(member) for member in members]
    dots = [layout.point(turn, layout.track_radius(track, dot)) for turn, track in zip(turns, tracks, strict=True)]
    pace.step()
    labels = _labels(turns, dots, quiet, layout.track_radius(max(tracks), dot) + dot + 9)
    nodes = [
        _node(member, roles, i, turns[i], dots[i], labels[i], quiet[i], arcs.get(member.peer.ident, ""), tracks[i])
        for i, member in enumerate(pace.over(members))
    ]
    return {
        "refresh_seconds": max(2.0, min(10.0, len(nodes) / 40)),
        "dot": dot,
        "shapes": {role: layout.shape_path(role, dot) for role in ROLES},
        "nodes": nodes,
        "chords": [
            {"key": ident_hex(ident), "d": layout.chord_path(turns[0], layout.turn_of(ident))}
            for ident in roles.fingers
            if ident != status.me.ident
        ],
        "texts": _texts(members, walk, problem),
    }


def _members(status: NodeStatus, walk: Walk) -> list[Member]:
    """Everybody met or pointed at, clockwise from this node."""
    me = status.me
    members = {me.ident: Member(me, True, _own_reply(status))}
    for node in walk.nodes:
        members.setdefault(node.peer.ident, Member(node.peer, True, node.status, node.error))
    for peer in (*status.predecessors, *status.successors, *(finger.peer for finger in status.fingers)):
        members.setdefault(peer.ident, Member(peer, False, None, "not met on the walk around the ring"))
    return sorted(members.values(), key=lambda member: distance(me.ident, member.peer.ident))


def _own_reply(status: NodeStatus) -> P2pReplyStatus:
    keys = status.keys
    return P2pReplyStatus(
        status.state.value,
        status.api_address,
        status.admin_address,
        status.predecessors,
        status.successors,
        keys.owned,
        keys.replica,
        keys.misplaced,
        keys.bytes,
        status.owned_ratio,
        status.estimated_nodes,
    )


class _Roles:
    """What each node is to this one."""

    def __init__(self, status: NodeStatus) -> None:
        self.me = status.me.ident
        self.predecessor = status.predecessor.ident if status.predecessor else None
        self.successors = {peer.ident: place for place, peer in enumerate(status.successors, start=1)}
        self.fingers = {finger.peer.ident: finger.index for finger in status.fingers}

    def of(self, member: Member) -> list[tuple[str, str, str]]:
        """Its roles, the weightiest first: (role, the mark inside its dot, in words)."""
        ident = member.peer.ident
        if ident == self.me:
            return [("this", "", "this node")]
        roles = []
        if ident == self.predecessor:
            roles.append(("predecessor", "P", "predecessor"))
        if ident in self.successors:
            place = self.successors[ident]
            roles.append(("successor", str(place), f"successor {place}"))
        if ident in self.fingers:
            roles.append(("finger", "F", f"finger {self.fingers[ident]}"))
        return roles


def _arcs(members: Sequence[Member], status: NodeStatus, complete: bool, pace: Pace) -> dict[int, str]:
    """The share of each node met, drawn from its predecessor to itself, as far as the walk shows it."""
    met = [member.peer.ident for member in members if member.met]
    before = [met[-1] if complete else status.predecessor.ident if status.predecessor else None, *met[:-1]]
    return {
        ident: layout.arc_path(layout.turn_of(start), layout.turn_of(ident), layout.BAND_RADIUS)
        for start, ident in pace.over(zip(before, met, strict=True))
        if start is not None
    }


def _labels(
    turns: Sequence[float], dots: Sequence[tuple[float, float]], quiet: Sequence[bool], radius: float
) -> list[layout.Label]:
    height = 33.0 if len(turns) <= NOTES_NODES_MAX else 18.0
    loud = [i for i, hushed in enumerate(quiet) if not hushed]
    spread = iter(layout.spread_labels([turns[i] for i in loud], [dots[i] for i in loud], radius, height))
    return [
        layout.plain_label(turn, dot, radius) if hushed else next(spread)
        for turn, dot, hushed in zip(turns, dots, quiet, strict=True)
    ]


def _node(
    member: Member,
    roles: _Roles,
    place: int,
    turn: float,
    dot: tuple[float, float],
    label: layout.Label,
    quiet: bool,
    arc: str,
    track: int,
) -> NodeView:
    mine = roles.of(member)
    role, mark, _ = mine[0] if mine else ("other", "", "")
    words = ", ".join(word for _, _, word in mine)
    cells = _cells(member, words)
    foot = layout.point(turn, layout.RADIUS)
    room = min(ADDRESS_CHARACTERS_MAX, layout.characters_max(label, CHARACTER) - 2)
    told = cells["keys"] if member.status else cells["state"]
    return {
        "key": ident_hex(member.peer.ident),
        "role": "silent" if member.met and member.status is None else role,
        "unmet": not member.met,
        "quiet": quiet,
        "tone": "this" if place == 0 else "even" if place % 2 else "odd",
        "x": dot[0],
        "y": dot[1],
        "stem": f"M{foot[0]:g} {foot[1]:g}L{dot[0]:g} {dot[1]:g}" if track else "",
        "arc": arc,
        "mark": mark,
        "label_x": label.x,
        "label_y": label.y,
        "anchor": label.anchor,
        "leader": label.leader,
        "name": shorten(member.peer.address, room),
        "note": told,
        "aria": ", ".join(part for part in (member.peer.address, words, f"owns {cells['share']}", told) if part),
        "admin_url": admin_url(member.status.admin_address) if member.status else "",
        "cells": cells,
    }


def _cells(member: Member, words: str) -> dict[str, str]:
    """The texts of one node in the table and the details."""
    status = member.status
    cells = {"address": member.peer.address, "short": short(member.peer.ident), "ident": ident_hex(member.peer.ident)}
    cells["roles"] = words
    if status is None:
        unknown = ("share", "owned", "replica", "misplaced", "bytes", "keys", "api", "admin", "predecessor")
        state = "no answer" if member.met else "not met"
        return {**cells, **dict.fromkeys(unknown, UNKNOWN), "state": state, "error": member.error}
    return {
        **cells,
        "state": status.state,
        "share": percent(status.owned_ratio),
        "owned": count(status.keys_owned),
        "replica": count(status.keys_replica),
        "misplaced": count(status.keys_misplaced),
        "bytes": size(status.keys_bytes),
        "keys": plural(status.keys_owned, "key"),
        "api": status.api_address or UNKNOWN,
        "admin": status.admin_address or UNKNOWN,
        "predecessor": status.predecessors[0].address if status.predecessors else UNKNOWN,
        "error": "",
    }


def _texts(members: Sequence[Member], walk: Walk, problem: str) -> dict[str, str]:
    met = [member for member in members if member.met]
    told = [member.status for member in met if member.status]
    return {
        "nodes": count(len(met)),
        "nodes_word": ("node" if len(met) == 1 else "nodes") if walk.complete else "met so far",
        "keys": plural(sum(status.keys_owned for status in told), "key"),
        "heading": f"Ring of {plural(len(met), 'node')}" + ("" if walk.complete else ", as far as known"),
        "notice": _notice(members, walk, problem, silent=len(met) - len(told)),
    }


def _notice(members: Sequence[Member], walk: Walk, problem: str, silent: int) -> str:
    met = sum(member.met for member in members)
    parts = []
    if problem:
        parts.append(f"The ring could not be walked: {problem}. Shown is what this node knows by itself.")
    elif not walk.complete:
        parts.append(
            f"This picture is partial: the walk met {plural(met, 'node')} and did not come back to where it began."
        )
    if not problem and met < len(members):
        parts.append("Hollow marks are nodes that this one points at but the walk did not meet.")
    if silent:
        parts.append(f"{plural(silent, 'node')} did not answer.")
    return " ".join(parts)
