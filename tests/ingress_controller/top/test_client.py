"""What a terminal is told of an admin address that cannot be asked, or not so."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trustme
from admin_rig import answering, authority_file, certificate, server_context
from aiohttp import web

from ingress_controller.arguments import StartError
from ingress_controller.asking import AdminAddress, Credentials
from ingress_controller.credentials import Secret
from ingress_controller.report.command import report
from ingress_controller.top.client import AdminClient, QuestionError, TopError

NOTHING = Credentials()


async def refusal(url: str, credentials: Credentials = NOTHING) -> TopError:
    with pytest.raises(TopError) as raised:
        async with AdminClient(AdminAddress(url, credentials)) as client:
            await client.get("/api/live", {})
    return raised.value


def saying(status: int, error: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"error": error}, status=status)

    return answer


async def test_who_is_not_known_is_told_what_to_show() -> None:
    async with answering(saying(401, "Authorization: a token is needed.")) as address:
        unknown = await refusal(f"http://{address}/")
        wrong = await refusal(f"http://{address}/", Credentials(token=Secret("no" * 8)))

    assert isinstance(unknown, QuestionError)
    assert str(unknown) == f"{address} wants to know who asks: give --admin-token-file FILE."
    assert str(wrong) == (
        f"{address} does not know the token of --admin-token-file:"
        " Authorization: a token is needed."
    )


@pytest.mark.parametrize("status", [200, 503])
@pytest.mark.parametrize(
    "body",
    [b"<html>", b"\xff", b'{"error":' * 100_000, b'{"error":[]', b"[]", b'{"bases":1}'],
    ids=["html", "bytes", "deep", "cut", "list", "other"],
)
async def test_answer_of_another_form_is_said_to_be_no_spanways(body: bytes, status: int) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, status=status)

    async with answering(answer) as address:
        client = AdminClient(AdminAddress(f"http://{address}/", NOTHING))
        with pytest.raises(StartError) as raised:
            await asyncio.to_thread(report, client, "nodes", {}, is_json=False)

    assert str(raised.value) == (
        f"What answers at {address} is no Spanway that knows of this (status {status});"
        " name its admin address with --admin."
    )


async def test_who_may_not_is_told_so_in_the_words_of_the_server() -> None:
    async with answering(saying(403, 'User "ann" cannot get path "/x".')) as address:
        err = await refusal(f"http://{address}/")

    assert isinstance(err, QuestionError)
    assert str(err) == 'User "ann" cannot get path "/x".'


async def test_each_failure_of_tls_says_which_flag_mends_it(tmp_path: Path) -> None:
    authority, other = trustme.CA(), trustme.CA()
    ca_file = authority_file(authority, tmp_path)
    trusting = Credentials(ca_file=ca_file)
    context = server_context(certificate(authority, tmp_path, "127.0.0.1"), ca_file)
    foreign = server_context(certificate(other, tmp_path, "localhost"))
    ok = saying(200, "")
    async with (
        answering(ok) as plain,
        answering(ok, context) as with_tls,
        answering(ok, foreign) as untrusted,
    ):
        said = [
            str(await refusal(f"https://{untrusted}/", trusting)).replace(untrusted, "A"),
            str(await refusal(f"https://{plain}/", trusting)).replace(plain, "A"),
            str(await refusal(f"https://{with_tls}/", trusting)).replace(with_tls, "A"),
            str(await refusal(f"http://{with_tls}/")).replace(with_tls, "A"),
        ]

    assert said == [
        "https://A cannot be asked: its certificate is not trusted (unable to get local issuer"
        " certificate); name its authority with --ca-file, or whom it is for with"
        " --tls-server-name.",
        "https://A cannot be asked: it speaks no TLS; write http:// in --admin.",
        "https://A cannot be asked: it closes the connection; if it wants a certificate, show one"
        " that it knows with --client-cert.",
        "A cannot be asked: it closes the connection; if it wants TLS, write https:// in --admin.",
    ]


async def test_file_that_is_no_authority_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("nonsense")

    err = await refusal("https://127.0.0.1:1/", Credentials(ca_file=tmp_path / "ca.crt"))

    assert isinstance(err, QuestionError)
    assert str(err).endswith('ca.crt" has no authority to trust: no certificate or crl found.')


async def test_address_behind_another_proxys_path_is_asked_there() -> None:
    async def path(request: web.Request) -> web.Response:
        return web.Response(text=request.path_qs)

    async with (
        answering(path) as address,
        AdminClient(AdminAddress(f"http://{address}/proxy/")) as client,
    ):
        assert await client.get("/api/live", {"a": "b"}) == b"/proxy/api/live?a=b"
