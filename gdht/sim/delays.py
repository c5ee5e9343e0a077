"""How long messages are under way: distributions of seconds, drawn from a given source of chance."""

from collections.abc import Callable
from math import log
from random import Random

Delay = Callable[[Random], float]
"""Draws the seconds that one message is under way."""


def constant(seconds: float) -> Delay:
    """Every message takes the same time."""
    return lambda _rng: seconds


def uniform(least_s: float, most_s: float) -> Delay:
    """Any time between the two is as likely."""
    return lambda rng: rng.uniform(least_s, most_s)


def exponential(mean_s: float) -> Delay:
    """Mostly short, sometimes very long. Source: the 2003 paper, section VI."""
    return lambda rng: rng.expovariate(1.0 / mean_s)


def lognormal(median_s: float, sigma: float) -> Delay:
    """A heavy tail, as round trips across the Internet have it. sigma: of the logarithm; 1 is wide, 2 is wild."""
    return lambda rng: rng.lognormvariate(log(median_s), sigma)


LOCAL = uniform(0.01, 0.05)
