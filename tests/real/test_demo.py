"""The demos as a person starts them: what they print, how they end."""

import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from scene.namespace import free_port
from scene.parts import built_part, debian_part, skipped_without_part
from scene.process import wait_until

DEPLOY = Path(__file__).parents[2] / "deploy"
DEADLINE_S = 60.0
HOTROD_GAVE_UP = "redis timeout"
"""HotROD lets its make-believe Redis time out now and then; seldom too often for its retries."""


def command(demo: str, *arguments: str) -> Sequence[str]:
    flags = ["--http", "--admin", *(["--https"] if demo == "demo" else [])]
    addresses = [word for flag in flags for word in (flag, f"127.0.0.1:{free_port()}")]
    return [sys.executable, str(DEPLOY / demo), *addresses, *arguments]


def run(argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, timeout=DEADLINE_S, check=False)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def read_until(text: str, process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    read = b""
    while text.encode() not in read:
        assert select.select([process.stdout], [], [], DEADLINE_S)[0], read.decode()
        piece = os.read(process.stdout.fileno(), 65_536)
        assert piece, read.decode()
        read += piece
    return read.decode()


def test_the_demo_follows_one_request_on_both_data_paths() -> None:
    ended = run(command("demo", "--once"))
    assert (ended.returncode, ended.stderr) == (0, "")
    for hop in ("shop/storefront:http", "shop/catalog:80", "shop/recommend:80"):
        assert ended.stdout.count(f"balance {hop}") == 1
    assert re.search(r"Where the time went: .*recommend ", ended.stdout)


def pids_in(said: str) -> list[int]:
    """Of the shop's pods and of Spanway."""
    rows = re.findall(r"^  (?:node-\d|here) +(.*)", said, re.MULTILINE)
    return [int(pid) for row in rows for pid in re.findall(r" (\d+)", row)]


def directory_in(said: str) -> Path:
    found = re.search(r"--manifests (\S+)/manifests", said)
    assert found
    return Path(found[1])


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_ends_cleanly_and_whole_when_interrupted(how: signal.Signals) -> None:
    with subprocess.Popen(
        command("demo"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        said = read_until("Scene 1 of 4", process)
        process.send_signal(how)
        rest, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0
    assert b"Traceback" not in rest
    pids = pids_in(said)
    assert len(pids) == 9
    assert not any(is_alive(pid) for pid in pids)
    assert not directory_in(said).exists()
    assert "demo-node" not in network_devices()


def test_of_a_demo_that_is_killed_nothing_runs_on_or_is_in_the_way_of_the_next_one() -> None:
    with skipped_without_part():
        debian_part("setpriv", "util-linux")
    # The pods of a starved node are stopped at most times.
    argv = command("demo", "--scene-seconds", "0.5")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        said = read_until("Scene 3 of 4", process)
        process.kill()
    wait_until(
        lambda: not any(is_alive(pid) for pid in pids_in(said)),
        "its processes are gone",
        deadline_s=DEADLINE_S,
    )
    wait_until(
        lambda: "demo-node" not in network_devices(), "so are its paths", deadline_s=DEADLINE_S
    )
    shutil.rmtree(directory_in(said))
    assert run([*argv, "--once"]).returncode == 0


def network_devices() -> str:
    return Path("/proc/net/dev").read_text()


def test_an_address_in_use_is_said_in_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = run([*command("demo", "--once"), "--http", address])
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"{address} cannot be used (Address already in use): ")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("flags", [(), ("--fixed",)], ids=["slow", "fixed"])
def test_one_click_in_hotrod_is_one_trace_on_both_data_paths(flags: tuple[str, ...]) -> None:
    with skipped_without_part():
        for part in ("hotrod", "jaeger"):
            built_part(part)
    ended = run(command("demo-hotrod", "--once", "--clicks", "3", *flags))
    if HOTROD_GAVE_UP in ended.stderr:
        ended = run(command("demo-hotrod", "--once", "--clicks", "3", *flags))
    assert (ended.returncode, ended.stderr) == (0, "")
    drawing = ended.stdout.split("clicks at once")[0]
    assert drawing.count("balance hotrod/frontend:http") == 1
    assert drawing.count("balance hotrod/customer:8081") == 1
    assert drawing.count("balance hotrod/route:8083") == 10
    assert drawing.count("Where the time went: ") == 1
