"""What is installed: the contents of the wheel, built from the source archive, and its imports outside the checkout."""

import re
import shutil
import site
import subprocess
import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest

import gdht

ROOT = Path(__file__).resolve().parent.parent
NOT_SOURCES = shutil.ignore_patterns(
    ".git", ".venv", ".hypothesis", ".*_cache", "build", "dist", "*.egg-info", "__pycache__", "artifacts", "gdht-data"
)


def run(*command: str | Path, cwd: Path) -> str:
    """Run a Python command; its output. Fails with all of it."""
    done = subprocess.run([sys.executable, *command], cwd=cwd, text=True, capture_output=True, timeout=50, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built without network from the source archive, which is built from a copy of the checkout."""
    source = tmp_path_factory.mktemp("source") / "gdht"
    shutil.copytree(ROOT, source, ignore=NOT_SOURCES)
    run("-m", "build", "--no-isolation", "--outdir", source / "dist", ".", cwd=source)
    (built,) = (source / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def contents(wheel) -> set[str]:
    with ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_the_source_archive_holds_all_that_its_tests_need(wheel):
    with tarfile.open(wheel.parent / f"gdht-{gdht.__version__}.tar.gz") as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {path for path in (ROOT / "tests").rglob("*") if path.suffix in {".py", ".hex", ".yml"}}
    needed |= {ROOT / ".ci" / "run", *(ROOT / "conf").iterdir(), *ROOT.glob("docs/*.md")}
    assert {str(path.relative_to(ROOT)) for path in needed} - names == set()


def of(folder: str) -> set[str]:
    """The files of a folder of the checkout that belong into a package."""
    kinds = {".py", ".html", ".css", ".js", ".svg", ".typed"}
    found = {path for path in (ROOT / folder).rglob("*") if path.suffix in kinds or path.name == "py.typed"}
    return {str(path.relative_to(ROOT / folder)) for path in found}


def test_the_wheel_holds_both_packages_whole_and_nothing_else(contents):
    expected = {f"gdht/{name}" for name in of("gdht")} | {f"gdht/admin/{name}" for name in of("admin")}
    assert contents == expected


def test_the_admin_package_is_in_its_place_with_its_pages(contents):
    assert "gdht/admin/__init__.py" in contents
    assert [name for name in contents if name.startswith("gdht/admin/templates/")]
    assert [name for name in contents if name.startswith("gdht/admin/static/")]
    assert not [name for name in contents if name.startswith(("admin/", "tests/", "benchmarks/"))]


def test_the_wheel_carries_version_license_and_command(wheel):
    assert wheel.name == f"gdht-{gdht.__version__}-py3-none-any.whl"
    with ZipFile(wheel) as archive:
        (license_name,) = [name for name in archive.namelist() if name.endswith("/LICENSE")]
        (entries_name,) = [name for name in archive.namelist() if name.endswith("/entry_points.txt")]
        assert archive.read(license_name) == (ROOT / "LICENSE").read_bytes()
        assert b"gdht = gdht.cli:main" in archive.read(entries_name)


IMPORT_EVERYTHING = """
import importlib, pkgutil, sys
sys.path[:0] = [sys.argv[1]]
sys.path += sys.argv[2:]
import gdht, gdht.admin, gdht.cli
for module in pkgutil.walk_packages(gdht.__path__, "gdht."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print(gdht.admin.__file__)
"""


def test_everything_imports_from_an_installation_outside_the_checkout(wheel, tmp_path):
    target = tmp_path / "installed"
    run("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", target, wheel, cwd=tmp_path)
    libraries = site.getsitepackages()  # as plain folders: without -S their .pth files would lead back to the checkout
    printed = run("-I", "-S", "-W", "error", "-c", IMPORT_EVERYTHING, target, *libraries, cwd=tmp_path)
    assert Path(printed.strip()) == target / "gdht" / "admin" / "__init__.py"


def test_every_dependency_is_pinned_at_a_version_that_setup_allows():
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    versions = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pins.items()}
    wanted = re.findall(r'"([\w-]+)>=([\d.]+)"', (ROOT / "setup.py").read_text())
    assert len(wanted) >= 8
    for name, lowest in wanted:
        pinned = versions[name.lower()]
        assert _numbers(pinned) >= _numbers(lowest), f"{name}=={pinned} is older than {lowest}"


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]
