"""Where the other replicas are: addresses, or names that stand for all of them.

A headless Service is such a name: its DNS records are the addresses of its pods.
Rules: names are resolved when a question is asked, and again after `RESOLVED_S`.
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Sequence

from ingress_controller.addresses import AddressError, address_or_any_port, listen_address
from ingress_controller.peers.peer import Peer

PEERS_MAX = 64
"""Replicas that are asked: an ingress has some ten, and a user waits for the slowest."""

RESOLVED_S = 5.0
"""How long an answer of the DNS holds: CoreDNS says 5 s of the names of Services."""

RESOLVE_S_MAX = 2.0
"""For the DNS; a user waits. resolv.conf's default is 5 s."""

_NAME = re.compile(r"(?=.{1,253}:)[a-z0-9]([a-z0-9.-]*[a-z0-9])?\.?:[0-9]{1,5}", re.IGNORECASE)


def peer_address(text: str) -> str:
    """`NAME:PORT` or `IP:PORT`, in canonical form.

    Raises:
        AddressError: it is neither.
    """
    if not _NAME.fullmatch(text) or _is_ip(text.rpartition(":")[0]):
        return listen_address(text)
    name, _, port = text.rpartition(":")
    address_or_any_port(f"127.0.0.1:{port}")
    if port.strip("0") == "":
        raise AddressError(f'"{text}" has no port, for example spanway-peers.spanway:9901')
    return f"{name.lower()}:{int(port)}"


def is_name(address: str) -> bool:
    """Whether it stands for whatever the DNS says."""
    return not _is_ip(address.rpartition(":")[0].strip("[]"))


class Addresses:
    """Of all replicas that `names` (addresses, too) stand for."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(dict.fromkeys(names))
        self._known: dict[str, Sequence[str]] = {}
        self._failed: tuple[Peer, ...] = ()
        self._resolved_s = -RESOLVED_S
        self._resolving = asyncio.Lock()

    async def now(self) -> tuple[list[str], tuple[Peer, ...]]:
        """The addresses, `IP:PORT`, in their order and each once; and what of it is not known.

        A name that cannot be resolved stands for what it stood for before.
        """
        async with self._resolving:
            loop = asyncio.get_running_loop()
            if loop.time() - self._resolved_s >= RESOLVED_S:
                failed = await asyncio.gather(*map(self._resolve, self._names))
                self._failed = tuple(filter(None, failed))
                self._resolved_s = loop.time()
        found = sorted({address for known in self._known.values() for address in known})
        if len(found) <= PEERS_MAX:
            return found, self._failed
        too_many = Peer(found[PEERS_MAX], error=f"only {PEERS_MAX} of {len(found)} are asked")
        return found[:PEERS_MAX], (*self._failed, too_many)

    async def _resolve(self, name: str) -> Peer | None:
        """Its addresses become known; else what is wrong."""
        if not is_name(name):
            self._known[name] = (name,)
            return None
        host, _, port = name.rpartition(":")
        try:
            async with asyncio.timeout(RESOLVE_S_MAX):
                found = await asyncio.get_running_loop().getaddrinfo(
                    host, int(port), type=socket.SOCK_STREAM
                )
        except TimeoutError:
            return Peer(name, error=f"the DNS does not answer within {RESOLVE_S_MAX:g} s")
        except (OSError, UnicodeError) as err:
            reason = getattr(err, "strerror", None) or str(err)
            return Peer(name, error=f"the name cannot be resolved: {reason.lower()}")
        hosts = (str(sockaddr[0]) for *_, sockaddr in found)
        self._known[name] = tuple(f"[{x}]:{port}" if ":" in x else f"{x}:{port}" for x in hosts)
        return None


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
