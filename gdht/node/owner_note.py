"""Whose store it is, by a note in it; written once more, the same note tells whether a store takes writes again."""

import json
import logging
from contextlib import suppress

from gdht.core.ident import ident_hex
from gdht.core.peer import Peer
from gdht.errors import StoreError
from gdht.node.storage import Store

log = logging.getLogger(__name__)

IDENTITY_NOTE = "identity"


def write_identity(store: Store, me: Peer) -> None:
    """Note whose store it is, and say so when it was another node's. Switches: no."""
    ours = {"ident": ident_hex(me.ident), "address": me.address}
    note = store.note(IDENTITY_NOTE)
    before = json.loads(note) if note else ours
    if before["ident"] != ours["ident"]:
        log.warning(
            "the store was node %s's at %s; what is not ours of it is handed on", before["ident"], before["address"]
        )
    try:
        store.write_note(IDENTITY_NOTE, json.dumps(ours).encode())
    except StoreError as error:
        log.warning("writes are refused: %s", error)


def try_again(store: Store) -> None:
    """Write something that changes nothing to a store that failed: its error goes when this succeeds. Switches: no."""
    if store.error:
        with suppress(StoreError):
            store.write_note(IDENTITY_NOTE, store.note(IDENTITY_NOTE))
