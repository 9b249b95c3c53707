from pathlib import Path

import msgspec

from ingress_controller.arguments import run_flags
from ingress_controller.configuration import ShownFlag, configuration
from ingress_controller.settings import Settings, read_settings


def shown(*argv: str, **env: str) -> dict[str, ShownFlag]:
    settings = read_settings(["run", *argv], env)
    assert isinstance(settings, Settings)
    return {flag.flag: flag for group in configuration(settings) for flag in group.flags}


def test_every_flag_of_run_is_shown(tmp_path: Path) -> None:
    flags = {flag for group in run_flags() for flag, _ in group.flags}

    assert flags - set(shown("--manifests", str(tmp_path))) == {"--otlp-endpoint"}, (
        "configuration.py says how the others are read"
    )


def test_without_flags_all_is_default_and_with_one_only_that_is_not(tmp_path: Path) -> None:
    source = "--manifests", str(tmp_path)

    assert all(flag.is_default for flag in shown(*source).values())
    changed = [f for f in shown(*source, "--zone", "eu-1a").values() if not f.is_default]
    assert [(flag.flag, flag.values) for flag in changed] == [("--zone", ("eu-1a",))]


def test_values_are_written_as_the_flag_takes_them(tmp_path: Path) -> None:
    flags = shown("--manifests", str(tmp_path))

    assert flags["--store-bytes"].values == ("1Gi",)
    assert flags["--store-age"].values == ("3d",)
    assert flags["--trusted-field"].values == ("x-forwarded-for",)
    given = ("--store-bytes", "1Gi", "--store-age", "3d", "--trusted-field", "x-forwarded-for")
    again = shown("--manifests", str(tmp_path), *given, "--trusted-proxies", "10.0.0.0/8")
    assert [f.flag for f in again.values() if not f.is_default] == ["--trusted-proxies"]


def test_where_traces_are_kept_is_set_only_if_somebody_said_so(tmp_path: Path) -> None:
    source = "--manifests", str(tmp_path)

    assert shown(*source, HOME=str(tmp_path))["--store"].is_default
    assert not shown(*source, "--store", "memory")["--store"].is_default
    assert not shown(*source, "--store", "off")["--store"].is_default


def test_no_secret_is_shown(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("hunter2-hunter2-hunter2")
    flags = shown(
        *("--manifests", str(tmp_path), "--debug-key-file", str(tmp_path / "key")),
        *("--admin-token-file", str(tmp_path / "key")),
        *("--sampling-remote", "http://127.0.0.1:5778/sampling"),
        *("--export", "otlp+http://127.0.0.1:4318"),
        OTEL_EXPORTER_OTLP_HEADERS="authorization=hunter2",
    )

    assert flags["--debug-key-file"].values == ("given",)
    assert flags["--admin-token-file"].values == ("given",)
    assert flags["--export"].values
    assert b"hunter2" not in msgspec.json.encode(list(flags.values()))
