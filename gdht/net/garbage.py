"""How the interpreter looks for garbage that refers to itself: in small portions, so that the loop is not held.

Objects go when the last reference to them does; the collector is for the cycles that are left over. A node at work
makes none: gets, puts, clients that come and go, repair leave nothing to collect. A request to the admin port leaves
some ten objects, a connection to another node that was refused some sixty, and all these die young. But a full
collection looks at every object there is, those of all modules among them, at a moment of its own choice; it took 15 to
170 ms (benchmarks/stalls.md).

So what is there when a node begins to serve is set aside for good, and young objects are looked at in small portions.
When a full collection takes long all the same, its survivors are set aside too, and the next one looks only at what has
come since. The price: a cycle that was set aside alive and dies later is never found.
"""

import gc
import logging
import time

log = logging.getLogger(__name__)

THRESHOLDS = (1000, 3, 2)
"""How many more objects were made than went before those are looked at; after how many such rounds the ones that stayed
are looked at again; and after how many of these once more. So the collections look at 1,000, 4,000 and 12,000 objects,
at 0.2 to 0.5 us each, or at what survived the last full one and a quarter more.
"""

FULL_S_MAX = 0.003
"""After a full collection that took longer, what it left is not looked at again."""

_began_s = 0.0


def settle() -> None:
    """Set everything that there is now aside, and look for garbage in small portions from now on. Switches: no.

    For the whole process, as often as it is called; takes some 30 ms.
    """
    gc.collect()
    gc.freeze()
    gc.collect()  # of nothing; the next full one waits for a quarter more than the last one left
    gc.set_threshold(*THRESHOLDS)
    if _watch not in gc.callbacks:
        gc.callbacks.append(_watch)


def _watch(phase: str, info: dict[str, int]) -> None:
    """Called by the collector before and after each of its runs."""
    global _began_s  # noqa: PLW0603  (there is one collector)
    if phase == "start":
        _began_s = time.perf_counter()
    elif info["generation"] == 2 and (took_s := time.perf_counter() - _began_s) > FULL_S_MAX:
        gc.freeze()
        log.debug("a full collection of garbage took %.1f ms; what it left is set aside", took_s * 1000)
