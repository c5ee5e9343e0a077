"""Where settings come from: an INI file, the environment, the command line; and in which words each is told apart.

What a setting means is not known here, only which names there are (`gdht.config` knows the rest). The file's dialect:
`key = value` or `key: value`, keys before any section, `[section]`, comments from `#` or `;` at the start of a line or
after white space; a line without `=` that is indented deeper than a key continues its value. No interpolation. Sections
of other modules may hold whatever they like.
"""

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from gdht.errors import ConfigError

FILE_BYTES_MAX = 1 << 20
ENVIRONMENT_PREFIX = "GDHT_"

KUBERNETES_NAMES = re.compile(r"GDHT_(SERVICE_.*|PORT(_.*)?)")
"""What Kubernetes puts into every environment beside a service called gdht; no option begins so."""

CLOSE_NAME = 0.6
"""How alike (difflib's ratio) a variable must be to an option's for that one to be the one that was meant."""

CLOSE_SECTION = 0.75
"""The same for the names of sections, where most strangers are other modules'; one that begins with the same letter, or
has the same letters, needs to be no more alike than a variable."""

COMMENT = re.compile(r"(^|\s)[#;].*")
HEADER = re.compile(r"\s*\[([^\[\]]+)\]\s*")
ASSIGNMENT = re.compile(r"\s*([^=:\s][^=:]*?)\s*[=:]\s*(.*?)\s*")


class Setting(NamedTuple):
    """A value that somebody gave. text: not parsed yet; where: the start of every message about it."""

    text: str
    where: str


class Entry(NamedTuple):
    """One key of a file. section: in lower case, "" above any section; line: counted from 1; indent: in characters."""

    section: str
    key: str
    text: str
    line: int
    indent: int


def from_file(
    path: Path, names: Mapping[tuple[str, str], str], older: Mapping[tuple[str, str], str]
) -> dict[str, Setting]:
    """The settings of an INI file by option name.

    names: option name by section and key. older: the same for keys that are still accepted, but not advertised.
    Raises: ConfigError.
    """
    known = {**names, **older}
    found: dict[str, Setting] = {}
    try:
        content = _read(path)
        _refuse_misspelled_section(content, known)
        for section, key, text, line, _ in read_entries(content, {section for section, _ in known}):
            if (section, key) not in known:
                nearest = _nearest_key(section, key, names, older)
                raise ConfigError(f"{line}: {_label(section, key)}: no such key; the nearest is {nearest}")
            name = known[section, key]
            if name in found and found[name].text != text:
                raise ConfigError(
                    f"{line}: {_label(section, key)} = {text} contradicts {found[name].where} = {found[name].text}"
                )
            found[name] = Setting(text, f"{path}:{line}: {_label(section, key)}")
    except ConfigError as error:
        raise ConfigError(f"{path}:{error}") from None
    return found


def without_ours(path: Path, sections: Collection[str]) -> str:
    """A warning about a file that sets nothing, as none of these sections is in it nor a key above any; else "".

    sections: in lower case, without the one above any. Raises: ConfigError.
    """
    try:
        content = _read(path)
    except ConfigError as error:
        raise ConfigError(f"{path}:{error}") from None
    headers = (HEADER.fullmatch(COMMENT.sub("", line)) for line in content.split("\n"))
    found = [header[1].strip() for header in headers if header]
    if any(name.lower() in sections for name in found) or _keys_of(content, ""):
        return ""
    there_are = f"; there are {', '.join(f'[{name}]' for name in found)}" if found else ""
    return f"{path}: no section {' or '.join(f'[{name}]' for name in sections)}: it sets no option{there_are}"


def from_environ(environ: Mapping[str, str], names: Collection[str], older: Mapping[str, str]) -> dict[str, Setting]:
    """The settings of an environment by option name: GDHT_ and the name in capitals.

    older: option name by older name, which means nothing here, but may be what somebody tries. Raises: ConfigError.
    """
    variables = {_variable(name): name for name in names}
    found = {}
    for variable, text in environ.items():
        if not variable.startswith(ENVIRONMENT_PREFIX) or KUBERNETES_NAMES.fullmatch(variable):
            continue
        if variable not in variables:
            raise ConfigError(f"environment: {variable}: no such option; {_meant_variable(variable, names, older)}")
        found[variables[variable]] = Setting(text.strip(), f"environment: {variable}")
    return found


def from_overrides(overrides: Mapping[str, str | None], names: Collection[str]) -> dict[str, Setting]:
    """The settings of a command line by option name; None: not given. Raises: ConfigError."""
    found = {}
    for name, text in overrides.items():
        if name not in names:
            nearest = _option(_nearest(name, names))
            raise ConfigError(f"option {_option(name)}: no such option; the nearest is {nearest}")
        if text is not None:
            found[name] = Setting(text.strip(), f"option {_option(name)}")
    return found


def _meant_variable(variable: str, names: Collection[str], older: Mapping[str, str]) -> str:
    """The nearest one if it is near; what all begin with does not count. Else all of them."""
    meanings = {**older, **{name: name for name in names}}
    word = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
    if close := difflib.get_close_matches(word, meanings, n=1, cutoff=CLOSE_NAME):
        return f"the nearest is {_variable(meanings[close[0]])}"
    return f"there are {', '.join(map(_variable, names))}"


def _variable(name: str) -> str:
    return ENVIRONMENT_PREFIX + name.upper()


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _label(section: str, key: str) -> str:
    return f"[{section}] {key}" if section else key


def _nearest(word: str, words: Collection[str]) -> str:
    return difflib.get_close_matches(word, words, n=1, cutoff=0.0)[0]


def _nearest_key(
    section: str, key: str, names: Mapping[tuple[str, str], str], older: Mapping[tuple[str, str], str]
) -> str:
    """The valid key that is most like this one by its key, older key or option name; of equals, one of this section."""
    homes = {name: home for home, name in names.items()}
    words = [(valid, name) for (_, valid), name in [*names.items(), *older.items()]] + [(name, name) for name in homes]
    _, name = max(words, key=lambda word: (_likeness(key, word[0]), homes[word[1]][0] == section))
    home, valid = homes[name]
    if home == section:
        return valid
    return _label(home, valid) if home else f"{valid}, above all sections"


def _likeness(word: str, other: str) -> float:
    return difflib.SequenceMatcher(None, word, other).ratio()


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
        if len(data) > FILE_BYTES_MAX:
            raise ConfigError(f" larger than {FILE_BYTES_MAX} bytes; no configuration file is")
        return data.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        if isinstance(error, UnicodeDecodeError):
            raise ConfigError(f" is not UTF-8 text (byte {error.start})") from error
        raise ConfigError(f" cannot be read: {getattr(error, 'strerror', None) or error}") from error


def read_entries(text: str, sections: Collection[str]) -> Iterator[Entry]:
    """The entries of the sections named (in lower case; "" for what stands above any), in order, each key once.

    Raises: ConfigError, its message beginning with the line.
    """
    lines: dict[tuple[str, str], int] = {}
    for entry in _joined(text, sections):
        first = lines.setdefault((entry.section, entry.key), entry.line)
        if first != entry.line:
            raise ConfigError(f"{entry.line}: {_label(entry.section, entry.key)} is already set on line {first}")
        yield entry


def _refuse_misspelled_section(text: str, known: Collection[tuple[str, str]]) -> None:
    """Raises: ConfigError for a section named almost as one of ours that holds nothing but that one's keys."""
    ours = {section for section, _ in known}
    for number, line in enumerate(text.split("\n"), start=1):
        header = HEADER.fullmatch(COMMENT.sub("", line))
        name = header[1].strip().lower() if header else ""
        meant = "" if name in ours else _meant_section(name, ours)
        if meant and (keys := _keys_of(text, name)) and all((meant, key) in known for key in keys):
            raise ConfigError(f"{number}: [{name}]: no such section; the nearest is [{meant}]")


def _meant_section(name: str, ours: Collection[str]) -> str:
    """Which of our sections this one is almost called; "" for none."""
    nearest = max(ours, key=lambda valid: _likeness(name, valid))
    is_like = name[:1] == nearest[:1] or sorted(name) == sorted(nearest)
    return nearest if _likeness(name, nearest) >= (CLOSE_NAME if is_like else CLOSE_SECTION) else ""


def _keys_of(text: str, section: str) -> set[str]:
    """The keys of a section; none when it is not written in our dialect."""
    try:
        return {entry.key for entry in _joined(text, {section})}
    except ConfigError:
        return set()


def _joined(text: str, sections: Collection[str]) -> Iterator[Entry]:
    """Every entry of these sections, with its continuation lines."""
    section = ""
    entry: Entry | None = None
    for number, raw in enumerate(text.split("\n"), start=1):
        line = COMMENT.sub("", raw)
        header = HEADER.fullmatch(line)
        if header is None and (section not in sections or not line.strip()):
            continue
        if header is None and entry is not None and "=" not in line and _indent(line) > entry.indent:
            entry = entry._replace(text=f"{entry.text} {line.strip()}".strip())
            continue
        if entry is not None:
            yield entry
        if header is None:
            entry = _entry(section, line, number)
        else:
            section, entry = header[1].strip().lower(), None
    if entry is not None:
        yield entry


def _entry(section: str, line: str, number: int) -> Entry:
    match = ASSIGNMENT.fullmatch(line)
    if match is None:
        raise ConfigError(f"{number}: {line.strip()!r}: expected `key = value` or `[section]`")
    return Entry(section, match[1].lower(), match[2], number, _indent(line))


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
