"""The grammar of the command line: commands, flags and their help.

Rule: every value stays text; `settings` parses it, because it may also come from a variable.
"""

import argparse
import difflib
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple, NoReturn

ADMIN_ADDRESS = "127.0.0.1:9901"
API_SERVICE = "spanway/spanway-api"  # in deploy/kubernetes/api.yaml
HTTP_ADDRESS_LOCAL = "127.0.0.1:8080"  # for manifests: nothing is exposed that nobody asked for
HTTP_ADDRESS_CLUSTER = "0.0.0.0:80"
HTTPS_ADDRESS_CLUSTER = "0.0.0.0:443"

EXAMPLES = """\
  spanway run --manifests deploy/local                   a directory, no cluster needed
  spanway run --manifests . --http 127.0.0.1:8000 --otlp-endpoint http://127.0.0.1:4318
  spanway run --kubeconfig ~/.kube/config --context dev  a cluster, from outside
  spanway run --service shop/api:80=127.0.0.1:18080      in a pod; also serve one Service locally
  spanway run --manifests . --takeover /run/spanway.sock again: replace the running one
  spanway check --manifests deploy/local                 what is wrong with these objects?
  spanway explain --manifests deploy/local http://app.localhost/
  spanway top                                            what is inside now? keys filter and sort
  spanway top --once phase=wait age_min=2s               what waits for an app now?
  spanway api-service | kubectl apply -f -               for `kubectl get requests`
  spanway traces service=shop/api status=5xx since=15m   which requests failed?
  spanway trace 784ca135e0b06f07019a335186c271e5         one of them, as a tree
  spanway report bottlenecks since=15m                   what makes slow requests slow?
  spanway report latency by=pod service=shop/api         which pod is slow?
  spanway report compare since=15m earlier=1d            what got slower since yesterday?
"""
NOTES = """\
Each flag is also a variable: --sample-ratio is SPANWAY_SAMPLE_RATIO. The OTEL_* variables of
OpenTelemetry are followed. Exit codes: 0 clean, 2 usage or configuration, 1 otherwise.
"""


class FlagGroup(NamedTuple):
    """Flags of `spanway run` that belong together, with what their help says."""

    title: str
    flags: tuple[tuple[str, str], ...]


REPORTS = ("latency", "nodes", "bottlenecks", "compare", "graph", "path")
"""Of `spanway report`, by their names under `/api/analysis`."""


class SettingsError(Exception):
    """Not usable; the message is for the user."""


class StartError(Exception):
    """The settings are fine, but it cannot start; the message is for the user."""


def parser(version: str) -> argparse.ArgumentParser:
    """Of `spanway`. Parsing raises SettingsError instead of printing and exiting."""
    top = _Parser(
        prog="spanway",
        description="Ingress controller and service proxy that says where time goes.",
        epilog=_epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"spanway {version}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    texts = {
        "run": "serve Ingresses and Services",
        "check": "say what is wrong with a directory of manifests; exit 1 if something is",
        "explain": "say which rule, Service and endpoints answer a URL",
        "top": "show the requests that are inside a running Spanway now",
        "api-service": "print what makes a cluster know the API of --api: a certificate, and"
        " the APIService that trusts it",
        "traces": "find traces that a running Spanway keeps",
        "trace": "draw one trace, and say where its time went",
        "report": "say where the time of past requests went: latency, nodes, bottlenecks and more",
    }
    made = {
        name: commands.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.",
            epilog=_epilog(name),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        for name, text in texts.items()
    }
    _run_arguments(made["run"])
    for name in ("check", "explain"):
        made[name].add_argument("--manifests", metavar="DIR", help="the directory of manifests")
        made[name].add_argument("--ingress-class", metavar="NAME", help="default: spanway")
    made["explain"].add_argument("url", metavar="URL", help="for example http://shop.example/cart")
    _top_arguments(made["top"])
    made["api-service"].add_argument(
        "service",
        metavar="NS/NAME",
        nargs="?",
        help=f"the Service that leads to --api; default: {API_SERVICE}",
    )
    _report_arguments(made["report"])
    _traces_arguments(made["traces"])
    _trace_arguments(made["trace"])
    top.commands = made
    return top


def _epilog(command: str = "") -> str:
    """Examples, of one command or of all, and what is true of all of them."""
    lines = EXAMPLES.splitlines(keepends=True)
    shown = [line for line in lines if line.startswith(f"  spanway {command}".rstrip() + " ")]
    return f"examples:\n{''.join(shown)}\n{NOTES}"


def _top_arguments(top: argparse.ArgumentParser) -> None:
    _asking_arguments(top)
    top.add_argument(
        "--once", action="store_const", const="true", help="print a plain table, and end"
    )
    top.add_argument("--interval", metavar="S", help="seconds between two looks; default: 1")
    top.add_argument(
        "question",
        metavar="NAME=VALUE",
        nargs="*",
        default=(),  # else argparse says that it is required
        help="parameters of /api/live, for example phase=wait node=!node-1 age_min=2s",
    )


def run_flags() -> list[FlagGroup]:
    """All of `spanway run` that have a value."""
    return _run_arguments(_Parser())


def _report_arguments(report: argparse.ArgumentParser) -> None:
    _asking_once_arguments(report)
    report.add_argument("report", choices=REPORTS, metavar="REPORT", help=", ".join(REPORTS))
    report.add_argument(
        "question",
        metavar="NAME=VALUE",
        nargs="*",
        default=(),  # else argparse says that it is required
        help="parameters of /api/analysis/REPORT, for example since=15m by=pod service=shop/api",
    )


def _traces_arguments(traces: argparse.ArgumentParser) -> None:
    _asking_once_arguments(traces)
    traces.add_argument(
        "question",
        metavar="NAME=VALUE",
        nargs="*",
        default=(),  # else argparse says that it is required
        help="parameters of /api/traces, for example since=15m status=5xx min_duration=1s",
    )


def _trace_arguments(trace: argparse.ArgumentParser) -> None:
    _asking_once_arguments(trace)
    trace.add_argument("id", metavar="ID", help="32 hex digits, as error pages and spans have them")


def _asking_once_arguments(command: argparse.ArgumentParser) -> None:
    _asking_arguments(command)
    command.add_argument(
        "--json", action="store_const", const="true", help="as the API has it, for scripts"
    )


def _asking_arguments(command: argparse.ArgumentParser) -> None:
    """Of what asks a running Spanway."""
    group = command.add_argument_group("whom to ask, and as who")
    for flag, metavar, text in (
        ("--admin", "ADDR:PORT", f"or a URL, http:// or https://; default: {ADMIN_ADDRESS}"),
        ("--admin-token-file", "FILE", "the token that is wanted there, or one of Kubernetes"),
        ("--ca-file", "FILE", "with TLS: believe certificates of this authority; PEM"),
        ("--client-cert", "FILE", "with TLS: the certificate to show there; PEM"),
        ("--client-key", "FILE", "the certificate's key"),
        ("--tls-server-name", "NAME", "with TLS: whom its certificate is for; default: the host"),
    ):
        group.add_argument(flag, metavar=metavar, help=text)


def _run_arguments(run: argparse.ArgumentParser) -> list[FlagGroup]:
    groups: list[FlagGroup] = []

    def group(title: str, *options: tuple[str, str, str]) -> None:
        groups.append(FlagGroup(title, tuple((flag, text) for flag, _, text in options)))
        added = run.add_argument_group(title)
        for flag, metavar, text in options:
            is_repeatable = metavar.endswith("…")
            added.add_argument(
                flag,
                metavar=metavar.rstrip("…"),
                help=f"{text} (repeatable)" if is_repeatable else text,
                action="append" if is_repeatable else "store",
            )

    group(
        "where objects come from (default: the cluster that this runs in)",
        ("--manifests", "DIR", "a directory of YAML and JSON files, watched for changes"),
        ("--kubeconfig", "FILE", "a cluster, by its kubeconfig"),
        ("--context", "NAME", "the context in it; default: its current one"),
        ("--ingress-class", "NAME", "serve the Ingresses of this class; default: spanway"),
        ("--watch-namespace", "NS…", "only objects of this namespace; default: all"),
    )
    group(
        "where requests come in",
        ("--http", "ADDR:PORT…", f"default: {HTTP_ADDRESS_LOCAL} with --manifests, else :80"),
        ("--https", "ADDR:PORT…", "with TLS; default: none with --manifests or --http, else :443"),
        (
            "--default-certificate",
            "NS/NAME",
            "Secret for hosts that have none, or CERT.pem,KEY.pem; default: a self-signed one",
        ),
        ("--trusted-proxies", "CIDR…", "believe these about who asks; default: nobody"),
        (
            "--trusted-field",
            "NAME",
            "where they say it: x-forwarded-for, forwarded or x-real-ip; default: x-forwarded-for",
        ),
        ("--service", "NS/NAME:PORT=ADDR:PORT…", "serve one Service port at a local address"),
        ("--admin", "ADDR:PORT", f"the web page, its API, health; default: {ADMIN_ADDRESS}"),
        (
            "--admin-token-file",
            "FILE",
            "who asks there has to know what is in it; default: nobody has to",
        ),
        ("--admin-cert", "FILE", "speak TLS there, with this certificate, PEM; default: no TLS"),
        ("--admin-key", "FILE", "the certificate's key"),
        (
            "--admin-client-ca",
            "FILE",
            "who shows a certificate of this authority there, PEM, may ask, too; default: nobody",
        ),
        ("--admin-audience", "NAME", "for whom tokens of --admin-kubernetes-auth have to be"),
        (
            "--peers",
            "NAME:PORT…",
            "other replicas' --admin, to answer as one: a headless Service, or addresses",
        ),
        ("--api", "ADDR:PORT", "the API of `kubectl get requests`, with TLS; default: none"),
        ("--api-cert", "FILE", "its certificate, PEM, of `spanway api-service` for example"),
        ("--api-key", "FILE", "the certificate's key"),
        ("--workers", "N", "threads that move requests; default: one per core"),
        ("--head-timeout", "S", "for a client to send a request's head; default: 60"),
        ("--idle-timeout", "S", "for a client's connection without a request; default: 75"),
    )
    run.add_argument(
        "--admin-kubernetes-auth",
        action="store_const",
        const="true",
        help="who has a token of this cluster may ask at --admin for what RBAC lets it",
    )
    run.add_argument(
        "--admin-open",
        action="store_const",
        const="true",
        help="let everybody ask who reaches --admin, also on another address than loopback",
    )
    run.add_argument(
        "--forwarded-header",
        action="store_const",
        const="true",
        help="send the Forwarded header (RFC 7239) upstream too",
    )
    run.add_argument(
        "--proxy-protocol",
        action="store_const",
        const="true",
        help="connections begin with the PROXY protocol's header; with --trusted-proxies, of these",
    )
    group(
        "where this runs, for Services that prefer near endpoints",
        ("--zone", "NAME", "topology.kubernetes.io/zone of the node; default: unknown"),
        ("--node", "NAME", "the node's name; default: unknown"),
    )
    group(
        "how it ends",
        ("--drain-timeout", "S", "after SIGTERM requests have so long to finish; default: 20"),
        (
            "--drain-delay",
            "S",
            "of these, accept on for so long while not ready; default: 5 in a pod, else 0",
        ),
        ("--takeover", "PATH", "a Unix socket: take over from the process there, if one is"),
    )
    group(
        "what is recorded",
        ("--otlp-endpoint", "URL", "send spans there, by OTLP/HTTP; default: nowhere"),
        (
            "--export",
            "URL…",
            "and there: otlp+grpc://host, file:/path, console, zipkin+http://…; docs/EXPORT.md",
        ),
        (
            "--store",
            "DIR",
            "keep them here for the page and the API: a directory, memory or off; default: of this"
            " user's state, in memory where there is none",
        ),
        ("--store-bytes", "SIZE", "of these files; the oldest go; default: 1Gi"),
        ("--store-age", "TIME", "spans that are older go; default: 3d"),
        (
            "--trace-link",
            "URL",
            "where else a trace can be seen, for the page: http://jaeger/trace/{trace_id}",
        ),
        ("--sample-ratio", "R", "share of new traces that are sampled, 0 to 1; default: 1"),
        ("--sample-rate-limit", "N", "of these at most so many a second; default: no bound"),
        (
            "--tail-spans",
            "N",
            "spans a second of failed and slow requests that were not sampled; default: 100",
        ),
        ("--sampling-remote", "URL", "ask a Jaeger there for ratios and rates; default: nobody"),
        (
            "--debug-key-file",
            "FILE",
            "who knows what is in it may force a trace by X-Spanway-Debug; default: nobody",
        ),
        (
            "--phase-spans",
            "WHEN",
            "phases as spans of their own: never, slow (or failed) or always; default: slow",
        ),
        (
            "--kernel-timestamps",
            "WHICH",
            "ask the kernel about requests: those that are sampled, all, or off; default: sampled",
        ),
        ("--capture-request-header", "NAME…", "record this field of requests on their spans"),
        ("--capture-response-header", "NAME…", "record this field of endpoints' responses"),
        ("--capture-query-key", "KEY…", "record queries, with the values of this key"),
    )
    run.add_argument(
        "--capture-query",
        action="store_const",
        const="true",
        help="record queries, with REDACTED in place of values",
    )
    group(
        "which trace a request belongs to",
        (
            "--propagators",
            "P,P",
            "formats that are read, in this order, and sent: tracecontext, b3, b3multi, jaeger,"
            " ottrace, xray, datadog, or none; default: OTEL_PROPAGATORS, else tracecontext",
        ),
        ("--inject", "P,P", "formats that are sent; default: those that are read"),
        (
            "--trust-context",
            "WHOSE",
            "all, trusted-proxies or none: whose trace is continued; others' are linked to;"
            " default: all",
        ),
        (
            "--server-timing",
            "WHAT",
            "what clients are told of their trace: off, trace (ids) or timing; default: off",
        ),
        (
            "--random-flag",
            "BOOL",
            "say of new trace ids that they are random (W3C level 2); default: false",
        ),
    )
    group(
        "what is counted and logged",
        (
            "--access-log",
            "PATH",
            "a line per request: a file, - for stdout, off; default: - in a pod",
        ),
        ("--access-log-format", "NAME", "upstream (ingress-nginx's), combined or json"),
        ("--metrics-routes", "N", "routes with labels of their own in /metrics; default: 512"),
        ("--nginx-metrics", "BOOL", "also the names of ingress-nginx; default: true"),
    )
    group(
        "what is written to Kubernetes",
        ("--publish-address", "ADDR…", "IP or host name for the Ingresses' status"),
        ("--publish-service", "NS/NAME", "take the addresses from this Service's status"),
        ("--lease-namespace", "NS", "of the Lease that elects who writes; default: our own"),
    )
    return groups


class _Parser(argparse.ArgumentParser):
    commands: Mapping[str, argparse.ArgumentParser] = {}

    def parse_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        """Parameters may stand before, between and behind flags; argparse takes only the first."""
        found, rest = self.parse_known_args(args, namespace)
        if hasattr(found, "question"):
            found.question = [*found.question, *(text for text in rest if text[:1] != "-")]
            rest = [text for text in rest if text[:1] == "-"]
        if rest:
            command = self.commands.get(found.command, self)
            near = _near(rest[0], re.findall(r"--[a-z-]+", command.format_usage()))
            raise SettingsError(
                f"{rest[0].partition('=')[0]} is unknown{near} (`{command.prog} --help` shows what"
                " there is)"
            )
        return found

    def error(self, message: str) -> NoReturn:
        raise SettingsError(f"{message} (`{self.prog} --help` shows what there is)")


def _near(text: str, known: Iterable[str]) -> str:
    """What was meant, as far as that can be guessed."""
    found = difflib.get_close_matches(text.partition("=")[0], known, n=1)
    return f"; did you mean {found[0]}?" if found else ""
