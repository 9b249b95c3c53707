import json
from pathlib import Path

import pytest
from export_rig import ExportRig
from sample_spans import batch

from ingress_controller.traces.export.destination import JsonFile
from ingress_controller.traces.export.exporter import ExportLimits
from ingress_controller.traces.export.json_file import JsonFileSender
from ingress_controller.traces.export.losses import DropReason, ExportStats
from ingress_controller.traces.export.otlp_json import as_json
from proxy.spans import SpanBatch

LINE_BYTES = len(as_json(batch().otlp) + b"\n")


async def exported(
    destination: JsonFile, *batches: SpanBatch, limits: ExportLimits | None = None
) -> ExportStats:
    rig = ExportRig()
    rig.put(*batches)
    exporters = rig.exporters(rig.exporter(JsonFileSender(destination), limits or ExportLimits()))
    await exporters.flush(5)
    rig.close()
    return exporters.stats[0]


def files(directory: Path) -> list[str]:
    return sorted(file.name for file in directory.iterdir())


def services(path: Path) -> list[str]:
    """Of each line."""
    read = [json.loads(line) for line in path.read_text().splitlines()]
    values = [x["resourceSpans"][0]["resource"]["attributes"][0]["value"] for x in read]
    return [value["stringValue"] for value in values]


async def test_each_batch_is_a_line_after_those_that_are_there(tmp_path: Path) -> None:
    path = tmp_path / "spans.jsonl"

    await exported(JsonFile(path), batch(service="a"), batch(service="b"))
    stats = await exported(JsonFile(path), batch(3, service="c"))

    assert services(path) == ["a", "b", "c"]
    assert stats.sent_spans == 3


async def test_files_are_bounded_in_size_and_number_and_the_oldest_goes(tmp_path: Path) -> None:
    path = tmp_path / "spans.jsonl"
    destination = JsonFile(path, file_bytes_max=2 * LINE_BYTES, files_max=3)

    await exported(destination, *(batch(service=f"s{number:03}") for number in range(9)))

    assert files(tmp_path) == [
        "spans.jsonl",
        "spans.jsonl.1",
        "spans.jsonl.2",
    ]
    assert services(path) == ["s008"]
    assert services(tmp_path / "spans.jsonl.1") == ["s006", "s007"]
    assert services(tmp_path / "spans.jsonl.2") == ["s004", "s005"]


async def test_a_single_file_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "spans.jsonl"

    await exported(JsonFile(path, 1, 1), batch(service="a"), batch(service="b"))

    assert services(path) == ["b"]
    assert files(tmp_path) == ["spans.jsonl"]


async def test_what_cannot_be_written_is_tried_again_and_then_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "gone" / "spans.jsonl"

    stats = await exported(JsonFile(path), batch(), limits=ExportLimits(attempts_max=3))

    assert stats.retry_count == 2
    assert stats.dropped_spans == {DropReason.UNREACHABLE: 1}
    assert "No such file or directory" in caplog.messages[0]


async def test_a_full_disk_leaves_no_half_line() -> None:
    stats = await exported(
        JsonFile(Path("/dev/full")), batch(), limits=ExportLimits(attempts_max=1)
    )

    assert stats.dropped_spans == {DropReason.UNREACHABLE: 1}


async def test_what_is_no_otlp_is_refused_at_once(tmp_path: Path) -> None:
    stats = await exported(JsonFile(tmp_path / "x"), SpanBatch(b"\xff", 2))

    assert stats.dropped_spans == {DropReason.REJECTED: 2}
    assert stats.retry_count == 0
