"""Asks a running Spanway's admin address for its live requests.

Rules: one question at a time; an error is one sentence that says whom was asked and what to do.
"""

import os
from collections.abc import Mapping

import aiohttp
import msgspec

from proxy.live import Live

TIMEOUT_S = 5.0  # workers have two
ANSWER_BYTES_MAX = 16 * 1024 * 1024  # a thousand rows are below 4 MiB


class TopError(Exception):
    """What was asked for cannot be had now; the message is for the user."""


class QuestionError(TopError):
    """It never will be: the question is wrong."""


class LiveClient:
    """See the module. Use it as a context; leaving it closes its connection."""

    def __init__(self, address: str, token: str = "") -> None:
        self.address = address
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    async def __aenter__(self) -> "LiveClient":
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        self._session = aiohttp.ClientSession(
            f"http://{self.address}", timeout=timeout, headers=self._headers
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
            async with self._session.get("/api/live", params=question) as answer:
                body = await answer.content.read(ANSWER_BYTES_MAX)
                while chunk := await answer.content.read(ANSWER_BYTES_MAX - len(body)):
                    body += chunk
        except (aiohttp.ClientError, TimeoutError, OSError) as err:
            raise TopError(
                f"No Spanway answers at {self.address} ({_reason(err)});"
                " start one, or name its admin address with --admin."
            ) from err
        try:
            if answer.status in (400, 401, 501):
                raise QuestionError(str(msgspec.json.decode(body)["error"]))
            if answer.status == 200:  # noqa: PLR2004
                return msgspec.json.decode(body, type=Live)
        except (msgspec.MsgspecError, KeyError, TypeError) as err:
            raise TopError(self._foreign(answer.status)) from err
        raise TopError(self._foreign(answer.status))

    def _foreign(self, status: int) -> str:
        return (
            f"What answers at {self.address} is no Spanway that knows of live requests"
            f" (status {status}); name its admin address with --admin."
        )


def _reason(err: BaseException) -> str:
    if isinstance(err, aiohttp.ClientConnectorError) and err.os_error.errno:
        return os.strerror(err.os_error.errno).lower()
    return "no answer in time" if isinstance(err, TimeoutError) else type(err).__name__
