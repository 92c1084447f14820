"""The overview page of one browser: header, cards, pods, agents, events.

Built once; `draw` then sends only what has changed since it was drawn last.
"""

from typing import Any

from nicegui import ui
from nicegui.events import GenericEventArguments

from runpod_hub.hub import Hub
from runpod_hub.ui.rows import (
    Card,
    render_agent,
    render_cards,
    render_event,
    render_headline,
    render_pod,
)

_PAGE_ROWS = 50
_SEARCH_FROM_ROWS = 12
_EVENTS = 15

_NAME_CELL = """
<q-td :props="props">
  <div class="strong">{{ props.row.name }}</div>
  <div class="muted small">{{ props.row.id }}</div>
  <div class="muted small narrow-only">{{ props.row.gpu }}<span
    v-if="props.row.uptime"> · {{ props.row.uptime_text }}</span></div>
</q-td>
"""
_GPU_CELL = """
<q-td :props="props">{{ props.row.gpu }}<span v-if="props.row.spot" class="tag"
  title="A spot pod can be taken away">spot</span></q-td>
"""
_STATUS_CELL = """
<q-td :props="props">
  <span class="status" :class="props.row.tone"><i></i>{{ props.row.status }}</span>
  <div v-if="props.row.reason" class="muted small reason" :title="props.row.reason">
    {{ props.row.reason }}</div>
</q-td>
"""
_SSH_CELL = """
<q-td :props="props">
  <template v-if="props.row.ssh">
    <code class="ssh">{{ props.row.ssh }}</code>
    <q-btn flat dense round size="sm" icon="content_copy" aria-label="Copy SSH command"
      @click="() => $parent.$emit('copy', props.row.ssh)" />
  </template>
  <span v-else class="muted">-</span>
</q-td>
"""
_AGENT_STATUS_CELL = """
<q-td :props="props">
  <span class="status" :class="props.row.tone"><i></i>{{ props.row.status }}</span>
</q-td>
"""


def _column(name: str, label: str, field: str = "", **extra: Any) -> dict[str, Any]:
    return {
        "name": name,
        "label": label,
        "field": field or name,
        "align": "left",
        "sortable": True,
        **extra,
    }


_WIDE = {"classes": "wide-only", "headerClasses": "wide-only"}
_POD_COLUMNS = [
    _column("name", "Pod"),
    _column("gpu", "GPU", **_WIDE),
    _column("status", "Status"),
    _column("price", "$/hour", align="right", classes="number"),
    _column(
        "uptime",
        "Uptime",
        align="right",
        classes="number wide-only",
        headerClasses="wide-only",
    ),
    _column("ssh", "SSH", sortable=False, **_WIDE),
]
_AGENT_COLUMNS = [
    _column("agent", "Agent"),
    _column("pod", "Pod"),
    _column("status", "Status"),
    _column("task", "Task", **_WIDE),
    _column("silence", "Last heard", align="right", classes="number"),
]


class Dashboard:
    """The elements of one open page."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._drawn_events: list[dict[str, str]] | None = None
        self._build_header()
        with ui.element("main").classes("page"):
            with ui.element("section").classes("cards").props('aria-label="Overview"'):
                self._cards = [_CardView() for _ in range(4)]
            self._build_pods()
            with ui.element("div").classes("halves"):
                self._build_agents()
                with ui.element("section").classes("panel"):
                    ui.html("<h2>Recent events</h2>", sanitize=False)
                    self._events = ui.element("ol").classes("events")
                    self._no_events = ui.label("Nothing has happened yet.").classes(
                        "empty"
                    )

    def draw(self) -> None:
        """Bring every element to the newest state."""
        snapshot, now = self._hub.board.snapshot, self._hub.clock.now()
        self.draw_age()
        threshold = self._hub.settings.alert_usd_per_hour
        cards = render_cards(snapshot, threshold=threshold)
        for view, card in zip(self._cards, cards, strict=True):
            view.show(card)
        _show_rows(self._pods, [render_pod(pod) for pod in snapshot.pods])
        self._pods.set_visibility(bool(snapshot.pods))
        self._no_pods.set_visibility(not snapshot.pods)
        self._no_pods.set_text(
            "No pods. Rent one: runpod-client pods create --gpu 'NVIDIA A40'"
            if snapshot.pods_as_of
            else "Nothing is known yet: the hub is waiting for RunPod's first answer."
        )
        self._search.set_visibility(len(snapshot.pods) >= _SEARCH_FROM_ROWS)
        self._pods.props["hide-pagination"] = len(snapshot.pods) <= _PAGE_ROWS
        names = {pod.pod_id: pod.name for pod in snapshot.pods}
        _show_rows(
            self._agents,
            [render_agent(each, pod_names=names, now=now) for each in snapshot.agents],
        )
        self._agents.set_visibility(bool(snapshot.agents))
        self._no_agents.set_visibility(not snapshot.agents)
        self._draw_events(
            [render_event(event, now=now) for event in snapshot.events[:_EVENTS]]
        )

    def draw_age(self) -> None:
        """Bring the header's age and the warning to now."""
        headline = render_headline(self._hub.judge_pods())
        self._state.set_text(headline.text)
        self._state.classes(replace=f"state {headline.tone}")
        self._banner.set_text(headline.banner)
        shown = headline.tone if headline.banner else "absent"
        self._banner.classes(replace=f"banner {shown}")

    def _build_header(self) -> None:
        with ui.element("header").classes("top"):
            ui.html("<h1>runpod-hub</h1>", sanitize=False)
            self._state = ui.label().props('role="status"')
            ui.html(
                '<form method="post" action="/logout"><button>Log out</button></form>',
                sanitize=False,
            )
        self._banner = ui.label().props('role="alert"')

    def _build_pods(self) -> None:
        with ui.element("section").classes("panel"):
            with ui.element("div").classes("panel-head"):
                ui.html("<h2>Pods</h2>", sanitize=False)
                self._search = (
                    ui.input(placeholder="Search")
                    .props("dense outlined clearable")
                    .classes("search")
                )
            self._no_pods = ui.label().classes("empty")
            self._pods = ui.table(
                columns=_POD_COLUMNS,
                rows=[],
                row_key="id",
                pagination={"rowsPerPage": _PAGE_ROWS, "sortBy": None},
            ).props("flat")
            self._pods.add_slot("body-cell-name", _NAME_CELL)
            self._pods.add_slot("body-cell-gpu", _GPU_CELL)
            self._pods.add_slot("body-cell-status", _STATUS_CELL)
            self._pods.add_slot("body-cell-price", _text_cell("price_text"))
            self._pods.add_slot("body-cell-uptime", _text_cell("uptime_text"))
            self._pods.add_slot("body-cell-ssh", _SSH_CELL)
            self._pods.on("copy", _copy)
            self._pods.bind_filter_from(self._search, "value")

    def _build_agents(self) -> None:
        with ui.element("section").classes("panel"):
            ui.html("<h2>Agents</h2>", sanitize=False)
            self._no_agents = ui.label(
                "No agents. They report to POST /api/agents/POD/NAME/heartbeat."
            ).classes("empty")
            self._agents = ui.table(
                columns=_AGENT_COLUMNS, rows=[], row_key="key", pagination=0
            ).props("flat hide-bottom")
            self._agents.add_slot("body-cell-status", _AGENT_STATUS_CELL)
            self._agents.add_slot("body-cell-silence", _text_cell("heard"))

    def _draw_events(self, events: list[dict[str, str]]) -> None:
        self._no_events.set_visibility(not events)
        if events == self._drawn_events:
            return
        self._drawn_events = events
        self._events.clear()
        with self._events:
            for event in events:
                with ui.element("li").classes(event["tone"]):
                    ui.label(event["text"])
                    ui.label(event["age"]).classes("muted small age").props(
                        f'title="{event["at"]}"'
                    )


class _CardView:
    """The elements of one card."""

    def __init__(self) -> None:
        self._card = ui.element("div")
        with self._card:
            self._label = ui.label().classes("card-label")
            with ui.element("div").classes("card-figure"):
                self._value = ui.label().classes("card-value")
                self._unit = ui.label().classes("card-unit")
            self._note = ui.label().classes("card-note")

    def show(self, card: Card) -> None:
        """Show other texts."""
        self._card.classes(replace=f"card {card.tone}")
        self._label.set_text(card.label)
        self._value.set_text(card.value)
        self._unit.set_text(card.unit)
        self._note.set_text(card.note)


def _show_rows(table: ui.table, rows: list[dict[str, Any]]) -> None:
    """Send a table's rows only when they differ: a thousand rows are not small."""
    if rows != table.rows:
        table.rows = rows


def _text_cell(field: str) -> str:
    return f'<q-td :props="props">{{{{ props.row.{field} }}}}</q-td>'


def _copy(event: GenericEventArguments) -> None:
    ui.clipboard.write(str(event.args))
    ui.notify("SSH command copied", position="bottom", timeout=1500)
