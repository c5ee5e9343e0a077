"""Dictionaries that are cut up, against a plain one: any history of changes, with keys that begin alike or do not."""

from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gdht.store import buckets
from gdht.store.buckets import BUCKET_MAX, EMPTY, Buckets

LAST = b"\xff" * 32

heads = st.lists(st.sampled_from([0, 1, 255]), min_size=0, max_size=32).map(bytes)
keys = st.builds(lambda head, tail: (head + tail)[:32].ljust(32, b"\0"), heads, st.binary(max_size=2))


class BucketsAgainstADictionary(RuleBasedStateMachine):
    @initialize(bucket_max=st.integers(1, 3))
    def open(self, bucket_max):
        buckets.BUCKET_MAX = bucket_max
        self.buckets = Buckets()
        self.model: dict[bytes, bytes] = {}

    @rule(key=keys, data=st.binary(max_size=2))
    def set(self, key, data):
        self.buckets.set(key, data)
        self.model[key] = data

    @rule(data=st.data())
    def pop(self, data):
        if self.model:
            key = data.draw(st.sampled_from(sorted(self.model)))
            assert self.buckets.pop(key) == self.model.pop(key)

    @rule(key=keys)
    def get(self, key):
        assert self.buckets.get(key) == self.model.get(key)

    @rule(after=st.just(b"") | keys, last=keys, limit=st.integers(0, 9))
    def between(self, after, last, limit):
        expected = [(key, self.model[key]) for key in sorted(self.model) if after < key <= last]
        assert self.buckets.between(after, last, limit) == expected[:limit]

    @invariant()
    def it_is_the_same(self):
        assert self.buckets.count == len(self.model)
        assert self.buckets.between(b"", LAST, 1000) == sorted(self.model.items())
        if self.model:
            assert self.buckets.any_key() in self.model
        else:
            assert self.buckets._root is EMPTY
        assert not EMPTY

    def teardown(self):
        buckets.BUCKET_MAX = BUCKET_MAX


TestBucketsAgainstADictionary = BucketsAgainstADictionary.TestCase
TestBucketsAgainstADictionary.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("head", [b"", b"\xab\xcd", bytes(28)])
def test_no_bucket_is_large_whatever_the_keys_begin_with(head):
    made = Buckets()
    rng = Random(1)
    chosen = {head + rng.randbytes(32 - len(head)) for _ in range(5000)}
    for key in sorted(chosen):
        made.set(key, key)
    sizes, parts = [], [made._root]
    while parts:
        part = parts.pop()
        if isinstance(part, list):
            parts += part
        else:
            sizes.append(len(part))
    assert max(sizes) <= BUCKET_MAX
    assert sum(sizes) == made.count == 5000
    for key in sorted(chosen):
        assert made.pop(key) == key
    assert made._root is EMPTY
