"""`python -m benchmarks`: every server in turn, round after round, then the result.

Rules: loopback only; every child is ended by its pid; the time is known before it begins.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.children import BenchError, Children, Cores, cores
from benchmarks.load import CONNECTIONS, pace, saturate
from benchmarks.machine import machine
from benchmarks.plot import draw
from benchmarks.report import Round, as_json, summaries, table, verdict
from benchmarks.servers import RESPONSE_BYTES, Server, Stage

RESULTS = Path(__file__).with_name("results")
ROUNDS, SECONDS, RATE = 9, 3, 5_000
ROUNDS_MAX, SECONDS_MAX, RATE_MAX = 50, 60, 20_000
ROUNDS_QUICK, SECONDS_QUICK = 2, 1
NAME, NAME_QUICK = "latest", "tmp/quick"
ORIGIN_HEADROOM = 1.3
"""How many times what the fastest server does the origin must serve alone, or it is measured."""


def main() -> int:
    """0, also where the budget is not held; 1 where nothing could be measured."""
    arguments = _arguments()
    try:
        with tempfile.TemporaryDirectory(prefix="spanway-bench-") as directory:
            measure(arguments, Path(directory))
    except BenchError as err:
        print(f"benchmark: {err}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def measure(arguments: argparse.Namespace, directory: Path) -> None:
    """Prints the table and writes `NAME.json` and `NAME.png`."""
    where = cores()
    with Children(directory) as children:
        stage = Stage(children, directory, where)
        servers = stage.servers()
        took_s = arguments.rounds * len(servers) * 2 * (arguments.seconds + 0.7)
        print(f"{len(servers)} servers, {arguments.rounds} rounds: about {took_s / 60:.0f} min.")
        origin = Server("origin", "the origin itself", stage.origin_port, stage.origin_pid)
        origin_rps = saturate(origin, where, 1).rps
        for server in servers:
            saturate(server, where, 1)  # warm-up: caches, pools, branch predictors
        rounds = _rounds(servers, where, arguments)
    what = {server.name: server.what for server in servers}
    summed = summaries(rounds)
    setup = {
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "rate_rps": arguments.rate,
        "connections": CONNECTIONS,
        "response_bytes": RESPONSE_BYTES,
        "server_core": where.server,
        "load_core": where.load,
        "origin_core": where.origin,
        "origin_rps": origin_rps,
        "servers": what,
    }
    conditions = machine()
    result = as_json(rounds, setup, conditions)
    target = RESULTS / f"{arguments.name}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    caption = f"{conditions['cpu']}, {conditions['kernel']}; {verdict(rounds)}"
    draw(target.with_suffix(".png"), summed, what, caption=caption, rate=arguments.rate)
    print(f"\n{table(summed, what)}\n\n{verdict(rounds)}")
    if origin_rps < ORIGIN_HEADROOM * max(one["rps"].median for one in summed.values()):
        print(f"The origin alone serves only {origin_rps:.0f}/s: do not trust the requests/s.")
    print(f"Written: {target}, {target.with_suffix('.png')}")


def _rounds(
    servers: Sequence[Server], where: Cores, arguments: argparse.Namespace
) -> dict[str, list[Round]]:
    """A B C A B C …, each round beginning with another server."""
    rounds: dict[str, list[Round]] = {server.name: [] for server in servers}
    for index in range(arguments.rounds):
        first = index % len(servers)
        order = [*servers[first:], *servers[:first]]
        saturated = {one.name: saturate(one, where, arguments.seconds) for one in order}
        for one in order:
            paced = pace(one, where, seconds=arguments.seconds, rate=arguments.rate)
            rounds[one.name].append(Round(saturated[one.name], paced))
        costs = ", ".join(f"{name} {own[-1].saturation.cpu_us:.1f}" for name, own in rounds.items())
        print(f"round {index + 1}: CPU µs/request: {costs}", flush=True)
    return rounds


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=_up_to(ROUNDS_MAX), help=f"default: {ROUNDS}")
    parser.add_argument(
        "--seconds", type=_up_to(SECONDS_MAX), help=f"of each load; default: {SECONDS}"
    )
    parser.add_argument(
        "--rate", type=_up_to(RATE_MAX), default=RATE, help="requests/s of the open loop"
    )
    parser.add_argument("--name", help=f"of the files in benchmarks/results/; default: {NAME}")
    parser.add_argument(
        "--quick", action="store_true", help=f"{ROUNDS_QUICK} rounds of {SECONDS_QUICK} s"
    )
    arguments = parser.parse_args()
    quick = arguments.quick
    arguments.name = arguments.name or (NAME_QUICK if quick else NAME)
    arguments.rounds = arguments.rounds or (ROUNDS_QUICK if quick else ROUNDS)
    arguments.seconds = arguments.seconds or (SECONDS_QUICK if quick else SECONDS)
    return arguments


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
