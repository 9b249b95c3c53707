"""A real Kubernetes API: etcd, kube-apiserver and kube-controller-manager, without nodes.

Nothing runs the pods. `pods.py` says in a pod's status what a kubelet would, and the real
EndpointSlice controller publishes it.
"""

import contextlib
import ssl
import subprocess
from collections.abc import Sequence
from pathlib import Path

import trustme
import yaml

from scene.http import HttpError, Json, is_answering, request
from scene.namespace import NODE_ADDRESS, free_port
from scene.parts import built_part, debian_part
from scene.process import Process, SceneError

SERVICE_NETWORK = "10.96.0.0/16"
CONTROLLERS = (
    "clusterrole-aggregation-controller",
    "deployment-controller",
    "endpointslice-controller",
    "garbage-collector-controller",
    "namespace-controller",
    "replicaset-controller",
    "serviceaccount-controller",
)
"""The ones whose work the tests look at; the others cost start time and log lines."""
ADMIN_TOKEN = "admin-of-the-scene"  # known to this scene's apiserver alone
FRONT_PROXY = "front-proxy"  # as the apiserver calls itself to aggregated APIs
START_DEADLINE_S = 60.0
"""It takes 3 s on an idle machine; continuous integration is not idle."""


class FrontProxy:
    """The certificate by which aggregated APIs know the apiserver; `issue` makes others of its
    authority."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ca = trustme.CA()
        self.authority = directory / "ca.crt"
        self.chain = directory / f"{FRONT_PROXY}.crt"
        self.private_key = directory / f"{FRONT_PROXY}.key"

    def write(self) -> None:
        self._directory.mkdir(exist_ok=True)
        self._ca.cert_pem.write_to_path(self.authority)
        self.issue(FRONT_PROXY)

    def issue(self, name: str) -> tuple[Path, Path]:
        """Chain and private key of a client called `name`."""
        issued = self._ca.issue_cert(f"{name}.invalid", common_name=name)
        chain, private_key = (self._directory / f"{name}.{end}" for end in ("crt", "key"))
        issued.cert_chain_pems[0].write_to_path(chain)
        issued.private_key_pem.write_to_path(private_key)
        return chain, private_key


class Kubernetes:
    """One cluster. Its files, with the logs, are in `directory`.

    `kubeconfig` is the path of an administrator's; `url` is the address of the apiserver, which
    stays the same over its restarts, as its certificate does.
    """

    def __init__(self, directory: Path) -> None:
        """Starts nothing yet.

        Raises:
            PartMissingError: a program is not on this machine.
        """
        programs = built_part("kubernetes")
        self._apiserver_program = programs / "kube-apiserver"
        self._controllers_program = programs / "kube-controller-manager"
        self.kubectl_program = programs / "kubectl"
        self._etcd_program = debian_part("etcd", "etcd-server")
        self.directory = directory
        self.kubeconfig = directory / "admin.kubeconfig"
        self.front_proxy = FrontProxy(directory / "front-proxy")
        self._port = free_port(NODE_ADDRESS)
        self.url = f"https://{NODE_ADDRESS}:{self._port}"
        self._etcd_url = f"http://127.0.0.1:{free_port()}"
        self._running = contextlib.ExitStack()
        self._apiserver: Process | None = None
        self._controllers: Process | None = None

    def start(self) -> None:
        """Returns when `kubectl` works and the controllers run.

        Raises:
            SceneError: a part did not start; what had started is stopped again.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        try:
            self.front_proxy.write()
            self._start_etcd()
            self._running.callback(self.stop_apiserver)
            self.start_apiserver()
            self.write_kubeconfig(self.kubeconfig, token=ADMIN_TOKEN)
            self._start_controllers()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stops controllers, apiserver and etcd, in this order; harmless when stopped."""
        self._running.close()

    def start_apiserver(self) -> None:
        """Returns when it is ready: `/readyz` is 200, which includes its own first objects.

        Controllers that have been running are started anew.
        """
        token_file = self.directory / "tokens.csv"
        token_file.write_text(f"{ADMIN_TOKEN},admin,admin,system:masters\n")
        # It makes its own TLS key there before it reads the others, and that one signs
        # service account tokens as well as any.
        key_file = self._certificates / "apiserver.key"
        command: list[str | Path] = [
            self._apiserver_program,
            f"--etcd-servers={self._etcd_url}",
            f"--bind-address={NODE_ADDRESS}",
            f"--secure-port={self._port}",
            f"--cert-dir={self._certificates}",
            f"--token-auth-file={token_file}",
            "--authorization-mode=RBAC",
            f"--service-account-issuer={self.url}",
            f"--service-account-key-file={key_file}",
            f"--service-account-signing-key-file={key_file}",
            f"--service-cluster-ip-range={SERVICE_NETWORK}",
            # Else no pod can be made before its namespace's account has been.
            "--disable-admission-plugins=ServiceAccount",
            # Where an aggregated API is served by pods, it goes to these itself: nothing makes
            # the Services' addresses work here. It shows them this certificate.
            "--enable-aggregator-routing=true",
            f"--proxy-client-cert-file={self.front_proxy.chain}",
            f"--proxy-client-key-file={self.front_proxy.private_key}",
            f"--requestheader-client-ca-file={self.front_proxy.authority}",
            f"--requestheader-allowed-names={FRONT_PROXY}",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            # By default it ends 60 s after the signal while anything watches. So it ends the
            # watches first, properly.
            "--shutdown-send-retry-after=true",
            "--shutdown-watch-termination-grace-period=1s",
        ]
        self._apiserver = Process(command, log=self.directory / "kube-apiserver.log")
        self._apiserver.wait_until(self._is_ready, deadline_s=START_DEADLINE_S)
        if self._controllers is not None:
            # Each time that they find it away they wait longer, up to 30 s; new ones do not.
            self._controllers.stop()
            self._start_controllers()

    def stop_apiserver(self) -> None:
        """Watches end as they do in a cluster's upgrade; etcd keeps every object."""
        if self._apiserver is not None:
            self._apiserver.stop()

    def kill_apiserver(self) -> None:
        """Connections end without a word, as when its machine dies; etcd keeps every object."""
        if self._apiserver is not None:
            self._apiserver.kill()

    def restart_apiserver(self) -> None:
        self.stop_apiserver()
        self.start_apiserver()

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """What `kubectl` prints on standard output.

        Raises:
            SceneError: it failed; the message is its own.
        """
        command = [str(self.kubectl_program), f"--kubeconfig={self.kubeconfig}", *arguments]
        result = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise SceneError(f"kubectl {' '.join(arguments)}: {result.stderr.strip()}")
        return result.stdout

    def apply(self, *manifests: str | Json) -> str:
        """`kubectl apply` of YAML texts or of objects."""
        documents = [m if isinstance(m, str) else yaml.safe_dump(m) for m in manifests]
        return self.kubectl("apply", "-f", "-", stdin="\n---\n".join(documents))

    def request(self, method: str, path: str, body: Json = None) -> Json:
        """One call of the API as administrator; quicker than `kubectl` by its start-up.

        A PATCH is a JSON merge patch.

        Raises:
            HttpError: the API refused, or did not answer.
        """
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        if method == "PATCH":
            headers["Content-Type"] = "application/merge-patch+json"
        return request(method, self.url + path, body, headers=headers, tls=self._tls())

    def service_account_token(self, namespace: str, name: str) -> str:
        """A real token of a ServiceAccount, for one hour: to run something with its rights."""
        return self.kubectl("create", "token", name, f"--namespace={namespace}").strip()

    def write_kubeconfig(self, path: Path, *, token: str) -> None:
        """A kubeconfig with one context, `scene`, that logs in with `token`."""
        cluster = {"server": self.url, "certificate-authority": str(self._certificate_authority)}
        context = {"cluster": "scene", "user": "scene"}
        path.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "scene", "cluster": cluster}],
                    "users": [{"name": "scene", "user": {"token": token}}],
                    "contexts": [{"name": "scene", "context": context}],
                    "current-context": "scene",
                }
            )
        )
        path.chmod(0o600)

    @property
    def _certificates(self) -> Path:
        return self.directory / "certificates"

    @property
    def _certificate_authority(self) -> Path:
        # The apiserver writes its authority's certificate into the same file, after its own.
        return self._certificates / "apiserver.crt"

    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self._certificate_authority)

    def _is_ready(self) -> bool:
        if not self._certificate_authority.exists():
            return False
        try:
            self.request("GET", "/readyz")
        except HttpError:
            return False
        return True

    def _start_etcd(self) -> None:
        peer_url = f"http://127.0.0.1:{free_port()}"
        self._start(
            [
                self._etcd_program,
                f"--data-dir={self.directory / 'etcd'}",
                f"--listen-client-urls={self._etcd_url}",
                f"--advertise-client-urls={self._etcd_url}",
                f"--listen-peer-urls={peer_url}",
                f"--initial-advertise-peer-urls={peer_url}",
                f"--initial-cluster=default={peer_url}",
                "--unsafe-no-fsync",  # it need not survive a power cut
                "--log-level=warn",
            ],
            health_url=f"{self._etcd_url}/health",
        )

    def _start_controllers(self) -> None:
        port = free_port()
        self._controllers = self._start(
            [
                self._controllers_program,
                f"--kubeconfig={self.kubeconfig}",
                f"--controllers={','.join(CONTROLLERS)}",
                "--leader-elect=false",
                "--bind-address=127.0.0.1",
                f"--secure-port={port}",
                f"--cert-dir={self.directory / 'controller-certificates'}",
                # A test that scales waits for the controllers, not for their politeness.
                "--kube-api-qps=500",
                "--kube-api-burst=500",
            ],
            health_url=f"https://127.0.0.1:{port}/healthz",
        )

    def _start(self, command: Sequence[str | Path], *, health_url: str) -> Process:
        log = self.directory / f"{Path(command[0]).name}.log"
        process = Process(command, log=log)
        self._running.callback(process.stop)
        unverified = ssl.create_default_context()
        unverified.check_hostname = False
        unverified.verify_mode = ssl.CERT_NONE
        process.wait_until(
            lambda: is_answering(health_url, tls=unverified), deadline_s=START_DEADLINE_S
        )
        return process
