import gzip
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ingress_controller.traces.export.destination import Spill
from ingress_controller.traces.export.losses import DropReason
from ingress_controller.traces.export.spill import SpillFiles
from proxy.spans import SpanBatch

BATCHES = [SpanBatch(bytes([number]) + os.urandom(99), number + 1) for number in range(5)]
FILE_BYTES = len(gzip.compress(BATCHES[0].otlp, 1))

Losses = list[tuple[DropReason, int]]


@pytest.fixture
def losses() -> Losses:
    return []


@pytest.fixture
def files(tmp_path: Path, losses: Losses) -> Iterator[SpillFiles]:
    files = opened(tmp_path, losses)
    yield files
    files.close()


def opened(directory: Path, losses: Losses, *, bytes_max: int = 1_000_000) -> SpillFiles:
    files = SpillFiles(
        Spill(directory, bytes_max), lambda reason, spans, _: losses.append((reason, spans))
    )
    assert files.open()
    return files


def read_all(files: SpillFiles) -> list[SpanBatch]:
    read = []
    while (read_one := files.oldest()) is not None:
        read.append(read_one.batch)
        files.remove(read_one.turn)
    return read


def test_batches_are_read_in_the_order_in_which_they_were_written(
    files: SpillFiles, tmp_path: Path
) -> None:
    for batch in BATCHES:
        files.put(batch)

    assert files.byte_count == 5 * FILE_BYTES
    assert read_all(files) == BATCHES
    assert files.byte_count == 0
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_what_repeats_itself_takes_less_room_on_disk(files: SpillFiles) -> None:
    files.put(SpanBatch(b"GET /cart 200 shop/web" * 1_000, 1))

    assert files.byte_count < 1_000


def test_a_batch_is_kept_until_it_is_delivered_also_over_a_restart(
    files: SpillFiles, tmp_path: Path, losses: Losses
) -> None:
    for batch in BATCHES:
        files.put(batch)
    assert files.oldest() is not None  # and the process ends here
    files.close()

    again = opened(tmp_path, losses)

    assert again.byte_count == 5 * FILE_BYTES
    again.put(SpanBatch(b"new", 1))
    assert read_all(again) == [*BATCHES, SpanBatch(b"new", 1)]
    assert losses == []
    again.close()


def test_what_is_larger_than_all_room_is_counted(tmp_path: Path, losses: Losses) -> None:
    files = opened(tmp_path, losses, bytes_max=FILE_BYTES - 1)

    files.put(BATCHES[2])

    assert losses == [(DropReason.SPILL_FULL, 3)]
    assert files.byte_count == 0
    files.close()


def test_what_is_being_sent_is_not_removed_for_a_newer_one(tmp_path: Path, losses: Losses) -> None:
    files = opened(tmp_path, losses, bytes_max=2 * FILE_BYTES)
    files.put(BATCHES[0])
    sending = files.oldest()
    assert sending is not None

    for batch in BATCHES[1:]:
        files.put(batch)

    assert losses == [(DropReason.SPILL_FULL, spans) for spans in (2, 3, 4)]
    files.remove(sending.turn)
    assert read_all(files) == BATCHES[4:]
    files.close()


def test_the_oldest_goes_for_a_newer_one_and_is_counted(tmp_path: Path, losses: Losses) -> None:
    files = opened(tmp_path, losses, bytes_max=2 * FILE_BYTES)

    for batch in BATCHES:
        files.put(batch)

    assert files.byte_count == 2 * FILE_BYTES
    assert losses == [(DropReason.SPILL_FULL, spans) for spans in (1, 2, 3)]
    assert read_all(files) == BATCHES[3:]
    files.close()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: b"",
        lambda whole: whole[:-1],
        lambda whole: whole[:20] + bytes([whole[20] ^ 1]) + whole[21:],
        lambda _: b"something else",
    ],
    ids=["empty", "cut", "changed", "other"],
)
def test_a_file_that_is_not_what_was_written_is_left_out_and_counted(
    files: SpillFiles, tmp_path: Path, losses: Losses, spoil: Callable[[bytes], bytes]
) -> None:
    for batch in BATCHES[:3]:
        files.put(batch)
    file = next(tmp_path.glob("*-2.otlp.gz"))
    file.write_bytes(spoil(file.read_bytes()))

    assert read_all(files) == [BATCHES[0], BATCHES[2]]
    assert losses == [(DropReason.CORRUPT, 2)]


def test_a_file_that_is_gone_is_counted(files: SpillFiles, tmp_path: Path, losses: Losses) -> None:
    files.put(BATCHES[2])
    next(tmp_path.glob("*.otlp.gz")).unlink()

    assert read_all(files) == []
    assert losses == [(DropReason.CORRUPT, 3)]


def test_half_a_file_of_a_process_that_crashed_is_removed(tmp_path: Path, losses: Losses) -> None:
    (tmp_path / "0000000000000000-1.otlp.new").write_bytes(b"half")
    (tmp_path / "notes.txt").touch()

    files = opened(tmp_path, losses)

    assert read_all(files) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock", "notes.txt"]
    files.close()


def test_a_directory_is_one_process_at_a_time(files: SpillFiles, tmp_path: Path) -> None:
    files.put(BATCHES[0])
    other = SpillFiles(Spill(tmp_path), lambda *_: None)

    assert not other.open()
    files.close()
    assert other.open()
    assert read_all(other) == BATCHES[:1]
    other.close()


def test_others_may_not_read_what_is_spilled(files: SpillFiles, tmp_path: Path) -> None:
    files.put(BATCHES[0])

    assert {path.stat().st_mode & 0o077 for path in tmp_path.iterdir()} == {0}


def test_what_cannot_be_written_leaves_nothing(files: SpillFiles, tmp_path: Path) -> None:
    tmp_path.joinpath("0000000000000000-1.otlp.new").mkdir()

    with pytest.raises(OSError, match="Is a directory"):
        files.put(BATCHES[0])

    assert files.byte_count == 0
    assert files.oldest() is None
