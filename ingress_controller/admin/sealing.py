"""A token of Kubernetes in a browser's cookie: sealed, so that it is of use here only.

A cookie goes to every port of a host, and lies on a disk. What is in it can be read by whoever has
the key, which is made of the admin token where there is one, and so is the same for all replicas;
else it is a process's own.
"""

import base64
import hashlib
import hmac
import secrets
import zlib

from cryptography.fernet import Fernet, InvalidToken

SESSION_S = 12 * 3600  # a working day; the token may end before
COOKIE_BYTES_MAX = 4_000  # what browsers keep, with the name; a sealed token of 1,200 has 1,400

_PURPOSE = b"spanway-admin session"


class Seal:
    """`secret` is what the key is made of; empty for one that nobody else has."""

    def __init__(self, secret: str = "") -> None:
        made_of = secret.encode() or secrets.token_bytes()
        key = hmac.digest(made_of, _PURPOSE, hashlib.sha256)
        self._fernet = Fernet(base64.urlsafe_b64encode(key))

    def sealed(self, token: str) -> str:
        """For a cookie. Raises ValueError: it would be longer than a cookie may be."""
        cookie = self._fernet.encrypt(zlib.compress(token.encode())).decode()
        if len(cookie) > COOKIE_BYTES_MAX:
            raise ValueError("it is longer than what a browser keeps")
        return cookie

    def opened(self, cookie: str) -> str:
        """The token; empty if it was not sealed here, or too long ago."""
        try:
            return zlib.decompress(self._fernet.decrypt(cookie, ttl=SESSION_S)).decode()
        except (InvalidToken, ValueError):
            return ""
