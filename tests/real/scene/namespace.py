"""Pod addresses: whether this process runs where 192.0.2.0/24 is local, and a free port there.

`tests/real/in-namespace` makes such a place.
"""

import ipaddress
import socket

POD_NETWORK = ipaddress.ip_network("192.0.2.0/24")
NODE_ADDRESS = "192.0.2.1"
"""What the cluster's own parts use; the tests' pods take any other of the network."""


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

    Another process may take it before the caller does; inside a namespace of our own none will.
    """
    with socket.socket() as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port


def is_listening(address: str, port: int) -> bool:
    """Whether something accepts connections there: readiness where a request would leave spans."""
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True
