"""/livez, /readyz and /health: what process managers and load balancers ask. They never call a peer."""

from collections.abc import Iterable
from typing import Any

from flask import Blueprint, Response, jsonify, request

from gdht.node.status import Check, NodeStatus

from .serialize import checks_json
from .source import SnapshotFailed, Source


class Probes:
    """The probes of one node. The status code is the answer; the text is for people."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def blueprint(self) -> Blueprint:
        """The routes."""
        routes = Blueprint("probes", __name__)
        for probe in ("livez", "readyz"):
            routes.add_url_rule(f"/{probe}", probe, self.all_checks, defaults={"probe": probe})
            routes.add_url_rule(f"/{probe}/<name>", f"{probe}_one", self.one_check, defaults={"probe": probe})
        routes.add_url_rule("/health", "health", self.health)
        return routes

    def all_checks(self, probe: str) -> Response:
        """200 `ok` when every check is; else 503 with all of them. `?verbose` lists them, `?exclude=name` skips one."""
        checks = self._checks(probe)
        excluded = set(request.args.getlist("exclude"))
        failed = [check for check in checks if not check.ok and check.name not in excluded]
        if not failed and "verbose" not in request.args:
            return _text("ok", 200)
        lines = [_line(check, check.name in excluded) for check in checks]
        unknown = sorted(excluded - {check.name for check in checks})
        lines += [f"warning: nothing to exclude: no check is named {name!r}" for name in unknown]
        lines.append(f"{probe} check {'failed' if failed else 'passed'}")
        return _text("\n".join(lines) + "\n", 503 if failed else 200)

    def one_check(self, probe: str, name: str) -> Response:
        """One check by its name."""
        checks = self._checks(probe)
        for check in checks:
            if check.name == name:
                if check.ok and "verbose" not in request.args:
                    return _text("ok", 200)
                return _text(_line(check) + "\n", 200 if check.ok else 503)
        if failed := [check for check in checks if check.name == "snapshot"]:
            return _text(_line(failed[0]) + "\n", 503)
        return _text(f"{probe} has no check {name!r}; it has: {', '.join(one.name for one in checks)}\n", 404)

    def _checks(self, probe: str) -> tuple[Check, ...]:
        try:
            status = self._source.status()
        except SnapshotFailed as error:
            return (Check("snapshot", False, str(error)),)
        return status.live_checks if probe == "livez" else status.ready_checks

    def health(self) -> tuple[Response, int]:
        """The same for people, as JSON; the code is that of /readyz."""
        try:
            status = self._source.status()
        except SnapshotFailed as error:
            unknown = dict.fromkeys(("state", "node_id", "uptime_seconds"))
            return jsonify(status="down", **unknown, checks={}, error=str(error)), 503
        return jsonify(_health(status)), 200 if _all_ok(status.ready_checks) else 503


def _health(status: NodeStatus) -> dict[str, Any]:
    live, ready = _all_ok(status.live_checks), _all_ok(status.ready_checks)
    return {
        "status": "ok" if live and ready else "degraded" if live else "down",
        "state": status.state.value,
        "node_id": f"{status.me.ident:064x}",
        "uptime_seconds": round(status.uptime_s, 3),
        "checks": checks_json(status.live_checks + status.ready_checks),
    }


def _all_ok(checks: Iterable[Check]) -> bool:
    return all(check.ok for check in checks)


def _line(check: Check, excluded: bool = False) -> str:
    if excluded:
        return f"[+]{check.name} excluded: {check.detail}"
    return f"[+]{check.name} ok: {check.detail}" if check.ok else f"[-]{check.name} failed: {check.detail}"


def _text(text: str, code: int) -> Response:
    return Response(text, code, mimetype="text/plain")
