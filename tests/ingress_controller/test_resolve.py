import asyncio
import socket

import pytest

from ingress_controller.resolve import Resolver
from ingress_controller.routing.backends import Resolved


async def resolved(
    name: str, answer: list[str] | OSError, monkeypatch: pytest.MonkeyPatch, **options: bool
) -> Resolved:
    """What a resolver says when the system's, faked here at the process edge, answers so."""

    async def getaddrinfo(*_: object, **__: object) -> list[tuple[object, ...]]:
        if isinstance(answer, OSError):
            raise answer
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (text, 0)) for text in answer]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    changed = asyncio.Event()
    resolver = Resolver(changed.set, allow_loopback=options.get("allow_loopback", False))
    resolver.want(frozenset({name}))
    task = asyncio.ensure_future(resolver.run())
    async with asyncio.timeout(5):
        await changed.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return resolver.resolved[name]


async def test_addresses_are_sorted_and_each_is_there_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = await resolved("x.example", ["192.0.2.9", "192.0.2.1", "192.0.2.9"], monkeypatch)

    assert found == Resolved(("192.0.2.1", "192.0.2.9"))


async def test_a_name_without_address_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    error = socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    assert await resolved("x.example", error, monkeypatch) == Resolved(
        error="name or service not known"
    )


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "::1", "169.254.169.254", "0.0.0.0", "fe80::1%eth0"),
        *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:0.0.0.0"),
    ],
)
async def test_in_a_cluster_a_name_cannot_stand_for_the_proxys_own_host(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await resolved("x.example", [address], monkeypatch)

    assert found == Resolved(error="it stands for this host only, which is not allowed")


async def test_with_manifests_a_name_may_be_local(monkeypatch: pytest.MonkeyPatch) -> None:
    found = await resolved("x.example", ["127.0.0.1"], monkeypatch, allow_loopback=True)

    assert found == Resolved(("127.0.0.1",))
