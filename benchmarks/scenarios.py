"""What is measured: each scenario with its servers and its load.

The first server of a scenario is what the others are compared with. Rules: a scenario lists every
server that it is about; one that cannot do it is told as "not run", with its reason. Servers that a
target compares stand beside each other, so that little of the host's drift comes between.
"""

from dataclasses import dataclass

from benchmarks.idle import Idle
from benchmarks.large_table import LargeTable
from benchmarks.load import FixedRate, Grpc, Http1, Http2, Load, ResumedHandshakes

SERVERS = ("nginx", "spanway", "haproxy", "envoy", "caddy")
HTTP2_SERVERS = ("envoy", "spanway", "nginx", "haproxy", "caddy")
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
        (
            *("nginx", "spanway", "envoy-traced", "envoy", "haproxy", "caddy", "nginx-bare"),
            *("spanway-off", "spanway-export", "spanway-kernel", "spanway-store"),
        ),
        Http1(),
        rounds_factor=3,
    ),
    Scenario("body64k", "64 KiB responses", SERVERS, Http1(path="/files/64k")),
    Scenario("body10m", "10 MiB responses", SERVERS, Http1(path="/files/10m")),
    Scenario(
        "tls",
        "TLS, 1 KiB, kept-alive connections",
        SERVERS,
        Http1("https"),
        needs_tls=True,
    ),
    Scenario(
        "handshakes",
        "TLS, full handshakes (ECDSA P-256), each with one request",
        SERVERS,
        Http1("https", is_kept_alive=False),
        needs_tls=True,
    ),
    Scenario(
        "resumed",
        "TLS, resumed handshakes, each with one request",
        SERVERS,
        ResumedHandshakes(),
        needs_tls=True,
    ),
    Scenario(
        "h2",
        "HTTP/2 over TLS (ALPN), 4 connections × 8 streams",
        HTTP2_SERVERS,
        Http2("https"),
        needs_tls=True,
    ),
    Scenario(
        "h2c",
        "HTTP/2 by prior knowledge, 4 connections × 8 streams",
        HTTP2_SERVERS,
        Http2("h2c"),
    ),
    Scenario(
        "grpc",
        "gRPC unary, h2c on both sides",
        HTTP2_SERVERS,
        Grpc(),
    ),
    Scenario(
        "latency",
        "Latency at half of HAProxy's saturation, open loop",
        ("haproxy", "spanway", "nginx", "direct", "spanway-export", "spanway-store"),
        FixedRate(PACED_RPS_MAX),
        figures=("p50_us", "p99_us", "p999_us", "late_p99_us"),
        plotted=3,
        rounds_factor=4,
        paced_by="haproxy",
    ),
    Scenario(
        "idle",
        "10,000 idle connections",
        SERVERS,
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
