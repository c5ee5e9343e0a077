"""The report's pictures, drawn only where matplotlib is installed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measure import Comparison
from report import Findings
from targets import TARGETS, Verdict, judge

MET, MISSED = "#2a7f62", "#b5472f"
COLOURS = {"GET": "#2c6fbb", "PUT": "#e0a030", "echo": "#999999"}
PICTURES = {"node": "node 64x1", "pipelined": "node 1x64", "ring": "ring 8 gateway 64x1", "others": "others 8"}


def draw(findings: Findings, directory: Path) -> list[Path]:
    """The files drawn; none without matplotlib."""
    try:
        import matplotlib as mpl  # noqa: PLC0415  (an optional extra)
    except ImportError:
        findings.left_out.append("plots: pip install matplotlib")
        return []
    mpl.rcParams["svg.hashsalt"] = "gdht"  # the same figures give the same file
    mpl.rcParams["svg.fonttype"] = "none"
    directory.mkdir(parents=True, exist_ok=True)
    drawn = [draw_targets([judge(target, findings.comparisons) for target in TARGETS], directory / "targets.svg")]
    measured = {comparison.name: comparison for comparison in findings.comparisons}
    shown = {name: measured[of] for name, of in PICTURES.items() if of in measured}
    return drawn + [draw_rates(comparison, directory / f"{name}.svg") for name, comparison in shown.items()]


def draw_targets(verdicts: Sequence[Verdict], file: Path) -> Path:
    """How far each ratio is above or below what it should be."""
    figure, axes = _figure(len(verdicts))
    for place, verdict in enumerate(verdicts):
        if verdict.ratio is None:
            continue
        least = verdict.target.least
        median, low, high = (value / least for value in verdict.ratio)
        axes.barh(place, median, color=MET if str(verdict) == "met" else MISSED)
        axes.plot([low, high], [place, place], color="black", linewidth=1)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlabel("measured ratio, as a multiple of its target")
    return _save(figure, axes, [verdict.target.text for verdict in verdicts], file)


def draw_rates(comparison: Comparison, file: Path) -> Path:
    """Requests per second of all cases, with the least and the most."""
    figure, axes = _figure(len(comparison.samples))
    for place, (case, samples) in enumerate(comparison.samples.items()):
        rates = [sample.result.requests_per_s for sample in samples]
        axes.barh(place, comparison.rate(case), color=COLOURS.get(case.operation))
        axes.plot([min(rates), max(rates)], [place, place], color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlabel("requests per second")
    axes.set_title(comparison.title, fontsize="medium")
    return _save(figure, axes, [f"{case.operation}, {case.server}" for case in comparison.samples], file)


def _figure(bars: int) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(9, 1.2 + 0.32 * bars), layout="constrained")
    return figure, figure.subplots()


def _save(figure: Any, axes: Any, labels: Sequence[str], file: Path) -> Path:
    axes.set_yticks(range(len(labels)), labels, fontsize="small")
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(file, metadata={"Date": None})
    return file
