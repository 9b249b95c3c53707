"""What becomes of annotations of ingress-nginx, which Spanway does not read. Pure.

Rules: all are named, with Spanway's own that does the same. One that keeps somebody out closes the
Ingress until an annotation of Spanway's says who may come: whoever wrote it wanted fewer clients.
Source: ingress-nginx, docs/user-guide/nginx-configuration/annotations.md, of its last release.
"""

from collections.abc import Iterator, Mapping, Set

from ingress_controller.model.problem import ObjectKey, Problem, Severity
from ingress_controller.routing.annotations.annotation import PREFIX

NGINX_PREFIX = "nginx.ingress.kubernetes.io/"

GUARDS: Mapping[str, tuple[str, ...]] = {
    "allowlist-source-range": ("allow",),
    "auth-tls-secret": ("client-certificates", "allow"),
    "auth-type": ("allow", "client-certificates"),
    "auth-url": ("allow", "client-certificates"),
    "denylist-source-range": ("deny", "allow"),
    "whitelist-source-range": ("allow",),
}
"""Those that keep clients out, and any of which of ours says who may come instead."""

INSTEAD: Mapping[str, str] = {
    "affinity": "affinity-cookie",
    "backend-protocol": "protocol",
    "custom-headers": "response-headers-set",
    "force-ssl-redirect": "https-only",
    "load-balance": "balance",
    "permanent-redirect": "redirect",
    "proxy-body-size": "request-body-max",
    "proxy-connect-timeout": "connect-timeout",
    "proxy-next-upstream": "retry-on",
    "proxy-next-upstream-tries": "retry-attempts",
    "proxy-read-timeout": "read-timeout",
    "proxy-send-timeout": "send-timeout",
    "proxy-ssl-name": "upstream-tls-server-name",
    "proxy-ssl-secret": "upstream-tls-secret",
    "proxy-ssl-verify": "upstream-tls-verify",
    "rewrite-target": "rewrite",
    "session-cookie-max-age": "affinity-max-age",
    "session-cookie-name": "affinity-cookie",
    "session-cookie-path": "affinity-path",
    "ssl-passthrough": "tls-passthrough",
    "ssl-redirect": "https-only",
    "temporal-redirect": "redirect",
    "upstream-hash-by": "hash-on",
    "upstream-vhost": "request-headers-set",
}
"""What does the same, in words of its own."""

NAMES_MAX = 40  # named in one message; ingress-nginx has some 120, and nobody uses as many


def unanswered_guards(annotations: Mapping[str, str] | None, given: Set[str]) -> tuple[str, ...]:
    """Names of guards in whose place none of ours is `given` (names without prefix)."""
    texts = annotations or {}
    return tuple(
        name
        for name, answers in GUARDS.items()
        if texts.get(NGINX_PREFIX + name, "").strip() and given.isdisjoint(answers)
    )


def nginx_problems(
    owner: ObjectKey, annotations: Mapping[str, str] | None, unanswered: tuple[str, ...]
) -> Iterator[Problem]:
    """One for each guard that is `unanswered`, and one that names all others."""
    for name in unanswered:
        field = f"metadata.annotations[{NGINX_PREFIX}{name}]"
        message = "It keeps clients out, but is not read here, so nobody is let in: all get 403."
        ours = " or ".join(PREFIX + answer for answer in GUARDS[name])
        fix = f'Say with {ours} who may come; {PREFIX}allow: "0.0.0.0/0, ::/0" is everybody.'
        yield Problem(owner, field, message, fix)
    names = sorted(
        name.removeprefix(NGINX_PREFIX)
        for name in annotations or ()
        if name.startswith(NGINX_PREFIX)
    )
    if others := [name for name in names if name not in unanswered]:
        shown = ", ".join(map(_with_ours, others[:NAMES_MAX]))
        more = f" and {len(others) - NAMES_MAX} more" if others[NAMES_MAX:] else ""
        message = f"Annotations of ingress-nginx have no effect: {shown}{more}."
        fix = "docs/MIGRATION.md says what to write instead."
        yield Problem(owner, "metadata.annotations", message, fix, Severity.WARNING)


def _with_ours(name: str) -> str:
    ours = INSTEAD.get(name) or (GUARDS[name][0] if name in GUARDS else "")
    return f"{name} (here {PREFIX}{ours})" if ours else name
