"""What of a table's TLS cannot be used is rejected in a sentence, and the rest is served."""

import msgspec
import pytest
from data_plane import DataPlane
from tls import DEFAULT, Authority, connected, host, mutual, subject_names, tls_table
from upstream import Upstream

from proxy.table import Certificate, ClientCertificates, Host, HostTls, Rejected

REQUIRED = ClientCertificates.REQUIRED


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def test_certificate_that_cannot_be_used_is_rejected(
    data_plane: DataPlane, upstream: Upstream, authority: Authority
) -> None:
    good, other = authority.certificate("a.example"), authority.certificate("b.example")
    wrong = {
        "none": (Certificate("", good.private_key), "chain: there is no certificate in it"),
        "text": (Certificate("x", good.private_key), "chain: there is no certificate in it"),
        "base64": (
            Certificate("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----", ""),
            "chain: it is not PEM",
        ),
        "keyless": (
            Certificate(good.chain, ""),
            "private_key: there is no private key in it",
        ),
        "foreign": (
            Certificate(good.chain, other.private_key),
            "the private key does not belong to the first certificate",
        ),
    }
    certificates = {key: certificate for key, (certificate, _) in wrong.items()}
    rejected = data_plane.publish(tls_table(data_plane, upstream, certificates))

    assert {each.kind for each in rejected} == {"certificate"}
    told = {each.subject: each.message for each in rejected}
    assert told == {key: message for key, (_, message) in wrong.items()}


@pytest.mark.parametrize(
    ("tls", "message"),
    [
        (HostTls("shop/gone"), 'tls: there is no certificate "shop/gone"'),
        (HostTls(passthrough="shop/gone:1"), 'tls.passthrough: there is no backend "shop/gone:1"'),
        (
            HostTls(client_certificates=REQUIRED),
            "tls.client_ca: there is no certificate in it",
        ),
    ],
)
def test_host_whose_terms_cannot_be_kept_is_rejected(
    data_plane: DataPlane,
    upstream: Upstream,
    authority: Authority,
    tls: HostTls,
    message: str,
) -> None:
    certificates = {DEFAULT: authority.certificate("a.example")}
    served = tls_table(data_plane, upstream, certificates, host("a.example", tls), host(""))

    assert data_plane.publish(served) == [Rejected("host", "a.example", message)]


def test_listener_whose_certificate_is_missing_is_rejected(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    served = tls_table(data_plane, upstream, {})
    listener = msgspec.structs.replace(served.listeners[0], certificate="shop/gone")
    served = msgspec.structs.replace(served, listeners=(listener,))

    message = 'there is no certificate "shop/gone"'
    assert data_plane.publish(served) == [Rejected("listener", listener.address, message)]


async def test_rejected_certificate_leaves_the_old_one_serving(
    data_plane: DataPlane, upstream: Upstream, authority: Authority
) -> None:
    data_plane.publish(
        tls_table(data_plane, upstream, {DEFAULT: authority.certificate("old.example")})
    )
    broken = {DEFAULT: Certificate("", "")}
    (rejected,) = data_plane.publish(tls_table(data_plane, upstream, broken))
    assert (rejected.kind, rejected.subject) == ("certificate", DEFAULT)
    async with await connected(data_plane, authority.context(), "old.example") as client:
        assert (await client.get()).status == 200


async def served_names(data_plane: DataPlane, authority: Authority, name: str) -> set[str]:
    ann = authority.client("ann")
    context = authority.context(client=ann)
    context.check_hostname = False
    async with await connected(data_plane, context, name) as client:
        assert (await client.get(host=name)).status == 200
        return subject_names(client)


@pytest.mark.parametrize("is_mutual", [False, True])
async def test_host_gets_its_certificate_when_that_becomes_usable_and_when_it_is_renewed(
    data_plane: DataPlane, upstream: Upstream, authority: Authority, is_mutual: bool
) -> None:
    default = authority.certificate("default.example")
    tls = mutual(authority, REQUIRED, certificate="shop/a") if is_mutual else HostTls("shop/a")

    def serve(certificate: Certificate, *hosts: Host) -> list[Rejected]:
        certificates = {DEFAULT: default, "shop/a": certificate}
        hosts = (host("a.example", tls), *hosts)
        return data_plane.publish(tls_table(data_plane, upstream, certificates, *hosts))

    assert len(serve(Certificate("", ""))) == 1
    assert await served_names(data_plane, authority, "a.example") == {"default.example"}
    assert serve(authority.certificate("a.example")) == []
    assert await served_names(data_plane, authority, "a.example") == {"a.example"}
    assert serve(authority.certificate("a.example", "renewed.example")) == []
    renewed = {"a.example", "renewed.example"}
    assert await served_names(data_plane, authority, "a.example") == renewed
    # The listener's is there for what comes later, too.
    more = host("b.example", mutual(authority, REQUIRED))
    assert serve(authority.certificate("a.example"), more) == []
    assert await served_names(data_plane, authority, "b.example") == {"default.example"}


async def test_removed_certificate_gives_way_to_the_listeners(
    data_plane: DataPlane, upstream: Upstream, authority: Authority
) -> None:
    default = {DEFAULT: authority.certificate("default.example")}
    certificates = {**default, "shop/a": authority.certificate("a.example")}
    terms = host("a.example", HostTls("shop/a"))
    assert data_plane.publish(tls_table(data_plane, upstream, certificates, terms)) == []
    assert await served_names(data_plane, authority, "a.example") == {"a.example"}
    served = tls_table(data_plane, upstream, default, host("a.example", HostTls()))
    assert data_plane.publish(served) == []
    assert await served_names(data_plane, authority, "a.example") == {"default.example"}


def test_private_key_is_shown_nowhere(
    data_plane: DataPlane, upstream: Upstream, authority: Authority
) -> None:
    certificate = authority.certificate("a.example")
    broken = Certificate(certificate.chain, certificate.private_key.replace("KEY", "CAT"))
    rejected = data_plane.publish(tls_table(data_plane, upstream, {"shop/a": broken}))

    secret = certificate.private_key.splitlines()[1]
    assert secret not in repr(certificate)
    assert secret not in str(rejected)
