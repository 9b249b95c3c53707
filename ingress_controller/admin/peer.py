"""`POST /api/peer`: what other replicas ask this one; `peers/questions.py` has all of it.

Rules: whoever is asked so answers for itself, so that no question goes round. Questions, and how
many wait, are bounded.
"""

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from ingress_controller import shallow_json
from ingress_controller.admin.parameters import HEADERS, refusal
from ingress_controller.admin.traces import NO_STORE
from ingress_controller.peers.live import LiveRequests, NoPastError
from ingress_controller.peers.peer import (
    INSTANCE_HEADER,
    NAME_HEADER,
    STORE_HEADER,
    Identity,
)
from ingress_controller.peers.questions import (
    PATH,
    QUESTION_BYTES_MAX,
    LiveAsked,
    Question,
    of_store,
)
from ingress_controller.traces.store.queries import QuestionTooLargeError, TooMuchToHandOverError

if TYPE_CHECKING:
    from ingress_controller.traces.store.store import Store

QUESTIONS_MAX = 64
"""Of other replicas at once; more get a 503. One of who has given up goes on to its end."""

QUESTION_S_MAX = 2.0
"""For a question to come, which is a packet or two."""

_JSON = "application/json"
_QUESTION: Any = Question  # a union is no type to mypy
_UNKNOWN = "The question is not known here; another version of Spanway asks."


class PeerApi:
    """Answers as `own`, of what `live` and `store` have."""

    def __init__(self, own: Identity, live: LiveRequests, store: "Store | None") -> None:
        self._headers = HEADERS | {INSTANCE_HEADER: own.id, NAME_HEADER: own.name}
        self._own = own
        self._live = live
        self._store = store
        self._questions = 0

    def add_to(self, app: web.Application) -> None:
        """Adds the route."""
        app.router.add_post(PATH, self.serve)

    async def serve(self, request: web.Request) -> web.Response:
        """The answer, or why there is none."""
        if request.headers.get(INSTANCE_HEADER) == self._own.id:
            return self._answer(b"")  # it has asked itself, and wants to know just that
        if self._questions >= QUESTIONS_MAX:
            return refusal(503, f"{QUESTIONS_MAX} questions of replicas wait already.")
        self._questions += 1
        try:
            return await self._respond(request)
        except TimeoutError:
            return refusal(408, f"The question did not come within {QUESTION_S_MAX:g} s.")
        except NoPastError:
            return refusal(404, NO_STORE)
        except (QuestionTooLargeError, TooMuchToHandOverError) as err:
            return refusal(503, f"{err}.")
        finally:
            self._questions -= 1

    async def _respond(self, request: web.Request) -> web.Response:
        if request.content_type != _JSON:  # a browser asks before it sends this type elsewhere
            return refusal(415, f"Content-Type: write {_JSON}.")
        try:
            question: Question = shallow_json.read(await _body(request), _QUESTION)
        except ValueError:
            return refusal(400, _UNKNOWN)
        store = request.headers.get(STORE_HEADER)
        has_same_files = bool(store) and store == self._own.store
        try:
            return self._answer(await self._told(question, is_of_memory=has_same_files))
        except (ValueError, OverflowError):  # for more rows than there may be, for example
            return refusal(400, _UNKNOWN)

    async def _told(self, question: Question, *, is_of_memory: bool) -> bytes:
        """`is_of_memory`: the asker has the same files."""
        if isinstance(question, LiveAsked):
            return await self._live.ask_own(
                question.query_of(self._own.id), question.at_ns, is_of_memory=is_of_memory
            )
        if self._store is None:
            raise NoPastError
        of = of_store(question)
        told: Any = await self._store.ask(
            of.ask, start_ns=of.start_ns, end_ns=of.end_ns, is_of_memory=is_of_memory
        )
        is_file = isinstance(told, bytes)
        return told if is_file else await asyncio.to_thread(msgspec.json.encode, told)

    def _answer(self, body: bytes) -> web.Response:
        return web.Response(body=body, content_type=_JSON, headers=self._headers)


async def _body(request: web.Request) -> bytes:
    """Raises TimeoutError. ValueError: it is too long."""
    body = bytearray()
    async with asyncio.timeout(QUESTION_S_MAX):
        async for piece in request.content.iter_any():
            body += piece
            if len(body) > QUESTION_BYTES_MAX:
                raise ValueError("too long")
    return bytes(body)
