"""The admin server with TLS: who gets in by a certificate, and files that change."""

import asyncio
import logging
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
import pytest
import trustme
from admin_rig import authority_file, certificate
from admin_state import FakeState
from eventually import until

from ingress_controller.admin import server
from ingress_controller.admin.server import AdminServer
from ingress_controller.asking import INTERRUPTIONS, Credentials, is_closed, session
from ingress_controller.credentials import AdminAccess, CertificateFiles, Secret
from ingress_controller.serving import server as bounds
from ingress_controller.serving.refusals import Reason

TOKEN = "f3a1c5d7e9b2046885a7c9e1d3f50627"


class Rig:
    """A running one. `authority` is that of its certificate, `of_clients` that of theirs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = trustme.CA()
        self.of_clients = trustme.CA()
        self.address = ""
        self.server: AdminServer
        self.access = AdminAccess(
            certificate(self.authority, directory, "127.0.0.1"),
            authority_file(self.of_clients, directory, "clients.crt"),
        )
        self.trusting = Credentials(ca_file=authority_file(self.authority, directory))

    def client(self, name: str, authority: trustme.CA | None = None) -> Credentials:
        files = certificate(authority or self.of_clients, self.directory, name)
        return msgspec.structs.replace(self.trusting, certificate=files)

    async def ask(self, path: str, credentials: Credentials) -> tuple[int, str]:
        url = f"https://{self.address}{path}"
        async with session(credentials, timeout_s=10) as client, client.get(url) as answer:
            return answer.status, await answer.text()

    async def serial(self) -> int:
        """Of the certificate that it shows now."""
        context = ssl.create_default_context(cafile=self.trusting.ca_file)
        host, _, port = self.address.rpartition(":")
        _, writer = await asyncio.open_connection(host, int(port), ssl=context)
        shown = writer.get_extra_info("peercert")["serialNumber"]
        writer.close()
        return int(shown, 16)


@asynccontextmanager
async def running(rig: Rig, access: AdminAccess) -> AsyncIterator[AdminServer]:
    serving = AdminServer(FakeState(), access)
    rig.address = await serving.start("127.0.0.1:0")
    async with asyncio.TaskGroup() as group:
        task = group.create_task(serving.run())
        yield serving
        await serving.stop()
        task.cancel()


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path)
    async with running(rig, rig.access) as rig.server:
        yield rig


async def test_certificate_of_the_authority_lets_in(rig: Rig) -> None:
    assert (await rig.ask("/api/stats", rig.client("ann.example")))[0] == 200
    assert (await rig.ask("/metrics", rig.client("prometheus.example")))[0] != 401


async def test_without_one_probes_are_answered_and_others_told_what_is_wanted(rig: Rig) -> None:
    for path in ("/livez", "/readyz", "/"):
        assert (await rig.ask(path, rig.trusting))[0] == 200
    for path in ("/api/stats", "/metrics", "/v1/traces"):
        status, text = await rig.ask(path, rig.trusting)
        assert status == 401
        assert "show a certificate of the authority in --admin-client-ca" in text


async def test_certificate_of_somebody_else_gets_no_connection(rig: Rig) -> None:
    with pytest.raises(INTERRUPTIONS) as raised:
        await rig.ask("/livez", rig.client("bob.example", trustme.CA()))

    assert is_closed(raised.value)


async def test_token_lets_in_beside_certificates(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    access = msgspec.structs.replace(rig.access, token=Secret(TOKEN))
    known = msgspec.structs.replace(rig.trusting, token=Secret(TOKEN))
    wrong = msgspec.structs.replace(rig.trusting, token=Secret("wrong"))
    both_wrong = msgspec.structs.replace(rig.client("ann.example"), token=Secret("wrong"))
    async with running(rig, access):
        answers = [await rig.ask("/api/stats", each) for each in (known, wrong, both_wrong)]

    assert [status for status, _ in answers] == [200, 401, 200]
    assert "in the file of --admin-token-file; or show a certificate" in answers[1][1]


async def test_probe_gets_in_when_strangers_have_taken_all_connections(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "CONNECTIONS_MAX", 3)
    context = ssl.create_default_context(cafile=rig.trusting.ca_file)
    host, _, port = rig.address.rpartition(":")
    strangers = []
    for _ in range(3):
        _, writer = await asyncio.open_connection(host, int(port), ssl=context)
        writer.write(b"POST /api/session HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\n{")
        strangers.append(writer)

    assert (await rig.ask("/livez", rig.trusting))[0] == 200
    assert rig.server.refused[Reason.CROWDED] > 0
    for writer in strangers:
        writer.close()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
async def test_tls_below_1_2_is_not_spoken(rig: Rig) -> None:
    context = ssl.create_default_context(cafile=rig.trusting.ca_file)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with aiohttp.ClientSession() as client:
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.get(f"https://{rig.address}/livez", ssl=context)


async def test_renewed_certificate_is_shown_and_a_broken_one_changes_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server, "FILES_S", 0.01)
    async with running(rig, rig.access):
        before = await rig.serial()
        assert rig.access.certificate is not None
        chain = rig.access.certificate.chain
        with caplog.at_level(logging.INFO, "spanway"):
            replace(chain, "nonsense")
            await until(lambda: "AdminUnusable" in caplog.text)
            assert await rig.serial() == before
            renew(rig)
            await until(lambda: "AdminUsable" in caplog.text)

        assert await rig.serial() != before
    assert caplog.text.count("AdminUnusable reason=") <= 2  # between the two files of a pair, too


async def test_changed_authority_and_token_count_for_who_asks_from_then_on(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "FILES_S", 0.01)
    token_file = rig.directory / "token"
    token_file.write_text(TOKEN)
    access = msgspec.structs.replace(rig.access, token=Secret(TOKEN), token_file=token_file)
    ann = rig.client("ann.example")
    known = msgspec.structs.replace(rig.trusting, token=Secret(TOKEN))
    async with running(rig, access):
        assert (await rig.ask("/api/stats", ann))[0] == 200
        assert (await rig.ask("/api/stats", known))[0] == 200

        replace(token_file, "another-another-another")
        await eventually(rig, known, lets_in=False)
        rig.of_clients = trustme.CA()
        authority_file(rig.of_clients, rig.directory, "clients.crt")
        bob = rig.client("bob.example")
        await eventually(rig, bob, lets_in=True)
        assert not await is_let_in(rig, ann)


async def test_files_that_cannot_be_used_end_the_start_with_half_a_sentence(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    (tmp_path / "nonsense").write_text("nonsense")
    assert rig.access.certificate is not None
    chain = rig.access.certificate.chain
    no_key = CertificateFiles(chain, tmp_path / "nonsense")

    for access, message in (
        (AdminAccess(no_key), "the serving certificate cannot be used: "),
        (AdminAccess(rig.access.certificate, tmp_path / "nonsense"), "the authority of clients "),
    ):
        with pytest.raises(ValueError, match=message):
            await AdminServer(FakeState(), access).start("127.0.0.1:0")


async def eventually(rig: Rig, credentials: Credentials, *, lets_in: bool) -> None:
    async with asyncio.timeout(10):
        while await is_let_in(rig, credentials) is not lets_in:  # noqa: ASYNC110 - behind a socket
            await asyncio.sleep(0.01)


async def is_let_in(rig: Rig, credentials: Credentials) -> bool:
    try:
        return (await rig.ask("/api/stats", credentials))[0] == 200
    except INTERRUPTIONS:
        return False


def renew(rig: Rig) -> None:
    files = rig.access.certificate
    assert files is not None
    issued = rig.authority.issue_cert("127.0.0.1")
    replace(files.private_key, issued.private_key_pem.bytes().decode())
    replace(files.chain, issued.cert_chain_pems[0].bytes().decode())


def replace(path: Path, text: str) -> None:
    """At once, as a kubelet does."""
    new = path.with_suffix(".new")
    new.write_text(text)
    os.replace(new, path)  # noqa: PTH105
