"""How gdht is built and installed; `admin/` becomes gdht.admin."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"$', (HERE / "gdht/__init__.py").read_text(), re.MULTILINE)
assert VERSION, "gdht/__init__.py names the version"
README = HERE / "README.md"

RUN = ["honcho>=2.0"]
PLOTS = ["matplotlib>=3.9"]
TEST = [
    *PLOTS,
    "build>=1.2",
    "hypothesis>=6.100",
    "mypy>=1.13",
    "pytest>=8.2",
    "pytest-timeout>=2.3",
    "pytest-xdist>=3.6",
    "ruff>=0.8",
    "selenium>=4.25",
    "setuptools>=70",
    "types-setuptools>=70",
    "wheel>=0.43",
]

setup(
    name="gdht",
    version=VERSION[1],
    description="A Chord distributed hash table on gevent that can be watched",
    long_description=README.read_text(encoding="utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    author="The gdht authors",
    license="MIT",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=[*find_packages(include=["gdht", "gdht.*"]), "gdht.admin"],
    package_dir={"gdht.admin": "admin"},
    package_data={
        "gdht": ["py.typed"],
        "gdht.admin": ["templates/*.html", "static/*.css", "static/*.js", "static/*.svg"],
    },
    entry_points={"console_scripts": ["gdht = gdht.cli:main"]},
    install_requires=[
        "click>=8.1",
        "construct>=2.10.70",
        "cryptography>=42",
        "Flask>=3.0",
        "gevent>=24.10",
        "greenlet>=3.1",
        "lmdb>=3.0",
        "prometheus-client>=0.20",
        "rich>=13.7",
    ],
    extras_require={"run": RUN, "plots": PLOTS, "test": TEST, "dev": RUN + TEST},
    classifiers=[
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.11",
        "Typing :: Typed",
    ],
)
