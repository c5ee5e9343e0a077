"""What a node's admin port knows of a request that its API port has just answered."""

import time

from gdht.cli.admin_port import AdminError, AdminPort, Json, printable
from gdht.cli.keys import copies_words
from gdht.cli.tables import counted
from gdht.config import Address, parse_address

AGE_S_SLACK = 1.0
"""A request that the node wrote down before ours began, by more than this, is another one."""


class Witness:
    """Made before the request, asked after it. It never fails: what it cannot find out it says."""

    def __init__(self, port: AdminPort, api: str, operation: str, key: bytes) -> None:
        self._port = port
        self._api = api
        self._operation = operation
        self._key = key
        self._began_s = time.monotonic()

    def copies(self) -> str:
        """On how many nodes a value is that was stored."""
        try:
            answer = self._port.ask(f"keys/{self._key.hex()}")
            with self._port.reading():
                expected = [node for node in answer["nodes"] if node["role"] != "misplaced"]
                holding = [node for node in expected if node["condition"] == "holds"]
                words = f"Stored on {len(holding)} of {counted(len(expected), 'replica')}."
                if len(holding) == len(expected):
                    return words
                if other := self._other_node():
                    return f"Stored; on how many nodes is not known: {other}"
                return f"{words} {printable(answer['verdict'])}"
        except AdminError as error:
            return f"Stored; on how many nodes is not known: {error}"

    def reason(self) -> str:
        """Why a request did not succeed, to be put behind what is known already."""
        try:
            answer = self._port.ask(f"requests?limit=1&key={self._key.hex()}")
            with self._port.reading():
                requests = [request for request in answer["requests"] if self._is_ours(request)]
                other = "" if requests else self._other_node()
                return f"; why is not known: {other}" if other else "".join(f": {_reason(one)}" for one in requests)
        except AdminError as error:
            return f"; why is not known: {error}"

    def _other_node(self) -> str:
        """That it is not the node whose API port was used, if it says so; "" when they may well be one."""
        told = printable(self._port.ask("node")["node"]["api_address"])
        ours, theirs = parse_address(self._api), parse_address(told)
        hosts_differ = _is_literal(ours) and _is_literal(theirs) and ours.host != theirs.host
        if ours.port == theirs.port and not hosts_differ:
            return ""
        return f"{self._port.url} is of a node with the API port {told}, not {self._api} (--admin, --api)"

    def _is_ours(self, request: Json) -> bool:
        took_s = time.monotonic() - self._began_s
        return bool(request["operation"] == self._operation and request["age_seconds"] <= took_s + AGE_S_SLACK)


def _is_literal(address: Address) -> bool:
    """Whether it names one interface: names may stand for any, wildcards do for all."""
    is_numeric = ":" in address.host or address.host.replace(".", "").isdigit()
    return is_numeric and not address.is_wildcard


def _reason(request: Json) -> str:
    words = [request["result"].replace("_", " "), copies_words(request), request["detail"]]
    return printable(", ".join(filter(None, words)))
