"""Names are looked up elsewhere: a resolver that does not answer holds nobody up."""

import socket
import time

import gevent
import pytest
from gevent.resolver import thread as resolver_module

from gdht.net import dial
from gdht.net.dial import connect, resolve
from gdht.net.pulse import Pulse
from gdht.node.stats import LAG_SECONDS, Histogram


@pytest.fixture
def slow_names(monkeypatch):
    """Every name takes a while, and stands for this machine."""
    lookups = []

    class SlowSocket:
        gaierror, herror = socket.gaierror, socket.herror

        @staticmethod
        def getaddrinfo(host, port, *_arguments):
            lookups.append(host)
            time.sleep(0.5)
            return [(2, 1, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(resolver_module, "_socket", SlowSocket)
    return lookups


def test_the_loop_goes_on_while_a_name_is_looked_up(slow_names, stack):
    pulse = Pulse(Histogram(LAG_SECONDS))
    pulse.start()
    stack.callback(pulse.stop)
    gevent.sleep(0.01)
    pulse.beat()
    assert resolve("node.example:6001")[0][4] == ("127.0.0.1", 6001)
    assert len(slow_names) == 1
    assert pulse.beat() < 0.4


def test_a_name_that_is_not_found_in_time_is_given_up(slow_names, monkeypatch):
    monkeypatch.setattr(dial, "RESOLVE_TIMEOUT_S", 0.1)
    with pytest.raises(TimeoutError, match="not resolved in time"):
        connect("node.example:6001")


def test_literals_are_not_looked_up_at_all(slow_names):
    assert resolve("127.0.0.1:6001")[0][4] == ("127.0.0.1", 6001)
    assert resolve("[::1]:6001")[0][4][:2] == ("::1", 6001)
    assert slow_names == []
