"""The page on which a person drains a node or has it leave: what that would move, the two forms, how far it is."""

from flask import Blueprint, redirect, render_template, request
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Response

from gdht.errors import GdhtError
from gdht.node.status import NodeStatus, Share, State

from .access import Guard
from .actions import LEAVE_S, Actions, timeout_of
from .source import Source


class DeparturePage:
    """How a node goes."""

    def __init__(self, source: Source, actions: Actions, guard: Guard) -> None:
        self._source = source
        self._actions = actions
        self._guard = guard

    def blueprint(self) -> Blueprint:
        """The routes."""
        routes = Blueprint("departure", __name__, url_prefix="/admin")
        routes.add_url_rule("/leave", "show", self.show)
        routes.add_url_rule("/leave", "act", self.act, methods=["POST"])
        return routes

    def show(self) -> str:
        """What leaving would move, or how far it is."""
        status = self._source.status()
        shares, problem = self._plan(status)
        return render_template(
            "leave.html", status=status, shares=shares, problem=problem, word=self._guard.form_word, timeout_s=LEAVE_S
        )

    def act(self) -> Response:
        """Do what the form says, and show how it goes."""
        self._guard.check()
        match request.form.get("action"):
            case "drain":
                self._actions.drain()
            case "leave":
                self._actions.leave(timeout_of(request.form.get("timeout", "")))
            case _:
                raise BadRequest("the form says neither drain nor leave")
        return redirect("/admin/leave", 303)

    def _plan(self, status: NodeStatus) -> tuple[tuple[Share, ...], str]:
        """The receivers, and why they could not be asked; neither when the node is on its way already."""
        if status.state is State.LEAVING:
            return (), ""
        try:
            return self._actions.plan_leave(), ""
        except GdhtError as error:
            return (), str(error)
