"""What docs/STORE.md says of object stores, with a server of the S3 API, rclone and two engines."""

import asyncio
import json
import re
import subprocess
from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from scene.parts import extra_python, skipped_without_part

from ingress_controller.traces.store.limits import StoreLimits
from ingress_controller.traces.store.segments import Segments
from ingress_controller.traces.store.store import Store

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "docs/STORE.md"
TRACE_ID = bytes(range(1, 17))
START_UNIX_NS = 1_700_000_000_000_000_000
SCRIPT = HERE.parent / "parts/object_store.py"


def documented() -> tuple[str, str, str]:
    """The command that copies, DuckDB's query and ClickHouse's."""
    _, _, section = DOCUMENT.read_text().partition("**On an object store.**")
    [copy] = re.findall(r"^    (rclone copy .*)$", section, flags=re.MULTILINE)
    duckdb, clickhouse = re.findall(r"```sql\n(.*?)```", section, flags=re.DOTALL)[:2]
    return copy, duckdb, clickhouse


def test_sealed_files_are_read_from_an_object_store_by_the_documented_queries(
    tmp_path: Path,
) -> None:
    with skipped_without_part():
        python = extra_python("object-store")
    asyncio.run(seal(tmp_path))

    run = subprocess.run(
        [python, SCRIPT, tmp_path, *documented()], check=False, capture_output=True, text=True
    )

    assert run.returncode == 0, run.stderr[-2_000:]
    said = json.loads(run.stdout.splitlines()[-1])
    assert said["copied_again"] == 0  # a file is copied once
    assert said["duckdb"] == [["shop", 5]]
    assert {row[0] for row in said["clickhouse"]} == {TRACE_ID.hex()}
    assert len(said["clickhouse"]) == 5


async def seal(directory: Path) -> None:
    """Two files."""
    store = Store(Segments(directory), StoreLimits(seal_rows=1, age_s_max=1e9))
    for first, last in ((1, 2), (3, 5)):
        await store.add(spans(first, last).SerializeToString())


def spans(first: int, last: int) -> ExportTraceServiceRequest:
    made = ExportTraceServiceRequest()
    group = made.resource_spans.add()
    group.resource.attributes.append(
        KeyValue(key="service.name", value=AnyValue(string_value="shop"))
    )
    scope = group.scope_spans.add()
    for number in range(first, last + 1):
        scope.spans.add(
            trace_id=TRACE_ID,
            span_id=number.to_bytes(8),
            name="GET /",
            kind=Span.SPAN_KIND_SERVER,
            start_time_unix_nano=START_UNIX_NS + number,
            end_time_unix_nano=START_UNIX_NS + number + 1_000_000,
        )
    return made
