"""Asks a running Spanway's admin address.

Rules: one question at a time; an error is one sentence that says whom was asked and what to do.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, TypeVar

import aiohttp
import msgspec

from ingress_controller import shallow_json
from ingress_controller.asking import (
    INTERRUPTIONS,
    AdminAddress,
    is_closed,
    is_tls_missing,
    reason_of,
    session,
)
from ingress_controller.peers.live import SharedLive

TIMEOUT_S = 5.0  # workers have two
ANSWER_BYTES_MAX = 16 * 1024 * 1024  # a thousand rows are below 4 MiB

T = TypeVar("T")

_WRONG = (HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_IMPLEMENTED)


class TopError(Exception):
    """What was asked for cannot be had now; the message is for the user."""


class QuestionError(TopError):
    """It never will be: the question is wrong."""


class AdminClient:
    """See the module. Use it as a context; leaving it closes its connection."""

    def __init__(self, address: AdminAddress, *, timeout_s: float = TIMEOUT_S) -> None:
        self.address = str(address)
        self._asked = address
        self._timeout_s = timeout_s

    async def __aenter__(self) -> "AdminClient":
        """Raises QuestionError: a certificate cannot be used."""
        asked = self._asked
        try:
            self._session = session(
                asked.credentials, timeout_s=self._timeout_s, base_url=asked.url
            )
        except ValueError as err:
            raise QuestionError(f"{err}.") from err
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def live(self, question: Mapping[str, str]) -> SharedLive:
        """The answer to these parameters of `/api/live`.

        Raises:
            QuestionError: they are wrong.
            TopError: nobody answers, or not as Spanway does.
        """
        return self.read(await self.get("/api/live", question), SharedLive)

    def read(self, answer: bytes, kind: type[T]) -> T:
        """What `get` has given, as a value.

        Raises:
            TopError: it is none of that kind.
        """
        try:
            return shallow_json.read(answer, kind)
        except msgspec.DecodeError as err:
            raise TopError(self._foreign(HTTPStatus.OK)) from err

    async def get(self, path: str, question: Mapping[str, str]) -> bytes:
        """What is answered there, JSON.

        Raises:
            QuestionError: the question is wrong.
            TopError: nobody answers, or not as Spanway does; or it has no answer, or not now.
        """
        try:
            async with self._session.get(path.removeprefix("/"), params=question) as answer:
                body = await answer.content.read(ANSWER_BYTES_MAX)
                while chunk := await answer.content.read(ANSWER_BYTES_MAX - len(body)):
                    body += chunk
        except INTERRUPTIONS as err:
            raise TopError(self._unanswered(err)) from err
        if answer.status == HTTPStatus.OK:
            return body
        try:
            reason = str(shallow_json.read(body, dict[str, Any])["error"])
        except (msgspec.DecodeError, KeyError) as err:
            raise TopError(self._foreign(answer.status)) from err
        if answer.status == HTTPStatus.UNAUTHORIZED:
            raise QuestionError(self._unknown(reason))
        raise QuestionError(reason) if answer.status in _WRONG else TopError(reason)

    def _unanswered(self, err: BaseException) -> str:
        reason = reason_of(err)
        match err:
            case aiohttp.ClientConnectorCertificateError():
                fix = "name its authority with --ca-file, or whom it is for with --tls-server-name"
            case _ if is_tls_missing(err):
                fix = "write http:// in --admin"
            case _ if is_closed(err) and self._has_tls:
                fix = "if it wants a certificate, show one that it knows with --client-cert"
            case _ if is_closed(err):
                fix = "if it wants TLS, write https:// in --admin"
            case _:
                return (
                    f"No Spanway answers at {self.address} ({reason});"
                    " start one, or name its admin address with --admin."
                )
        return f"{self.address} cannot be asked: {reason}; {fix}."

    @property
    def _has_tls(self) -> bool:
        return self._asked.url.startswith("https:")

    def _unknown(self, reason: str) -> str:
        """Of who is not known there, which says `reason`."""
        if self._asked.credentials.token.text:
            return f"{self.address} does not know the token of --admin-token-file: {reason}"
        return (
            f"{self.address} wants to know who asks: give --admin-token-file FILE"
            f"{', or --client-cert and --client-key' if self._has_tls else ''}."
        )

    def _foreign(self, status: int) -> str:
        return (
            f"What answers at {self.address} is no Spanway that knows of this"
            f" (status {status}); name its admin address with --admin."
        )
