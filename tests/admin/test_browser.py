"""The pages in a real browser: what a person sees and does. Screenshots are left in artifacts/."""

import hashlib
from pathlib import Path

import pytest
from flask import Flask
from selenium.webdriver.common.keys import Keys

from gdht.admin import create_app
from gdht.core.ident import ident_hex
from gdht.core.invariant import Violation
from gdht.core.placement import Role
from gdht.core.records import Version
from gdht.node.failures import FailedRequest
from gdht.node.journal import Event
from gdht.node.keys import HeldKey
from gdht.node.status import Handover

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

PICTURES = Path(__file__).parents[2] / "artifacts" / "admin"
PATHS = [
    *("/admin/ring", "/admin/ring/check", "/admin/events", "/admin/"),
    *("/admin/keys?key=hello", "/admin/trace?key=hello", "/admin/keys", "/admin/requests", "/admin/leave"),
]
LIVE = "return document.querySelector('.live-text').textContent.includes('·')"


@pytest.fixture
def show(browser, serve):
    """`show(ring, path)`: open a page of a ring; at the end nobody may have complained or asked elsewhere."""
    origins = []

    def open_page(ring, path="/admin/ring", **how):
        origins.append(serve(create_app(ring.status, ring, ring)))
        browser.open(origins[-1] + path, **how)
        if how.get("scripts", True) and path in ("/admin/", "/admin/ring"):
            browser.wait(lambda: path == "/admin/" or browser.run(LIVE), "the page is live")
        return browser

    yield open_page
    assert browser.complaints() == []
    asked = browser.requests()
    assert [url for url in asked if not url.startswith((*origins, "about:"))] == []
    browser.open("about:blank")


def _key(peer):
    return ident_hex(peer.ident)


def _violations(ring):
    """A silent node, and its predecessor's list."""
    silent, before = ring.clockwise(ring.me)[3], ring.clockwise(ring.me)[2]
    return (
        Violation("all_answer", (silent.ident, before.ident), f"{silent.address}: did not answer within 2 s"),
        Violation("ideal_successors", (before.ident,), f"{before.address}: 1a2b3c4d 22334455 in place of 22334455"),
    )


def _events(ring):
    """A node that came and went."""
    one, two = ring.clockwise(ring.me)[1:3]
    return [
        Event(1, 1_700_000_000.0, "successor", (two,), (one,), "closer successor"),
        Event(2, 1_700_000_001.0, "fingers", (), tuple(ring.peers[:6]), "finger fixed"),
        Event(3, 1_700_000_002.0, "successor", (one,), (two,), "successor lost"),
    ]


@pytest.mark.parametrize("nodes", [1, 8, 200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_ring_is_drawn_with_this_node_marked(make_ring, show, nodes, scheme):
    ring = make_ring(nodes)
    page = show(ring, scheme=scheme)
    assert len(page.all("#nodes .node")) == len(page.all("#rows tr")) == nodes
    assert page.text(".centre .figure") == str(nodes)
    assert page.one("#nodes .node.this").get_attribute("data-key") == _key(ring.me)
    assert page.text("#rows tr.this th a") == ring.me.address
    page.save(PICTURES / f"ring-{nodes}-{scheme}.png")


def test_roles_differ_by_shape_and_by_colour(make_ring, show):
    page = show(make_ring(40))
    look = """return ['this', 'predecessor', 'successor', 'finger', 'other'].map((role) => {
        const shape = document.querySelector(`#nodes .${role} .shape`);
        return [shape.getAttribute('d'), getComputedStyle(shape).fill];
    })"""
    shapes, colours = zip(*page.run(look), strict=True)
    assert len(set(shapes)) == len(set(colours)) == 5


@pytest.mark.parametrize(("nodes", "seed"), [(1, 2), (5, 7), (8, 2), (14, 4), (24, 2), (200, 2)])
def test_no_label_covers_another_or_a_dot(make_ring, show, nodes, seed):
    page = show(make_ring(nodes, seed))
    clash = page.run("""
        const boxes = [...document.querySelectorAll('#nodes .node:not(.quiet) .label')].map((label) => [
            label.textContent, label.getBoundingClientRect()]);
        const frame = document.querySelector('.ring-box').getBoundingClientRect();
        const out = boxes.filter(([, b]) => b.left < frame.left || b.right > frame.right).map(([text]) => text);
        const dots = [...document.querySelectorAll('#nodes .shape')];
        boxes.push(...dots.map((dot) => ['a dot', dot.getBoundingClientRect()]));
        for (const [i, [text, a]] of boxes.entries())
            for (const [other, b] of boxes.slice(i + 1))
                if (a.left < b.right - 2 && b.left < a.right - 2 && a.top < b.bottom - 4 && b.top < a.bottom - 4)
                    out.push(`${text} / ${other}`);
        return out""")
    assert clash == []


def test_a_click_shows_the_details_of_a_node(ring, show):
    page = show(ring)
    peer = ring.clockwise(ring.me)[3]
    assert page.text("#details h2") == ring.me.address
    page.one(f"#node-{_key(peer)} .dot").click()
    assert page.text("#details h2") == peer.address
    assert page.text("#details [data-detail=ident]") == _key(peer)
    assert page.text("#details [data-detail=owned]") == f"{ring.owned[peer.ident]:,}"
    assert page.one("#node-" + _key(peer)).get_attribute("aria-current") == "true"
    assert page.one("#visit").get_attribute("href").endswith("/admin/ring")
    page.save(PICTURES / "ring-8-selected.png")


def test_a_click_in_the_table_selects_too(ring, show):
    page = show(ring)
    peer = ring.clockwise(ring.me)[5]
    page.one(f"#row-{_key(peer)} a").click()
    assert page.text("#details h2") == peer.address


def test_the_ring_is_walked_with_the_keyboard(ring, show):
    page = show(ring)
    around = ring.clockwise(ring.me)
    assert len(page.all("#nodes .node[tabindex='0']")) == 1  # one tab stop for the whole ring
    for _ in range(20):
        page.press(Keys.TAB)
        if page.run("return document.activeElement.closest('#nodes') !== null"):
            break
    page.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert page.text("#details h2") == around[2].address
    assert page.run("return document.activeElement.dataset.key") == _key(around[2])
    page.press(Keys.ARROW_LEFT)
    assert page.text("#details h2") == around[1].address
    page.press(Keys.END)
    assert page.text("#details h2") == around[-1].address
    page.press(Keys.ARROW_RIGHT)
    assert page.text("#details h2") == ring.me.address
    page.press(Keys.ARROW_DOWN, Keys.ENTER)
    assert page.text("#details h2") == around[1].address
    page.press(Keys.ESCAPE)
    assert page.text("#details h2") == ring.me.address
    assert page.all("[aria-current=true]") == []


def test_every_node_is_named_for_those_who_listen(ring, show):
    page = show(ring)
    second = page.all("#nodes .node")[1].get_attribute("aria-label")
    peer = ring.clockwise(ring.me)[1]
    assert second.startswith(f"{peer.address}, successor 1")
    assert second.endswith(f"{ring.owned[peer.ident]:,} keys")


def test_a_refresh_changes_numbers_in_place_and_keeps_the_selection(ring, show):
    page = show(ring)
    peer = ring.clockwise(ring.me)[2]
    page.one(f"#node-{_key(peer)} .dot").click()
    page.run("window.before = [...document.querySelectorAll('#nodes .node, #rows tr')]")
    ring.owned[peer.ident] = 54321
    page.wait(lambda: page.text(f"#row-{_key(peer)} [data-cell=owned]") == "54,321", "the row is fresh")
    assert page.text(f"#node-{_key(peer)} .note") == "54,321 keys"
    assert page.text("#details [data-detail=owned]") == "54,321"
    assert page.text("#details h2") == peer.address
    assert page.run("return document.activeElement.dataset.key") == _key(peer)
    assert page.run("""const now = document.querySelectorAll('#nodes .node, #rows tr');
        return now.length === window.before.length && window.before.every((element, i) => element === now[i])""")


def test_nodes_come_and_go_without_a_reload(make_ring, show):
    ring, later = make_ring(3), make_ring(5)
    page = show(ring)
    ring.peers, ring.owned = later.peers, later.owned
    page.wait(lambda: len(page.all("#nodes .node")) == 5, "two more")
    shown = [element.get_attribute("data-key") for element in page.all("#rows tr")]
    assert shown == [_key(peer) for peer in ring.clockwise(ring.me)]
    assert page.text("h1") == "Ring of 5 nodes"
    leaver = ring.clockwise(ring.me)[2]
    page.one(f"#node-{_key(leaver)} .dot").click()
    ring.peers = [peer for peer in ring.peers if peer != leaver]
    page.wait(lambda: len(page.all("#nodes .node")) == 4, "one less")
    assert page.text("#details h2") == ring.me.address


def test_a_node_that_does_not_answer_leaves_the_page_stale_and_recovers(ring, show, browser):
    page = show(ring)
    ring.status_error = RuntimeError("stuck")
    page.wait(lambda: page.one("#stale").is_displayed(), "stale")
    assert page.text("#stale").startswith("Stale since ")
    assert len(page.all("#nodes .node")) == 8
    page.save(PICTURES / "ring-8-stale.png")
    ring.status_error = None
    page.wait(lambda: not page.one("#stale").is_displayed(), "fresh again")
    assert all("503" in line for line in page.complaints())  # the browser's own note of the failed requests


def test_a_hidden_page_and_a_paused_one_ask_nothing(ring, show):
    page = show(ring)
    page.one("#pause").click()
    assert page.text("#pause") == "Resume"
    page.requests()
    walks = ring.walks
    page.run("return new Promise((done) => setTimeout(done, 2600))")
    assert page.requests() == []
    assert ring.walks == walks
    page.one("#pause").click()
    page.wait(lambda: any(url.endswith("/admin/api/ring/view") for url in page.requests()), "asks again")
    page.run("""Object.defineProperty(document, 'hidden', {get: () => true, configurable: true});
        document.dispatchEvent(new Event('visibilitychange'))""")
    page.run("return new Promise((done) => setTimeout(done, 300))")
    page.requests()
    page.run("return new Promise((done) => setTimeout(done, 2600))")
    assert page.requests() == []


def test_a_partial_ring_says_so(ring, show):
    ring.complete = False
    page = show(ring)
    assert "This picture is partial" in page.text("[data-text=notice]")
    assert len(page.all("#nodes .node.unmet")) == 4
    page.save(PICTURES / "ring-8-partial.png")


def test_without_scripts_the_table_and_the_drawing_are_there(make_ring, show):
    ring = make_ring(8)
    page = show(ring, scripts=False)
    assert len(page.all("#rows tr")) == len(page.all("#nodes .node")) == 8
    assert page.text("#rows tr.this th a") == ring.me.address
    assert page.text("#details h2") == ring.me.address
    assert not page.one("#live").is_displayed()
    page.save(PICTURES / "ring-8-without-scripts.png")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_screen_needs_no_sideways_scrolling(ring, show, path, scheme):
    ring.violations, ring.journal, ring.failed, ring.held = _violations(ring), _events(ring), _failed(), _held(ring)
    page = show(ring, path, width=360, scheme=scheme)
    assert page.run("return document.documentElement.scrollWidth") <= 360
    page.save(PICTURES / f"{path.strip('/').split('?')[0].replace('/', '-')}-360-{scheme}.png")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_reach_contrast_aa(ring, show, scheme):
    page = show(ring, scheme=scheme)
    low = page.run("""
        const lum = (rgb) => rgb.map((v) => v / 255).map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
            .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
        const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
        const colour = (name) => {
            canvas.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
            canvas.fillRect(0, 0, 1, 1);
            return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
        };
        const ratio = (a, b) => {
            const [x, y] = [lum(colour(a)), lum(colour(b))].sort((p, q) => q - p);
            return (x + 0.05) / (y + 0.05);
        };
        const pairs = [...['text', 'dim', 'this', 'bad', 'good'].flatMap((t) => [[t, 'card'], [t, 'ground']]),
            ['warn', 'warn-ground'], ['bad', 'bad-ground'], ['good', 'good-ground'],
            ...['this', 'predecessor', 'successor', 'finger'].map((t) => ['on-mark', t])];
        return pairs.map(([t, g]) => [t, g, ratio('--' + t, '--' + g)]).filter(([, , r]) => r < 4.5)""")
    assert low == []


def test_the_overview_shows_the_node_and_stays_fresh(ring, show):
    page = show(ring, "/admin/")
    assert page.text("#state") == "active"
    assert "8.0 %" in page.text(".tiles")
    ring.stats.api_requests["get", "success"] += 4242
    page.wait(lambda: "4,242" in page.text("#content"), "the count is fresh")
    page.save(PICTURES / "overview-light.png")


def test_a_key_is_asked_for_in_the_form(ring, show):
    page = show(ring, "/admin/keys")
    page.one("#key").send_keys("hello", Keys.ENTER)
    page.wait(lambda: page.all("table"), "the report")
    assert "1 of 3 nodes have the version of" in page.text("main")
    page.save(PICTURES / "keys-light.png")
    page.one("main p a[href^='/admin/trace']").click()
    page.wait(lambda: "Lookup" in page.text("main"), "the trace")
    assert "dead: timed out" in page.text("main")
    page.save(PICTURES / "trace-light.png")


# Keys of this node, requests, leaving ---------------------------------------------------------------------------------


def _held(ring):
    """Forty keys of this node, some of each role."""
    roles = list(Role)
    version = Version(1_700_000_000_000 << 16, ring.me.ident)
    keys = sorted(hashlib.sha256(bytes([n])).digest() for n in range(120))
    return [HeldKey(key, roles[n % 3], version, 60.0 * n, 17 * n, 3, n % 31 == 5) for n, key in enumerate(keys)]


def _failed():
    """A put without a quorum, a get that timed out, and one that found nothing."""
    key = hashlib.sha256(b"hello").digest()
    why = "127.0.0.1:6003: did not answer within 2 s; 127.0.0.1:6004: store_full the store is at its limit"
    return [
        FailedRequest(1, 1_700_000_000.0, "put", key, "quorum", why, 1, 3, 2.03),
        FailedRequest(
            2, 1_700_000_001.0, "get", key, "timeout", "the owner was not found: nobody left to ask", 0, 0, 8.5
        ),
        FailedRequest(3, 1_700_000_002.0, "get", bytes(32), "not_found", "", 0, 0, 0.0042),
    ]


def test_keys_of_this_node_are_paged_through_and_lead_to_their_holders(ring, show):
    ring.held = _held(ring)
    page = show(ring, "/admin/keys", scripts=False)
    assert len(page.all("tbody tr")) == 50
    page.driver.find_element("link text", "misplaced").click()
    assert len(page.all("tbody tr.warn")) == len(page.all("tbody tr")) == 40
    page.save(PICTURES / "own-keys-light.png")
    page.driver.find_element("link text", "all").click()
    page.driver.find_element("link text", "Further keys").click()
    assert len(page.all("tbody tr")) == 50
    page.all("tbody a")[0].click()
    assert page.one("[data-state]").get_attribute("data-state") == "impaired"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_failed_requests_lead_to_the_key(ring, show, scheme):
    ring.failed = _failed()
    page = show(ring, "/admin/requests", scheme=scheme)
    assert [row.text.split()[0] for row in page.all("tbody tr")] == ["3", "2", "1"]
    page.save(PICTURES / f"requests-{scheme}.png")
    page.all("tbody a")[1].click()
    page.wait(lambda: page.all("[data-state]"), "the verdict")
    assert "nobody left to ask" in page.text("main")
    page.save(PICTURES / f"where-{scheme}.png")


@pytest.mark.parametrize("scripts", [True, False])
def test_a_node_is_drained_and_told_to_leave_with_the_forms(ring, show, scripts):
    page = show(ring, "/admin/", scripts=scripts)
    page.driver.find_element("link text", "Drain or leave").click()
    page.wait(lambda: page.all("button[value=drain]"), "the forms")
    page.save(PICTURES / "leave-light.png")
    page.one("button[value=drain]").click()
    page.wait(lambda: not page.all("button[value=drain]"), "drained")
    assert "takes no new clients" in page.text("main")
    ring.changes["handover"] = Handover("leave", 2000, 700, 1_400_000, 490_000, 4.0)
    page.one("#timeout").clear()
    page.one("#timeout").send_keys("90", Keys.ENTER)
    page.wait(lambda: "This node is leaving" in page.driver.page_source, "on its way")
    assert ring.done == ["drain", ("leave", 90.0)]
    page.save(PICTURES / "leaving-light.png")


def test_a_form_on_another_page_cannot_make_a_node_leave(ring, show, serve):
    target = serve(create_app(ring.status, ring, ring))
    other = Flask("elsewhere")
    form = f'<form method="post" action="{target}/admin/leave"><input name="action" value="leave"><button>go</button>'
    other.add_url_rule("/admin/", "page", lambda: form)
    page = show(ring, "/admin/")
    page.driver.get(serve(other) + "/admin/")
    page.one("button").click()
    page.wait(lambda: page.all("h1") and "403" in page.text("h1"), "refused")
    assert ring.done == []
    page.complaints()  # the browser's own note of the refusal
    page.requests()


# Check and events -----------------------------------------------------------------------------------------------------

VERDICT = "#check-result .notice"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_ring_is_checked_when_its_page_opens_and_what_is_wrong_is_marked(ring, show, scheme):
    ring.violations = _violations(ring)
    page = show(ring, scheme=scheme)
    page.wait(lambda: page.all(VERDICT), "the verdict")
    assert page.text(VERDICT) == "No. 2 violations; first: all_answer."
    marked = {_key(peer) for peer in ring.clockwise(ring.me)[2:4]}
    assert {node.get_attribute("data-key") for node in page.all("#nodes .node.wrong")} == marked
    assert {row.get_attribute("data-key") for row in page.all("#rows tr.wrong")} == marked
    page.save(PICTURES / f"ring-8-wrong-{scheme}.png")


def test_a_wrong_ring_is_checked_again_until_it_is_right(ring, show):
    ring.violations = _violations(ring)
    page = show(ring)
    page.wait(lambda: page.all(VERDICT), "the verdict")
    ring.violations = ()
    page.wait(lambda: page.text(VERDICT) == "Yes. All pointers of 8 nodes agree.", "right again")
    assert page.all(".wrong") == []
    checks = ring.checks
    page.run("return new Promise((done) => setTimeout(done, 2600))")
    assert ring.checks == checks  # the ring is walked again and again, but checked only when it changed
    page.save(PICTURES / "ring-8-right.png")


def test_a_node_that_goes_has_the_ring_checked_again(ring, show):
    page = show(ring)
    page.wait(lambda: page.text(VERDICT) == "Yes. All pointers of 8 nodes agree.", "right")
    ring.peers = ring.peers[:3] + ring.peers[4:] if ring.peers[3] != ring.me else ring.peers[1:]
    page.wait(lambda: page.text(VERDICT) == "Yes. All pointers of 7 nodes agree.", "seven are right")


def test_a_click_checks_at_once(ring, show):
    page = show(ring)
    page.wait(lambda: page.text("#check-now") == "Check again", "the first check")
    page.one("#pause").click()
    page.run("return new Promise((done) => setTimeout(done, 1100))")  # older than what is handed out again
    ring.violations = _violations(ring)
    page.one("#check-now").click()
    page.wait(lambda: page.text(VERDICT).startswith("No."), "the verdict")


def test_without_scripts_a_link_leads_to_the_verdict_and_on_to_a_node(ring, show):
    ring.violations = _violations(ring)
    page = show(ring, scripts=False)
    assert "Not checked yet" in page.text("#check-result")
    page.one("#check-now").click()
    assert page.text(VERDICT) == "No. 2 violations; first: all_answer."
    page.save(PICTURES / "check-without-scripts.png")
    page.all(".violations a")[0].click()
    assert page.driver.current_url.endswith(f"/admin/ring#node-{_key(ring.clockwise(ring.me)[3])}")


def test_events_come_in_while_one_looks(ring, show):
    ring.journal = _events(ring)
    page = show(ring, "/admin/events")
    assert [row.get_attribute("data-key") for row in page.all("#events tr")] == ["3", "2", "1"]
    page.save(PICTURES / "events-light.png")
    ring.journal = [*ring.journal, Event(4, 1_700_000_009.0, "state", (), (), "isolated")]
    page.wait(lambda: len(page.all("#events tr")) == 4, "the new event")
    assert "isolated" in page.text("#events tr:first-child")


def test_the_first_event_takes_the_place_of_the_empty_page(ring, show):
    page = show(ring, "/admin/events")
    assert "Nothing yet." in page.text("#content")
    ring.journal = _events(ring)
    page.wait(lambda: len(page.all("#events tr")) == 3, "the events")
