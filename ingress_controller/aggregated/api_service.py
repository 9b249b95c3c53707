"""What makes a cluster know the API: a certificate for its Service, and an APIService that trusts
that one certificate and nothing else.

Rules: pure but for randomness. The text holds a private key.
"""

import base64
import datetime

import yaml

from ingress_controller.aggregated.status_error import GROUP, VERSION
from ingress_controller.default_certificate import self_signed

VALID = datetime.timedelta(days=3_650)  # kubeadm's authorities; whoever wants less has cert-manager

HEAD = """\
# The certificate of Spanway's API with its private key, and the APIService that trusts it.
# Made by `spanway api-service`; made again, both change together.
"""


def manifests(namespace: str, service: str) -> str:
    """YAML for `kubectl apply`: the Secret `<service>-tls`, and the APIService."""
    name = f"{service}.{namespace}.svc"
    certificate = self_signed(name, (name, f"{name}.cluster.local"), VALID)
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"namespace": namespace, "name": f"{service}-tls"},
        "type": "kubernetes.io/tls",
        "data": {
            "tls.crt": _base64(certificate.chain),
            "tls.key": _base64(certificate.private_key),
        },
    }
    api_service = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": f"{VERSION}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "version": VERSION,
            "groupPriorityMinimum": 100,  # below all that is Kubernetes' own
            "versionPriority": 100,
            "service": {"namespace": namespace, "name": service, "port": 443},
            "caBundle": _base64(certificate.chain),
        },
    }
    return HEAD + yaml.safe_dump_all([secret, api_service], sort_keys=False)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
