"""Signals that ask a process to end: told to the loop, and the second one heard also when that stands still."""

import os
import signal
import subprocess
import sys

import gevent
import pytest

from gdht.net.signals import NUMBERS, heard_signals

STUCK = """
import time
from gdht.net.signals import heard_signals
with heard_signals(lambda: None):
    print("stuck", flush=True)
    time.sleep(60)
"""


def test_each_signal_is_told_in_the_loop(tools):
    told = []
    with heard_signals(lambda: told.append(gevent.getcurrent())):
        for count, number in enumerate(NUMBERS, 1):
            os.kill(os.getpid(), number)
            tools.wait_for(lambda count=count: len(told) == count)
    assert told == [gevent.get_hub()] * 2


def test_other_signals_are_not_told():
    told = []
    before = signal.signal(signal.SIGUSR1, lambda _number, _frame: None)
    try:
        with heard_signals(lambda: told.append(1)):
            os.kill(os.getpid(), signal.SIGUSR1)
            gevent.sleep(0.05)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert told == []


def test_only_their_thread_gets_them_for_the_disk_may_hold_the_others():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with heard_signals(lambda: None):
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before | set(NUMBERS)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


def test_afterwards_signals_mean_what_they_meant_before():
    before = [signal.getsignal(number) for number in NUMBERS]
    with heard_signals(lambda: None):
        assert [signal.getsignal(number) for number in NUMBERS] != before
    assert [signal.getsignal(number) for number in NUMBERS] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_a_second_signal_ends_a_process_whose_loop_stands_still():
    process = subprocess.Popen([sys.executable, "-c", STUCK], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with process:
        try:
            assert process.stdout.readline() == b"stuck\n"
            process.terminate()
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.2)
            process.terminate()
            assert process.wait(5) == 1
            assert b"the event loop stood still" in process.stderr.read()
        finally:
            process.kill()
