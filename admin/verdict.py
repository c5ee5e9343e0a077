"""What a report on a key comes to, in plain words."""

from collections.abc import Iterator
from dataclasses import dataclass

from gdht.core.ident import ident_hex
from gdht.core.records import Version
from gdht.node.keys import Holder, KeyReport

from .text import clock, plural, stamp_s

FAULTS = {
    "lacks": "{} does not have it.",
    "tombstone": "{} only remembers an older version, whose life is over.",
    "stale": "{} has an older version.",
    "differs": "{} has another value under the same version.",
    "silent": "{} does not answer.",
}
"""What may be wrong with a node that should hold a key, by its condition."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """state: held, impaired (some copies are missing, old or wrong), expired, absent, or unknown."""

    state: str
    words: str


def verdict(report: KeyReport) -> Verdict:
    """Where a key is, and if it is not where it should be, what is wrong."""
    if report.error:
        return Verdict("unknown", f"Not known: the owner of this key cannot be found: {report.error}.")
    expected = [holder for holder in report.holders if holder.role != "misplaced"]
    holding = [holder for holder in report.holders if report.condition(holder) == "holds"]
    if not holding:
        return _not_held(report, expected)
    in_place = [holder for holder in expected if holder in holding]
    faults = [*_faults(report, expected)]
    words = [_count(len(in_place), len(expected), report.newest), *faults]
    words += [*_small_ring(expected, holding), *_misplaced(report)]
    return Verdict("impaired" if faults else "held", " ".join(words))


def _count(held: int, expected: int, newest: Version) -> str:
    """How many of those that should hold the newest version do."""
    have, should = ("has", "it") if expected == 1 else ("have", "they")
    end = f", as {should} should" if held == expected else f"; {'it' if expected == 1 else 'all'} should"
    return f"{held} of {plural(expected, 'node')} {have} the version {version_words(newest)}{end}."


def version_words(version: Version) -> str:
    """A version as people tell them apart: when it was written, and through which node."""
    return f"of {clock(stamp_s(version))} UTC by {ident_hex(version.coordinator)[:8]}"


def _not_held(report: KeyReport, expected: list[Holder]) -> Verdict:
    """Why nobody holds the newest version."""
    silent = [holder for holder in expected if report.condition(holder) == "silent"]
    if any(report.condition(holder) == "tombstone" and holder.version == report.newest for holder in report.holders):
        over = f"No node holds it any more: the life of the newest version, {version_words(report.newest)}, is over."
        return Verdict("expired", " ".join([over, *_last_put(report)]))
    if silent:
        names = _names(silent)
        words = [f"Not known: no node that answered holds it, but {names} should and {_do(silent)} not answer."]
        return Verdict("unknown", " ".join([*words, *_last_put(report)]))
    never = "No node holds it: it was never stored, or its life is over."
    return Verdict("absent", " ".join([never, *_last_put(report)]))


def _faults(report: KeyReport, expected: list[Holder]) -> Iterator[str]:
    for condition, words in FAULTS.items():
        if names := [holder for holder in expected if report.condition(holder) == condition]:
            yield from (words.format(holder.peer.address) for holder in names)


def _small_ring(expected: list[Holder], holding: list[Holder]) -> Iterator[str]:
    replication = max(holder.stat.replication for holder in holding if holder.stat)
    if replication > len(expected):
        yield f"It is to have {plural(replication, 'copy', 'copies')}, but the ring has no more nodes."


def _misplaced(report: KeyReport) -> Iterator[str]:
    """Copies on nodes that need not hold any; repair moves them on."""
    misplaced = [holder for holder in report.holders if holder.role == "misplaced" and holder.present]
    if misplaced:
        old = "" if all(report.condition(holder) == "holds" for holder in misplaced) else ", not all of this version"
        copies = plural(len(misplaced), "misplaced copy", "misplaced copies")
        yield f"{copies} at {_names(misplaced)}{old}; repair will drop {'it' if len(misplaced) == 1 else 'them'}."


def _last_put(report: KeyReport) -> Iterator[str]:
    """A put that the asked node could not finish may be why a value is not there."""
    for request in reversed(report.failures):
        if request.operation == "put":
            reason = ": ".join(filter(None, (request.result, request.detail)))
            yield f"The last put of it through this node that failed, at {clock(request.wall_s)}: {reason}."
            return


def _names(holders: list[Holder]) -> str:
    return ", ".join(holder.peer.address for holder in holders)


def _do(holders: list[Holder]) -> str:
    return "does" if len(holders) == 1 else "do"
