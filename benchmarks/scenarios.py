"""What is measured: each scenario with its servers and its load.

The first server of a scenario is what the others are compared with. Rule: a scenario lists every
server that it is about; one that cannot do it is told as "not run", with its reason.
"""

from dataclasses import dataclass

from benchmarks.idle import Idle
from benchmarks.large_table import LargeTable
from benchmarks.load import FixedRate, Grpc, Http1, Http2, Load, ResumedHandshakes

OURS = ("spanway-off", "spanway", "spanway-export", "spanway-kernel", "spanway-store")
PEERS = ("nginx", "haproxy", "envoy", "caddy")
PACED_RPS_MAX = 12_000
"""What the open loop can offer on a core that it shares with the origin, and be idle half of the
time. At 25,000/s it was itself late, by up to 8 ms at its p99, and that was what was measured."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """`figures` are shown, the first `plotted` of them also in the picture.

    `needs_tls` wants a listener for TLS. `rounds_factor` multiplies the rounds. `is_fresh`: one
    round, with servers started for it. `paced_by` names the server at half of whose saturation a
    fixed rate is offered.
    """

    name: str
    title: str
    servers: tuple[str, ...]
    load: Load
    figures: tuple[str, ...] = ("cpu_us", "capacity_rps", "rps")
    plotted: int = 1
    rounds_factor: int = 1
    needs_tls: bool = False
    is_fresh: bool = False
    paced_by: str = ""


SCENARIOS = (
    Scenario(
        "http1",
        "HTTP/1.1, 1 KiB, 32 connections",
        ("nginx", "nginx-bare", "haproxy", "envoy", "envoy-traced", "caddy", *OURS),
        Http1(),
        rounds_factor=2,
    ),
    Scenario("body64k", "64 KiB responses", (*PEERS, "spanway"), Http1(path="/files/64k")),
    Scenario("body10m", "10 MiB responses", (*PEERS, "spanway"), Http1(path="/files/10m")),
    Scenario(
        "tls",
        "TLS, 1 KiB, kept-alive connections",
        (*PEERS, "spanway"),
        Http1("https"),
        needs_tls=True,
    ),
    Scenario(
        "handshakes",
        "TLS, full handshakes (ECDSA P-256), each with one request",
        (*PEERS, "spanway"),
        Http1("https", is_kept_alive=False),
        needs_tls=True,
    ),
    Scenario(
        "resumed",
        "TLS, resumed handshakes, each with one request",
        (*PEERS, "spanway"),
        ResumedHandshakes(),
        needs_tls=True,
    ),
    Scenario(
        "h2",
        "HTTP/2 over TLS (ALPN), 4 connections × 8 streams",
        ("envoy", "nginx", "haproxy", "caddy", "spanway"),
        Http2("https"),
        needs_tls=True,
    ),
    Scenario(
        "h2c",
        "HTTP/2 by prior knowledge, 4 connections × 8 streams",
        ("envoy", "nginx", "haproxy", "caddy", "spanway"),
        Http2("h2c"),
    ),
    Scenario(
        "grpc",
        "gRPC unary, h2c on both sides",
        ("envoy", "nginx", "haproxy", "caddy", "spanway"),
        Grpc(),
    ),
    Scenario(
        "latency",
        "Latency at half of HAProxy's saturation, open loop",
        ("haproxy", "direct", "nginx", "spanway", "spanway-export", "spanway-store"),
        FixedRate(PACED_RPS_MAX),
        figures=("p50_us", "p99_us", "p999_us", "late_p99_us"),
        plotted=3,
        rounds_factor=4,
        paced_by="haproxy",
    ),
    Scenario(
        "idle",
        "10,000 idle connections",
        (*PEERS, "spanway"),
        Idle(),
        figures=("connection_kib", "before_mib", "after_mib"),
        is_fresh=True,
    ),
    Scenario(
        "workers",
        "Two workers beside one",
        ("nginx", "nginx-2", "haproxy", "haproxy-2", "spanway", "spanway-2"),
        Http1(),
        figures=("capacity_rps", "cpu_us", "rps"),
    ),
    Scenario(
        "table",
        "10,000 hosts, 100,000 routes",
        ("spanway",),
        LargeTable(),
        figures=("publish_ms", "publish_p50_ms", "match_ns", "rss_mib"),
        plotted=0,
        is_fresh=True,
    ),
)
