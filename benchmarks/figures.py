"""What each figure is called where people read it."""

from dataclasses import dataclass

THREE_DIGITS = 100


@dataclass(frozen=True, slots=True)
class Figure:
    """`title` heads a column and says the unit; `label` is the whole name, for a plot.

    Values from `THREE_DIGITS` on are told without `decimals`.
    """

    title: str
    label: str
    decimals: int = 0

    def text(self, value: float) -> str:
        decimals = self.decimals if abs(value) < THREE_DIGITS else 0
        return f"{value:,.{decimals}f}"


FIGURES = {
    "cpu_us": Figure("CPU µs", "CPU per request (µs)", 1),
    "capacity_rps": Figure("capacity/s", "Requests per second with its cores to itself"),
    "rps": Figure("measured/s", "Requests per second, measured"),
    "p50_us": Figure("p50 µs", "Latency p50 (µs)"),
    "p99_us": Figure("p99 µs", "Latency p99 (µs)"),
    "p999_us": Figure("p99.9 µs", "Latency p99.9 (µs)"),
    "late_p99_us": Figure("load late p99 µs", "How late the load itself was, p99 (µs)"),
    "connection_kib": Figure("KiB each", "Memory of an idle connection (KiB)", 1),
    "before_mib": Figure("MiB before", "Memory before (MiB)"),
    "after_mib": Figure("MiB after", "Memory with all connections (MiB)"),
    "match_ns": Figure("match ns", "Matching a request (ns)"),
    "publish_ms": Figure("publish p99 ms", "Publishing one endpoint change, p99 (ms)", 2),
    "publish_p50_ms": Figure("publish p50 ms", "Publishing one endpoint change, p50 (ms)", 2),
    "rss_mib": Figure("RSS MiB", "Memory of the process (MiB)"),
}
