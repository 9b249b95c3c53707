"""Pod addresses: whether this process runs where 192.0.2.0/24 is local, and a free port there.

`tests/real/in-namespace` makes such a place.
"""

import errno
import ipaddress
import random
import socket
from pathlib import Path

POD_NETWORK = ipaddress.ip_network("192.0.2.0/24")
NODE_ADDRESS = "192.0.2.1"
"""What the cluster's own parts use; the tests' pods take any other of the network."""
PORT_MIN = 10_000
"""Above what well-known servers use."""

_given: set[int] = set()


def why_no_pod_addresses() -> str | None:
    """The sentence to skip with, or None where a process can listen on a pod address."""
    try:
        free_port(NODE_ADDRESS)
    except OSError as err:
        return (
            f"no process can listen on {NODE_ADDRESS} here ({err}): "
            "run the tests through tests/real/in-namespace"
        )
    return None


def free_port(address: str = "127.0.0.1") -> int:
    """A TCP port that nothing listens on at `address` now.

    It is below the ports of outgoing connections, one of which could take it before the caller
    does, and never the same twice: whoever got it first may not listen yet. Another process may
    take it; inside a namespace of our own none will.
    """
    while True:
        port = random.randrange(PORT_MIN, _first_outgoing_port())
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind((address, port))
            except OSError as err:
                if err.errno != errno.EADDRINUSE:
                    raise
            else:
                _given.add(port)
                return port


def is_listening(address: str, port: int) -> bool:
    """Whether something accepts connections there: readiness where a request would leave spans."""
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True


def _first_outgoing_port() -> int:
    return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
