"""The configuration: what is read, from where, in which order, and in which words it is refused."""

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdht.config import OPTIONS, Address, Config, DhtConfig, load_config, parse_address
from gdht.errors import ConfigError

EXAMPLE = Path(__file__).resolve().parent.parent / "conf" / "node.ini"


@pytest.fixture
def load(tmp_path):
    """`load(text, environ, **overrides)`: the configuration of a file with this text."""

    def load_text(text="", environ=None, **overrides):
        path = tmp_path / "node.ini"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_config(path, environ or {}, overrides)

    return load_text


@pytest.fixture
def refusal(load):
    """`refusal(text, environ, **overrides)`: the message with which this is refused, the folder cut off."""

    def refuse(text="", environ=None, **overrides):
        with pytest.raises(ConfigError) as caught:
            load(text, environ, **overrides)
        message = str(caught.value)
        return message.partition("/node.ini:")[2] or message

    return refuse


# Addresses ------------------------------------------------------------------------------------------------------------

labels = st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
hosts = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
    st.lists(labels, min_size=1, max_size=4).map(".".join),
)
addresses = st.builds(Address, hosts, st.integers(0, 65535))


@given(addresses)
def test_an_address_survives_being_written_and_read(address):
    assert parse_address(str(address)) == address


@given(st.text(max_size=30) | st.text("[]:.0123456789abcdef-", max_size=30))
def test_any_text_is_an_address_with_one_spelling_or_a_value_error(text):
    try:
        address = parse_address(text)
    except ValueError as error:
        assert str(error).startswith("expected")
    else:
        assert 0 <= address.port <= 65535
        assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:6001", ("127.0.0.1", 6001)),
        ("[::1]:0", ("::1", 0)),
        ("[0:0:0:0:0:0:0:1]:65535", ("::1", 65535)),
        ("Node-1.Example.org:80", ("node-1.example.org", 80)),
        ("gdht_node-2:80", ("gdht_node-2", 80)),
        ("  localhost:1 ", ("localhost", 1)),
    ],
)
def test_names_and_literals_are_addresses(text, address):
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    """
    6001 :6001 localhost localhost: localhost:65536 localhost:-1 localhost:+1 localhost:1_0 localhost:\u0661 a:1:2
    ::1:6001 [::1] [::1]6001 [::g]:1 [127.0.0.1]:1 [localhost]:1 []:1 256.0.0.1:1 1.2.3:1 a..b:1 a/b:1 http://a:1
    """.split()
    + ["", "a b:1", "localhost:1\n2", "x" * 64 + ":1"],
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ValueError, match="expected host:port"):
        parse_address(text)


@pytest.mark.parametrize("text", ["[fe80::1%lo]:6001", "[fe80::1%1]:6001", "[::1%eth0]:0"])
def test_a_scope_is_refused_for_other_nodes_could_not_be_told_of_it(text):
    with pytest.raises(ValueError, match="without a %scope"):
        parse_address(text)


def test_a_port_to_dial_is_not_0():
    assert parse_address("a:1", port_min=1) == ("a", 1)
    with pytest.raises(ValueError, match="port from 1 to 65535"):
        parse_address("a:0", port_min=1)


@pytest.mark.parametrize(
    ("host", "wildcard"), [("0.0.0.0", True), ("::", True), ("127.0.0.1", False), ("::1", False), ("localhost", False)]
)
def test_a_wildcard_is_an_address_that_nobody_can_dial(host, wildcard):
    assert Address(host, 1).is_wildcard is wildcard


# Where values come from -----------------------------------------------------------------------------------------------


def test_without_anything_the_defaults_hold():
    assert load_config() == load_config(None, {}, {}) == Config()


def test_the_defaults_are_those_that_other_programs_know():
    config = Config()
    assert dataclasses.asdict(config.dht) == {
        "p2p_address": ("127.0.0.1", 6001),
        "api_address": ("127.0.0.1", 7001),
        "advertise_address": None,
        "bootstrap": (),
        "ring": "default",
        "data_dir": "gdht-data",
        "replication": 3,
        "max_replication": 8,
        "write_quorum": "majority",
        "default_ttl": 3600,
        "max_ttl": 65535,
        "successor_list_length": 8,
        "stabilize_interval": 1.0,
        "call_timeout": 2.0,
        "max_connections": 1024,
        "max_store_bytes": 1073741824,
    }
    assert (config.admin.address, config.admin.token, config.hostkey) == (("127.0.0.1", 8001), "", "")


def test_a_whole_file_is_read(load):
    config = load(
        """
        hostkey = /etc/gdht/hostkey.pem       ; above any section

        [dht]
        p2p_address = [::1]:6001
        api_address = 127.0.0.1:0             # any port
        advertise_address = node.example.org:6001
        bootstrap = 127.0.0.1:6000, [::1]:6002,
            seed.example.org:6003             ; continued
        ring = test ring
        data_dir = gdht-data;1
        replication: 5
        write_quorum = all
        stabilize_interval = 0.25

        [admin]
        address =
        token = s3cret
        """
    )
    assert config.hostkey == "/etc/gdht/hostkey.pem"
    assert config.dht == DhtConfig(
        p2p_address=Address("::1", 6001),
        api_address=Address("127.0.0.1", 0),
        advertise_address=Address("node.example.org", 6001),
        bootstrap=(Address("127.0.0.1", 6000), Address("::1", 6002), Address("seed.example.org", 6003)),
        ring="test ring",
        data_dir="gdht-data;1",
        replication=5,
        write_quorum="all",
        stabilize_interval=0.25,
    )
    assert config.admin.address is None
    assert config.admin.token == "s3cret"


def test_defaults_yield_to_the_file_then_the_environment_then_the_options(load):
    file = "[dht]\nring = file\nreplication = 1\ndefault_ttl = 10\n[admin]\ntoken = file"
    environ = {"GDHT_REPLICATION": "2", "GDHT_DEFAULT_TTL": "20", "GDHT_ADMIN_TOKEN": "environment", "PATH": "x"}
    config = load(file, environ, default_ttl="30", hostkey="key.pem", ring=None)
    assert (config.dht.ring, config.dht.replication, config.dht.default_ttl) == ("file", 2, 30)
    assert (config.admin.token, config.hostkey) == ("environment", "key.pem")


@pytest.mark.parametrize("name", OPTIONS)
def test_each_option_has_an_environment_name_and_an_explanation(name):
    option = OPTIONS[name]
    text = {"advertise_address": "a:1", "bootstrap": "a:1"}.get(name) or str(option.default or "")
    config = load_config(None, {f"GDHT_{name.upper()}": text}, {})
    assert config == load_config(None, {}, {name: text})
    assert len(option.about) > 30


def test_other_modules_sections_may_hold_anything(load):
    config = load(
        "[gossip]\nlisten_address = x\nlisten_address = y\nno assignment\n= 1\n%(loop)s = %\nreplicaton = 9\n"
        "[dht]\nring = ours\n[DEFAULT]\nring = %\n[nse] ; comment\n  [indented = 1\n[admin]\ntoken = t\n[gossip]\nx\n"
    )
    assert (config.dht.ring, config.admin.token) == ("ours", "t")


@pytest.mark.parametrize("head", ["\ufeff", "\r\n", "; comment\n", "# [admin]\n", "   \n\t\n"])
def test_a_file_may_begin_in_many_ways(load, head):
    assert load(head + "[dht]\r\nring = x\r\n").dht.ring == "x"


def test_a_percent_sign_is_a_percent_sign(load):
    assert load("[dht]\nring = 100%(x)s%").dht.ring == "100%(x)s%"


def test_section_and_key_may_be_written_in_capitals(load):
    assert load("[DHT]\nRing = x").dht.ring == "x"


def test_a_comment_needs_white_space_before_it(load):
    assert load("[admin]\ntoken = a#b;c ; d").admin.token == "a#b;c"


def test_the_older_name_of_the_p2p_address_is_accepted(load):
    assert load("[dht]\nlisten_address = [::1]:7").dht.p2p_address == ("::1", 7)
    both = "[dht]\nlisten_address = localhost:7\np2p_address = localhost:7"
    assert load(both).dht.p2p_address == ("localhost", 7)


def test_an_address_listed_twice_is_one_member(load):
    assert load("[dht]\nbootstrap = a:1, A:1, b:1").dht.bootstrap == (("a", 1), ("b", 1))


def test_kubernetes_variables_beside_a_service_of_our_name_are_not_ours(load):
    environ = {"GDHT_SERVICE_HOST": "10.0.0.1", "GDHT_PORT": "tcp://10.0.0.1:7001", "GDHT_PORT_7001_TCP_PORT": "7001"}
    assert load("", environ) == Config()


# What yields and what contradicts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "then"),
    [
        ("max_ttl = 60", {"default_ttl": 60}),
        ("max_replication = 2", {"replication": 2}),
        ("successor_list_length = 4", {"max_replication": 5, "replication": 3}),
        ("successor_list_length = 2", {"max_replication": 3, "replication": 3}),
        ("successor_list_length = 16", {"max_replication": 8, "replication": 3}),
    ],
)
def test_an_option_that_nobody_gave_yields_to_one_that_was_given(load, given, then):
    config = load(f"[dht]\n{given}").dht
    assert {name: getattr(config, name) for name in then} == then


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("replication = 9", "replication = 9 is more than max_replication = 8"),
        ("replication = 4\nsuccessor_list_length = 2", "replication = 4 is more than max_replication = 3"),
        ("default_ttl = 61\nmax_ttl = 60", "default_ttl = 61 is more than max_ttl = 60"),
        ("max_replication = 10", "max_replication = 10 is more than successor_list_length + 1 = 9"),
        ("p2p_address = 0.0.0.0:6001", "set advertise_address"),
        ("p2p_address = [::]:6001", "set advertise_address"),
        ("api_address = 127.0.0.1:6001", "api_address = 127.0.0.1:6001 is also [dht] p2p_address"),
        ("api_address = 127.0.0.1:8001", "[dht] api_address = 127.0.0.1:8001 is also [admin] address"),
    ],
)
def test_options_that_contradict_each_other_are_refused(refusal, lines, words):
    assert words in refusal(f"[dht]\n{lines}")


@pytest.mark.parametrize(
    ("text", "environ", "options", "words"),
    [
        (
            "[dht]\nmax_replication = 4",
            {"GDHT_REPLICATION": "5"},
            {},
            "environment: GDHT_REPLICATION = 5 is more than max_replication = 4 ({file}:2: [dht] max_replication)",
        ),
        ("", {}, {"replication": "9"}, "option --replication = 9 is more than max_replication = 8; lower"),
        (
            "\n[dht]\nsuccessor_list_length = 2",
            {},
            {"max_replication": "4"},
            "option --max-replication = 4 is more than successor_list_length + 1 = 3 ({file}:3: [dht] successor_list",
        ),
        ("[dht]\nring = x", {}, {"p2p_address": "0.0.0.0:1"}, "option --p2p-address = 0.0.0.0:1 is an address that"),
        (
            "[dht]\nlisten_address = a:1",
            {"GDHT_ADMIN_ADDRESS": "a:1"},
            {},
            "environment: GDHT_ADMIN_ADDRESS = a:1 is also {file}:2: [dht] listen_address; give",
        ),
    ],
)
def test_what_contradicts_is_told_with_where_it_was_given(tmp_path, text, environ, options, words):
    file = tmp_path / "a.ini"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(file, environ, options)
    assert str(caught.value).startswith(words.format(file=file))


def test_a_wildcard_is_fine_with_an_address_to_advertise_and_for_clients(load):
    config = load("[dht]\np2p_address = [::]:6001\nadvertise_address = me:6001\napi_address = 0.0.0.0:7001")
    assert config.dht.p2p_address.is_wildcard


def test_any_number_of_ports_may_be_free_ones(load):
    load("[dht]\np2p_address = 127.0.0.1:0\napi_address = 127.0.0.1:0\n[admin]\naddress = 127.0.0.1:0")


# Refusals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[dht]\n\nreplicaton = 3", "3: [dht] replicaton: no such key; the nearest is replication"),
        ("[dht]\np2p_adress = a:1", "2: [dht] p2p_adress: no such key; the nearest is p2p_address"),
        ("[admin]\ntokn = x", "2: [admin] tokn: no such key; the nearest is token"),
        ("hostky = x", "1: hostky: no such key; the nearest is hostkey"),
        ("ring = x", "1: ring: no such key; the nearest is [dht] ring"),
        ("replication = 3", "1: replication: no such key; the nearest is [dht] replication"),
        ("[dht]\nhostkey = x", "2: [dht] hostkey: no such key; the nearest is hostkey, above all sections"),
        ("[dht]\nadmin_address = a:1", "2: [dht] admin_address: no such key; the nearest is [admin] address"),
        ("[dht]\nadress = a:1", "2: [dht] adress: no such key; the nearest is [admin] address"),
        ("[admin]\nlisten_address = a:1", "2: [admin] listen_address: no such key; the nearest is [dht] p2p_address"),
        ("[dht]\nreplication 3", "2: 'replication 3': expected `key = value` or `[section]`"),
        ("[dht]\nring = a\n\nring = b", "4: [dht] ring is already set on line 2"),
        ("[dht]\nring = a\n[x]\n[dht]\nring = a", "5: [dht] ring is already set on line 2"),
        ("[dht]\nreplication = 0", "2: [dht] replication = 0: expected a whole number from 1 to 255"),
        ("[dht]\nreplication =", "2: [dht] replication = (empty): expected a whole number from 1 to 255"),
        ("[dht]\np2p_address = here", "2: [dht] p2p_address = here: expected host:port or [ipv6]:port"),
        (
            "[dht]\nbootstrap = a:1,,b:1",
            "2: [dht] bootstrap = a:1,,b:1: expected host:port before and after each",
        ),
        ("[dht]\nbootstrap = a:1,", "2: [dht] bootstrap = a:1,: expected host:port before and after each comma"),
        ("[dht]\nbootstrap = a:1, b", "2: [dht] bootstrap = a:1, b: entry b: expected host:port"),
        ("[dht]\nbootstrap = a", "2: [dht] bootstrap = a: expected host:port or [ipv6]:port with a port from 1 to"),
        ("[dht]\nbootstrap = a:0", "2: [dht] bootstrap = a:0: expected host:port or [ipv6]:port with a port from 1"),
        ("[dht]\nbootstrap = [::]:1", "expected an address that others can dial, not 0.0.0.0 or [::]"),
        (
            "[dht]\nadvertise_address = a:0",
            "2: [dht] advertise_address = a:0: expected host:port or [ipv6]:port with a port from 1",
        ),
        ("[dht]\nwrite_quorum = most", "2: [dht] write_quorum = most: expected one, majority or all"),
        ("[dht]\nring =", "2: [dht] ring = (empty): expected 1 to 64 printable"),
        ("[dht]\nring = \u00fc", "2: [dht] ring = \u00fc: expected 1 to 64 printable"),
        (f"[dht]\nring = {'x' * 65}", "expected 1 to 64 printable"),
        ("[dht]\ndata_dir = a\0b", "expected a path"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_line_key_value_and_what_is_expected(refusal, text, words):
    assert words in refusal(text)


@pytest.mark.parametrize("key", ["successor_list_length", "max_replication", "max_connections", "max_store_bytes"])
@pytest.mark.parametrize("value", ["-1", "1.5", "0x10", "1e3", "many", "0", "9" * 30, "\u0663"])
def test_a_count_is_a_whole_number_in_its_range(refusal, key, value):
    assert f"[dht] {key} = {value}: expected a whole number from" in refusal(f"[dht]\n{key} = {value}")


@pytest.mark.parametrize("key", ["stabilize_interval", "call_timeout"])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "1s", "1e9", ".", "5.", ".00", "9999"])
def test_a_time_is_a_number_in_its_range(refusal, key, value):
    assert f"[dht] {key} = {value}: expected seconds, a number from" in refusal(f"[dht]\n{key} = {value}")


@pytest.mark.parametrize(("text", "seconds"), [("1", 1.0), ("0.5", 0.5), (".5", 0.5), ("300", 300.0), ("0.010", 0.01)])
def test_a_time_may_be_a_fraction(load, text, seconds):
    assert load(f"[dht]\ncall_timeout = {text}").dht.call_timeout == seconds


def test_the_successor_list_has_at_least_two_places(refusal):
    assert "expected a whole number from 2" in refusal("[dht]\nsuccessor_list_length = 1")


@pytest.mark.parametrize("value", ["0", "65536"])
@pytest.mark.parametrize("key", ["default_ttl", "max_ttl"])
def test_a_life_fits_into_the_api_message(refusal, key, value):
    assert "expected a whole number from 1 to 65535" in refusal(f"[dht]\n{key} = {value}")


def test_the_older_name_with_another_value_is_a_contradiction(refusal):
    words = refusal("[dht]\nlisten_address = a:1\np2p_address = a:2")
    assert "contradicts" in words
    assert "[dht] listen_address = a:1" in words


def test_an_unknown_variable_is_named_with_the_nearest(refusal):
    words = refusal("", {"GDHT_API_ADRESS": "a:1"})
    assert words == "environment: GDHT_API_ADRESS: no such option; the nearest is GDHT_API_ADDRESS"
    assert refusal("", {"GDHT_LISTEN_ADDRESS": "a:1"}).endswith("the nearest is GDHT_P2P_ADDRESS")
    assert refusal("", {"GDHT_TOKEN": "x"}).endswith("the nearest is GDHT_ADMIN_TOKEN")


@pytest.mark.parametrize("variable", ["GDHT_NOPE", "GDHT_", "GDHT_CACHE_FOLDER"])
def test_a_variable_like_no_other_is_answered_with_all_there_are(refusal, variable):
    words = refusal("", {variable: "x"})
    assert words.startswith(f"environment: {variable}: no such option; there are GDHT_")
    assert all(f"GDHT_{name.upper()}" in words for name in OPTIONS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[x]\n[admn]\ntoken = x", "2: [admn]: no such section; the nearest is [admin]"),
        ("[Admins] ; ours\naddress =", "1: [admins]: no such section; the nearest is [admin]"),
        ("[dht1]\nbootstrap = a:1,\n  b:1\nlisten_address = a:1", "1: [dht1]: no such section; the nearest is [dht]"),
        ("[dth]\nbootstrap = a:1", "1: [dth]: no such section; the nearest is [dht]"),
        ("[hdt]\nbootstrap = a:1", "1: [hdt]: no such section; the nearest is [dht]"),
        ("[dgt]\nring = x\nreplication = 3", "1: [dgt]: no such section; the nearest is [dht]"),
        ("[adim]\ntoken = x", "1: [adim]: no such section; the nearest is [admin]"),
        ("[gdht]\nring = x", "1: [gdht]: no such section; the nearest is [dht]"),
    ],
)
def test_a_section_that_is_ours_but_for_its_spelling_is_refused(refusal, text, words):
    assert words in refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "[admn]\n",
        "[admn]\ntoken = x\nusers = y",
        "[admn]\ntoken",
        "[dhs]\nring = x\nlease = 1",
        "[main]\naddress = x",
        "[domain]\naddress = x",
        "[gossip]\nlisten_address = x\napi_address = y",
    ],
)
def test_a_section_that_may_well_be_anothers_is_not_read(load, text):
    assert load(text) == Config()


def test_a_bad_variable_is_named(refusal):
    assert refusal("", {"GDHT_REPLICATION": "x"}).startswith(
        "environment: GDHT_REPLICATION = x: expected a whole number"
    )


def test_a_bad_option_is_named_as_it_is_typed(refusal):
    assert refusal("", max_ttl="x").startswith("option --max-ttl = x: expected a whole number")
    assert refusal("", max_tll="1") == "option --max-tll: no such option; the nearest is --max-ttl"


def test_a_token_is_never_shown(refusal):
    assert "s3cret" not in refusal("[admin]\ntoken = s3cret word")
    assert "s3cret" not in repr(load_config(None, {"GDHT_ADMIN_TOKEN": "s3cret"}, {}))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xff\xfe[\0d\0", "is not UTF-8 text (byte 0)"),
        (b"[dht]\nring = \xfc", "is not UTF-8 text (byte 13)"),
        (b"#" * ((1 << 20) + 1), "larger than 1048576 bytes"),
        (b"\0" * 100, "1: '"),
    ],
)
def test_a_file_that_is_no_text_is_refused(refusal, data, words):
    assert words in refusal(data)


def test_a_missing_file_a_folder_and_a_strange_name_are_refused(tmp_path):
    for path, words in (
        (tmp_path / "no.ini", "No such file"),
        (tmp_path, "Is a directory"),
        ("a\0b", "cannot be read"),
    ):
        with pytest.raises(ConfigError, match=words) as caught:
            load_config(path, {}, {})
        assert str(path) in str(caught.value)


@given(st.text("[]=:;# \n\tdhtring\0\u00e9\r%", max_size=80))
def test_any_text_is_a_configuration_or_a_refusal(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.ini"
    path.write_text(text, newline="")
    try:
        load_config(path, {}, {})
    except ConfigError as error:
        assert str(error).startswith(str(path))


# The example ----------------------------------------------------------------------------------------------------------


def test_the_example_loads_and_holds_the_defaults():
    assert load_config(EXAMPLE, {}, {}) == Config()


def test_the_example_sets_and_explains_every_option():
    explained: dict[str, int] = {}
    comments = 0
    for line in EXAMPLE.read_text().splitlines():
        key = line.partition("=")[0].strip()
        if line.startswith(";"):
            comments += 1
        elif line and not line.startswith("["):
            explained[key] = comments
        if not line.startswith(";"):
            comments = 0
    assert list(explained) == [*(option.key for option in _in_file_order())]
    assert min(explained.values()) >= 1


def _in_file_order():
    return sorted(OPTIONS.values(), key=lambda option: ["", "dht", "admin"].index(option.section))
