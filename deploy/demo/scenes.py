"""What goes wrong in the shop, one thing after the other, and what Spanway finds of it.

Rules: whatever a scene does to the shop is undone at its end, however it ends. Spanway is told
nothing of it.
"""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from children import Child, DemoError
from console import Console
from network.namespace import NetworkError
from network.wire import Conditions
from pods import PODS, Cluster, Pod

SCENE_S = 45.0
"""Long enough to look around in a page that shows the last minute."""

SETTLE_S = 2.0
"""After a scene, for its last requests to end and their spans to come."""

SLOW_NODE = "node-2"
RUN_S, STOP_S = 0.01, 0.05
"""How its processes are let run by turns, as by a CPU limit of a sixth of a core."""

LOSSY_NODE = "node-3"
LOSS = 0.15
"""Of packets, in each direction: bad enough to show within seconds."""

ASK_S = 10.0


@dataclass(frozen=True)
class Scene:
    """`name` is what is wrong, `text` says how; `page` is where to look for it."""

    name: str
    text: str
    page: str
    fault: Callable[[], AbstractAsyncContextManager[None]]


class Faults:
    """What can be done to the shop. `children` are its pods' processes by name."""

    def __init__(self, cluster: Cluster, children: dict[str, Child], directory: Path) -> None:
        self._cluster = cluster
        self._children = children
        self._directory = directory

    def file(self, pod: Pod) -> Path:
        """Where a pod reads what is wrong with it."""
        return self._directory / pod.name

    def scenes(self) -> Sequence[Scene]:
        """In their order."""
        is_simulated = bool(self._cluster.why_simulated)
        starved = (
            f"all pods on {SLOW_NODE} think several times as long (simulated: nothing is wrong with"
            " the machine)"
            if is_simulated
            else f"the processes on {SLOW_NODE} get a sixth of a CPU, whatever service they are of"
        )
        lossy = (
            f"pods on {LOSSY_NODE} hold each request back before they look at it (simulated: no"
            " packet is lost)"
            if is_simulated
            else f"{LOSS:.0%} of the packets to and from {LOSSY_NODE} are lost"
        )
        of_recommend = [pod for pod in PODS if pod.service == "recommend"]
        return (
            Scene("all is well", "nothing is wrong", "overview", _nothing),
            Scene(
                "a slow service",
                "recommend takes several times as long, on each of its nodes",
                "bottlenecks",
                lambda: self._told("slow", of_recommend),
            ),
            Scene("a slow node", starved, "nodes", self._slow_node),
            Scene("a bad network path", lossy, "nodes", self._lossy_path),
        )

    @asynccontextmanager
    async def _told(self, word: str, pods: Iterable[Pod]) -> AsyncIterator[None]:
        """These pods read that word."""
        files = [self.file(pod) for pod in pods]
        try:
            for file in files:
                file.write_text(word)
            yield
        finally:
            for file in files:
                file.unlink(missing_ok=True)

    @asynccontextmanager
    async def _slow_node(self) -> AsyncIterator[None]:
        pods = [pod for pod in PODS if pod.node == SLOW_NODE]
        if self._cluster.why_simulated:
            async with self._told("slow", pods):
                yield
            return
        starving = asyncio.create_task(self._starve([self._children[pod.name] for pod in pods]))
        try:
            yield
        finally:
            starving.cancel()
            await asyncio.gather(starving, return_exceptions=True)

    async def _starve(self, children: Sequence[Child]) -> None:
        def send(number: signal.Signals) -> None:
            for child in children:
                child.send_signal(number)

        try:
            while True:
                send(signal.SIGSTOP)
                await asyncio.sleep(STOP_S)
                send(signal.SIGCONT)
                await asyncio.sleep(RUN_S)
        finally:
            send(signal.SIGCONT)

    @asynccontextmanager
    async def _lossy_path(self) -> AsyncIterator[None]:
        wire = self._cluster.nodes[LOSSY_NODE].wire
        if wire is None:
            async with self._told("held", [pod for pod in PODS if pod.node == LOSSY_NODE]):
                yield
            return
        try:
            wire.set(Conditions(loss=LOSS))
            try:
                yield
            finally:
                wire.set(Conditions())
        except NetworkError as err:
            raise DemoError(f"Packets cannot be lost any more: {err}.") from err


@asynccontextmanager
async def _nothing() -> AsyncIterator[None]:
    yield


class Director:
    """Plays scenes and says what Spanway found."""

    def __init__(self, console: Console, admin: str, scene_s: float) -> None:
        self._console = console
        self._page = f"http://{admin}/"
        self._scene_s = scene_s

    async def play(self, scenes: Sequence[Scene]) -> None:
        """Again and again."""
        while True:
            for number, scene in enumerate(scenes, start=1):
                title = f"Scene {number} of {len(scenes)}, {self._scene_s:g} s: {scene.name}"
                self._console.heading(title)
                self._console.item(scene.text)
                self._console.item(f"{self._page}#/{scene.page}?since=1m", mark="look:")
                start_ms = _now_ms()
                async with scene.fault():
                    await asyncio.sleep(self._scene_s)
                end_ms = _now_ms()
                await asyncio.sleep(SETTLE_S)
                await self._say_what_was_found(scene, start_ms, end_ms)

    async def _say_what_was_found(self, scene: Scene, start_ms: int, end_ms: int) -> None:
        window = f"from={start_ms}&to={end_ms}"
        try:
            found = await _findings(self._page, window)
        except (aiohttp.ClientError, TimeoutError) as err:
            raise DemoError(f"Spanway's reports cannot be had: {err}") from err
        self._console.item(f"{self._page}#/{scene.page}?{window}", mark="what Spanway found:")
        for report, text in found:
            self._console.item(text, mark=f"  {report}:")


async def _findings(page: str, window: str) -> Sequence[tuple[str, str]]:
    """What the reports say of a time, in sentences: the first bottleneck, and the nodes."""

    async def ask(report: str) -> Any:
        async with session.get(f"{page}api/analysis/{report}?{window}") as answer:
            answer.raise_for_status()
            return await answer.json()

    timeout = aiohttp.ClientTimeout(total=ASK_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        slow, nodes = await asyncio.gather(ask("bottlenecks"), ask("nodes"))
    requests = [one["bottlenecks"][0]["text"] for one in slow["requests"] if one["bottlenecks"]]
    of_nodes = [one["text"] for one in nodes["findings"]] or ["No node stands out."]
    return [
        *(("bottlenecks", text) for text in requests[:1]),
        *(("nodes", text) for text in of_nodes),
    ]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
