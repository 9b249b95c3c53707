"""What is nested too deeply becomes null, and nothing else changes."""

import msgspec
import pytest

from ingress_controller.shallow_json import DEPTH_MAX, decode, shallow


def nested(depth: int, begin: str = '{"a":', end: str = "}") -> str:
    return begin * depth + "7" + end * depth


def test_what_parsers_can_read_is_read_as_it_is() -> None:
    text = nested(DEPTH_MAX + 100).encode()

    assert decode(text) == msgspec.json.decode(text)


@pytest.mark.parametrize(("begin", "end"), [('{"a":', "}"), ("[", "]"), ('[{"]":', "}]")])
def test_what_is_beside_it_is_read(begin: str, end: str) -> None:
    deep = nested(100_000, begin, end)
    text = f'{{"x": {deep}, "y": [1, {deep}], "z": "[[[{{\\\\\\"["}}'

    read = decode(text.encode())

    assert list(read) == ["x", "y", "z"]
    assert (read["y"][0], read["z"]) == (1, '[[[{\\"[')


@pytest.mark.parametrize("more", [0, 1, 2])
def test_levels_are_kept_up_to_the_bound(more: int) -> None:
    read = msgspec.json.decode(shallow(nested(DEPTH_MAX + more).encode()))
    levels = 0
    while isinstance(read, dict):
        read = read["a"]
        levels += 1

    assert levels == DEPTH_MAX
    assert read == (None if more else 7)


@pytest.mark.parametrize("text", [b"[" * 100_000, b"]" * 100_000, b'"' + b"[" * 100_000])
def test_what_is_no_json_is_said_to_be_none(text: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(text)
