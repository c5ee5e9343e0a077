"""Who may import whom: the floors of the house, the one home of each library, and what must not be imported at all."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

FLOORS = {
    "gdht": 0,  # the package itself: its version
    "gdht.errors": 0,
    "gdht.settings": 1,
    "gdht.config": 2,
    "gdht.core": 2,
    "gdht.wire": 3,
    "gdht.node": 3,
    "gdht.store": 4,
    "gdht.net": 5,
    "gdht.sim": 5,  # its clusters keep records in the real memory store
    "gdht.client": 5,
    "gdht.admin": 6,
    "gdht.cli": 7,
    "gdht.__main__": 8,
}

HOMES = {
    "gevent": "gdht.net",
    "greenlet": "gdht.sim",
    "construct": "gdht.wire",
    "lmdb": "gdht.store",
    "cryptography": "gdht.net",
    "flask": "gdht.admin",
    "jinja2": "gdht.admin",
    "markupsafe": "gdht.admin",
    "werkzeug": "gdht.admin",
    "prometheus_client": "gdht.admin",
    "click": "gdht.cli",
    "rich": "gdht.cli",
    "matplotlib": "gdht.sim",
}

PURE = ("gdht.core", "gdht.node", "gdht.wire")
IMPURE = """asyncio datetime random secrets select selectors signal socket ssl subprocess threading time uuid"""
ALLOWED = {("gdht.node.runtime", "random")}  # names random.Random as a type


def part_of(module: str) -> str:
    """The floor's name a module belongs to: gdht.net for gdht.net.pool."""
    return ".".join(module.split(".")[:2])


def imports(tree: ast.AST, package: str) -> Iterator[tuple[int, str]]:
    """(line, absolute module) of every import, also of those in functions and of `import_module` with a text."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                above = package.split(".")[: len(package.split(".")) - level + 1] if level else []
                base = ".".join([*above, *([module] if module else [])])
                yield from ((node.lineno, f"{base}.{alias.name}") for alias in names)
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield node.lineno, name


def violations(source: str, module: str, *, is_package: bool = False) -> list[str]:
    """What is wrong with the imports of one module of ours."""
    tree = ast.parse(source)
    package = module if is_package else module.rpartition(".")[0]
    found = [f"{module}:{line}: {text}" for line, name in imports(tree, package) if (text := _wrong(module, name))]
    patches = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr.startswith("patch_"))
    return found + [
        f"{module}:{node.lineno}: monkey patching" for node in patches if "monkey" in ast.unparse(node.value)
    ]


def _wrong(module: str, name: str) -> str:
    library = name.split(".", maxsplit=1)[0]
    if library == "admin":
        return "admin/ is installed as gdht.admin; nobody imports `admin`"
    if library == "gdht":
        return _wrong_floor(part_of(module), _target(name))
    if library in HOMES and part_of(module) != HOMES[library]:
        return f"{library} is imported only in {HOMES[library]}"
    if "monkey" in name.split("."):
        return "monkey patching"
    if part_of(module) in PURE and library in IMPURE.split() and (module, library) not in ALLOWED:
        return f"{library} is no business of {part_of(module)}; ask the Runtime"
    return ""


def _target(name: str) -> str:
    target = part_of(name)
    return target if target in FLOORS or (ROOT / target.replace(".", "/")).is_dir() else "gdht"


def _wrong_floor(home: str, target: str) -> str:
    if home == target or (FLOORS[target] < FLOORS[home] and (target != "gdht.admin" or home == "gdht.cli")):
        return ""
    return f"{home} must not import {target}"


def modules() -> list[tuple[str, Path]]:
    """Every module of ours under the name it is installed as."""
    found = []
    for folder, name in ((ROOT / "gdht", "gdht"), (ROOT / "admin", "gdht.admin")):
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            found.append((".".join([name, *(part for part in parts if part != "__init__")]), path))
    return found


@pytest.mark.parametrize(("module", "path"), modules(), ids=[module for module, _ in modules()])
def test_a_module_imports_only_from_lower_floors_and_libraries_only_at_their_home(module: str, path: Path) -> None:
    assert part_of(module) in FLOORS, "a new package needs a floor"
    assert violations(path.read_text(), module, is_package=path.name == "__init__.py") == []


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=lambda path: path.name)
def test_no_test_imports_admin_by_the_name_of_its_folder(path: Path) -> None:
    names = [name for _, name in imports(ast.parse(path.read_text()), "tests")]
    assert [name for name in names if name.split(".")[0] == "admin"] == []


def test_there_is_no_second_home_for_the_admin_package() -> None:
    assert not (ROOT / "gdht" / "admin").exists()


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("gdht.errors", "from gdht.config import Address"),
        ("gdht.core.ring", "import gdht.config"),
        ("gdht.config", "from gdht.core.peer import Peer"),
        ("gdht.core.ring", "from gdht import node"),
        ("gdht.node.node", "from gdht.wire.codec import encode_p2p"),
        ("gdht.node.node", "def f():\n    from gdht.net import pool"),
        ("gdht.store.memory", "from gdht.sim import cluster"),
        ("gdht.sim.cluster", "from ..net import pool"),
        ("gdht.net.daemon", "from gdht.admin import create_app"),
        ("gdht.net.daemon", "from gdht import admin"),
        ("gdht.net.daemon", "from gdht import cli"),
        ("gdht.admin.app", "from gdht.cli import main"),
        ("gdht.client", "from gdht.net.runtime import NetRuntime"),
        ("gdht.cli", "import admin"),
        ("gdht.cli", "from admin.app import create_app"),
        ("gdht.cli", "import importlib\nimportlib.import_module('admin')"),
        ("gdht.sim.runtime", "from gevent import sleep"),
        ("gdht.net.runtime", "import greenlet"),
        ("gdht.net.server", "from construct import Struct"),
        ("gdht.net.daemon", "import flask"),
        ("gdht.node.stats", "from prometheus_client import Counter"),
        ("gdht.core.ident", "from cryptography import x509"),
        ("gdht.net.daemon", "import click"),
        ("gdht.net.daemon", "from gevent import monkey"),
        ("gdht.net.daemon", "import gevent.monkey"),
        ("gdht.net.daemon", "gevent.monkey.patch_all()"),
        ("gdht.core.records", "import time"),
        ("gdht.node.lookup", "import random"),
        ("gdht.wire.codec", "import socket"),
        ("gdht.node.node", "from threading import Lock"),
    ],
)
def test_the_check_bites(module: str, source: str) -> None:
    assert len(violations(source, module)) >= 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("gdht.config", "from gdht.errors import ConfigError"),
        ("gdht.node.runtime", "import random"),
        ("gdht.node.node", "from gdht.node.lookup import find_successor"),
        ("gdht.net.daemon", "import socket, time\nfrom gevent.server import StreamServer"),
        (
            "gdht.admin.app",
            "from .metrics import collect\nfrom . import pages\nimport flask\nfrom gdht import __version__",
        ),
        ("gdht.cli", "from gdht.admin import create_app\nimport click"),
    ],
)
def test_the_check_lets_through_what_is_right(module: str, source: str) -> None:
    assert violations(source, module) == []
