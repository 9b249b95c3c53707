"""Requests to an API server: raw JSON in and out, errors as values of one type.

kubernetes-asyncio finds and refreshes credentials; its models are not used, because making them
costs more than all that is done with an object here.
"""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import yaml
from kubernetes_asyncio import client, config

from ingress_controller import shallow_json

REQUEST_TIMEOUT_S = 30.0  # of one that is no watch; controller-runtime: none
CONNECT_TIMEOUT_S = 5.0  # client-go: 30 s; another address may answer sooner
IDLE_TIMEOUT_S = 90.0  # a watch: bookmarks come every minute, so silence means a dead connection
LINE_BYTES_MAX = 16 * 1024 * 1024  # an object is at most 1.5 MiB in etcd; JSON of it is larger
MERGE_PATCH = "application/merge-patch+json"

INTERRUPTIONS = (aiohttp.ClientError, TimeoutError, OSError)
"""What a request raises when the server cannot be reached or the connection breaks."""


_NOT_A_KUBECONFIG = (AttributeError, KeyError, TypeError, ValueError)
"""What kubernetes-asyncio raises for YAML of another shape."""


class ApiError(Exception):
    """The server's answer is an error.

    `status` is HTTP's, `reason` the API's word for it, `causes` its words for what led to it.
    """

    def __init__(
        self, status: int, reason: str, message: str, causes: Collection[str] = ()
    ) -> None:
        super().__init__(f"{status} {reason}: {message}" if reason else f"{status}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.causes = causes


def reason_of(err: BaseException) -> str:
    """Why a request was interrupted, in words."""
    if isinstance(err, aiohttp.ClientConnectorError):
        what = err.strerror or str(err.os_error)
        return f"cannot connect to {err.host}:{err.port}: {what.lower()}"
    if isinstance(err, aiohttp.ClientPayloadError):
        return "the connection broke"  # what aiohttp says of it is about its parser
    return str(err) or type(err).__name__


class ConnectError(Exception):
    """There are no usable credentials; the message is for the user."""


class KubernetesApi:
    """See the module."""

    def __init__(self, api: client.ApiClient) -> None:
        self._api = api

    @property
    def server(self) -> str:
        """The server's URL."""
        return str(self._api.configuration.host)

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The answer to one request; PATCH is a merge patch.

        Raises:
            ApiError, or one of INTERRUPTIONS.
        """
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S)
        response = await self._send(method, path, query or {}, body=body, limits=timeout)
        async with response:
            content = await response.read()
        if response.status >= 400:  # noqa: PLR2004 - HTTP's errors
            raise _error(response.status, content)
        decoded: dict[str, Any] = shallow_json.decode(content)
        return decoded

    async def lines(self, path: str, query: Mapping[str, str]) -> AsyncIterator[bytes]:
        """The lines of an endless answer, without a last one that was cut off.

        The first is an empty one, as soon as the server has begun to answer.

        Raises:
            ApiError, or one of INTERRUPTIONS.
        """
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=IDLE_TIMEOUT_S
        )
        response = await self._send("GET", path, query, limits=timeout)
        async with response:
            if response.status >= 400:  # noqa: PLR2004 - HTTP's errors
                raise _error(response.status, await response.read())
            yield b""
            buffer = bytearray()
            async for chunk in response.content.iter_any():
                buffer += chunk
                *complete, rest = buffer.split(b"\n") if b"\n" in chunk else (buffer,)
                for line in complete:
                    yield bytes(line)
                if len(rest) > LINE_BYTES_MAX:
                    raise aiohttp.ClientPayloadError(f"a line is over {LINE_BYTES_MAX} bytes")
                buffer = bytearray(rest)

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        *,
        body: Mapping[str, Any] | None = None,
        limits: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        headers = {"Accept": "application/json"}
        if method == "PATCH":
            headers["Content-Type"] = MERGE_PATCH
        response: aiohttp.ClientResponse = await self._api.call_api(
            path,
            method,
            query_params=list(query.items()),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
            _preload_content=False,
            _request_timeout=limits,
        )
        return response


async def connect(
    kubeconfig: Path | None, context: str | None, stack: AsyncExitStack
) -> KubernetesApi:
    """Credentials from a kubeconfig or, without one, of the pod; `stack` closes the connections.

    Raises:
        ConnectError: they are not usable. Whether the server answers is not tried.
    """
    try:
        if kubeconfig is not None:
            api = await config.new_client_from_config(
                config_file=str(kubeconfig), context=context, persist_config=False
            )
        else:
            configuration = client.Configuration()
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
            api = client.ApiClient(configuration)
    except (config.ConfigException, yaml.YAMLError, OSError, *_NOT_A_KUBECONFIG) as err:
        is_foreign = isinstance(err, _NOT_A_KUBECONFIG)
        reason = "it is no kubeconfig" if is_foreign else str(err).partition("\n")[0]
        if kubeconfig is None:
            raise ConnectError(f"This pod has no usable service account: {reason}") from err
        used = f' with context "{context}"' if context else ""
        raise ConnectError(f'--kubeconfig "{kubeconfig}"{used} is not usable: {reason}') from err
    stack.push_async_callback(api.close)
    return KubernetesApi(api)


def _error(status: int, content: bytes) -> ApiError:
    try:
        answer = shallow_json.decode(content)
    except msgspec.DecodeError:
        answer = None
    if not isinstance(answer, dict):
        return ApiError(status, "", content[:200].decode(errors="replace"))
    causes = (answer.get("details") or {}).get("causes") or []
    return ApiError(
        status,
        str(answer.get("reason", "")),
        str(answer.get("message", "")),
        [str(cause.get("reason", "")) for cause in causes],
    )
