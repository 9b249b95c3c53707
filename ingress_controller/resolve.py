"""External names become addresses: asked of the system's resolver, again and again.

Rules: the last good answer is kept when a later one fails. Names, time and questions at once are
bounded. In a cluster, addresses of the proxy's own host are dropped: whoever may write a Service
must not reach what listens on loopback here (the API server refuses them in EndpointSlices too).
"""

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Iterable, Mapping

from ingress_controller.routing.backends import Resolved

REFRESH_S = 30.0  # getaddrinfo does not tell the TTL; CoreDNS answers with 30 s
TIMEOUT_S = 5.0  # resolv.conf's default for one question
AT_ONCE_MAX = 8  # questions; glibc asks one after the other
NAMES_MAX = 1_000  # external names that are resolved; the others have no endpoint, and say so
ADDRESSES_MAX = 64  # of one name


class Resolver:
    """Keeps `resolved` up to date for the names that were asked for last."""

    def __init__(self, on_change: Callable[[], None], *, allow_loopback: bool) -> None:
        self.resolved: Mapping[str, Resolved] = {}
        self._on_change = on_change
        self._allow_loopback = allow_loopback
        self._names: frozenset[str] = frozenset()
        self._is_asked = asyncio.Event()

    def want(self, names: frozenset[str]) -> None:
        """From now on `names` are kept resolved, and no others."""
        if names != self._names:
            self._names = names
            self._is_asked.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._is_asked.clear()
            await self._refresh(sorted(self._names)[:NAMES_MAX])
            try:
                async with asyncio.timeout(REFRESH_S):
                    await self._is_asked.wait()
            except TimeoutError:
                continue  # time for the next round

    async def _refresh(self, names: Iterable[str]) -> None:
        at_once = asyncio.Semaphore(AT_ONCE_MAX)

        async def ask(name: str) -> tuple[str, Resolved]:
            async with at_once:
                return name, await self._ask(name)

        answers = dict(await asyncio.gather(*(ask(name) for name in names)))
        if answers != self.resolved:
            self.resolved = answers
            self._on_change()

    async def _ask(self, name: str) -> Resolved:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                found = await loop.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        except TimeoutError:
            return self._failed(name, f"no answer within {TIMEOUT_S:.0f} s")
        except OSError as err:
            return self._failed(name, (err.strerror or str(err)).lower())
        except UnicodeError:
            return self._failed(name, "it is not a DNS name")
        addresses = sorted({str(address[0]) for *_, address in found})
        allowed = [address for address in addresses if self._allow_loopback or _is_remote(address)]
        if not allowed:
            return self._failed(name, "it stands for this host only, which is not allowed")
        return Resolved(tuple(allowed[:ADDRESSES_MAX]))

    def _failed(self, name: str, error: str) -> Resolved:
        known = self.resolved.get(name)
        return known if known is not None and known.addresses else Resolved(error=error)


def _is_remote(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    # To the kernel `::ffff:127.0.0.1` is 127.0.0.1; Python says so itself from 3.13 on.
    address = getattr(address, "ipv4_mapped", None) or address
    return not (address.is_loopback or address.is_link_local or address.is_unspecified)
