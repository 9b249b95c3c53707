"""On what and with what the figures were measured."""

import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path

from benchmarks.children import BenchError, program


def machine() -> dict[str, str]:
    """Names and values for people; what cannot be found out is "unknown"."""
    return {
        "cpu": _cpu_model(),
        "cores": str(len(os.sched_getaffinity(0))),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "congestion_control": _line("/proc/sys/net/ipv4/tcp_congestion_control"),
        "python": platform.python_version(),
        "spanway": metadata.version("spanway"),
        "nginx": _version("nginx", "-v"),
        "haproxy": _version("haproxy", "-v"),
        "envoy": _version("envoy", "--version"),
        "caddy": _version("caddy", "version"),
        "wrk": _version("wrk", "-v"),
        "h2load": _version("h2load", "--version"),
        "load_average": " ".join(f"{one:.2f}" for one in os.getloadavg()),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"


def _line(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return "unknown"


def _version(name: str, flag: str) -> str:
    """Each says it in its own way and place; wrk with an exit code besides."""
    try:
        said = subprocess.run([program(name), flag], capture_output=True, text=True, check=False)
    except BenchError:
        return "not installed"
    # Envoy's begins with the hash of a commit.
    found = re.search(r"\b\d+(\.\d+)+", said.stdout + said.stderr)
    return found.group() if found else "unknown"
