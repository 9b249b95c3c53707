"""Who may ask the admin address, by the real apiserver's word and the roles of the manifests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect
from scene.browser import DEADLINE_S, chromium
from scene.http import HttpError, Json, request
from scene.kubernetes import Kubernetes
from scene.objects import ingress_class
from scene.parts import skipped_without_part
from scene.process import wait_until
from scene.spanway import Spanway, command

MANIFESTS = Path(__file__).parents[2] / "deploy" / "kubernetes"
AUDIENCE = "spanway.example"
NOTHING = "nothing"

expect.set_options(timeout=DEADLINE_S * 1_000)


class Admin:
    """A running Spanway, and accounts of the cluster."""

    def __init__(self, kubernetes: Kubernetes, spanway: Spanway, namespace: str) -> None:
        self.kubernetes = kubernetes
        self.spanway = spanway
        self.namespace = namespace

    def token(self, account: str, *flags: str) -> str:
        return self.kubernetes.kubectl(
            "create", "token", account, f"--namespace={self.namespace}", *flags
        ).strip()

    def status(self, path: str, token: str, method: str = "GET") -> int:
        return self.answer(path, token, method)[0]

    def answer(self, path: str, token: str, method: str = "GET") -> tuple[int, str]:
        """The status, and what is said of an error."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if method == "POST":
            headers["Content-Type"] = "application/json"
        body: Json = {"resourceSpans": []} if method == "POST" else None
        try:
            request(method, f"http://{self.spanway.admin}{path}", body, headers=headers)
        except HttpError as err:
            return err.status, str(err)
        return 200, ""


def running(kubernetes: Kubernetes, directory: Path, *flags: str) -> Spanway:
    kubeconfig = directory / "kubeconfig"
    token = kubernetes.service_account_token("spanway", "spanway")
    kubernetes.write_kubeconfig(kubeconfig, token=token)
    every = ("--kubeconfig", kubeconfig, "--lease-namespace", "spanway")
    return Spanway(directory, *every, "--admin-kubernetes-auth", *flags)


@pytest.fixture
def accounts(kubernetes: Kubernetes, namespace: str) -> str:
    """A namespace with the accounts `viewer`, `sender`, which have these roles, and `nothing`."""
    kubernetes.apply(
        (MANIFESTS / "rbac.yaml").read_text(),
        (MANIFESTS / "admin.yaml").read_text(),
        ingress_class(),
    )
    roles = {"viewer": "spanway-admin-viewer", "sender": "spanway-traces-sender", NOTHING: ""}
    for account, role in roles.items():
        kubernetes.kubectl("create", "serviceaccount", account, f"--namespace={namespace}")
        if role:
            kubernetes.kubectl(
                *("create", "clusterrolebinding", f"{namespace}-{account}"),
                *(f"--clusterrole={role}", f"--serviceaccount={namespace}:{account}"),
            )
    return namespace


@pytest.fixture
def admin(kubernetes: Kubernetes, accounts: str, tmp_path: Path) -> Iterator[Admin]:
    with running(kubernetes, tmp_path) as spanway:
        spanway.wait_until_ready()
        yield Admin(kubernetes, spanway, accounts)


def test_roles_decide_who_may_see_and_who_may_send(admin: Admin) -> None:
    viewer, sender, nothing = map(admin.token, ("viewer", "sender", NOTHING))

    for path in ("/api/stats", "/api/traces", "/jaeger/api/services", "/metrics"):
        assert admin.status(path, viewer) == 200, path
        assert admin.status(path, sender) == 403, path
        # Everybody may get /api/* of the apiserver itself.
        assert admin.status(path, nothing) == 403, path
        assert admin.status(path, "") == 401, path
        assert admin.status(path, viewer + "x") == 401, path
    assert admin.status("/v1/traces", sender, "POST") == 200
    assert admin.status("/v1/traces", viewer, "POST") == 403
    assert admin.status("/livez", "") == 200


def test_refusal_names_the_user_and_the_right(admin: Admin) -> None:
    _, said = admin.answer("/api/stats", admin.token(NOTHING))

    user = f"system:serviceaccount:{admin.namespace}:nothing"
    assert user in said
    assert "/spanway/api/stats" in said


def test_terminal_asks_with_a_token_in_a_file_and_is_told_what_is_missing(
    admin: Admin, tmp_path: Path
) -> None:
    def top(account: str) -> tuple[int, str]:
        (tmp_path / "token").write_text(admin.token(account))
        flags = ("--admin", admin.spanway.admin, "--admin-token-file", tmp_path / "token")
        ended = command("top", "--once", *flags)
        return ended.code, ended.errors

    assert top("viewer") == (0, "")
    code, said = top(NOTHING)
    assert code == 2
    assert 'cannot get path "/spanway/api/live"' in said


def test_person_logs_in_to_the_page_with_a_token_of_an_account(admin: Admin) -> None:
    viewer = admin.token("viewer")
    with skipped_without_part(), chromium() as browser:
        page = browser.new_page(base_url=f"http://{admin.spanway.admin}")
        page.goto("/#/config")
        expect(page.locator("form")).to_contain_text("kubectl create token")

        page.get_by_label("Token").fill(admin.token(NOTHING))
        page.get_by_role("button", name="Open").click()
        expect(page.get_by_role("alert")).to_contain_text('cannot get path "/spanway/api/session"')

        page.get_by_label("Token").fill(viewer)
        page.get_by_role("button", name="Open").click()
        expect(page.locator("table.settings").first).to_be_visible()
        page.reload()
        expect(page.locator("table.settings").first).to_be_visible()
        (cookie,) = page.context.cookies()

    assert (cookie.get("httpOnly"), cookie.get("sameSite")) == (True, "Strict")
    assert viewer not in cookie["value"]
    assert viewer.split(".")[2] not in cookie["value"]


def test_token_for_another_audience_is_nobodys(
    kubernetes: Kubernetes, accounts: str, tmp_path: Path
) -> None:
    with running(kubernetes, tmp_path, "--admin-audience", AUDIENCE) as spanway:
        spanway.wait_until_ready()
        admin = Admin(kubernetes, spanway, accounts)

        assert admin.status("/api/stats", admin.token("viewer", f"--audience={AUDIENCE}")) == 200
        assert admin.status("/api/stats", admin.token("viewer")) == 401


def test_role_that_is_taken_away_counts_no_more_within_seconds(admin: Admin) -> None:
    viewer = admin.token("viewer")
    assert admin.status("/api/stats", viewer) == 200

    admin.kubernetes.kubectl("delete", "clusterrolebinding", f"{admin.namespace}-viewer")

    wait_until(
        lambda: admin.status("/api/stats", viewer) == 403,
        "the role counts no more",
        deadline_s=DEADLINE_S,
    )


def test_while_the_apiserver_is_away_who_is_unknown_stays_out(admin: Admin) -> None:
    viewer = admin.token("viewer")
    admin.kubernetes.stop_apiserver()
    try:
        status, said = admin.answer("/api/stats", viewer)
        probe = admin.status("/livez", "")
    finally:
        admin.kubernetes.start_apiserver()

    assert (status, probe) == (503, 200)
    assert "cannot be found out now" in said
    wait_until(
        lambda: admin.status("/api/stats", viewer) == 200,
        lambda: f"the viewer is let in again\n{admin.spanway.tail()}",
        deadline_s=DEADLINE_S,
    )
