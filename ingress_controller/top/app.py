"""The screen of `spanway top`.

Rules: this file draws and reads keys; what is shown is made in `text.py`. It works in 80 columns of
24 lines and without colour. When Spanway cannot be reached the last answer stays, and a line
says so.
"""

import asyncio
from collections.abc import Mapping
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import DataTable, Footer, Input, Static

from ingress_controller.peers.live import SharedLive
from ingress_controller.readable import printable
from ingress_controller.top.client import AdminClient, QuestionError, TopError
from ingress_controller.top.text import (
    Column,
    details,
    group_cells,
    group_columns,
    request_cells,
    request_columns,
    summary,
)
from proxy.live import Group, Row, Sort

ROWS_MAX = 200  # as many as somebody scrolls through

_SORTS = tuple(Sort)
_VIEWS = ("requests", "routes", "services", "nodes")


class TopApp(App[None]):
    """Live requests by age, and counts of them by route, service and node."""

    TITLE = "spanway top"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #status, #question { height: 1; }
    #filter { display: none; height: 3; }
    #filter.open { display: block; }
    DataTable { height: 1fr; }
    Details { align: center middle; }
    #details { width: 95%; height: 90%; border: solid $accent; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "quit"),
        Binding("v", "view", "view"),
        Binding("s", "sort", "sort"),
        Binding("slash", "filter", "filter", key_display="/"),
        Binding("p,space", "pause", "pause", key_display="p"),
        Binding("escape", "close_filter", "", show=False),
    ]

    def __init__(
        self, client: AdminClient, first: SharedLive, question: Mapping[str, str], interval_s: float
    ) -> None:
        super().__init__()
        self._client = client
        self._live = first
        self._question = dict(question)
        self._interval_s = interval_s
        self._view = 0
        self._sort = 0
        self._is_paused = False
        self._trouble = ""

    def compose(self) -> ComposeResult:
        yield Static(id="status", markup=False)
        yield Static(id="question", markup=False)
        yield Input(
            id="filter",
            placeholder="node=node-1 phase=wait age_min=2s; empty for all",
            select_on_focus=False,
        )
        table = _Table(cursor_type="row", zebra_stripes=False)
        yield table
        yield Footer()

    def on_mount(self) -> None:
        self.query_one(DataTable).focus()
        self._show()
        self.run_worker(self._follow(), exclusive=True)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            if not self._is_paused:
                await self.refresh_now()

    async def refresh_now(self) -> None:
        """Asks once, and shows what came of it."""
        question = {"limit": str(ROWS_MAX), "sort": _SORTS[self._sort], **self._question}
        try:
            self._live = await self._client.live(question)
            self._trouble = ""
        except TopError as err:
            self._trouble = str(err)
        self._show()

    @property
    def view(self) -> str:
        return _VIEWS[self._view]

    def _show(self) -> None:
        state = "paused" if self._is_paused else f"every {self._interval_s:g} s"
        status = self._trouble or f"{summary(self._live)} ({state})"
        self.query_one("#status", Static).update(printable(status))
        asked = " ".join(f"{name}={value}" for name, value in self._question.items())
        shown = "" if self._view else f" by {_SORTS[self._sort].replace('_', ' ')}"
        self.query_one("#question", Static).update(
            printable(f"{self._client.address}  {self.view}{shown}  filter: {asked or 'none'}")
        )
        self._fill()

    def _fill(self) -> None:
        table = self.query_one(DataTable)
        selected = self._selected_key()
        top = table.scroll_y
        table.clear(columns=True)
        if self._view == 0:
            columns = request_columns(self._live)
            rows = zip(self._live.requests, request_cells(self._live), strict=True)
            lines = [(row.id, cells) for row, cells in rows]
        else:
            groups = self._groups()
            columns, phases = group_columns(groups, self.view[:-1].upper())
            lines = [(group.name, group_cells(group, phases)) for group in groups]
        for column in columns:
            table.add_column(_cell(column.title, column))
        for key, cells in lines:
            table.add_row(*map(_cell, cells, columns), key=key)
        if selected is not None and selected in table.rows:
            table.move_cursor(row=table.get_row_index(selected), scroll=False)
            table.scroll_y = top

    def _groups(self) -> tuple[Group, ...]:
        live = self._live
        return {"routes": live.routes, "services": live.services}.get(self.view, live.nodes)

    def _selected_key(self) -> str | None:
        table = self.query_one(DataTable)
        if not table.row_count:
            return None
        key = table.coordinate_to_cell_key(table.cursor_coordinate).row_key
        return key.value

    def action_view(self) -> None:
        self._view = (self._view + 1) % len(_VIEWS)
        self._show()

    async def action_sort(self) -> None:
        self._sort = (self._sort + 1) % len(_SORTS)
        await self.refresh_now()

    def action_pause(self) -> None:
        self._is_paused = not self._is_paused
        self._show()

    def action_filter(self) -> None:
        field = self.query_one("#filter", Input)
        field.value = " ".join(f"{name}={value}" for name, value in self._question.items())
        field.cursor_position = len(field.value)
        field.add_class("open")
        field.focus()

    def action_close_filter(self) -> None:
        self.query_one("#filter", Input).remove_class("open")
        self.query_one(DataTable).focus()

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        """Takes a filter over; one that Spanway refuses changes nothing but the status line."""
        before = self._question
        parts = event.value.split()
        if wrong := [part for part in parts if "=" not in part]:
            self._trouble = f'filter: "{wrong[0]}" is not NAME=VALUE, for example phase=wait.'
            return self._show()
        self._question = dict(part.split("=", 1) for part in parts)
        question = {"limit": str(ROWS_MAX), "sort": _SORTS[self._sort], **self._question}
        try:
            self._live = await self._client.live(question)
        except QuestionError as err:
            self._question, self._trouble = before, str(err)
            return self._show()
        except TopError as err:
            self._trouble = str(err)
        else:
            self._trouble = ""
        self.action_close_filter()
        return self._show()

    async def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Opens a request; of a group the requests that are in it."""
        key = event.row_key.value or ""
        if self._view == 0:
            found = [row for row in self._live.requests if row.id == key]
            if found:
                self.push_screen(Details(found[0]))
            return
        self._question |= {self.view[:-1]: key}
        self._view = 0
        await self.refresh_now()


class _Table(DataTable[Text]):
    """Textual's, which opens a row but does not say so."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select_cursor", "open")]


class Details(ModalScreen[None]):
    """One request, as it was when it was opened."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter", "dismiss", "back", key_display="esc")
    ]

    def __init__(self, row: Row) -> None:
        super().__init__()
        self._row = row

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="details"):
            yield Static(details(self._row), markup=False)


def _cell(text: str, column: Column) -> Text:
    return Text(text, no_wrap=True, justify="right" if column.is_number else "left")
