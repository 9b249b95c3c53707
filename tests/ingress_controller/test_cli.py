import json
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from k8s_objects import endpoint_slice, ingress, path, secret, service, tracing_policy

from ingress_controller import cli


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    objects = [ingress(path("/")), service(), endpoint_slice("api", "127.0.0.1")]
    (tmp_path / "shop.json").write_text(
        json.dumps({"kind": "List", "apiVersion": "v1", "items": objects})
    )
    return tmp_path


def test_a_usage_error_is_one_sentence_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "--manifests", "/nope"]) == 2

    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        'spanway: --manifests: "/nope" is not there; name the directory that holds the manifests.\n'
    )


DESTRUCTOR_GETS_A_SIGNAL = """
import os, signal, sys
from ingress_controller import cli

class Signalled:
    def __del__(self):
        os.kill(os.getpid(), int(sys.argv[1]))
        for _ in range(100):
            pass  # the handler has its turn here, where an exception is printed and forgotten

class WhileImporting:
    def find_spec(self, name, path, target=None):
        if name == "ingress_controller.commands":
            Signalled()

sys.meta_path.insert(0, WhileImporting())
sys.exit(cli.main(["run"]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_start_also_where_its_exception_would_be_lost(
    number: signal.Signals,
) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", DESTRUCTOR_GETS_A_SIGNAL, str(int(number))],
        capture_output=True,
        text=True,
        check=False,
    )

    # A start that goes on ends with code 2: it is not told where its objects are.
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_a_command_leaves_the_signals_as_they_were() -> None:
    before = signal.getsignal(signal.SIGTERM)

    cli.main(["run", "--manifests", "/nope"])

    assert signal.getsignal(signal.SIGTERM) is before


def test_help_of_a_command_shows_examples_of_that_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        cli.main(["trace", "--help"])

    examples = capsys.readouterr().out.partition("examples:\n")[2].partition("\n\n")[0]
    assert [line.split()[:2] for line in examples.splitlines()] == [["spanway", "trace"]]


def test_check_of_good_manifests_is_clean(
    manifests: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["check", "--manifests", str(manifests)]) == 0

    assert capsys.readouterr().out == "1 Ingress, 1 route for 1 host: 0 errors, 0 warnings\n"


def test_the_manifests_that_the_readme_begins_with_are_clean_and_lead_to_this_machine(
    capsys: pytest.CaptureFixture[str],
) -> None:
    directory = str(Path(__file__).parents[2] / "deploy/local")

    assert cli.main(["check", "--manifests", directory]) == 0
    assert cli.main(["explain", "--manifests", directory, "http://app.localhost/"]) == 0

    shown = capsys.readouterr().out
    assert shown.startswith("1 Ingress, 1 route for 1 host: 0 errors, 0 warnings\n")
    assert "\n  endpoint   127.0.0.1 port 9000\n" in shown


def test_check_prints_each_problem_and_fails(
    manifests: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (manifests / "bad.yaml").write_text("a: [")

    assert cli.main(["check", "--manifests", str(manifests)]) == 1

    assert capsys.readouterr().out.startswith("error: File bad.yaml, line 1: It is not YAML: ")


def test_what_a_stranger_wrote_reaches_a_terminal_as_characters_only(
    manifests: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    annotations = {"spanway.io/read-timeout": "\x1b[31m\u202e", "spanway.io/\x9b2J": "5s"}
    asks = ingress(path("/b"), name="b", annotations=annotations)
    (manifests / "b.json").write_text(json.dumps(asks))

    cli.main(["check", "--manifests", str(manifests)])
    cli.main(["explain", "--manifests", str(manifests), "http://shop.example/b\x1b[2J"])
    cli.main(["run", "--manifests", "/\x1b[2J"])

    captured = capsys.readouterr()
    assert r"\x1b[31m" in captured.out
    assert captured.out.replace("\n", "").isprintable()
    assert captured.err.replace("\n", "").isprintable()
    assert r"/\x1b[2J" in captured.err


def test_check_reads_annotations_and_certificates(
    manifests: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    annotations = {"spanway.io/read-timeout": "5", "spanway.io/read-timeot": "5s"}
    asks = ingress(path("/b"), name="b", annotations=annotations, tls=[{"secretName": "cert"}])
    (manifests / "b.json").write_text(json.dumps(asks))
    (manifests / "c.json").write_text(json.dumps(secret(("hunter2", "hunter2"))))

    assert cli.main(["check", "--manifests", str(manifests)]) == 1

    shown = capsys.readouterr().out
    for text in ("[spanway.io/read-timeout]: ", "[spanway.io/read-timeot]: ", "secretName: "):
        assert (
            f"Ingress shop/b, {'spec.tls[0].' if text[0] == 's' else 'metadata.annotations'}{text}"
            in shown
        )
    assert "hunter2" not in shown


@pytest.mark.parametrize("url", ["http://Shop.example:8080/cart?x=1", "shop.example/cart"])
def test_explain_names_rule_backend_and_endpoints(
    manifests: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["explain", "--manifests", str(manifests), url]) == 0

    assert capsys.readouterr().out == (
        f"{url}\n"
        "  host       shop.example\n"
        "  path       prefix /\n"
        "  rule       Ingress shop/web, spec.rules[0].http.paths[0]\n"
        "  backend    shop/api:80\n"
        "  endpoint   127.0.0.1 port 9000\n"
    )


def test_explain_names_what_annotations_change_and_no_value(
    manifests: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edits = {"spanway.io/request-headers-set": "X: hunter2", "spanway.io/read-timeout": "5s"}
    asks = ingress(path("/b"), name="b", annotations=edits)
    (manifests / "b.json").write_text(json.dumps(asks))

    assert cli.main(["explain", "--manifests", str(manifests), "http://shop.example/b"]) == 0

    shown = capsys.readouterr().out
    assert "\n  policy     read-timeout, request-headers-set\n" in shown
    assert "hunter2" not in shown


@pytest.mark.parametrize(
    ("annotation", "answer"),
    [
        ({"spanway.io/deny": "0.0.0.0/0, ::/0"}, "403: nobody is let in"),
        ({"nginx.ingress.kubernetes.io/auth-url": "http://auth"}, "403: nobody is let in"),
        ({"spanway.io/redirect": "301 https://shop.example$path"}, "301: a redirect"),
    ],
)
def test_explain_says_what_is_answered_before_any_endpoint_is_asked(
    manifests: Path,
    annotation: dict[str, str],
    answer: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asks = ingress(path("/b"), name="b", annotations=annotation)
    (manifests / "b.json").write_text(json.dumps(asks))

    assert cli.main(["explain", "--manifests", str(manifests), "http://shop.example/b"]) == 0

    assert f"\n  answer     {answer}, whatever the endpoints\n" in capsys.readouterr().out


def test_explain_leaves_out_what_is_wrong_with_other_rules(
    manifests: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asks = ingress(
        path("/b"),
        path("/c", service="nowhere"),
        path("/b10", service="elsewhere"),
        name="b",
        annotations={"spanway.io/retrys": "3"},
    )
    (manifests / "b.json").write_text(json.dumps(asks))

    assert cli.main(["explain", "--manifests", str(manifests), "http://shop.example/b"]) == 0
    shown = capsys.readouterr().out
    assert "spanway.io/retrys" in shown
    assert "nowhere" not in shown
    assert "elsewhere" not in shown

    cli.main(["explain", "--manifests", str(manifests), "http://shop.example/c"])
    shown = capsys.readouterr().out
    assert "spec.rules[0].http.paths[1].backend.service.name: Service shop/nowhere" in shown
    assert "elsewhere" not in shown


def test_a_report_without_its_name_is_told_what_is_missing_and_no_more(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["report"]) == 2

    assert "required: REPORT (" in capsys.readouterr().err


def test_explain_says_what_a_tracing_policy_changes(
    manifests: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = {"detail": {"phaseSpans": "always"}, "serverTiming": "trace"}
    policy = tracing_policy(ratio=0.25, maxTracesPerSecond=9, rules=[{"ratio": 1}], spec=spec)
    asks = ingress(path("/b"), name="b", annotations={"spanway.io/tracing-policy": "quiet"})
    (manifests / "b.json").write_text(json.dumps(asks))
    (manifests / "policy.json").write_text(json.dumps(policy))

    assert cli.main(["explain", "--manifests", str(manifests), "http://shop.example/b"]) == 0

    shown = capsys.readouterr().out
    assert "\n  policy     server-timing\n" in shown
    want = "ratio 0.25, 1 rule, at most 9 traces/s, phase spans always"
    assert f"\n  tracing    {want}\n" in shown


@pytest.mark.parametrize("url", ["http://other.example/", "http://[::1]:80/"])
def test_explain_of_what_no_rule_matches_is_a_404(
    manifests: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["explain", "--manifests", str(manifests), url]) == 1

    assert capsys.readouterr().out == f"{url}: no rule matches, the answer is 404\n"


def test_explain_of_a_404_says_what_may_hold_a_rule_and_is_not_served(
    manifests: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (manifests / "bad.yaml").write_text("a: [")
    asks = ingress(path("/b"), host="b.example", name="b", ingressClassName="nginx")
    (manifests / "b.json").write_text(json.dumps(asks))

    assert cli.main(["explain", "--manifests", str(manifests), "http://b.example/b"]) == 1

    first, *others = capsys.readouterr().out.splitlines()
    assert first == "http://b.example/b: no rule matches, the answer is 404"
    assert [line.split(":")[0].split() for line in others] == [
        ["error", "File", "bad.yaml,", "line", "1"],
        ["warning", "IngressClass", "nginx"],
    ]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("/cart", '"/cart" has no host; write http://shop.example/cart.'),
        ("http://[x/", '"http://[x/" is no URL; write http://shop.example/cart.'),
    ],
)
def test_explain_needs_a_url(
    manifests: Path, url: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["explain", "--manifests", str(manifests), url]) == 2

    assert capsys.readouterr().err == f"spanway: {message}\n"


def test_a_proxy_package_of_another_distribution_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # The fake is at the process edge: what the Python environment says is installed.
    monkeypatch.setattr(metadata, "distribution", lambda name: name)

    assert cli.main(["--version"]) == 2

    assert capsys.readouterr().err == (
        'spanway: The import package "proxy" belongs to proxy.py in this Python environment;'
        " install spanway in an environment of its own.\n"
    )


def test_a_defect_is_a_sentence_with_its_place_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ingress_controller.settings.read_settings", lambda _: 1 // 0)

    assert cli.main(["run"]) == 1

    message = capsys.readouterr().err
    assert message.startswith(
        "spanway: Internal error, please report it: ZeroDivisionError: integer division or modulo"
        " by zero (test_cli.py:"
    )
    assert message.count("\n") == 1
