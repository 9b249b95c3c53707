"""Nodes as objects: the report of nodes, asked for anew each time.

Rules: the store bounds how many ask at once, and for how long; there are as many nodes as the
report has.
"""

import time
from collections.abc import Callable

from aiohttp import web

from ingress_controller.aggregated.forms import json_response, writer
from ingress_controller.aggregated.node_performance_kind import NODE_PERFORMANCE, WINDOW_S, Node
from ingress_controller.aggregated.status_error import StatusError, bad_request, not_found
from ingress_controller.analysis.measures import Window
from ingress_controller.analysis.nodes import nodes
from ingress_controller.analysis.queries.hops import SLACK_NS, Filters
from ingress_controller.peers.peer import Peer
from ingress_controller.peers.stores import Stores
from ingress_controller.traces.store.queries import QuestionTooLargeError

_UNSEEN = f"in the last {WINDOW_S / 60:g} minutes no request of Spanway ended on it"


class NodePerformances:
    """Answers as `instance`, by the traces in `stores`."""

    kind = NODE_PERFORMANCE

    def __init__(
        self, stores: Stores, instance: str, clock: Callable[[], int] = time.time_ns
    ) -> None:
        self._stores = stores
        self._instance = instance
        self._clock = clock

    def stop(self) -> None:
        """Nothing goes on here."""

    async def get(self, request: web.Request, namespace: str, name: str) -> web.Response:  # noqa: ARG002
        """One node.

        Raises:
            StatusError: nothing is known of it, or it takes too long to find out.
        """
        made = writer(NODE_PERFORMANCE, request, self._instance)
        nodes, peers = await self._nodes()
        found = [node for node in nodes if node.row.name == name]
        if not found:
            raise not_found(NODE_PERFORMANCE.plural, name, _UNSEEN)
        return json_response(made.one(found[0], _version()), peers)

    async def list(self, request: web.Request, namespace: str) -> web.StreamResponse:  # noqa: ARG002
        """All of them, the busiest first.

        Raises:
            StatusError: it takes too long to find out, or a selector is given.
        """
        for selector in ("labelSelector", "fieldSelector"):
            if request.query.get(selector):
                raise bad_request(f"{selector}: nodes are not selected here; name one, or none.")
        made = writer(NODE_PERFORMANCE, request, self._instance)
        nodes, peers = await self._nodes()
        return json_response(made.many(nodes, _version()), peers)

    async def _nodes(self) -> tuple[tuple[Node, ...], tuple[Peer, ...]]:
        now_ns = self._clock()
        window = Window(now_ns - int(WINDOW_S * 1e9), now_ns + 1)
        try:
            found, peers = await self._stores.report(
                lambda connection: nodes(connection, window, Filters(), 0),
                window.start_ns - SLACK_NS,
                window.end_ns + SLACK_NS,
            )
        except QuestionTooLargeError as err:
            raise StatusError(503, "ServiceUnavailable", str(err)) from err
        found_nodes = (
            Node(row, tuple(one for one in found.findings if one.node == row.name))
            for row in found.rows
        )
        return tuple(found_nodes), peers


def _version() -> str:
    return str(time.time_ns() // 1_000)
