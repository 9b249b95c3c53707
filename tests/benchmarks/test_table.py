"""The benchmark of large tables measures what it says."""

from benchmarks.table import measure


async def test_every_host_has_its_routes_and_endpoints_and_every_change_is_published() -> None:
    result = await measure(20, 3)

    counts = (result.hosts, result.routes, result.backends, result.endpoints)
    assert counts == (20, 200, 20, 100)
    assert result.endpoint_change.p50_ms >= result.endpoint_change.publish_p50_ms > 0
    assert result.rss_bytes > 0
