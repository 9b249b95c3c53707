"""HTTPS of the running process: certificates from Secrets of a directory, and their change."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pem
from k8s_objects import Object, endpoint_slice, ingress, path, secret, service
from spanway_process import answering, free_address, spanway, write

FIRST, SECOND = pem.pair("shop.example"), pem.pair("shop.example", "www.shop.example")
TLS = [{"hosts": ["shop.example"], "secretName": "cert"}]


class Served:
    """The addresses of a running process, and the directory that it follows."""

    def __init__(self, directory: Path, port: int) -> None:
        self.directory = directory
        self.http, self.https = free_address(), free_address()
        self._port = port

    def write(self, certificate: tuple[str, str], annotations: dict[str, str]) -> None:
        slices: Object = endpoint_slice("api", "127.0.0.1", ports=[{"port": self._port}])
        asks = ingress(path("/"), tls=TLS, annotations=annotations)
        write(self.directory, asks, service(), slices, secret(certificate))


@asynccontextmanager
async def served(directory: Path, **annotations: str) -> AsyncIterator[Served]:
    async with answering("one") as port:
        one = Served(directory, port)
        one.write(FIRST, annotations)
        flags = ["--manifests", str(directory), "--http", one.http, "--https", one.https]
        async with spanway(*flags, "--admin", free_address()) as process:
            assert process.stdout is not None
            assert await process.stdout.readline(), "it is ready"
            yield one


async def leaf_of(address: str, name: str) -> str:
    """The certificate, PEM, that a client is shown who asks for `name`."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    host, _, port = address.rpartition(":")
    _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=name)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return ssl.DER_cert_to_PEM_cert(shown)


async def test_a_secret_of_the_directory_is_the_certificate_of_its_host(tmp_path: Path) -> None:
    context = ssl.create_default_context(cadata=FIRST[0])
    async with served(tmp_path) as one, aiohttp.ClientSession() as client:
        asked = client.get(
            f"https://{one.https}/",
            headers={"Host": "shop.example"},
            ssl=context,
            server_hostname="shop.example",
        )
        async with asked as answer:
            assert (answer.status, await answer.text()) == (200, "one")


async def test_a_changed_secret_is_shown_to_the_next_client(tmp_path: Path) -> None:
    async with served(tmp_path) as one:
        assert await leaf_of(one.https, "shop.example") == FIRST[0]

        one.write(SECOND, {})
        async with asyncio.timeout(10):
            while (shown := await leaf_of(one.https, "shop.example")) != SECOND[0]:
                assert shown == FIRST[0]


async def test_a_host_without_certificate_is_shown_the_default_one(tmp_path: Path) -> None:
    async with served(tmp_path) as one:
        shown = await leaf_of(one.https, "other.example")

    assert "Spanway default certificate" in pem.subject_of(shown)


async def test_plain_http_of_a_host_with_tls_is_redirected(tmp_path: Path) -> None:
    async with served(tmp_path) as one, aiohttp.ClientSession() as client:
        asked = client.get(
            f"http://{one.http}/x?y=1", headers={"Host": "shop.example"}, allow_redirects=False
        )
        async with asked as answer:
            assert answer.status == 308
            assert answer.headers["Location"].startswith("https://shop.example")
