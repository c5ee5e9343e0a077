"""What README and conf/ say is so: commands, options, defaults, links, metrics, alert rules."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from gdht.admin.metric_table import COUNTS, GAUGES, SPREADS
from gdht.cli import cli
from gdht.config import OPTIONS, Address, Config, Option, load_config

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
CONF = ROOT / "conf"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/**/*.md")])
UNITS = [CONF / "gdht.service", CONF / "gdht@.service"]
EXAMPLES = [ROOT / "Procfile", *UNITS]

PROMPT = "$ "
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


# Reading them ---------------------------------------------------------------------------------------------------------


def console_commands(text: str) -> list[str]:
    """The commands after `$ ` in the console blocks of a page, each with its lines that end in a backslash joined."""
    found = []
    for language, block in FENCE.findall(text):
        if language == "console":
            lines = block.replace("\\\n", " ").splitlines()
            found += [line.removeprefix(PROMPT) for line in lines if line.startswith(PROMPT)]
    return found


def simple_commands(line: str) -> Iterator[list[str]]:
    """The words of each simple command of a shell line: `A=1 x | y; z` is x, y and z."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set("();<>|&"):
            if words:
                yield words
            words = []
        elif words or not re.match(r"\w+=", word):
            words.append(word)


def gdht_arguments(words: list[str]) -> list[str] | None:
    """What stands after `gdht` (with any path, or `python -m gdht`, after `exec` or not); None for other commands."""
    words = words[1:] if words[0] == "exec" else words
    if Path(words[0]).name == "gdht":
        return words[1:]
    if words[1:3] == ["-m", "gdht"]:
        return words[3:]
    return None


def unknown_words(arguments: list[str]) -> list[str]:
    """The verbs and options among the arguments of gdht that there are not."""
    command: click.Command = cli
    context = click.Context(cli)
    wrong = []
    takes_value = False
    for word in arguments:
        options = {name: item for item in command.get_params(context) for name in [*item.opts, *item.secondary_opts]}
        if takes_value:
            takes_value = False
        elif word.startswith("-") and word != "-":
            name, _, value = word.partition("=")
            if name not in options:
                wrong.append(word)
            elif not value:
                takes_value = isinstance(options[name], click.Option) and not _is_flag(options[name])
        elif isinstance(command, click.Group):
            verb = command.get_command(context, word)
            if verb is None and not command.invoke_without_command and not _takes_argument(command):
                wrong.append(word)
            if verb is not None:
                command, context = verb, click.Context(verb, parent=context)
    return wrong


def _is_flag(option: click.Parameter) -> bool:
    return isinstance(option, click.Option) and (option.is_flag or option.count)


def _takes_argument(command: click.Command) -> bool:
    return any(isinstance(item, click.Argument) for item in command.params)


def tables(text: str) -> Iterator[list[list[str]]]:
    """Each table of a page as rows of cells; the header is the first row."""
    for block in re.findall(r"(?:^\|.*\|[ ]*\n)+", text, re.MULTILINE):
        rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]] for line in block.splitlines()]
        yield [row for row in rows if not all(re.fullmatch(r":?-+:?", cell) for cell in row)]


def option_table(text: str) -> dict[str, str]:
    """Default by key, from the table whose header has a column `default`; keys as `[admin] address`, or plain."""
    for header, *rows in tables(text):
        columns = [cell.lower() for cell in header]
        if "default" in columns:
            column = columns.index("default")
            return {row[0].replace("`", ""): row[column].replace("`", "") for row in rows}
    return {}


def spelled_default(option: Option) -> str:
    """A default as the file spells it."""
    if option.default in (None, ()):
        return ""
    return ", ".join(map(str, option.default)) if type(option.default) is tuple else str(option.default)


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings."""
    headings = re.findall(r"^#+ +(.*)$", re.sub(FENCE, "", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path, text: str) -> list[str]:
    """Links of a page to files and headings that there are not."""
    prose = re.sub(FENCE, "", text)
    targets = re.findall(r"\]\(([^)\s]+)[^)]*\)", prose) + re.findall(r"(?:src|href)=\"([^\"]+)\"", prose)
    broken = []
    for target in targets:
        name, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", name):
            continue
        path = page.parent / name if name else page
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in anchors(path.read_text())):
            broken.append(target)
    return broken


# README ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def readme() -> str:
    return README.read_text()


def makefile_targets() -> set[str]:
    return set(re.findall(r"^([a-z][\w-]*):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_every_make_target_that_readme_names_exists(readme):
    named = set(re.findall(r"`make ([a-z][\w-]*)", readme))
    for line in console_commands(readme):
        named |= {words[1] for words in simple_commands(line) if words[0] == "make" and len(words) > 1}
    assert named, "README names no make target"
    assert named <= makefile_targets()


def test_every_command_that_readme_shows_exists(readme):
    shown = [words for line in console_commands(readme) for words in simple_commands(line)]
    ours = [arguments for words in shown if (arguments := gdht_arguments(words)) is not None]
    assert ours, "README shows no gdht command"
    assert {" ".join(arguments): unknown_words(arguments) for arguments in ours if unknown_words(arguments)} == {}


def test_every_option_that_readme_mentions_exists(readme):
    mentioned = {tuple(shlex.split(code)) for code in re.findall(r"`gdht ([^`\n]+)`", readme)}
    assert {words: unknown_words(list(words)) for words in mentioned if unknown_words(list(words))} == {}


def test_readme_lists_every_option_with_its_default(readme):
    listed = {key.removeprefix("[dht] "): default for key, default in option_table(readme).items()}
    empty = dict.fromkeys(("empty", "(empty)", "none", "-", "\u2013", "\u2014"), "")
    expected = {
        f"[admin] {option.key}" if option.section == "admin" else option.key: spelled_default(option)
        for option in OPTIONS.values()
    }
    assert {key: empty.get(default, default) for key, default in listed.items()} == expected


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    assert broken_links(page, page.read_text()) == []


def test_every_file_that_readme_names_exists(readme):
    named = set(re.findall(r"`((?:conf|docs|benchmarks|tests|gdht|admin)/[\w./-]*)`", readme))
    assert {name for name in named if not (ROOT / name).exists()} == set()


# The checks themselves ------------------------------------------------------------------------------------------------


def test_shell_lines_are_taken_apart():
    page = "```console\n$ A=1 gdht put \\\n    'a b' - | .venv/bin/gdht get k > f; make run &\nshown\n```\n"
    (line,) = console_commands(page)
    assert list(simple_commands(line)) == [
        ["gdht", "put", "a b", "-"],
        [".venv/bin/gdht", "get", "k"],
        ["f"],
        ["make", "run"],
    ]


@pytest.mark.parametrize(
    ("command", "wrong"),
    [
        ("serve -c conf/node.ini --bootstrap 127.0.0.1:6001", []),
        ("put colour blue --ttl 60", []),
        ("put colour -", []),
        ("serv", ["serv"]),
        ("serve --bootstraps x", ["--bootstraps"]),
        ("get --ttl=3 key", ["--ttl=3"]),
        ("--version", []),
    ],
)
def test_wrong_commands_are_noticed(command, wrong):
    assert unknown_words(shlex.split(command)) == wrong


def test_wrong_links_are_noticed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# One two\n[a](#one-two) [b](#three) [c](page.md#one-two) [d](gone.md) [e](https://x.org/y)\n")
    assert broken_links(page, page.read_text()) == ["#three", "gone.md"]


def test_the_option_table_is_found_among_others():
    page = "| a | b |\n|---|---|\n| 1 | 2 |\n\n| key | default | meaning |\n|---|---|---|\n| `ring` | `default` | x |\n"
    assert option_table(page) == {"ring": "default"}
    assert spelled_default(OPTIONS["p2p_address"]._replace(default=(Address("::1", 1),))) == "[::1]:1"


# conf/ and Procfile ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_command_of_the_examples_exists(path):
    lines = re.findall(r"^(?:# *)?(?:node\d+:|ExecStart=) *(.*)$", path.read_text(), re.MULTILINE)
    assert lines
    for line in lines:
        for words in simple_commands(line):
            assert unknown_words(gdht_arguments(words) or ["not gdht"]) == []


def test_the_procfile_runs_one_node_and_offers_two_more_with_ports_of_their_own():
    lines = (ROOT / "Procfile").read_text().splitlines()
    assert [line.partition(":")[0] for line in lines if re.match(r"\w+:", line)] == ["node1"]
    offered = [line for line in lines if re.match(r"# node\d+:", line)]
    addresses = re.findall(r"--(?!bootstrap)\S+ (127\.0\.0\.1:\d+)", " ".join(offered))
    assert (len(offered), len(addresses), len(set(addresses))) == (2, 6, 6)


def test_the_procfile_lets_honcho_stop_the_nodes_themselves():
    lines = re.findall(r"^(?:# )?node\d+: (.*)$", (ROOT / "Procfile").read_text(), re.MULTILINE)
    assert len(lines) == 3
    assert all(line.startswith("exec ") for line in lines)  # else the signal goes to the shell in between


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_systemd_has_nothing_against_the_units(path, require_tool, tmp_path):
    verify = [require_tool("systemd-analyze"), "verify", tmp_path / path.name]
    (tmp_path / path.name).write_text(path.read_text().replace("/opt/gdht/bin/gdht", "/bin/true"))
    done = subprocess.run(verify, text=True, capture_output=True, timeout=50, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_hostkey_is_handed_to_the_user_of_a_unit(path, require_tool, tmp_path):
    text = re.sub(r"^# (?=LoadCredential=|Environment=GDHT)", "", path.read_text(), flags=re.MULTILINE)
    (name,) = re.findall(r"^LoadCredential=(\w+):/etc/gdht/", text, re.MULTILINE)
    assert f"Environment=GDHT_HOSTKEY=%d/{name}\n" in text
    verify = [require_tool("systemd-analyze"), "verify", tmp_path / path.name]
    (tmp_path / path.name).write_text(text.replace("/opt/gdht/bin/gdht", "/bin/true"))
    done = subprocess.run(verify, text=True, capture_output=True, timeout=50, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_units_guard_a_node_alike():
    """They differ in how many nodes there are, and in nothing else."""
    settings = [dict(re.findall(r"^(\w+)=(.*)$", path.read_text(), re.MULTILINE)) for path in UNITS]
    differing = {name for name in settings[0] | settings[1] if settings[0].get(name) != settings[1].get(name)}
    own = {"Description", "Environment", "EnvironmentFile", "ExecStart", "StateDirectory", "WorkingDirectory"}
    assert differing <= own


def test_each_instance_has_ports_and_a_directory_of_its_own():
    text = (CONF / "gdht@.service").read_text()
    (line,) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
    (hosts,) = re.findall(r"^Environment=(.*)$", text, re.MULTILINE)
    nodes = [started_by(line, dict(host.split("=") for host in hosts.split()), instance) for instance in ("01", "64")]
    assert [str(node.dht.p2p_address) for node in nodes] == ["127.0.0.1:6001", "127.0.0.1:6064"]
    assert [str(node.dht.api_address) for node in nodes] == ["127.0.0.1:7001", "127.0.0.1:7064"]
    assert [str(node.admin.address) for node in nodes] == ["127.0.0.1:8001", "127.0.0.1:8064"]
    assert [node.dht.data_dir for node in nodes] == ["/var/lib/gdht/01", "/var/lib/gdht/64"]


def started_by(line: str, environ: dict[str, str], instance: str) -> Config:
    """The configuration of a node that systemd starts with this line."""
    line = re.sub(r"\$\{(\w+)\}", lambda name: environ[name[1]], line.replace("%i", instance).replace("%S", "/var/lib"))
    words = shlex.split(line)[2:]
    given = {
        name.removeprefix("--").replace("-", "_"): text for name, text in zip(words[::2], words[1::2], strict=True)
    }
    del given["_c"]
    return load_config(str(CONF / "node.ini"), {}, given)


def metric_names() -> set[str]:
    """The series names that a scrape may show."""
    names = {row.name for row in GAUGES} | {f"{row.name}_total" for row in COUNTS}
    return names | {f"{row.name}_{part}" for row in SPREADS for part in ("bucket", "sum", "count")}


def test_every_metric_of_the_alerts_exists():
    used = set(re.findall(r"\bgdht_[a-z0-9_]+", (CONF / "alerts.yml").read_text()))
    families = {name.removesuffix("_bucket") for name in metric_names()}
    assert used
    assert used <= metric_names() | families


def test_prometheus_accepts_its_configuration_and_the_alert_rules(require_tool):
    promtool(require_tool, "check", "config", CONF / "prometheus.yml")


def test_the_alerts_fire_when_they_should_and_only_then(require_tool):
    promtool(require_tool, "test", "rules", ROOT / "tests" / "alerts_test.yml")


def promtool(require_tool, *arguments: str | Path) -> None:
    done = subprocess.run(
        [require_tool("promtool"), *arguments], text=True, capture_output=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
