from urllib.parse import urlsplit

from support.hub import Fleet

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def test_the_dashboard_without_a_session_leads_to_the_login(fleet: Fleet) -> None:
    home = fleet.hub.call("GET", "/")
    login = fleet.hub.call("GET", "/login")

    assert (home.status, home.headers["location"]) == (303, "/login")
    assert (login.status, "runpod-hub token" in login.text) == (200, True)
    assert "frame-ancestors 'none'" in login.headers["content-security-policy"]


def test_a_login_link_works_once(fleet: Fleet) -> None:
    parts = urlsplit(fleet.hub.login_url)
    path = f"{parts.path}?{parts.query}"

    first = fleet.hub.call("GET", path)
    second = fleet.hub.call("GET", path)

    cookie = first.headers["set-cookie"]
    assert (first.status, first.headers["location"]) == (303, "/")
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert second.status == 401
    assert "set-cookie" not in second.headers
    session = {"Cookie": cookie.partition(";")[0]}
    assert fleet.hub.call("GET", "/", headers=session).status == 200


def test_the_page_shows_the_pods_and_loads_nothing_from_outside(fleet: Fleet) -> None:
    page = fleet.hub.call("GET", "/", headers=fleet.hub.log_in())

    assert page.status == 200
    assert "alpha" in page.text
    assert "beta" in page.text
    assert "https://" not in page.text.replace("https://www.w3.org", "")
    assert "default-src 'self'" in page.headers["content-security-policy"]


def test_a_wrong_token_does_not_log_in(fleet: Fleet) -> None:
    reply = fleet.hub.call("POST", "/login", "token=%3Cscript%3E", FORM)

    assert reply.status == 401
    assert "set-cookie" not in reply.headers
    assert "<script>" not in reply.text


def test_another_sites_form_cannot_log_a_browser_in(fleet: Fleet) -> None:
    headers = FORM | {"Origin": "http://evil.example"}

    reply = fleet.hub.call("POST", "/login", f"token={fleet.hub.token}", headers)

    assert (reply.status, "set-cookie" in reply.headers) == (403, False)


def test_pages_let_browsers_send_the_origin_of_their_own_forms(fleet: Fleet) -> None:
    # with "no-referrer" a browser posts a form with "Origin: null", which is refused
    page = fleet.hub.call("GET", "/login")

    assert page.headers["referrer-policy"] == "same-origin"


def test_logging_out_takes_the_cookie_away(fleet: Fleet) -> None:
    headers = fleet.hub.log_in() | {"Origin": fleet.hub.url}

    reply = fleet.hub.call("POST", "/logout", headers=headers)

    assert reply.status == 303
    assert "Max-Age=0" in reply.headers["set-cookie"]


def test_neither_token_nor_ticket_is_logged(fleet: Fleet) -> None:
    ticket = urlsplit(fleet.hub.login_url).query.partition("=")[2]
    fleet.hub.call("GET", f"/login?ticket={ticket}")
    fleet.hub.log_in()

    log = fleet.hub.log_path.read_text()

    assert "login_accepted" in log
    assert ticket not in log
    assert fleet.hub.token not in log
