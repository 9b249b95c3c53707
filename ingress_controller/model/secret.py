"""Secret (v1): certificates with their keys, and certificates to verify others against.

Rules: what a Secret holds never reaches a log line, a Problem or a repr; only its keys' names do.
"""

import base64
import binascii

from ingress_controller.model.decode import Value

TLS_TYPE = "kubernetes.io/tls"
"""`type` of Secrets with `tls.crt` and `tls.key`. Source: Kubernetes, "TLS Secrets"."""

CA_LABEL = "spanway.io/ca"
"""On a Secret of another type whose `ca.crt` Spanway may read: no others are asked for."""


class SecretMetadata(Value, frozen=True):
    """Name and labels. Annotations are left out: kubectl keeps a copy of the data in one."""

    name: str = ""
    namespace: str = ""
    labels: dict[str, str] | None = None


class Secret(Value, frozen=True):
    """A Secret. `string_data` is for manifests: the API server folds it into `data`."""

    metadata: SecretMetadata
    type: str | None = None
    data: dict[str, str] | None = None
    string_data: dict[str, str] | None = None

    def __repr__(self) -> str:
        return f"Secret({self.metadata.namespace}/{self.metadata.name})"

    @property
    def is_readable(self) -> bool:
        """Whether it is one that would be read from a cluster."""
        is_labelled = (self.metadata.labels or {}).get(CA_LABEL) == "true"
        return self.type == TLS_TYPE or is_labelled

    def content(self, key: str) -> bytes | None:
        """What it holds under `key`; None where it has nothing.

        Raises:
            ValueError: it is not base64; the message says so without showing it.
        """
        text = (self.string_data or {}).get(key)
        if text is not None:
            return text.encode(errors="replace")
        encoded = (self.data or {}).get(key)
        if encoded is None:
            return None
        try:
            return base64.b64decode("".join(encoded.split()), validate=True)
        except (binascii.Error, ValueError):
            raise ValueError(f"{key} is not base64") from None
