"""docs/MIGRATION.md says of ingress-nginx what the code says."""

import re
from pathlib import Path

import pytest

from ingress_controller import cli
from ingress_controller.routing.annotations.table import ANNOTATIONS
from ingress_controller.routing.ingress_nginx import GUARDS, INSTEAD

PAGE = (Path(__file__).resolve().parents[2] / "docs/MIGRATION.md").read_text()
ROWS = [line for line in PAGE.splitlines() if line.startswith("| `")]


@pytest.mark.parametrize(
    ("name", "ours"), [*INSTEAD.items(), *((n, a[0]) for n, a in GUARDS.items())]
)
def test_every_annotation_is_told_with_what_the_warning_names(name: str, ours: str) -> None:
    [row] = [row for row in ROWS if f"`{name}`" in row.split("|")[1]]

    assert f"`{ours}`" in row
    assert ("**closed until" in row) is (name in GUARDS)


def test_what_is_told_to_be_ours_is_there() -> None:
    table = PAGE.partition("## Annotations")[2].partition("## What else")[0]
    rows = [line.split("|")[2] for line in table.splitlines() if line.startswith("| `")]
    told = {name for cell in rows for name in re.findall(r"`([a-z-]+)`", cell)}

    assert len(told) > 20
    assert told - {one.name for one in ANNOTATIONS} == set()


def test_the_ingress_after_is_as_it_should_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, after = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    (tmp_path / "after.yaml").write_text(after)

    assert cli.main(["check", "--manifests", str(tmp_path)]) == 0
    assert capsys.readouterr().out.endswith("1 Ingress, 1 route for 1 host: 0 errors, 1 warning\n")

    cli.main(["explain", "--manifests", str(tmp_path), "http://shop.example/api/cart"])
    assert "policy     read-timeout, request-body-max, rewrite, allow" in capsys.readouterr().out
