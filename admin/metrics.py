"""/metrics: a collector that reads the snapshot when it is scraped, in a registry of its own.

Nothing in the node knows Prometheus. No lock is held while values are read, so nothing here can stop the event loop.
"""

import platform
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from flask import Blueprint, Response
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from gdht.node.stats import Histogram
from gdht.node.status import NodeStatus

from .exposition import write_text
from .metric_table import COUNTS, GAUGES, SPREADS, Labels, Spread, Values
from .source import Source

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The scrape of one node."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._registry = CollectorRegistry()
        self._registry.register(NodeCollector(source))
        PlatformCollector(registry=self._registry)
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def blueprint(self) -> Blueprint:
        """The route."""
        routes = Blueprint("metrics", __name__)
        routes.add_url_rule("/metrics", "metrics", self.metrics)
        return routes

    def metrics(self) -> Response:
        """Everything in Prometheus' text format; each metric is of one moment, all of them of nearly the same one."""
        text = write_text(self._source.turns().over(self._registry.collect()))
        return Response(text, content_type=CONTENT_TYPE)


class NodeCollector(Collector):
    """The node's metrics, made from one snapshot per scrape."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def describe(self) -> Iterable[Metric]:
        """Nothing: the registry need not take a snapshot to learn the names."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Every metric of the table."""
        status = self._source.status()
        yield _build_info()
        for gauge in GAUGES:
            yield _metric(gauge.name, gauge.help, "gauge", _plain(gauge.name, gauge.labels, gauge.read(status)))
        for count in COUNTS:
            values = {**dict.fromkeys(count.words, 0), **count.read(status)}
            yield _metric(count.name, count.help, "counter", _plain(f"{count.name}_total", count.labels, values))
        for spread in SPREADS:
            yield _metric(spread.name, spread.help, "histogram", _buckets(spread, status))


def _metric(name: str, words: str, kind: str, samples: Iterable[Sample]) -> Metric:
    metric = Metric(name, words, kind)
    metric.samples = list(samples)
    return metric


def _plain(name: str, labels: Labels, values: Values) -> Iterator[Sample]:
    return (Sample(name, dict(zip(labels, words, strict=True)), value) for words, value in values.items())


def _buckets(row: Spread, status: NodeStatus) -> Iterator[Sample]:
    histograms = {**{words: Histogram(row.bounds) for words in row.words}, **row.read(status)}
    for words, histogram in histograms.items():
        labels = dict(zip(row.labels, words, strict=True))
        below = 0
        for edge, inside in zip(_edges(histogram.bounds), histogram.counts, strict=True):
            below += inside
            yield Sample(f"{row.name}_bucket", {**labels, "le": edge}, below)
        yield Sample(f"{row.name}_sum", labels, histogram.total)
        yield Sample(f"{row.name}_count", labels, below)


@cache
def _edges(bounds: tuple[float, ...]) -> tuple[str, ...]:
    return (*(repr(float(bound)) for bound in bounds), "+Inf")


@cache
def _build_info() -> Metric:
    labels = {"version": _version("gdht"), "python": platform.python_version(), "gevent": _version("gevent")}
    return _metric("gdht_build_info", "What this node is built from.", "gauge", [Sample("gdht_build_info", labels, 1)])


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
