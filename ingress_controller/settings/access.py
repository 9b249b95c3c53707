"""Who is asked, and as who; who may ask at our own addresses."""

import msgspec

from ingress_controller.addresses import (
    address_or_any_port,
    admin_url,
    is_loopback,
)
from ingress_controller.arguments import (
    ADMIN_ADDRESS,
    SettingsError,
)
from ingress_controller.asking import AdminAddress, Credentials
from ingress_controller.credentials import AdminAccess, CertificateFiles
from ingress_controller.settings import texts
from ingress_controller.settings.given import Given
from ingress_controller.settings.values import Api


def asked(given: Given) -> AdminAddress:
    """The admin address of another process, and what is shown there."""
    token = given.one("--admin-token-file", texts.token_file) or Credentials()
    credentials = msgspec.structs.replace(
        token,
        certificate=pair(given, "--client-cert", "--client-key"),
        ca_file=given.one("--ca-file", texts.pem_file),
        server_name=given.one("--tls-server-name", str) or "",
    )
    scheme = "https" if credentials.needs_tls else "http"
    url = (
        given.one("--admin", lambda text: admin_url(text, scheme)) or f"{scheme}://{ADMIN_ADDRESS}/"
    )
    if credentials.needs_tls and not url.startswith("https:"):
        named = ("--ca-file", "--client-cert", "--tls-server-name")
        name = next(found[0][0] for flag in named if (found := given.texts(flag)))
        raise SettingsError(f"{name} has no effect without TLS; write https:// in --admin.")
    return AdminAddress(url, credentials)


def pair(given: Given, chain: str, private_key: str) -> CertificateFiles | None:
    """Both, or none."""
    files = [given.one(flag, texts.pem_file) for flag in (chain, private_key)]
    if files == [None, None]:
        return None
    if None in files:
        name = (given.texts(chain) or given.texts(private_key))[0][0]
        missing = private_key if files[1] is None else chain
        raise SettingsError(f"{name} needs {missing} FILE beside it; add it.")
    return CertificateFiles(*filter(None, files))


def admin_access(given: Given, *, is_manifests: bool) -> AdminAccess:
    certificate = pair(given, "--admin-cert", "--admin-key")
    client_ca = given.one("--admin-client-ca", texts.pem_file)
    if client_ca is not None and certificate is None:
        name = given.texts("--admin-client-ca")[0][0]
        raise SettingsError(f"{name} has no effect without TLS; add --admin-cert and --admin-key.")
    known = given.one("--admin-token-file", texts.token_file) or Credentials()
    has_kubernetes = given.one("--admin-kubernetes-auth", texts.switch) or False
    audience = given.one("--admin-audience", str) or ""
    if has_kubernetes and is_manifests:
        name = given.texts("--admin-kubernetes-auth")[0][0]
        raise SettingsError(f"{name} is for a cluster and --manifests is none.")
    if audience and not has_kubernetes:
        name = given.texts("--admin-audience")[0][0]
        raise SettingsError(f"{name} has no effect without --admin-kubernetes-auth; add it.")
    access = AdminAccess(
        certificate, client_ca, known.token, known.token_file, has_kubernetes, audience
    )
    _refuse_open(given, access)
    return access


def _refuse_open(given: Given, access: AdminAccess) -> None:
    """Who listens for others than this machine's has to say whom it lets in."""
    is_meant = given.one("--admin-open", texts.switch) or False
    if is_meant and not access.is_open:
        name = given.texts("--admin-open")[0][0]
        raise SettingsError(
            f"{name} lets everybody in, and another flag says who may ask; drop one of them."
        )
    address = given.one("--admin", address_or_any_port) or ADMIN_ADDRESS
    if access.is_open and not is_meant and not is_loopback(address):
        name = given.texts("--admin")[0][0]
        raise SettingsError(
            f"{name} {address} would answer whoever reaches it; add --admin-kubernetes-auth,"
            " --admin-token-file or --admin-client-ca, or --admin-open if that is meant."
        )


def api(given: Given, *, is_manifests: bool) -> Api | None:
    address = given.one("--api", address_or_any_port)
    chain, private_key = (given.one(flag, texts.pem_file) for flag in ("--api-cert", "--api-key"))
    if address is None:
        if found := given.texts("--api-cert") or given.texts("--api-key"):
            raise SettingsError(f"{found[0][0]} has no effect without --api ADDR:PORT; add it.")
        return None
    if is_manifests:
        raise SettingsError(
            f"{given.texts('--api')[0][0]} is for a cluster and --manifests is none."
        )
    if chain is None or private_key is None:
        raise SettingsError(
            f"{given.texts('--api')[0][0]} needs --api-cert FILE and --api-key FILE;"
            " `spanway api-service` makes a pair."
        )
    return Api(address, CertificateFiles(chain, private_key))


def peers(given: Given) -> tuple[str, ...]:
    found = given.all("--peers", texts.peer_addresses)
    return tuple(dict.fromkeys(address for addresses in found for address in addresses))
