"""What docs/STORE.md says of object stores: `object_store.py DIRECTORY COPY DUCKDB CLICKHOUSE`.

Runs in the environment of `tests/parts/object-store.lock`: copies the directory's files twice to a
server of the S3 API, asks DuckDB and ClickHouse there, and prints JSON: what the second copy
transferred, and both answers.
"""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import chdb
import duckdb
import duckdb_extension_httpfs
from moto.server import ThreadedMotoServer

DOCUMENTED = "https://bucket.s3.eu-central-1.amazonaws.com"


def main() -> None:
    directory, copy, of_duckdb, of_clickhouse = sys.argv[1:]
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = "{}:{}".format(*server.get_host_and_port())
    copied = [_copy(copy, Path(directory), address) for _ in range(2)]
    told = {
        "copied_again": copied[1],
        "duckdb": _duckdb(of_duckdb, address),
        "clickhouse": _clickhouse(of_clickhouse, address),
    }
    server.stop()
    print(json.dumps(told))


def _copy(command: str, directory: Path, address: str) -> int:
    """Files that the documented command transferred."""
    remote = {"TYPE": "s3", "PROVIDER": "Other", "ENDPOINT": f"http://{address}"}
    keys = {"ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "secret"}
    config = {f"RCLONE_CONFIG_S3_{name}": value for name, value in (remote | keys).items()}
    environment = os.environ | config | {"HOSTNAME": "spanway-0"}
    text = os.path.expandvars(command.replace("$HOSTNAME", "spanway-0"))
    text = text.replace("/var/lib/spanway/traces", shlex.quote(str(directory)))
    _, *arguments = shlex.split(text.replace("--min-size 1M", "--min-size 1"))
    rclone = str(Path(sys.executable).parent / "rclone")
    said = subprocess.run(
        [rclone, *arguments, "--use-json-log", "-v"],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stderr
    return sum("Copied" in line for line in said.splitlines())


def _duckdb(query: str, address: str) -> list[list[object]]:
    [extension] = Path(duckdb_extension_httpfs.__file__).parent.rglob("*.duckdb_extension")
    connection = duckdb.connect()
    connection.execute(f"LOAD '{extension}'")
    connection.execute(
        "CREATE SECRET (TYPE s3, KEY_ID 'key', SECRET 'secret', USE_SSL false, URL_STYLE 'path',"
        f" ENDPOINT '{address}')"
    )
    return [list(row) for row in connection.execute(query).fetchall()]


def _clickhouse(query: str, address: str) -> list[list[object]]:
    asked = query.replace(DOCUMENTED, f"http://{address}/bucket").rstrip().removesuffix(";")
    return [list(row) for row in json.loads(str(chdb.query(asked, "JSONCompact")))["data"]]


if __name__ == "__main__":
    main()
