"""Reports as pictures. matplotlib is needed here and nowhere else, and only when a picture is asked for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gdht.errors import GdhtError
from gdht.sim.experiments.report import Panel, Report, Series

PANEL_INCHES = (6.0, 4.0)


def require_matplotlib() -> None:
    """Raises: GdhtError when matplotlib is missing."""
    _figure_class()


def draw(report: Report, path: Path) -> None:
    """Draw all panels of a report side by side; the file's suffix says in which format.

    Raises: GdhtError when matplotlib is missing, or the file cannot be written.
    """
    figure_class = _figure_class()
    panels = report.panels
    figure = figure_class(figsize=(PANEL_INCHES[0] * len(panels), PANEL_INCHES[1]), layout="constrained")
    for panel, axes in zip(panels, figure.subplots(1, len(panels), squeeze=False)[0], strict=True):
        _draw_panel(panel, axes)
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:  # ValueError: no such format
        raise GdhtError(f"{path}: {getattr(error, 'strerror', None) or error}") from error


def _figure_class() -> Any:
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415  (an optional extra)
    except ImportError as error:
        raise GdhtError("plots need matplotlib: pip install 'gdht[plots]'") from error
    return Figure


def _draw_panel(panel: Panel, axes: Any) -> None:
    axes.set_title(panel.title)
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(panel.y_label)
    if panel.doubling:
        axes.set_xscale("log", base=2)
    for series in panel.series:
        axes.errorbar(
            series.x,
            series.y,
            _bars(series),
            label=series.label,
            linestyle="--" if series.dashed else "-",
            marker="" if series.dashed else "o",
            markersize=4,
            capsize=3,
        )
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()


def _bars(series: Series) -> Sequence[Sequence[float]] | None:
    """How far the percentiles lie below and above each point."""
    if not series.spreads:
        return None
    below = [max(one.mean - one.p1, 0) for one in series.spreads]
    above = [max(one.p99 - one.mean, 0) for one in series.spreads]
    return below, above
