"""Log lines written by a thread: in order, whole at the end, and never waited for."""

import logging
import os
import subprocess
import sys
import time

import pytest

from gdht.cli import log_thread as log_thread_module
from gdht.cli.log_thread import LogThread


@pytest.fixture
def pipe():
    """The two ends of a pipe: from, to."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


@pytest.fixture
def handler(pipe):
    handler = LogThread(pipe[1])
    yield handler
    os.set_blocking(pipe[0], False)
    while handler._thread.is_alive():
        handler._lines.put(None)
        drain(pipe[0])
        handler._thread.join(0.01)


def warn(handler, text):
    """Log something; by no logger, as pytest would remember it too."""
    handler.handle(logging.LogRecord("test", logging.WARNING, __file__, 1, text, None, None))


def drain(file):
    try:
        return os.read(file, 1 << 20)
    except BlockingIOError:
        return b""


def test_lines_are_written_in_order(pipe, handler):
    for number in range(100):
        warn(handler, f"line {number}")
    handler.close()
    assert os.read(pipe[0], 1 << 16).decode().splitlines() == [f"line {number}" for number in range(100)]


def test_what_cannot_be_encoded_is_written_all_the_same(pipe, handler):
    warn(handler, "odd \udcff")
    handler.close()
    assert os.read(pipe[0], 1 << 16) == b"odd \\udcff\n"


def test_nobody_waits_for_a_reader_that_sleeps_and_what_was_left_out_is_counted(pipe, handler, monkeypatch):
    monkeypatch.setattr(log_thread_module, "LINES_WAITING_MAX", 50)
    began_s = time.monotonic()
    for _ in range(2000):
        warn(handler, "x" * 1000)
    assert time.monotonic() - began_s < 5.0
    text = b""
    while handler._lines.qsize():
        text += os.read(pipe[0], 1 << 16)
    warn(handler, "after")
    while b"after" not in text:
        text += os.read(pipe[0], 1 << 16)
    lines = text.decode().splitlines()
    kept = lines.count("x" * 1000)
    left_out = [
        int(line.split()[0])
        for line in lines
        if line.endswith("lines were left out here: they were not read fast enough")
    ]
    assert kept < 1000
    assert kept + sum(left_out) == 2000
    assert lines[-1] == "after"


def test_the_end_of_a_process_waits_for_its_last_lines_but_not_for_ever():
    program = (
        "import logging, sys; from gdht.cli.log_thread import LogThread; handler = LogThread(2);"
        "logging.basicConfig(handlers=[handler]); [logging.warning('y' * 1000) for _ in range(1000)]"
    )
    done = subprocess.run([sys.executable, "-c", program], stderr=subprocess.PIPE, check=True, timeout=20)
    assert done.stderr.count(b"y" * 1000) == 1000
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE) as stuck:
        assert stuck.wait(20) == 0
