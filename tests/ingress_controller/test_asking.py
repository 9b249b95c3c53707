"""Sessions for admin addresses: what they show and to whom, and why nobody could be asked."""

import ssl
from pathlib import Path

import pem
import pytest
import trustme
from admin_rig import answering, authority_file, certificate, server_context
from aiohttp import web
from spanway_process import free_address

from ingress_controller.asking import (
    INTERRUPTIONS,
    Credentials,
    is_closed,
    is_tls_missing,
    reason_of,
    session,
    token_from,
)
from ingress_controller.credentials import CertificateFiles

TOKEN = "f3a1c5d7e9b2046885a7c9e1d3f50627"


async def who_asks(request: web.Request) -> web.Response:
    subject = (request.get_extra_info("peercert") or {}).get("subject", ())
    shown = {"authorization": request.headers.get("Authorization", ""), "subject": str(subject)}
    return web.json_response(shown)


async def shown(url: str, credentials: Credentials) -> dict[str, str]:
    async with session(credentials, timeout_s=5) as client, client.get(url) as answer:
        said: dict[str, str] = await answer.json()
        return said


async def trouble(url: str, credentials: Credentials) -> BaseException:
    with pytest.raises(INTERRUPTIONS) as raised:
        await shown(url, credentials)
    return raised.value


async def test_token_is_that_which_is_in_its_file_when_it_is_asked(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    credentials = token_from(file)
    async with answering(who_asks) as address, session(credentials, timeout_s=5) as client:
        said = []
        for text in (TOKEN, "renewed-renewed-renewed", ""):
            file.write_text(text)
            async with client.get(f"http://{address}/") as answer:
                said.append((await answer.json())["authorization"])

    assert said == [f"Bearer {TOKEN}", "Bearer renewed-renewed-renewed", f"Bearer {TOKEN}"]
    assert TOKEN not in repr(credentials)


def test_token_of_several_lines_is_none(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n{TOKEN}")

    with pytest.raises(ValueError, match="is no token: it has several lines"):
        token_from(tmp_path / "token")


async def test_token_goes_to_nobody_else(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    seen: list[str] = []

    async def elsewhere(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization", ""))
        return web.Response()

    async with answering(elsewhere) as other:

        async def leading(_: web.Request) -> web.Response:
            raise web.HTTPFound(f"http://{other}/")

        async with answering(leading) as address:
            err = await trouble(f"http://{address}/", token_from(tmp_path / "token"))

    assert (reason_of(err), seen) == ("it leads elsewhere (status 302)", [])


async def test_certificate_of_an_unknown_authority_is_not_trusted(tmp_path: Path) -> None:
    ours, other = trustme.CA(), trustme.CA()
    credentials = Credentials(ca_file=authority_file(ours, tmp_path))
    context = server_context(certificate(other, tmp_path, "127.0.0.1"))
    async with answering(who_asks, context) as address:
        err = await trouble(f"https://{address}/", credentials)
        of_the_system = await trouble(f"https://{address}/", Credentials())

    for each in (err, of_the_system):
        assert reason_of(each).startswith("its certificate is not trusted (")


async def test_name_of_the_certificate_may_be_another_than_that_which_is_asked(
    tmp_path: Path,
) -> None:
    authority = trustme.CA()
    ca_file = authority_file(authority, tmp_path)
    context = server_context(certificate(authority, tmp_path, "spanway-admin.spanway.svc"))
    async with answering(who_asks, context) as address:
        err = await trouble(f"https://{address}/", Credentials(ca_file=ca_file))
        named = Credentials(ca_file=ca_file, server_name="spanway-admin.spanway.svc")
        await shown(f"https://{address}/", named)

    assert "ip address mismatch" in reason_of(err)


async def test_own_certificate_is_shown_where_one_is_wanted(tmp_path: Path) -> None:
    authority = trustme.CA()
    ca_file = authority_file(authority, tmp_path)
    context = server_context(certificate(authority, tmp_path, "127.0.0.1"), ca_file)
    ours = certificate(authority, tmp_path, "ann.example")
    strangers = certificate(trustme.CA(), tmp_path, "bob.example")
    async with answering(who_asks, context) as address:
        url = f"https://{address}/"
        said = await shown(url, Credentials(ca_file=ca_file, certificate=ours))
        refused = await trouble(url, Credentials(ca_file=ca_file, certificate=strangers))
        missing = await trouble(url, Credentials(ca_file=ca_file))

    assert "trustme" in said["subject"]
    for err in (refused, missing):
        assert is_closed(err)


async def test_tls_where_there_is_none_and_none_where_it_is_wanted_are_told_apart(
    tmp_path: Path,
) -> None:
    authority = trustme.CA()
    ca_file = authority_file(authority, tmp_path)
    context = server_context(certificate(authority, tmp_path, "127.0.0.1"))
    async with answering(who_asks) as plain, answering(who_asks, context) as with_tls:
        without = await trouble(f"https://{plain}/", Credentials(ca_file=ca_file))
        wanted = await trouble(f"http://{with_tls}/", Credentials())

    assert is_tls_missing(without)
    assert reason_of(without) == "it speaks no TLS"
    assert reason_of(wanted) == "it closes the connection"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1")
async def test_tls_below_1_2_is_not_spoken(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = server_context(certificate(authority, tmp_path, "127.0.0.1"))
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with answering(who_asks, context) as address:
        credentials = Credentials(ca_file=authority_file(authority, tmp_path))
        err = await trouble(f"https://{address}/", credentials)

    assert is_closed(err)


async def test_nobody_and_a_name_without_address_are_said_in_words() -> None:
    nobody = await trouble(f"http://{free_address()}/", Credentials())
    nowhere = await trouble("http://nowhere.invalid/", Credentials())

    assert reason_of(nobody) == "connection refused"
    assert reason_of(nowhere) == "nowhere.invalid has no address"


async def test_files_that_are_no_certificates_are_named(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("nonsense")
    pair = certificate(trustme.CA(), tmp_path, "a.example")
    foreign = certificate(trustme.CA(), tmp_path, "b.example")
    mixed = CertificateFiles(pair.chain, foreign.private_key)

    with pytest.raises(ValueError, match='x" has no authority to trust: no certificate or crl'):
        session(Credentials(ca_file=tmp_path / "x"), timeout_s=1)
    with pytest.raises(ValueError, match="cannot be used: key values mismatch"):
        session(Credentials(certificate=mixed), timeout_s=1)


async def test_encrypted_key_is_refused_instead_of_asked_about(tmp_path: Path) -> None:
    chain, private_key = pem.pair("a.example")
    files = CertificateFiles(tmp_path / "tls.crt", tmp_path / "tls.key")
    files.chain.write_text(chain)
    files.private_key.write_text(pem.encrypted(private_key))

    with pytest.raises(ValueError, match="cannot be used: "):
        session(Credentials(certificate=files), timeout_s=1)


def test_silence_is_said_in_words() -> None:
    assert reason_of(TimeoutError()) == "no answer in time"
