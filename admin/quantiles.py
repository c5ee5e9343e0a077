"""Quantiles read off a histogram's buckets, as Prometheus' `histogram_quantile` does."""

from itertools import accumulate

from gdht.node.stats import Histogram


def quantile(histogram: Histogram, q: float) -> float | None:
    """The value below which a share `q` (0 to 1) of the observations lies; None when there are none.

    Linear within a bucket; in the last, open bucket: its lower edge.

    >>> histogram = Histogram((1.0, 2.0))
    >>> histogram.observe(1.5, times=10)
    >>> quantile(histogram, 0.5)
    1.5
    """
    count = histogram.count
    if count == 0:
        return None
    rank = q * count
    lower = 0.0
    for upper, inside, reached in zip(histogram.bounds, histogram.counts, accumulate(histogram.counts), strict=False):
        if inside and reached >= rank:
            return lower + (upper - lower) * (rank - (reached - inside)) / inside
        lower = upper
    return lower
