"""What a node can be told: addresses, and every option with its default, its bounds and its meaning.

Each option is declared once, as a dataclass field; the file's keys, the environment's names and the command line's
options follow from that. Defaults < file < environment < options.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeVar

from gdht.errors import ConfigError
from gdht.settings import Setting, from_environ, from_file, from_overrides

T = TypeVar("T")
WriteQuorum = Literal["one", "majority", "all"]

# Values ---------------------------------------------------------------------------------------------------------------

PORT_MAX = 65535
HOST_CHARS_MAX = 253


class Address(NamedTuple):
    """Where a port is opened or dialled. host: a name or a literal, IPv6 without brackets; port: 0 takes a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_wildcard(self) -> bool:
        """Whether it stands for every interface of the machine, so that nobody can dial it."""
        try:
            return ipaddress.ip_address(self.host).is_unspecified
        except ValueError:
            return False


def parse_address(text: str, port_min: int = 0) -> Address:
    """Read `host:port` or `[ipv6]:port`; one spelling for each address, so that equal ones compare equal.

    port_min: 1 where the port is dialled. A scope (`%eth0`) is refused: it means nothing on another machine.
    Raises: ValueError, saying what is expected.

    >>> parse_address("[0:0::1]:6001")
    Address(host='::1', port=6001)
    >>> str(parse_address("Node-1.example.org:0"))
    'node-1.example.org:0'
    """
    match = re.fullmatch(r"(?:\[([^\[\]]*)\]|([^:\[\]]*)):([0-9]{1,5})", text.strip())
    try:
        if match is None or not port_min <= int(match[3]) <= PORT_MAX or "%" in text:
            raise ValueError(text)
        host = _parse_name(match[2]) if match[1] is None else str(ipaddress.IPv6Address(match[1]))
    except ValueError:
        scope = ", without a %scope" if "%" in text else ""
        raise ValueError(
            f"expected host:port or [ipv6]:port with a port from {port_min} to {PORT_MAX}{scope}"
        ) from None
    return Address(host, int(match[3]))


def _parse_name(text: str) -> str:
    if re.fullmatch(r"[0-9.]+", text):
        return str(ipaddress.IPv4Address(text))
    if len(text) > HOST_CHARS_MAX or not re.fullmatch(r"[\w-]{1,63}(\.[\w-]{1,63})*\.?", text, re.ASCII):
        raise ValueError(text)
    return text.lower()


def _dialled(text: str) -> Address:
    address = parse_address(text, port_min=1)
    if address.is_wildcard:
        raise ValueError("expected an address that others can dial, not 0.0.0.0 or [::]")
    return address


def _optional(parse: Callable[[str], T]) -> Callable[[str], T | None]:
    return lambda text: parse(text) if text else None


def _dialled_list(text: str) -> tuple[Address, ...]:
    if "," not in text:
        return (_dialled(text),) if text else ()
    return tuple(dict.fromkeys(_listed(part.strip()) for part in text.split(",")))


def _listed(part: str) -> Address:
    if not part:
        raise ValueError("expected host:port before and after each comma; one entry is empty")
    try:
        return _dialled(part)
    except ValueError as error:
        raise ValueError(f"entry {part}: {error}") from None


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch("[0-9]{1,19}", text) or not low <= int(text) <= high:
            raise ValueError(f"expected a whole number from {low} to {high}")
        return int(text)

    return parse


def _seconds(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        if not re.fullmatch(r"[0-9]{0,9}\.?[0-9]{1,9}", text) or not low <= float(text) <= high:
            raise ValueError(f"expected seconds, a number from {low:g} to {high:g}")
        return float(text)

    return parse


def _matching(pattern: str, expected: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"expected {expected}")
        return text

    return parse


_path = _matching(r"[^\x00-\x1f\x7f]*", "a path")


# Options --------------------------------------------------------------------------------------------------------------

Sources = Mapping[str, str]
"""Where each option that was given was given, by its name: the start of a message about it."""
NO_SOURCES: Sources = MappingProxyType({})


def _told(sources: Sources, name: str) -> str:
    """An option in a message: where it was given, else its section and key."""
    return sources.get(name) or f"[{OPTIONS[name].section}] {OPTIONS[name].key}"


def _from(sources: Sources, name: str) -> str:
    """Where the second option of a message was given, to stand behind its value."""
    return f" ({sources[name]})" if name in sources else ""


def _option(default: object, parse: Callable[[str], object], about: str, *, secret: bool = False) -> Any:
    return field(default=default, repr=not secret, metadata={"parse": parse, "about": about, "secret": secret})


@dataclass(frozen=True)
class DhtConfig:
    """Section [dht]: the ring, the records and the two ports of a node."""

    p2p_address: Address = _option(
        Address("127.0.0.1", 6001), parse_address, "Where other nodes reach this one; port 0 takes a free port."
    )
    api_address: Address = _option(
        Address("127.0.0.1", 7001),
        parse_address,
        "Where clients reach this node. The API knows no passwords: whoever reaches it may read and write.",
    )
    advertise_address: Address | None = _option(
        None,
        _optional(_dialled),
        "What other nodes dial when it differs from p2p_address (containers, NAT); needed with 0.0.0.0 and [::].",
    )
    bootstrap: tuple[Address, ...] = _option(
        (),
        _dialled_list,
        "Members to join through, host:port, with commas between; tried until one answers. Empty: a new ring.",
    )
    ring: str = _option(
        "default",
        _matching("[ -~]{1,64}", "1 to 64 printable ASCII characters"),
        "The ring's name; nodes of different rings refuse each other. It is no secret.",
    )
    data_dir: str = _option(
        "gdht-data",
        _path,
        "Directory of the records, made if missing, one per node. A put is answered once its record is on the disk. "
        "Empty: in memory, which is faster, and gone with the process.",
    )
    replication: int = _option(
        3,
        _whole(1, 255),
        "Copies of a record when the client does not say. n copies survive n - 1 losses between two repairs and cost "
        "n times the disk and traffic. At most max_replication and successor_list_length + 1.",
    )
    max_replication: int = _option(
        8,
        _whole(1, 255),
        "More copies than this are cut to it. At most successor_list_length + 1: the nodes that an owner knows.",
    )
    write_quorum: WriteQuorum = _option(
        "majority",
        _matching("one|majority|all", "one, majority or all"),
        "Copies stored before a put has succeeded: one, majority (n // 2 + 1) or all. A put waits for all that answer; "
        "this decides what counts when some do not. all fails when a single replica is down.",
    )
    default_ttl: int = _option(
        3600, _whole(1, 65535), "Seconds a record lives when the client does not say. At most max_ttl."
    )
    max_ttl: int = _option(65535, _whole(1, 65535), "Seconds; a longer life is cut to it. Longer lives fill the store.")
    successor_list_length: int = _option(
        8,
        _whole(2, 64),
        "Successors each node knows (r). The ring breaks where r neighbours die within one stabilize_interval; about "
        "2 * log2(nodes) is ample. More costs a few bytes per round.",
    )
    stabilize_interval: float = _option(
        1.0,
        _seconds(0.01, 3600),
        "Seconds between two rounds of maintenance, on average. Shorter heals sooner, and every node sends about "
        "4 / stabilize_interval calls per second for it.",
    )
    call_timeout: float = _option(
        2.0,
        _seconds(0.01, 300),
        "Seconds to wait for another node's answer; silent twice, it counts as dead. Well above the slowest round "
        "trip: too short takes slow nodes for dead ones, too long makes clients wait for dead ones.",
    )
    max_connections: int = _option(
        1024,
        _whole(1, 1_000_000),
        "Open connections per port; further ones are closed at once. An API connection takes about 12 KiB when idle, "
        "and up to 5 MiB in the worst case: 64 requests that wait for other nodes, each of 64 KiB or with an answer of "
        "64 KiB, and what lies in buffers.",
    )
    max_store_bytes: int = _option(
        1 << 30,
        _whole(1, 1 << 62),
        "Bytes of records this node keeps (keys, values and overhead); writes beyond it are refused. About "
        "records * replication * (value size + 400) / nodes, twice that for safety.",
    )

    def validate(self, sources: Sources = NO_SOURCES) -> None:
        """Check the options against each other. Raises: ConfigError, naming both options, their values and sources."""
        told = partial(_told, sources)
        reachable = self.successor_list_length + 1
        for low, high in (("replication", "max_replication"), ("default_ttl", "max_ttl")):
            if getattr(self, low) > getattr(self, high):
                raise ConfigError(
                    f"{told(low)} = {getattr(self, low)} is more than {high} = {getattr(self, high)}"
                    f"{_from(sources, high)}; lower {low} or raise {high}"
                )
        if self.max_replication > reachable:
            raise ConfigError(
                f"{told('max_replication')} = {self.max_replication} is more than successor_list_length + 1 = "
                f"{reachable}{_from(sources, 'successor_list_length')}, the nodes that an owner knows; "
                "lower max_replication or raise successor_list_length"
            )
        if self.p2p_address.is_wildcard and self.advertise_address is None:
            raise ConfigError(
                f"{told('p2p_address')} = {self.p2p_address} is an address that no other node can dial; "
                f"set advertise_address to the host:port under which others reach this node"
            )


@dataclass(frozen=True)
class AdminConfig:
    """Section [admin]: pages, probes and metrics."""

    address: Address | None = _option(
        Address("127.0.0.1", 8001),
        _optional(parse_address),
        "Where pages, probes and /metrics are served; empty: no admin server.",
    )
    token: str = _option(
        "",
        _matching("[!-~]*", "printable ASCII characters without spaces"),
        "When set, everything but the probes and /metrics wants it (Authorization: Bearer TOKEN). Set it whenever the "
        "admin address can be reached from other machines.",
        secret=True,
    )


@dataclass(frozen=True)
class Config:
    """Everything a node can be told. sources: where, of what was given at all."""

    dht: DhtConfig = DhtConfig()
    admin: AdminConfig = AdminConfig()
    hostkey: str = _option(
        "", _path, "File with the node's private key (PEM); empty: the node has no lasting identity."
    )

    sources: Sources = field(default_factory=dict, repr=False, compare=False)

    def validate(self) -> None:
        """Check all options against each other. Raises: ConfigError, naming options, values and sources."""
        self.dht.validate(self.sources)
        places = {"p2p_address": self.dht.p2p_address, "api_address": self.dht.api_address}
        places |= {"admin_address": self.admin.address} if self.admin.address else {}
        taken: dict[Address, str] = {}
        for name in sorted(places, key=lambda name: name in self.sources):  # it is no default that is wrong
            address = places[name]
            if address.port == 0:
                continue
            if address in taken:
                told, other = _told(self.sources, name), _told(self.sources, taken[address])
                raise ConfigError(f"{told} = {address} is also {other}; give each its own port")
            taken[address] = name


class Option(NamedTuple):
    """One thing a node can be told. name: unique over all sections; section: "" for a key above any section."""

    name: str
    section: str
    key: str
    default: Any
    parse: Callable[[str], Any]
    about: str
    secret: bool


def _options() -> Iterator[Option]:
    sections = (("", "", Config), ("dht", "", DhtConfig), ("admin", "admin_", AdminConfig))
    for section, prefix, cls in sections:
        declared: tuple[Field[Any], ...] = fields(cls)
        for item in declared:
            if item.metadata:
                yield Option(prefix + item.name, section, item.name, item.default, **item.metadata)


OPTIONS: dict[str, Option] = {option.name: option for option in _options()}
"""Every option by its name: what the command line spells --p2p-address and the environment GDHT_P2P_ADDRESS."""

OLDER_KEYS = {("dht", "listen_address"): "p2p_address"}

# Reading --------------------------------------------------------------------------------------------------------------


def load_config(
    path: str | Path | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, str | None] | None = None,
) -> Config:
    """Read and check a node's configuration.

    path: an INI file, None for none. environ: usually os.environ. overrides: by option name, None for not given.
    An option that nobody gave yields to those given: with max_ttl = 60 alone, default_ttl is 60 too.
    Raises: ConfigError, whose message is for the user.
    """
    settings: dict[str, Setting] = {}
    if path is not None:
        names = {(option.section, option.key): name for name, option in OPTIONS.items()}
        settings |= from_file(Path(path), names, OLDER_KEYS)
    settings |= from_environ(environ or {}, OPTIONS, {key: name for (_, key), name in OLDER_KEYS.items()})
    settings |= from_overrides(overrides or {}, OPTIONS)
    values = {name: _parse(OPTIONS[name], setting) for name, setting in settings.items()}
    _yield_to_given(values)
    config = _assemble(values, {name: setting.where for name, setting in settings.items()})
    config.validate()
    return config


def _parse(option: Option, setting: Setting) -> Any:
    try:
        return option.parse(setting.text)
    except ValueError as error:
        shown = "" if option.secret else f" = {setting.text or '(empty)'}"
        raise ConfigError(f"{setting.where}{shown}: {error}") from None


def _yield_to_given(values: dict[str, Any]) -> None:
    """Lower the defaults of what was not given to the bounds that were given."""
    length = values.get("successor_list_length", OPTIONS["successor_list_length"].default)
    for name, high in (
        ("max_replication", length + 1),
        ("replication", values.get("max_replication", length + 1)),
        ("default_ttl", values.get("max_ttl", OPTIONS["max_ttl"].default)),
    ):
        values.setdefault(name, min(OPTIONS[name].default, high))


def _assemble(values: Mapping[str, Any], sources: Sources) -> Config:
    def of(section: str) -> dict[str, Any]:
        return {OPTIONS[name].key: value for name, value in values.items() if OPTIONS[name].section == section}

    return Config(DhtConfig(**of("dht")), AdminConfig(**of("admin")), **of(""), sources=sources)
