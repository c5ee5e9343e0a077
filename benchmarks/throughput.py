"""GET and PUT per second of a node and of rings, beside raw gevent servers, redis, kademlia and OpenDHT.

Usage: python benchmarks/throughput.py [--rounds 5] [--seconds 0.3] [--only node] [--write benchmarks/throughput.md]

What is not installed is left out and named in the report. Everything listens on the loopback address; all processes
end with this one.
"""

import argparse
import os
import platform
import time
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import layers
import others
import plots
import records
import ringed
import single
from generator import LoadError, NoCompilerError, compile_c
from measure import Comparison
from processes import StartError
from report import Findings, Settings, page

HERE = Path(__file__).parent
PARTS = ("node", "ring", "others", "profile")
PROFILE_S = 3.0


def machine() -> str:
    """What the figures depend on."""
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{os.cpu_count()} cores, {model}; Python {platform.python_version()}, gevent {version('gevent')}"


def measure(options: argparse.Namespace) -> Findings:
    """All parts that are wanted. One that fails ends, is named, and takes nothing away from the others."""
    findings = Findings()
    rounds, seconds = options.rounds, options.seconds
    run_part(findings, options.only, "node", single.measure(rounds, seconds))
    run_part(findings, options.only, "ring", ringed.measure(rounds, seconds))
    run_part(findings, options.only, "others", others.measure(rounds, options.others_seconds, findings.left_out))
    run_part(findings, options.only, "profile", profiles(findings))
    if any(not comparison.find("GET", "redis") for comparison in findings.named("node")):
        findings.left_out.append("redis: apt-get install redis-server")
    return findings


def run_part(findings: Findings, wanted: Sequence[str], part: str, comparisons: Iterable[Comparison]) -> None:
    """Add what a part finds, as far as it comes."""
    if part not in wanted:
        return
    began_s = time.monotonic()
    try:
        for comparison in comparisons:
            findings.comparisons.append(comparison)
    except (LoadError, StartError) as error:
        findings.failed.append(f"{part}: {error}")
    print(f"{part} took {time.monotonic() - began_s:.0f} s", flush=True)


def profiles(findings: Findings) -> Iterator[Comparison]:
    """The shares of each load; there is nothing to compare."""
    findings.profiles = layers.profile(PROFILE_S)
    yield from ()


def read_options() -> argparse.Namespace:
    """What the caller wants."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.3, help="of each measurement")
    parser.add_argument("--others-seconds", type=float, default=0.8, help="of each one beside other systems")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--write", type=Path, help="write the report here, and its plots beside it")
    return parser.parse_args()


def main() -> None:
    """Measure, print, and write the report if asked to."""
    options = read_options()
    try:
        compile_c("load")
    except NoCompilerError as error:
        raise SystemExit(f"nothing can be measured: {error}") from None
    began_s = time.monotonic()
    findings = measure(options)
    settings = Settings(
        machine(), options.rounds, options.seconds, options.others_seconds, records.VALUE_BYTES, records.RECORDS
    )
    drawn: list[Path] = []
    if options.write and not findings.failed:
        directory = options.write.parent / "plots"
        drawn = [file.relative_to(options.write.parent) for file in plots.draw(findings, directory)]
    text = page(findings, settings, drawn)
    print(f"\n{text}\nIt took {time.monotonic() - began_s:.0f} s.")
    if findings.failed:
        written = "; the report is not written" if options.write else ""
        raise SystemExit("\n".join([f"failed{written}:", *findings.failed]))
    if options.write:
        options.write.write_text(text)


if __name__ == "__main__":
    main()
