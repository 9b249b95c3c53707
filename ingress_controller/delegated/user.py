"""Somebody whom the API server has authenticated, by whatever way that became known here."""

import msgspec

MASTERS = "system:masters"
"""The group that may do anything, as in k8s.io/apiserver."""


class User(msgspec.Struct, frozen=True):
    """`extra` are names, each with its values."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()
