"""`python -m benchmarks`: every scenario, every server in turn, round after round; the result.

Rules: loopback only; every child is ended by its pid; the time is known before it begins.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.children import Children, cores, exit_code
from benchmarks.machine import machine
from benchmarks.report import as_json, table, verdicts_text
from benchmarks.runner import Effort, Measured, run
from benchmarks.scenarios import SCENARIOS, Scenario
from benchmarks.servers import VARIANTS
from benchmarks.stage import Stage
from benchmarks.targets import judge_all

RESULTS = Path(__file__).with_name("results")
ROUNDS, SECONDS = 4, 2
ROUNDS_MAX, SECONDS_MAX = 50, 60
QUICK = Effort(rounds=2, seconds=1)
NAME, NAME_QUICK = "latest", "tmp/quick"


def main() -> int:
    """0, also where a target is missed; 1 where nothing could be measured."""
    arguments = arguments_of(sys.argv[1:])

    def work(directory: Path) -> None:
        measured = measure(arguments.only, arguments.effort, directory)
        write(measured, arguments.effort, RESULTS / f"{arguments.name}.json")

    return exit_code("benchmark", work)


def measure(scenarios: Sequence[Scenario], effort: Effort, directory: Path) -> list[Measured]:
    """Every scenario, its table printed as soon as it is done."""
    took_s = sum(effort.estimate_s(one) for one in scenarios)
    print(f"{len(scenarios)} scenarios: about {took_s / 60:.0f} min,", end=" ")
    print("and the first time as long as the load and the engine's benchmark build.", flush=True)
    measured = []
    with Children(directory) as children:
        stage = Stage(children, directory, cores())
        for scenario in scenarios:
            began_s = time.monotonic()
            one = run(scenario, stage, effort)
            measured.append(one)
            print(f"\n{table(one)}\n  took {time.monotonic() - began_s:.0f} s", flush=True)
    return measured


def write(measured: Sequence[Measured], effort: Effort, target: Path) -> None:
    """Prints which targets are held, and writes `target` and the picture beside it."""
    verdicts = judge_all({one.scenario.name: one.rounds for one in measured})
    where = cores()
    setup = {
        "rounds": effort.rounds,
        "seconds": effort.seconds,
        "server_core": where.server,
        "load_core": where.load,
        "origin_core": where.origin,
        "servers": {name: variant.what for name, variant in VARIANTS.items()},
    }
    result = as_json(measured, verdicts, setup=setup, machine=machine())
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    from benchmarks.plot import draw  # noqa: PLC0415, matplotlib is only there for `make bench`

    draw(target.with_suffix(".png"), result)
    print(f"\nTargets\n{verdicts_text(verdicts)}")
    print(f"Written: {target}, {target.with_suffix('.png')}")


def arguments_of(words: Sequence[str]) -> argparse.Namespace:
    """`only` as scenarios, `effort`, and the `name` of the files."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = ", ".join(one.name for one in SCENARIOS)
    parser.add_argument("--only", type=_some, default=SCENARIOS, help=f"some of: {names}")
    parser.add_argument("--rounds", type=_up_to(ROUNDS_MAX), help=f"default: {ROUNDS}")
    parser.add_argument(
        "--seconds", type=_up_to(SECONDS_MAX), help=f"of each load; default: {SECONDS}"
    )
    parser.add_argument(
        "--name", help=f"of the files in benchmarks/results/; default: {NAME}, if all is measured"
    )
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK.rounds} rounds of {QUICK.seconds} s"
    )
    arguments = parser.parse_args(words)
    usual = QUICK if arguments.quick else Effort(ROUNDS, SECONDS)
    arguments.effort = Effort(arguments.rounds or usual.rounds, arguments.seconds or usual.seconds)
    is_whole = arguments.only == SCENARIOS and arguments.effort == Effort(ROUNDS, SECONDS)
    arguments.name = arguments.name or (NAME if is_whole else NAME_QUICK)
    return arguments


def _some(text: str) -> tuple[Scenario, ...]:
    wanted = text.split(",")
    known = {one.name: one for one in SCENARIOS}
    if unknown := sorted(set(wanted) - set(known)):
        raise argparse.ArgumentTypeError(f"no scenario {', '.join(unknown)}")
    return tuple(one for name, one in known.items() if name in wanted)


class _up_to:  # noqa: N801 - argparse shows the name
    def __init__(self, most: int) -> None:
        self._most = most

    def __call__(self, text: str) -> int:
        value = int(text)
        if not 1 <= value <= self._most:
            raise argparse.ArgumentTypeError(f"{value} is not from 1 to {self._most}")
        return value


if __name__ == "__main__":
    sys.exit(main())
