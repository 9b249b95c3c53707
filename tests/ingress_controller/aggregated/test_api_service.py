import base64

import yaml
from cryptography import x509

from ingress_controller.aggregated.api_service import manifests


def test_api_service_trusts_the_certificate_of_its_service() -> None:
    secret, api_service = yaml.safe_load_all(manifests("edge", "live"))

    chain = base64.b64decode(secret["data"]["tls.crt"])
    leaf = x509.load_pem_x509_certificate(chain)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert (secret["type"], secret["metadata"]) == (
        "kubernetes.io/tls",
        {"namespace": "edge", "name": "live-tls"},
    )
    assert names.get_values_for_type(x509.DNSName)[0] == "live.edge.svc"
    assert api_service["spec"]["service"] == {"namespace": "edge", "name": "live", "port": 443}
    assert base64.b64decode(api_service["spec"]["caBundle"]) == chain
    assert "insecureSkipTLSVerify" not in api_service["spec"]


def test_each_has_a_key_of_its_own() -> None:
    assert manifests("edge", "live") != manifests("edge", "live")
