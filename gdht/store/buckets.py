"""A dictionary by key whose every step is short: it is cut into small ones, however many keys there are and whichever
were chosen. One large dictionary would stop the node for tens of milliseconds whenever it grows.

Bytes alone are kept, which Python's garbage collector never looks at.
"""

from typing import Any, TypeAlias

from gdht.core.ident import IDENT_BYTES

BUCKET_MAX = 512
"""A bucket with more keys is cut up by the next byte of its keys. So many are sorted at once to be read in order."""

FAN_OUT = 256

Bucket: TypeAlias = dict[bytes, bytes]
Branch: TypeAlias = list["Bucket | Branch"]

EMPTY: Bucket = {}
"""What all parts of a branch without a key share; never changed."""

BEFORE_ALL, AFTER_ALL = b"", b"\xff" * (IDENT_BYTES + 1)


class Buckets:
    """Bytes by keys of 32 bytes. The root is a bucket, or a branch by the first byte, of branches by the second..."""

    __slots__ = ("_root", "count")

    def __init__(self) -> None:
        self.count = 0
        self._root: Bucket | Branch = EMPTY

    def get(self, key: bytes) -> bytes | None:
        """What is kept under a key."""
        node: Any = self._root  # a bucket, when it is no branch
        depth = 0
        while type(node) is list:
            node = node[key[depth]]
            depth += 1
        found: bytes | None = node.get(key)
        return found

    def set(self, key: bytes, data: bytes) -> None:
        """Keep something under a key."""
        parent: Any = None
        node: Any = self._root
        depth = 0
        while type(node) is list:
            parent, node = node, node[key[depth]]
            depth += 1
        before = len(node)
        if before:
            node[key] = data
        else:
            node = self._put_first(parent, depth, key, data)
        if len(node) != before:
            self.count += 1
            if before >= BUCKET_MAX:
                self._cut_up(parent, node, depth)

    def _put_first(self, parent: Branch | None, depth: int, key: bytes, data: bytes) -> Bucket:
        bucket = {key: data}
        if parent is None:
            self._root = bucket
        else:
            parent[key[depth - 1]] = bucket
        return bucket

    def pop(self, key: bytes) -> bytes:
        """Take a key out that is there."""
        node: Any = self._root
        depth = 0
        while type(node) is list:
            node = node[key[depth]]
            depth += 1
        data: bytes = node.pop(key)
        self.count -= 1
        if not node:
            self._root = _pruned(self._root, key, 0)
        return data

    def any_key(self) -> bytes:
        """One of the keys, of which there is one; after the same history the same one."""
        node: Any = self._root
        while type(node) is list:
            node = next(filter(None, node))
        key: bytes = next(reversed(node))
        return key

    def between(self, after: bytes, last: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """At most `limit` keys with after < key <= last, in order, and what is kept under them."""
        found: list[tuple[bytes, bytes]] = []
        _collect(self._root, 0, after, last, limit, found)
        return found

    def _cut_up(self, parent: Branch | None, bucket: Bucket, depth: int) -> None:
        """Put a branch in the place of a bucket; of buckets that are too large in turn, when all keys begin alike."""
        branch: Branch = [EMPTY] * FAN_OUT
        for key, data in bucket.items():
            part = branch[key[depth]]
            if part:
                part[key] = data  # type: ignore[call-overload]  # a bucket so far
            else:
                branch[key[depth]] = {key: data}
        if parent is None:
            self._root = branch
        else:
            parent[next(iter(bucket))[depth - 1]] = branch
        for part in branch:
            if isinstance(part, dict) and len(part) > BUCKET_MAX:
                self._cut_up(branch, part, depth + 1)


def _pruned(node: Bucket | Branch, key: bytes, depth: int) -> Bucket | Branch:
    """What is left of a part when the bucket of a key is empty."""
    if isinstance(node, list):
        node[key[depth]] = _pruned(node[key[depth]], key, depth + 1)
    return node if any(node) else EMPTY


def _collect(
    node: Bucket | Branch, depth: int, after: bytes, last: bytes, limit: int, found: list[tuple[bytes, bytes]]
) -> None:
    if isinstance(node, dict):
        keys = sorted([key for key in node if after < key <= last])
        found += [(key, node[key]) for key in keys[: limit - len(found)]]
        return
    begin = after[depth] if after > BEFORE_ALL else 0
    end = last[depth]
    for index in range(begin, end + 1):
        part = node[index]
        if part:
            low = after if index == begin else BEFORE_ALL
            high = last if index == end else AFTER_ALL
            _collect(part, depth + 1, low, high, limit, found)
            if len(found) >= limit:
                return
