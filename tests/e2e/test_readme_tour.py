"""The tour in README works to the letter."""

import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.tour import (
    Step,
    Tour,
    has_printed,
    ports_of,
    prints_as_expected,
    read_steps,
    taken_ports,
)

REPOSITORY = Path(__file__).parents[2]
README = REPOSITORY / "README.md"

SAMPLE = """\
# Sample

```console
$ not part of it
```

<!-- tour -->
Start it:

```console
$ python -u -c 'import time; print("log"); print("ready at 127.0.0.1:45679"); time.sleep(60)' &
ready at ...
$ echo one \\
    two
one two
$ printf 'a\\nb\\nc\\n'
a
...
c
```

```python
print("not a console")
```

```console
$ sh -c 'echo it failed >&2; exit 3'
it failed
$ echo $?
3
```
<!-- /tour -->

```console
$ not part of it either
```
"""


def test_the_steps_of_a_text_are_its_console_blocks_between_the_marks() -> None:
    background, echo, *rest = read_steps(SAMPLE)
    assert background.background
    assert background.command.startswith("python -u -c ")
    assert background.expected == ("ready at ...",)
    assert echo == Step("echo one     two", False, ("one two",))
    assert [step.expected for step in rest] == [("a", "...", "c"), ("it failed",), ("3",)]


def test_a_sample_tour_is_taken(tmp_path: Path) -> None:
    with Tour(tmp_path, tmp_path) as tour:
        for step in read_steps(SAMPLE):
            tour.take(step)
        (process,) = tour._background
        assert process.poll() is None
    assert process.poll() is not None


@pytest.mark.parametrize(
    "step",
    [
        Step("echo other", False, ("one",)),
        Step("echo unexpected", False, ()),
        Step("true", False, ("one",)),
        Step("echo anything; false", False, ("...",)),
        Step("echo other", True, ("one",)),
        Step("nosuchcommand", False, ("done",)),
    ],
)
def test_a_tour_that_goes_another_way_is_told_with_both_outputs(tmp_path: Path, step: Step) -> None:
    with Tour(tmp_path, tmp_path) as tour, pytest.raises(AssertionError, match="--- printed"):
        tour.take(step)


def test_three_dots_stand_for_anything_and_nothing_else_does() -> None:
    assert prints_as_expected("a 12 b\nx\ny\n", ("a ... b", "...", "y"))
    assert prints_as_expected("", ())
    assert not prints_as_expected("a.c", ("abc",))
    assert not prints_as_expected("a\nb", ("a",))
    assert has_printed("1\n2\n3\n", ("1", "3"))
    assert not has_printed("3\n1\n", ("1", "3"))
    assert not has_printed("", ())


def test_ports_named_in_the_tour_are_looked_at_beforehand() -> None:
    assert ports_of(SAMPLE) == {6001, 7001, 8001, 45679}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert taken_ports({port}) == [port]


@pytest.mark.timeout(300)
def test_the_tour_of_the_readme_works_to_the_letter(tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    if not README.exists():
        pytest.skip("there is no README.md yet")
    text = README.read_text()
    steps = read_steps(text)
    assert steps, "README.md has no console block between <!-- tour --> and <!-- /tour -->"
    if any("curl" in step.command.split() for step in steps):
        require_tool("curl")
    if taken := taken_ports(ports_of(text)):
        pytest.fail(f"the tour needs these ports of 127.0.0.1, but somebody listens on them: {taken}", pytrace=False)
    shutil.copytree(REPOSITORY / "conf", tmp_path / "conf")
    with Tour(tmp_path, tmp_path) as tour:
        for step in steps:
            tour.take(step)
