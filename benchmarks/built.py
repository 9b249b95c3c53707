"""Programs of this project that are built when they are first needed."""

import functools
import json
import os

from benchmarks.children import program, run

BUILD_S_MAX = 900.0


@functools.cache
def open_loop() -> str:
    """The path of the open loop's program."""
    return _executable("build", "--release", "--package=spanway-open-loop")


@functools.cache
def engine_bench() -> str:
    """The path of the engine's own benchmark of its table."""
    return _executable("bench", "--no-run", "--package=spanway-engine", "--bench=table_and_spans")


def _executable(*words: str) -> str:
    """The one that cargo has built.

    Raises:
        BenchError: it cannot be built.
    """
    argv = [program("cargo"), *words, "--quiet", "--locked", "--message-format=json"]
    said = run(argv, cores=os.sched_getaffinity(0), timeout_s=BUILD_S_MAX)
    paths = [json.loads(line).get("executable") for line in said.splitlines()]
    return str(next(path for path in paths if path))
