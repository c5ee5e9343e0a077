"""What the admin port may be told to do: take no more clients, hand over and leave."""

from collections.abc import Sequence
from typing import Protocol

from flask import Blueprint, Response, jsonify, request
from werkzeug.exceptions import BadRequest

from gdht.node.status import Share, State

from .access import Guard
from .serialize import plan_json

LEAVE_S = 60.0
"""How long a leaver looks for takers of its records unless told otherwise."""

LEAVE_S_MAX = 86400.0


LEAVE_ARGUMENTS = ("timeout", "dry_run")


class Actions(Protocol):
    """What a node's process does when told to; each may raise GdhtError."""

    def drain(self) -> None:
        """Begin to take no more clients and finish what they asked; the node stays in the ring. Switches: no."""

    def leave(self, timeout_s: float) -> None:
        """Begin to drain, hand over within so many seconds, leave the ring and end the process. Switches: no."""

    def plan_leave(self) -> tuple[Share, ...]:
        """Who would get what if the node left now. Switches: yes."""


class ActionApi:
    """The actions for programs: POST, answered at once while they go on."""

    def __init__(self, actions: Actions, guard: Guard) -> None:
        self._actions = actions
        self._guard = guard

    def blueprint(self) -> Blueprint:
        """The routes."""
        routes = Blueprint("actions", __name__, url_prefix="/admin/api")
        routes.add_url_rule("/drain", "drain", self.drain, methods=["POST"])
        routes.add_url_rule("/leave", "leave", self.leave, methods=["POST"])
        return routes

    def drain(self) -> tuple[Response, int]:
        """Take no more clients."""
        self._guard.check()
        _refuse_unknown(())
        self._actions.drain()
        return _accepted(State.DRAINING)

    def leave(self) -> tuple[Response, int]:
        """Hand over and leave within `timeout` seconds; with `dry_run` only say who would get what."""
        self._guard.check()
        _refuse_unknown(LEAVE_ARGUMENTS)
        if request.args.get("dry_run", "0") not in ("", "0", "false"):
            return jsonify(plan_json(self._actions.plan_leave())), 200
        self._actions.leave(timeout_of(request.args.get("timeout", "")))
        return _accepted(State.LEAVING)


def _refuse_unknown(known: Sequence[str]) -> None:
    """Nothing is done on a misspelled word: `dryrun=1` is no leave. Raises: BadRequest."""
    if unknown := [name for name in request.args if name not in known]:
        there_are = f"there are {', '.join(known)}" if known else "there are none"
        raise BadRequest(f"no such argument: {', '.join(unknown)}; {there_are}")


def _accepted(state: State) -> tuple[Response, int]:
    """It has begun; `/admin/api/node` tells how far it is. state: what the node is, or is about to be."""
    return jsonify(state=state.value), 202


def timeout_of(text: str) -> float:
    """A number of seconds, LEAVE_S when there is none. Raises: BadRequest."""
    try:
        timeout_s = float(text or LEAVE_S)
    except ValueError:
        timeout_s = 0.0
    if not 0 < timeout_s <= LEAVE_S_MAX:
        raise BadRequest(f"timeout is a number of seconds of more than 0, and at most {LEAVE_S_MAX:.0f}")
    return timeout_s
