"""Asks a running Spanway's admin address.

Rules: one question at a time; an error is one sentence that says whom was asked and what to do.
"""

import os
from collections.abc import Mapping
from http import HTTPStatus

import aiohttp
import msgspec

from proxy.live import Live

TIMEOUT_S = 5.0  # workers have two
ANSWER_BYTES_MAX = 16 * 1024 * 1024  # a thousand rows are below 4 MiB

_WRONG = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.NOT_IMPLEMENTED)


class TopError(Exception):
    """What was asked for cannot be had now; the message is for the user."""


class QuestionError(TopError):
    """It never will be: the question is wrong."""


class AdminClient:
    """See the module. Use it as a context; leaving it closes its connection."""

    def __init__(self, address: str, token: str = "", *, timeout_s: float = TIMEOUT_S) -> None:
        self.address = address
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    async def __aenter__(self) -> "AdminClient":
        self._session = aiohttp.ClientSession(
            f"http://{self.address}", timeout=self._timeout, headers=self._headers
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def live(self, question: Mapping[str, str]) -> Live:
        """The answer to these parameters of `/api/live`.

        Raises:
            QuestionError: they are wrong.
            TopError: nobody answers, or not as Spanway does.
        """
        try:
            return msgspec.json.decode(await self.get("/api/live", question), type=Live)
        except msgspec.MsgspecError as err:
            raise TopError(self._foreign(HTTPStatus.OK)) from err

    async def get(self, path: str, question: Mapping[str, str]) -> bytes:
        """What is answered there, JSON.

        Raises:
            QuestionError: the question is wrong.
            TopError: nobody answers, or not as Spanway does; or it has no answer, or not now.
        """
        try:
            async with self._session.get(path, params=question) as answer:
                body = await answer.content.read(ANSWER_BYTES_MAX)
                while chunk := await answer.content.read(ANSWER_BYTES_MAX - len(body)):
                    body += chunk
        except (aiohttp.ClientError, TimeoutError, OSError) as err:
            raise TopError(
                f"No Spanway answers at {self.address} ({_reason(err)});"
                " start one, or name its admin address with --admin."
            ) from err
        if answer.status == HTTPStatus.OK:
            return body
        try:
            reason = str(msgspec.json.decode(body)["error"])
        except (msgspec.MsgspecError, KeyError, TypeError) as err:
            raise TopError(self._foreign(answer.status)) from err
        raise QuestionError(reason) if answer.status in _WRONG else TopError(reason)

    def _foreign(self, status: int) -> str:
        return (
            f"What answers at {self.address} is no Spanway that knows of this"
            f" (status {status}); name its admin address with --admin."
        )


def _reason(err: BaseException) -> str:
    if isinstance(err, aiohttp.ClientConnectorError) and err.os_error.errno:
        return os.strerror(err.os_error.errno).lower()
    return "no answer in time" if isinstance(err, TimeoutError) else type(err).__name__
