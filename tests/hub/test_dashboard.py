import json
import re
from urllib.parse import urlencode

from support.hub import HubFactory, HubServer, rent_pod
from support.sim import SimServer
from support.waiting import wait_for


class OpenPage:
    """A dashboard as a browser has it open, over the socket's polling transport."""

    def __init__(self, hub: HubServer) -> None:
        self._hub = hub
        self._headers = hub.log_in() | {"Origin": hub.url}
        self.html = hub.call("GET", "/", headers=self._headers).text
        found = re.search(r"'client_id': '([0-9a-f-]+)'", self.html)
        assert found, "the page names its client"
        self._query = {"EIO": "4", "transport": "polling"}
        self._query |= {"client_id": found[1], "implicit_handshake": "true"}
        self._query |= {"tab_id": "tab", "document_id": "document"}
        self._query["sid"] = json.loads(self.poll()[1:])["sid"]
        self._call("POST", "40")

    def poll(self) -> str:
        """Return what the server has to say; it answers within its ping interval."""
        return self._call("GET")

    def _call(self, method: str, body: str | None = None) -> str:
        path = f"/_nicegui_ws/socket.io/?{urlencode(self._query)}"
        headers = self._headers | {"Content-Type": "text/plain"}
        reply = self._hub.call(method, path, body, headers)
        assert reply.status == 200, reply
        if reply.text == "2":  # a ping wants its pong
            self._call("POST", "3")
        return reply.text


def test_a_new_pod_is_pushed_to_an_open_page(hubs: HubFactory, sim: SimServer) -> None:
    page = OpenPage(hubs.start())

    rent_pod(sim, "pushed-pod")

    assert "pushed-pod" not in page.html
    assert wait_for(
        lambda: "pushed-pod" in page.poll(),
        timeout_seconds=20,
        what="the new pod on the open page",
    )


def test_a_page_drawn_before_the_first_answer_says_so(hubs: HubFactory) -> None:
    hub = hubs.start(RUNPOD_API_BASE_URL="http://127.0.0.1:9")

    page = hub.call("GET", "/", headers=hub.log_in())

    assert "Nothing is known yet" in page.text
    assert "waiting for RunPod" in page.text


def test_texts_of_others_are_shown_as_text(hubs: HubFactory, sim: SimServer) -> None:
    rent_pod(sim, "<img src=x onerror=alert(1)>")
    hub = hubs.start()
    hub.wait_for_pods(1)

    page = hub.call("GET", "/", headers=hub.log_in())

    assert "onerror" in page.text
    assert "<img src=x" not in page.text
