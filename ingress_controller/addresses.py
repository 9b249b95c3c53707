"""`ADDR:PORT`, URLs of it, and `NS/NAME:PORT=ADDR:PORT` as people write them.

In flags and in annotations. Rules: pure; what is wrong is said in one sentence that shows what
would be right.
"""

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import urlsplit

PORT_MAX = 65_535

_SERVICE_LISTENER = re.compile(
    r"(?P<namespace>[^/=:]+)/(?P<service>[^/=:]+):(?P<port>[^/=:]+)=(?P<address>.+)"
)
_ANNOTATION_ENTRY = re.compile(r"(?P<port>[^/=:]+)=(?P<address>.+)")


class AddressError(ValueError):
    """The text is not an address; the message says what one looks like."""


class ServiceListener(NamedTuple):
    """A local address that serves one port of one Service. `port` is a number or a name."""

    namespace: str
    service: str
    port: str
    address: str


def listen_address(text: str) -> str:
    """`text` in canonical form: an IP literal and a port, `127.0.0.1:8080` or `[::1]:8080`.

    Raises:
        AddressError: anything else, also host names, since they may stand for several addresses,
            and port 0, which would be another one for each worker.
    """
    address = address_or_any_port(text)
    if address.endswith(":0"):
        raise AddressError(f'"{text}" has no port that clients could know, for example 8080')
    return address


def address_or_any_port(text: str) -> str:
    """The same, and port 0 stands for one that the kernel chooses. Raises AddressError."""
    host, separator, port = text.strip().rpartition(":")
    if not separator or not port.isascii() or not port.isdigit() or int(port) > PORT_MAX:
        raise AddressError(f'"{text}" is not ADDR:PORT, for example 127.0.0.1:8080 or [::]:80')
    is_bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ipaddress.ip_address(host[1:-1] if is_bracketed else host)
    except ValueError as err:
        hint = f", write 127.0.0.1:{port}" if host == "localhost" else ""
        raise AddressError(
            f'"{host}" in "{text}" is not an IP address{hint or ", for example 0.0.0.0 or [::]"}'
        ) from err
    if is_bracketed != (address.version == 6):  # noqa: PLR2004 - the IP version
        raise AddressError(f'"{text}" is ambiguous, write an IPv6 address as [::1]:8080')
    return f"[{address}]:{port}" if is_bracketed else f"{address}:{port}"


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches the `ADDR:PORT`, in canonical form."""
    return ipaddress.ip_address(address.rpartition(":")[0].strip("[]")).is_loopback


def admin_url(text: str, scheme: str) -> str:
    """Where an admin address is asked, with a slash at its end, by `ADDR:PORT` or by a URL, which
    may have a name and, behind another proxy, a path. `scheme` is of what has none.

    Raises:
        AddressError: it is neither.
    """
    if "://" not in text:
        return f"{scheme}://{listen_address(text)}/"
    try:
        url = urlsplit(text)
        is_plain = bool(url.hostname) and url.port != 0 and not (url.query or url.fragment)
    except ValueError:
        is_plain = False
    if not is_plain or url.scheme not in ("http", "https") or "@" in url.netloc:
        raise AddressError(
            f'"{text}" is neither ADDR:PORT nor a URL such as https://spanway.example:9901'
        )
    return f"{url.scheme}://{url.netloc}{url.path.rstrip('/')}/"


def service_listener(text: str) -> ServiceListener:
    """`NS/NAME:PORT=ADDR:PORT`. Raises AddressError."""
    parts = _SERVICE_LISTENER.fullmatch(text.strip())
    if parts is None:
        raise AddressError(
            f'"{text}" is not NS/NAME:PORT=ADDR:PORT, for example shop/api:80=127.0.0.1:18080'
        )
    return ServiceListener(
        parts["namespace"], parts["service"], parts["port"], listen_address(parts["address"])
    )


def annotated_listeners(namespace: str, service: str, text: str) -> tuple[ServiceListener, ...]:
    """The listeners that a Service asks for: `PORT=ADDR:PORT`, several separated by commas.

    Raises AddressError.
    """
    listeners = []
    for entry in filter(None, (part.strip() for part in text.split(","))):
        parts = _ANNOTATION_ENTRY.fullmatch(entry)
        if parts is None:
            raise AddressError(f'"{entry}" is not PORT=ADDR:PORT, for example 80=127.0.0.1:18080')
        address = listen_address(parts["address"])
        listeners.append(ServiceListener(namespace, service, parts["port"].strip(), address))
    return tuple(listeners)
