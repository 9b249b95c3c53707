"""Host names and paths of rules in the one form in which the table holds them.

Rules: pure; what cannot be brought into that form is a Fault, in the words of who wrote it.
"""

import ipaddress
import re
from typing import NamedTuple

from proxy.table import PathKind

HOST_BYTES_MAX = 253  # RFC 1035, 2.3.4, without the root's dot
PATH_BYTES_MAX = 4_096  # nothing longer is sent by a browser; keeps the table's size honest

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_AMBIGUOUS = ("//", "/./", "/../", "%2f", "%2F", "%5c", "%5C")
_REGEX_SIGNS = re.compile(r"[()\[\]*^$|\\]")


class Fault(NamedTuple):
    """Why a name is refused, and what to write instead."""

    message: str
    fix: str


def host_name(text: str) -> str | Fault:
    """A rule's host in lower case: a DNS name, or `*.` and a DNS name.

    Source: Ingress v1, IngressRule.host: no IP address, no port, one wildcard label at most.
    """
    name = text.strip().lower()
    if not name.isascii():
        return Fault(f'"{text}" is not a DNS name.', f'Write it as "{_punycode(name)}".')
    if _is_address(name):
        return Fault(
            f'"{text}" is an IP address.', "Leave out the host to match requests for any address."
        )
    if ":" in name:
        return Fault(
            f'"{text}" has a port.', f'Write "{name.partition(":")[0]}": any port matches.'
        )
    plain = name.removeprefix("*.")
    if "*" in plain:
        return Fault(f'"{text}" has "*" in a place other than first.', "Use *.example.org.")
    if len(plain) > HOST_BYTES_MAX or not all(_LABEL.fullmatch(x) for x in plain.split(".")):
        return Fault(f'"{text}" is not a DNS name.', "Use a name like shop.example.org.")
    return name


def path_value(text: str | None, kind: PathKind) -> str | Fault:
    """A rule's path as the table holds it: a prefix has no slash at its end unless it is "/".

    Source: Ingress v1 validation refuses the same sequences, because they have several readings.
    """
    path = text or "/"
    if not path.startswith("/"):
        return Fault(f'"{path}" does not start with "/".', f'Write "/{path}".')
    if len(path.encode()) > PATH_BYTES_MAX:
        return Fault(f"The path is longer than {PATH_BYTES_MAX} bytes.", "Use a shorter prefix.")
    bad = next((sign for sign in _AMBIGUOUS if sign in path), "")
    if bad or path.endswith(("/.", "/..")):
        shown = bad or path[path.rindex("/") :]
        return Fault(
            f'"{path}" contains "{shown}".', "Requests are normalised, so write it plainly."
        )
    if "?" in path or "#" in path:
        return Fault(f'"{path}" has more than a path.', "Query and fragment cannot be matched.")
    return path if kind is PathKind.EXACT else path.rstrip("/") or "/"


def looks_like_regex(path: str) -> bool:
    """Whether a path was written for a controller that reads regular expressions."""
    return _REGEX_SIGNS.search(path) is not None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _punycode(name: str) -> str:
    try:
        return name.encode("idna").decode()
    except UnicodeError:
        return "its punycode form"
