import asyncio
import socket
from typing import Any

import pytest

from ingress_controller.addresses import AddressError
from ingress_controller.peers import addresses
from ingress_controller.peers.addresses import PEERS_MAX, Addresses, is_name, peer_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("spanway-peers.spanway:9901", "spanway-peers.spanway:9901"),
        (
            "Spanway-Peers.Spanway.svc.cluster.local.:09901",
            "spanway-peers.spanway.svc.cluster.local.:9901",
        ),
        ("127.0.0.2:9901", "127.0.0.2:9901"),
        ("[0::1]:9901", "[::1]:9901"),
    ],
)
def test_a_peer_is_a_name_or_an_address_with_a_port(text: str, address: str) -> None:
    assert peer_address(text) == address
    assert is_name(address) == text.lower().startswith("spanway")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("spanway-peers", '"spanway-peers" is not ADDR:PORT'),
        ("spanway-peers:0", "has no port, for example spanway-peers.spanway:9901"),
        ("spanway-peers:70000", "is not ADDR:PORT"),
        ("http://spanway:9901", "is not an IP address"),
        ("-x:9901", "is not an IP address"),
        ("::1:9901", "is ambiguous"),
        ("", '"" is not ADDR:PORT'),
    ],
)
def test_anything_else_is_said_to_be_none(text: str, message: str) -> None:
    with pytest.raises(AddressError) as raised:
        peer_address(text)
    assert message in str(raised.value)


async def test_a_name_is_what_the_system_resolves_it_to() -> None:
    known, failed = await Addresses(["localhost:9901"]).now()

    assert "127.0.0.1:9901" in known
    assert failed == ()


class FakeDns:
    """Fakes the resolver of the system, which tests cannot teach names."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hosts: list[str] | OSError = []
        self.asked = 0
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", self._answer, raising=False)

    async def _answer(self, _: str, port: int, **__: Any) -> list[Any]:
        self.asked += 1
        if isinstance(self.hosts, OSError):
            raise self.hosts
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in self.hosts]


@pytest.fixture
async def dns(monkeypatch: pytest.MonkeyPatch) -> FakeDns:
    monkeypatch.setattr(addresses, "RESOLVED_S", 0.0)
    return FakeDns(monkeypatch)


async def test_every_record_of_a_name_is_an_address(dns: FakeDns) -> None:
    found = Addresses(["spanway-peers:9901", "127.0.0.9:1"])
    dns.hosts = ["10.0.0.2", "fd00::2", "10.0.0.1"]
    assert await found.now() == (
        ["10.0.0.1:9901", "10.0.0.2:9901", "127.0.0.9:1", "[fd00::2]:9901"],
        (),
    )

    dns.hosts = ["10.0.0.3"]
    assert await found.now() == (["10.0.0.3:9901", "127.0.0.9:1"], ())


async def test_a_name_that_is_not_known_any_more_stands_for_what_it_stood_for(dns: FakeDns) -> None:
    found = Addresses(["spanway-peers:9901"])
    dns.hosts = ["10.0.0.1"]
    await found.now()
    dns.hosts = socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    known, [failed] = await found.now()

    assert known == ["10.0.0.1:9901"]
    assert (failed.address, failed.error) == (
        "spanway-peers:9901",
        "the name cannot be resolved: name or service not known",
    )


async def test_the_dns_is_asked_once_for_questions_that_come_together(
    dns: FakeDns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "RESOLVED_S", 60.0)
    found = Addresses(["spanway-peers:9901"])

    await asyncio.gather(*(found.now() for _ in range(5)))

    assert dns.asked == 1


async def test_of_too_many_replicas_some_are_asked_and_the_others_named(dns: FakeDns) -> None:
    dns.hosts = [f"10.0.0.{n}" for n in range(100, 100 + PEERS_MAX + 3)]

    known, [left_out] = await Addresses(["spanway-peers:9901"]).now()

    assert len(known) == PEERS_MAX
    assert left_out.error == f"only {PEERS_MAX} of {PEERS_MAX + 3} are asked"
