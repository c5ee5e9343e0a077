"""Changes to tables as bytes, and laid over what is in the tables."""

from hypothesis import given
from hypothesis import strategies as st

from gdht.store.rows import Rows, laid_over, no_rows, unpacked

keys = st.binary(min_size=1, max_size=3)
contents = st.binary(max_size=5)
changes = st.dictionaries(keys, contents | st.none(), max_size=6)
rows = st.builds(Rows, changes, changes, changes, changes)
LAST = b"\xff" * 4


@given(rows)
def test_what_was_packed_is_unpacked(one):
    assert unpacked(one.packed()) == one


@given(rows, rows)
def test_later_changes_count_and_neither_is_changed_by_putting_them_together(one, other):
    before = unpacked(one.packed())
    both = one.plus(other)
    assert one == before
    one.add(other)
    assert both == one
    assert no_rows().plus(other) == other


@given(st.dictionaries(keys, contents, max_size=8), changes, keys, keys)
def test_changes_laid_over_a_table_read_like_the_table_with_them_made(table, changed, one, other):
    after, last = sorted((one, other))
    found = iter(sorted((key, data) for key, data in table.items() if after < key <= last))
    made = {key: data for key, data in (table | changed).items() if data is not None}
    expected = sorted((key, data) for key, data in made.items() if after < key <= last)
    assert list(laid_over(found, changed, after, last)) == expected
