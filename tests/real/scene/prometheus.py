"""A real Prometheus that scrapes one Spanway, and promtool."""

import subprocess
from pathlib import Path
from urllib.parse import urlencode

from scene.http import HttpError, Json, request
from scene.namespace import free_port
from scene.parts import debian_part
from scene.process import Process, wait_until

SCRAPE_INTERVAL_S = 1
QUERY_DEADLINE_S = 60.0
PACKAGE = "prometheus"

CONFIGURATION = """
global: {{scrape_interval: {interval}s, evaluation_interval: {interval}s}}
rule_files: [{rules}]
scrape_configs:
  - job_name: spanway
    honor_labels: true
    static_configs: [{{targets: ["{target}"]}}]
"""


def promtool(*arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Runs promtool to its end."""
    program = debian_part("promtool", PACKAGE)
    return subprocess.run(
        [program, *arguments], input=stdin, capture_output=True, text=True, check=False
    )


class Prometheus:
    """A context manager: started by entering, then stopped."""

    def __init__(self, directory: Path, *, target: str, rules: Path) -> None:
        self._program = debian_part("prometheus", PACKAGE)
        self._directory = directory
        self._address = f"127.0.0.1:{free_port()}"
        self._configuration = directory / "prometheus.yaml"
        self._configuration.write_text(
            CONFIGURATION.format(interval=SCRAPE_INTERVAL_S, rules=rules, target=target)
        )

    def __enter__(self) -> "Prometheus":
        self._process = Process(
            [
                self._program,
                f"--config.file={self._configuration}",
                f"--storage.tsdb.path={self._directory / 'data'}",
                f"--web.listen-address={self._address}",
                "--enable-feature=exemplar-storage",
            ],
            log=self._directory / "prometheus.log",
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stop()

    def wait_for(self, query: str) -> list[Json]:
        """The result of an instant query, once there is one."""
        url = f"http://{self._address}/api/v1/query?{urlencode({'query': query})}"
        return self._wait(url, query)

    def wait_for_exemplars(self, query: str) -> list[Json]:
        """Those of the series that a query names."""
        asked = urlencode({"query": query, "start": 0, "end": 4_000_000_000})
        return self._wait(f"http://{self._address}/api/v1/query_exemplars?{asked}", query)

    def ask(self, path: str) -> Json:
        """The data of an answer of its API."""
        return request("GET", f"http://{self._address}/api/v1/{path}")["data"]

    def _wait(self, url: str, what: str) -> list[Json]:
        def result() -> list[Json] | None:
            data = self._data(url)
            found: list[Json] = data["result"] if isinstance(data, dict) else data
            return found or None

        return wait_until(result, f"{what} has a result", deadline_s=QUERY_DEADLINE_S)

    def _data(self, url: str) -> Json:
        try:
            return request("GET", url)["data"]
        except HttpError:  # it is not up yet
            return []
