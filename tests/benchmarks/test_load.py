"""What the loads' own output means."""

from pathlib import Path

import pytest

from benchmarks.children import BenchError
from benchmarks.hold import is_answer
from benchmarks.idle import memory_kib
from benchmarks.large_table import control_plane, match_ns
from benchmarks.load import Done, h2load_said, wrk_said
from benchmarks.stage import RESPONSE_BYTES

H2LOAD = """
finished in 2.00s, 10.00 req/s, 17.05MB/s
requests: 20 total, 20 done, {succeeded} succeeded, {failed} failed, 0 errored, 0 timeout
status codes: {succeeded} 2xx, 0 3xx, 0 4xx, {fifth} 5xx
"""


def test_h2load_counts_what_succeeded_and_not_what_was_under_way() -> None:
    said = H2LOAD.format(succeeded=20, failed=0, fifth=0)
    assert h2load_said(said, 2) == Done(20, 2.0)


@pytest.mark.parametrize(
    "given", [{"failed": 1, "fifth": 0}, {"failed": 0, "fifth": 1}, {"failed": 0, "fifth": 0}]
)
def test_h2load_with_failures_or_without_success_is_no_figure(given: dict[str, int]) -> None:
    succeeded = 19 if any(given.values()) else 0
    with pytest.raises(BenchError):
        h2load_said(H2LOAD.format(succeeded=succeeded, **given), 2)


def test_wrk_with_an_error_is_no_figure() -> None:
    assert wrk_said('…\n{"requests": 4, "duration_us": 2000000, "errors": 0}') == Done(4, 2.0)
    with pytest.raises(BenchError, match="1 of 4 requests failed"):
        wrk_said('{"requests": 4, "duration_us": 2000000, "errors": 1}')


def test_answer_is_whole_only_with_its_last_byte() -> None:
    answer = b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n" + b"x" * RESPONSE_BYTES
    assert [is_answer(answer[:end]) for end in range(1, len(answer) + 1)].index(True) == (
        len(answer) - 1
    )
    with pytest.raises(ConnectionError, match="502"):
        is_answer(b"HTTP/1.1 502 Bad Gateway\r\n")


def test_match_is_the_one_at_random_hosts() -> None:
    said = "   12.3 ns  normalise and route, one host again and again\n"
    said += "  345.6 ns  normalise and route, 10,000 hosts at random\n"
    assert match_ns(said) == 345.6
    with pytest.raises(BenchError):
        match_ns("   12.3 ns  something else\n")


def test_publish_is_judged_by_the_slowest_of_a_hundred() -> None:
    said = {"endpoint_change": {"p50_ms": 1.0, "p99_ms": 4.0}, "rss_bytes": 3 * 2**20}
    assert control_plane(said) == {"publish_ms": 4.0, "publish_p50_ms": 1.0, "rss_mib": 3.0}


def test_memory_is_that_of_a_process_and_its_children(tmp_path: Path) -> None:
    for pid, parent, pss_kib in ((10, 1, 100), (20, 10, 7), (30, 1, 9000)):
        process = tmp_path / str(pid)
        process.mkdir()
        (process / "stat").write_text(f"{pid} (a) S {parent} 1 1")
        (process / "smaps_rollup").write_text(
            f"Rss: 99999 kB\nPss: {pss_kib} kB\nPss_Dirty: 1 kB\n"
        )
    assert memory_kib(10, tmp_path) == 107
