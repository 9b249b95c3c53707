"""Asks all other replicas at once, and says of each whether it answered.

Rules: every answer is bounded in bytes and time. A replica recognises its own answer by its id: an
address alone may be one of several that this process has. Who has not answered in time is not asked
for a while, so that a replica that hangs costs its deadline only now and then.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Generic, NamedTuple, TypeVar

import aiohttp
import msgspec

from ingress_controller import shallow_json
from ingress_controller.asking import Credentials, reason_of, session
from ingress_controller.peers.addresses import Addresses
from ingress_controller.peers.peer import (
    INSTANCE_HEADER,
    NAME_HEADER,
    STORE_HEADER,
    Identity,
    Peer,
    together,
)
from ingress_controller.peers.questions import PATH, Question

AT_ONCE_MAX = 64  # questions to all peers at once; more wait, and their deadline goes on
ANSWER_BYTES_MAX = 64 * 1024 * 1024  # of one; a thousand live requests are below 1 MiB
ANSWERS_BYTES_MAX = 256 * 1024 * 1024  # of all to one question: who is beyond it has not answered
ERROR_CHARACTERS_MAX = 200  # of what one says instead of an answer, or what is wrong with it
NAME_CHARACTERS_MAX = 253  # of what one is called; a pod's name has no more
SILENCE_S = 5.0  # for which one is not asked that has not answered in time

T = TypeVar("T")


class Told(NamedTuple, Generic[T]):
    """One replica's answer; `instance` is its name, `id` that of its process."""

    instance: str
    answer: T
    id: str = ""


class Asked(NamedTuple, Generic[T]):
    """What came back, and all that were asked."""

    told: tuple[Told[T], ...]
    peers: tuple[Peer, ...]


class Peers:
    """Those at `names`, but the one that this is, `own`; `credentials` are shown to them."""

    def __init__(self, names: Sequence[str], own: Identity, credentials: Credentials) -> None:
        self.own = own
        self._addresses = Addresses(names)
        self._credentials = credentials
        self._turns = asyncio.Semaphore(AT_ONCE_MAX)
        self._session: aiohttp.ClientSession | None = None
        self._identities: dict[str, Identity] = {}
        self._silent_until_s: dict[str, float] = {}

    async def close(self) -> None:
        """Ends its connections."""
        session_, self._session = self._session, None
        if session_ is not None:
            await session_.close()

    async def count(self) -> int:
        """How many there are, as far as is known."""
        return len(self._once((await self._addresses.now())[0]))

    async def ask(
        self,
        question: Question,
        read: Callable[[bytes], T],
        deadline_s: float,
    ) -> Asked[T]:
        """Every replica's answer to `question`, as far as they come within `deadline_s`.

        `read` makes a value of an answer, and raises ValueError where that cannot be done.
        """
        addresses, failed = await self._addresses.now()
        self._forget(addresses)
        round_ = _Round(msgspec.json.encode(question), deadline_s)
        answers = await asyncio.gather(
            *(self._one(address, round_, read) for address in self._once(addresses))
        )
        told: dict[str, Told[T]] = {}
        peers = []
        for peer, id_, answer in answers:
            if id_ == self.own.id or id_ in told:
                continue  # it is this one, or has several addresses
            peers.append(peer)
            if answer is not None:
                told[id_] = Told(peer.instance, answer, id_)
        return Asked(tuple(told.values()), together(peers, failed))

    def _once(self, addresses: Sequence[str]) -> list[str]:
        """Without those that are known to be others' second address, or this process."""
        seen = {self.own.id}
        wanted = []
        for address in addresses:
            known = self._identities.get(address)
            if known is None or known.id not in seen:
                wanted.append(address)
            if known is not None:
                seen.add(known.id)
        return wanted

    def _forget(self, addresses: Sequence[str]) -> None:
        for known in (self._identities, self._silent_until_s):
            for address in [address for address in known if address not in addresses]:
                del known[address]

    async def _one(
        self, address: str, round_: "_Round", read: Callable[[bytes], T]
    ) -> tuple[Peer, str, T | None]:
        """The peer, its id – empty where it is not known – and what it says, if it says it."""
        known = self._identities.get(address)
        try:
            content, who = await self._told(address, round_)
        except _UntoldError as err:
            error = str(err)[:ERROR_CHARACTERS_MAX]
            return Peer(address, known.name if known else "", error), "", None
        self._identities[address] = who
        answer, error = None, ""
        if who.id != self.own.id:
            try:
                answer = await asyncio.to_thread(read, content)
            except ValueError as err:
                error = f"it answers in another form, as another version of Spanway may: {err}"
        return Peer(address, who.name, error[:ERROR_CHARACTERS_MAX]), who.id, answer

    async def _told(self, address: str, round_: "_Round") -> tuple[bytes, Identity]:
        """Raises _UntoldError."""
        loop = asyncio.get_running_loop()
        silent_s = self._silent_until_s.get(address, 0) - loop.time()
        if silent_s > 0:
            raise _UntoldError(f"it did not answer in time, and is asked again in {silent_s:.0f} s")
        try:
            async with asyncio.timeout(round_.deadline_s), self._turns:
                content, headers = await self._post(address, round_)
        except TimeoutError as err:
            self._silent_until_s[address] = loop.time() + SILENCE_S
            raise _UntoldError(f"no answer within {round_.deadline_s:g} s") from err
        except (aiohttp.ClientError, OSError) as err:
            raise _UntoldError(reason_of(err)) from err
        if not (id_ := headers.get(INSTANCE_HEADER, "")):
            raise _UntoldError("what answers there is no Spanway")
        return content, Identity(id_, headers.get(NAME_HEADER, "")[:NAME_CHARACTERS_MAX])

    async def _post(self, address: str, round_: "_Round") -> tuple[bytes, Mapping[str, str]]:
        """Raises _UntoldError, aiohttp.ClientError, OSError; TimeoutError is one of these."""
        if self._session is None:
            try:
                self._session = session(self._credentials, timeout_s=round_.deadline_s)
            except ValueError as err:  # the certificate of this one
                raise _UntoldError(str(err)) from err
        scheme = "https" if self._credentials.needs_tls else "http"
        async with self._session.post(
            f"{scheme}://{address}{PATH}",
            data=round_.body,
            headers={
                "Content-Type": "application/json",
                INSTANCE_HEADER: self.own.id,
                STORE_HEADER: self.own.store,
            },
            timeout=aiohttp.ClientTimeout(total=round_.deadline_s),
        ) as answer:
            content = await _content(answer, round_)
        if answer.status == HTTPStatus.OK:
            return bytes(content), answer.headers
        raise _UntoldError(_refusal(answer.status, bytes(content)))


class _Round:
    """A question to all: its text, how long each has, and how many bytes all of them still have."""

    def __init__(self, body: bytes, deadline_s: float) -> None:
        self.body = body
        self.deadline_s = deadline_s
        self.bytes_left = ANSWERS_BYTES_MAX


async def _content(answer: aiohttp.ClientResponse, round_: _Round) -> bytearray:
    """Raises _UntoldError: it is too much."""
    content = bytearray()
    async for piece in answer.content.iter_any():
        content += piece
        round_.bytes_left -= len(piece)
        if len(content) > ANSWER_BYTES_MAX:
            raise _UntoldError(f"its answer has more than {ANSWER_BYTES_MAX} bytes")
        if round_.bytes_left < 0:
            round_.bytes_left += len(content)  # The others' may be less.
            raise _UntoldError(f"all answers have more than {ANSWERS_BYTES_MAX} bytes")
    return content


class _UntoldError(Exception):
    """There is no answer; the message says why."""


class _Refusal(msgspec.Struct):
    error: str


def _refusal(status: int, content: bytes) -> str:
    if status == HTTPStatus.UNAUTHORIZED:
        return "it wants another token; give all replicas one --admin-token-file"
    try:
        said = shallow_json.read(content, _Refusal).error
    except msgspec.DecodeError:
        return f"it answers with status {status}, as another version of Spanway may"
    return said.rstrip(".")
