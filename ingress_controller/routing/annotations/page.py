"""docs/ANNOTATIONS.md, made of the table: `make format` writes it, a test compares it.

Rule: what is true of all annotations stands here in prose, what is true of one only in the table.
"""

from collections.abc import Iterator

from ingress_controller.routing.annotations.annotation import PREFIX, Annotation, Scope
from ingress_controller.routing.annotations.table import ANNOTATIONS

_HEAD = f"""\
# Annotations

What an Ingress and a Service can say about how Spanway treats their requests. All names start with
`{PREFIX}`, left out below. `spanway check` says what is wrong with them before they are applied,
`spanway explain` names those that change something for a URL.

- **A value that cannot be read** is a Problem of its object, and the default stays in force. Only
  where the annotation guards something the strict side is taken instead, as the last column says.
- **An unknown name**, or one on the wrong kind of object, is a warning that says what was meant.
- **Annotations of ingress-nginx** are not read. Each is named in a warning, with what does the same
  here; [MIGRATION.md](MIGRATION.md) says how it is written. Those that keep clients out
  (`auth-type`, `auth-url`, `auth-tls-secret`, `whitelist-source-range` and the like) close their
  Ingress: it answers 403 until an annotation of this page says who may come,
  `allow: "0.0.0.0/0, ::/0"` being everybody.
- **Sizes** are nginx's (`8k`, `1m`: 1,024 each) or Kubernetes' (`1Mi`); **durations** have a unit.
- **TLS of a host is one.** Of several Ingresses that name a host, the oldest decides about its
  certificate, authorities and passthrough, and the others are told; of `tls-min-version` and
  `client-certificates` the strictest counts for the host.
- **Secrets.** Certificates come from Secrets of type `kubernetes.io/tls` in the namespace of the
  object that names them. Authorities (`ca.crt`) come from these, or from Secrets with the label
  `spanway.io/ca: "true"`: others are not asked for. Where a certificate cannot be used, its hosts
  have the default one; where authorities cannot be used, the hosts answer 403 and backends 503.
- **HTTPS.** Hosts in `spec.tls` redirect plain HTTP, as with ingress-nginx, while there is an HTTPS
  listener; `https-only: "false"` turns that off, but not where `client-certificates` are
  `required`.

This page is made from `ingress_controller/routing/annotations/table.py` by `make format`; edit
that.
"""

_SECTIONS = {
    Scope.ROUTE: (
        "On an Ingress: its routes",
        "Also on a Service that has a service listener, for that listener.",
    ),
    Scope.TRACING: (
        "On an Ingress: which of its requests are recorded",
        "Also on a Service that has a service listener, for that listener. An annotation is"
        " stronger than the policy that is named beside it."
        " [SAMPLING.md](SAMPLING.md) says what decides.",
    ),
    Scope.HOST: (
        "On an Ingress: TLS of its hosts",
        "For the hosts of its rules and of its `spec.tls`.",
    ),
    Scope.BACKEND: (
        "On a Service: its endpoints",
        "For everybody who asks for the Service. Unless `protocol` and `upstream-tls` say otherwise"
        " the port's `appProtocol` does: `kubernetes.io/h2c`, `kubernetes.io/ws`,"
        " `kubernetes.io/wss`, `http`, `https`, `http2`, `h2`, `h2c`, `ws`, `wss`, `grpc` and"
        " `grpcs` are known.",
    ),
    Scope.LISTENER: ("On a Service: its listeners", ""),
}


def page() -> str:
    """The whole document."""
    return "\n".join([_HEAD, *_sections()])


def _sections() -> Iterator[str]:
    for scope, (title, text) in _SECTIONS.items():
        yield f"## {title}\n"
        if text:
            yield f"{text}\n"
        yield "| name | value | default | example | what it does |"
        yield "|---|---|---|---|---|"
        yield from (_row(one) for one in ANNOTATIONS if one.scope is scope)
        yield ""


def _row(one: Annotation) -> str:
    default = f"`{one.default}`" if one.default else ""
    unread = f" If it cannot be read: {one.strict.words}." if one.strict else ""
    needs = f" Needs `{one.needs}`." if one.needs else ""
    cells = (f"`{one.name}`", one.grammar.form, default, f"`{one.example}`")
    escaped = (cell.replace("|", r"\|") for cell in (*cells, f"{one.doc}{needs}{unread}"))
    return f"| {' | '.join(escaped)} |"


if __name__ == "__main__":
    print(page(), end="")
