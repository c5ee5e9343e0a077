"""Who may read, and the headers on every answer."""

import base64

import pytest
from flask.testing import FlaskClient

from gdht.admin import create_app

TOKEN = "sésame open"
OPEN = ["/livez", "/readyz", "/readyz?verbose", "/readyz/joined", "/health", "/metrics"]
CLOSED = ["/", "/admin/", "/admin/ring", "/admin/keys", "/admin/trace", "/admin/api/node", "/admin/api/ring/walk",
          "/admin/static/admin.css", "/admin/nothing", "/metricsx", "/livezz"]  # fmt: skip


@pytest.fixture
def locked(ring) -> FlaskClient:
    return create_app(ring.status, ring, ring, TOKEN).test_client()


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _basic(password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"anybody:{password}".encode()).decode()}


@pytest.mark.parametrize("path", OPEN)
def test_probes_and_metrics_stay_open(locked: FlaskClient, path):
    assert locked.get(path).status_code == 200


@pytest.mark.parametrize("path", CLOSED)
def test_everything_else_wants_the_token(locked: FlaskClient, path):
    answer = locked.get(path)
    assert answer.status_code == 401
    assert 'Bearer realm="gdht"' in answer.headers.getlist("WWW-Authenticate")


def test_the_token_opens_as_bearer_and_as_a_password(ring):
    client = create_app(ring.status, ring, ring, "sesame").test_client()
    for headers in (_bearer("sesame"), _basic("sesame")):
        assert client.get("/admin/api/node", headers=headers).status_code == 200
        assert client.get("/admin/", headers=headers).status_code == 200


def test_a_password_of_any_script_opens(locked: FlaskClient):
    assert locked.get("/admin/", headers=_basic(TOKEN)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [_bearer("sesam"), _bearer("sesame2"), _bearer(""), _basic("no"), {"Authorization": "Basic !"},
     {"Authorization": "Digest username=x"}, {"Authorization": "Bearer"}, {"Authorization": ""}],
)  # fmt: skip
def test_a_wrong_token_does_not(ring, headers):
    client = create_app(ring.status, ring, ring, "sesame").test_client()
    assert client.get("/admin/api/node", headers=headers).status_code == 401


def test_a_page_lets_the_browser_ask_and_the_api_does_not(locked: FlaskClient):
    page, api = locked.get("/admin/ring"), locked.get("/admin/api/ring")
    assert any(value.startswith("Basic ") for value in page.headers.getlist("WWW-Authenticate"))
    assert not any(value.startswith("Basic ") for value in api.headers.getlist("WWW-Authenticate"))
    assert "password" in page.text
    assert list(api.json) == ["error"]


def test_a_token_in_the_address_is_no_key(ring):
    client = create_app(ring.status, ring, ring, "sesame").test_client()
    assert client.get("/admin/?token=sesame").status_code == 401


@pytest.mark.parametrize("path", ["/livez", "/metrics", "/admin/", "/admin/ring", "/admin/api/node", "/nothing",
                                  "/admin/static/ring.js", "/admin/static/admin.css"])  # fmt: skip
def test_every_answer_carries_the_security_headers(client: FlaskClient, path):
    with client.get(path) as answer:
        headers = answer.headers
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "path", ["/admin/static/../app.py", "/admin/static/%2e%2e/app.py", "/admin/static/..%2fapp.py"]
)
def test_only_the_pages_own_files_are_served(client: FlaskClient, path):
    assert client.get(path).status_code == 404
