"""The pages of a real node in a real ring, as a person sees them while one of the others dies."""

import hashlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.admin.chromium import Browser, chromium
from tests.e2e.harness import Fleet, NodeProcess, clockwise, owners, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

NODES = 5
KEYS = 300
PICTURES = Path(__file__).parents[2] / "artifacts" / "e2e"


@pytest.fixture(scope="module")
def browser(require_tool: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A headless Chromium."""
    with chromium(require_tool("chromium"), require_tool("chromedriver"), tmp_path_factory.mktemp("profile")) as window:
        yield window


@pytest.fixture(scope="module")
def nodes(module_fleet: Fleet) -> list[NodeProcess]:
    """A ring of five with some keys in it, counted."""
    made = module_fleet.ring(NODES)
    with made[0].connect() as client:
        client.put_all((random.randbytes(32), b"x" * 100) for _ in range(KEYS))
    wait_until(lambda: sum(node.json("ring")["keys"]["owned"] for node in made) == KEYS, "all keys are counted")
    return made


def texts(page: Browser, css: str) -> list[str]:
    """What all elements that fit show, at one moment: the page may replace them in the next."""
    found: list[str] = page.run("return [...document.querySelectorAll(arguments[0])].map((one) => one.innerText)", css)
    return found


def test_the_overview_shows_this_node_its_neighbours_and_its_keys(browser: Browser, nodes: list[NodeProcess]) -> None:
    node, order = nodes[0], clockwise(nodes, nodes[0].ident)
    browser.open(f"http://{node.admin}/admin/")
    page = browser.text("main")
    for part in ("active", node.p2p, node.api, node.admin, f"{node.ident:064x}"):
        assert part in page
    told = node.json("ring")
    owned, _share, estimated, _up = texts(browser, ".tile .figure")
    assert (owned, estimated) == (str(told["keys"]["owned"]), str(NODES))
    assert [text.split()[0] for text in texts(browser, "ol.peers li")] == [other.p2p for other in order[1:]]
    assert set(texts(browser, ".checks .verdict")) == {"ok"}
    browser.save(PICTURES / "overview.png")
    assert browser.complaints() == []


def test_the_overview_follows_what_clients_do_without_a_reload(browser: Browser, nodes: list[NodeProcess]) -> None:
    browser.open(f"http://{nodes[1].admin}/admin/")
    browser.run("window.same = true")
    with nodes[1].connect() as client:
        client.get_all(random.randbytes(32) for _ in range(1234))
    browser.wait(lambda: "1,234" in browser.text("main"), "the requests are shown")
    assert browser.run("return window.same")
    assert browser.complaints() == []


def test_the_ring_page_shows_who_is_where_and_then_that_one_died(browser: Browser, nodes: list[NodeProcess]) -> None:
    node, order = nodes[0], clockwise(nodes, nodes[0].ident)
    browser.open(f"http://{node.admin}/admin/ring")
    browser.wait(lambda: "·" in browser.text(".live-text"), "the page is live")
    browser.run("window.same = true")

    assert browser.text("h1") == f"Ring of {NODES} nodes"
    assert len(browser.all("#nodes .node")) == NODES
    assert browser.text(".centre .figure") == str(NODES)
    assert texts(browser, "#rows th a") == [other.p2p for other in order]
    assert browser.one("#nodes .node.this").get_attribute("data-key") == f"{node.ident:064x}"
    assert browser.text("#rows tr.this th a") == node.p2p
    owned = [str(other.json("ring")["keys"]["owned"]) for other in order]
    assert texts(browser, "#rows [data-cell=owned]") == owned
    assert set(texts(browser, "#rows [data-cell=state]")) == {"active"}

    chosen = order[2]
    browser.one(f"#node-{chosen.ident:064x} .dot").click()
    assert browser.text("[data-detail=address]") == chosen.p2p
    assert browser.text("[data-detail=ident]") == f"{chosen.ident:064x}"
    assert browser.text("[data-detail=api]") == chosen.api
    assert browser.text("[data-detail=predecessor]") == order[1].p2p
    assert browser.one("#visit").get_attribute("href") == f"http://{chosen.admin}/admin/ring"
    browser.save(PICTURES / "ring-5.png")

    chosen.kill()
    browser.wait(lambda: browser.text("h1") == f"Ring of {NODES - 1} nodes", "four nodes are left")
    browser.wait(lambda: len(browser.all("#nodes .node")) == NODES - 1, "four nodes are drawn")
    left = [other for other in order if other is not chosen]
    assert texts(browser, "#rows th a") == [other.p2p for other in left]
    assert browser.text(".centre .figure") == str(NODES - 1)
    browser.wait(lambda: not browser.one("[data-text=notice]").is_displayed(), "nothing is left to warn of")
    assert browser.run("return window.same"), "the page was not loaded again"
    browser.save(PICTURES / "ring-4-after-a-crash.png")
    assert browser.complaints() == []


def test_the_keys_and_trace_pages_lead_to_the_owner_of_a_text(browser: Browser, nodes: list[NodeProcess]) -> None:
    alive = [node for node in nodes if node.alive]
    key = hashlib.sha256(b"motd").digest()
    with alive[0].connect() as client:
        assert client.put(key, b"hello")
    owner = owners(alive, key)[0]
    browser.open(f"http://{alive[1].admin}/admin/keys")
    browser.one("#key").send_keys("motd\n")
    browser.wait(lambda: browser.all("[data-state=held]"), "the verdict is shown")
    assert browser.all("tbody tr")[0].text.startswith(owner.p2p)
    assert "3 of 3 nodes have the version of" in browser.text("main")
    browser.save(PICTURES / "keys.png")
    browser.open(f"http://{alive[1].admin}/admin/trace?key=motd")
    assert owner.p2p in browser.text("main")
    browser.save(PICTURES / "trace.png")
    assert browser.complaints() == []


def test_a_page_of_a_node_that_died_says_that_it_is_stale(browser: Browser, nodes: list[NodeProcess]) -> None:
    node = [other for other in nodes if other.alive][-1]
    browser.open(f"http://{node.admin}/admin/ring")
    browser.wait(lambda: "·" in browser.text(".live-text"), "the page is live")
    node.kill()
    browser.wait(lambda: browser.one("#stale").is_displayed(), "the page says so")
    assert "the node does not answer" in browser.text("#stale")
    browser.save(PICTURES / "ring-stale.png")
