"""Who may ask a running process, and how the commands of a terminal show it."""

import asyncio
import os
import sys
from pathlib import Path

import trustme
from admin_rig import authority_file, certificate
from spanway_process import MAIN, free_address, spanway, write

from ingress_controller.asking import Credentials, session
from ingress_controller.credentials import Secret


async def command(*argv: str) -> tuple[int | None, str]:
    """The exit code, and what it said of an error."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", MAIN, *argv),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await process.communicate()
    return process.returncode, err.decode()


async def test_terminal_shows_its_certificate_and_is_told_what_is_missing(tmp_path: Path) -> None:
    manifests, keys = tmp_path / "manifests", tmp_path / "keys"
    for directory in (manifests, keys):
        directory.mkdir()
    write(manifests)
    authority = trustme.CA()
    ca_file = str(authority_file(authority, keys))
    own, ann = certificate(authority, keys, "127.0.0.1"), certificate(authority, keys, "ann")
    admin = free_address()
    flags = ["--admin-cert", str(own.chain), "--admin-key", str(own.private_key)]
    flags += ["--admin-client-ca", ca_file, "--admin", admin]
    flags += ["--manifests", str(manifests), "--http", free_address()]
    async with spanway(*flags) as process:
        assert process.stdout is not None
        assert f"admin https://{admin}, " in (await process.stdout.readline()).decode()
        trusting = ["--once", "--admin", f"https://{admin}", "--ca-file", ca_file]
        shown = ["--client-cert", str(ann.chain), "--client-key", str(ann.private_key)]

        known = await command("top", *trusting, *shown)
        unknown = await command("top", *trusting)
        untrusted = await command("top", "--once", "--admin", f"https://{admin}")
        without = await command("top", "--once", "--admin", admin)

    assert known == (0, "")
    assert unknown == (
        2,
        f"spanway: https://{admin} wants to know who asks: give --admin-token-file FILE, or"
        " --client-cert and --client-key.\n",
    )
    assert untrusted[0] == 1
    assert "its certificate is not trusted (" in untrusted[1]
    assert without == (
        1,
        f"spanway: {admin} cannot be asked: it closes the connection;"
        " if it wants TLS, write https:// in --admin.\n",
    )


async def test_file_that_is_of_no_use_ends_the_start_with_a_sentence(tmp_path: Path) -> None:
    nonsense = tmp_path / "nonsense"
    nonsense.write_text("nonsense")
    flags = ["--manifests", str(tmp_path), "--http", free_address(), "--admin", free_address()]
    flags += ["--admin-cert", str(nonsense), "--admin-key", str(nonsense)]
    async with spanway(*flags) as process:
        _, stderr = await process.communicate()

    assert process.returncode == 1
    last = stderr.decode().splitlines()[-1]
    assert last.startswith("spanway: --admin: the serving certificate cannot be used: ")
    assert last.endswith("; name another file.")


async def test_replicas_with_one_certificate_and_token_ask_each_other(tmp_path: Path) -> None:
    manifests, keys = tmp_path / "manifests", tmp_path / "keys"
    for directory in (manifests, keys):
        directory.mkdir()
    write(manifests)
    (keys / "token").write_text("f3a1c5d7e9b2046885a7c9e1d3f50627")
    authority = trustme.CA()
    own = certificate(authority, keys, "spanway-admin.spanway.svc")
    known = ["--admin-token-file", str(keys / "token")]
    flags = ["--admin-cert", str(own.chain), "--admin-key", str(own.private_key), *known]
    flags += ["--manifests", str(manifests)]
    first, second = free_address(), free_address()
    flags += ["--peers", f"{first},{second}"]
    ports = free_address(), free_address()
    async with (
        spanway(*flags, "--admin", first, "--http", ports[0]) as one,
        spanway(*flags, "--admin", second, "--http", ports[1]) as other,
    ):
        for process in (one, other):
            assert process.stdout is not None
            await process.stdout.readline()
        trusting = ["--ca-file", str(authority_file(authority, keys))]
        trusting += ["--tls-server-name", "spanway-admin.spanway.svc", *known]

        code, err = await command("top", "--once", "--admin", first, *trusting)
        credentials = Credentials(
            Secret("f3a1c5d7e9b2046885a7c9e1d3f50627"),
            ca_file=keys / "ca.crt",
            server_name="spanway-admin.spanway.svc",
        )
        url = f"https://{first}/api/live"
        async with session(credentials, timeout_s=10) as client, client.get(url) as answer:
            (peer,) = (await answer.json())["peers"]

    assert (code, err) == (0, "")
    assert (peer["address"], peer["error"]) == (second, "")
