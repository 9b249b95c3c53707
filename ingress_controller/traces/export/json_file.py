"""OTLP as JSON lines in files of bounded size and number.

Rules: a line is one batch. A file that would grow beyond its bound is renamed to `path.1`, an older
one to `path.2`, and so on; the last goes. Source: "OpenTelemetry Protocol File Exporter".
"""

from typing import BinaryIO

from google.protobuf.message import DecodeError

from ingress_controller.traces.export.destination import JsonFile
from ingress_controller.traces.export.otlp_json import as_json
from ingress_controller.traces.export.sender import DELIVERED, Answer, Outcome
from ingress_controller.traces.export.thread import CallingThread
from proxy.spans import SpanBatch


class JsonFileSender:
    """Appends to `destination`, also to what is there from before."""

    in_flight_max = 1

    def __init__(self, destination: JsonFile) -> None:
        self._destination = destination
        self._thread = CallingThread("span file")
        self._file: BinaryIO | None = None
        self._file_bytes = 0

    async def open(self) -> None:
        """The file is opened with the first batch, again if that fails."""

    async def send(self, batch: SpanBatch) -> Answer:
        try:
            await self._thread.call(lambda: self._append(as_json(batch.otlp) + b"\n"))
        except DecodeError as err:
            return Answer(Outcome.REFUSED, str(err))
        except OSError as err:
            return Answer(Outcome.UNAVAILABLE, f"{self._destination.path}: {err.strerror}")
        return DELIVERED

    async def close(self) -> None:
        await self._thread.call(self._close)
        self._thread.close()

    def _append(self, line: bytes) -> None:
        if self._file is not None and self._file_bytes + len(line) > self._bytes_max:
            self._rotate()
        if self._file is None:
            self._open()
        assert self._file is not None, "it was opened"
        try:
            self._file.write(line)
        except OSError:
            self._cut()
            raise
        self._file_bytes += len(line)

    @property
    def _bytes_max(self) -> int:
        return self._destination.file_bytes_max

    def _open(self) -> None:
        self._file = self._destination.path.open("ab", buffering=0)
        self._file_bytes = self._file.tell()

    def _cut(self) -> None:
        """Half a line, from a disk that is full, would spoil the next."""
        assert self._file is not None, "it was written to"
        self._file.truncate(self._file_bytes)

    def _rotate(self) -> None:
        self._close()
        path, files_max = self._destination.path, self._destination.files_max
        if files_max == 1:
            path.unlink(missing_ok=True)
        for number in range(files_max - 1, 0, -1):
            older = path.with_name(f"{path.name}.{number}")
            newer = path.with_name(f"{path.name}.{number - 1}") if number > 1 else path
            if newer.exists():
                newer.replace(older)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
