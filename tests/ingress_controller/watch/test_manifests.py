import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml
from eventually import until
from k8s_objects import endpoint_slice, ingress, key_of, path, secret, service, values_of

from ingress_controller.watch.cache import Cache
from ingress_controller.watch.manifests import Directory, ManifestsSource, Reading


def read(directory: Path, **files: str) -> Reading:
    for name, content in files.items():
        (directory / name.replace("_", ".")).write_text(content)
    return Directory(directory).read()


def test_yaml_documents_json_and_lists_are_read_at_any_depth(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.json").write_text(json.dumps(service("b")))
    items = {"apiVersion": "v1", "kind": "List", "items": [endpoint_slice(), endpoint_slice("b")]}
    documents = yaml.dump_all([service("a"), ingress(path("/")), items])

    reading = read(tmp_path, a_yaml=f"---\n{documents}\n---\n# nothing\n")

    assert sorted(key.path for key in reading.objects) == [
        "shop/a",
        "shop/api-1",
        "shop/b",
        "shop/b-1",
        "shop/web",
    ]
    assert reading.problems == ()


def test_items_of_a_typed_list_need_no_kind_of_their_own(tmp_path: Path) -> None:
    item = {"metadata": {"name": "api"}}
    listed = {"apiVersion": "v1", "kind": "ServiceList", "items": [item]}

    reading = read(tmp_path, a_json=json.dumps(listed))

    assert [str(key) for key in reading.objects] == ["Service default/api"]


def test_a_secret_may_be_written_as_text(tmp_path: Path) -> None:
    held = {**secret(), "stringData": {"tls.crt": "text"}}

    reading = read(tmp_path, a_yaml=yaml.dump(held))

    secrets = values_of(reading.objects.values()).secrets
    assert secrets["shop", "cert"].content("tls.crt") == b"text"


def test_unknown_kinds_are_counted_and_nothing_more(tmp_path: Path) -> None:
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}}
    knative = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": "x"}}

    reading = read(tmp_path, a_yaml=yaml.dump_all([deployment, knative]))

    assert reading == Reading({}, (), 2)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "bad.yaml",
            "kind: Service\nmetadata:\n  name: [a\n",
            "File bad.yaml, line 3: It is not YAML: while parsing a flow sequence, did not find"
            " expected ',' or ']'. Nothing of it is served.",
        ),
        (
            "bad.yaml",
            "a: 1\n\tb: 2\n",
            "File bad.yaml, line 2: It is not YAML: while scanning a plain scalar, found a tab"
            " character that violates indentation. Nothing of it is served.",
        ),
        (
            "bad.json",
            '{"kind":\n "Service",}',
            "File bad.json, line 2: It is not JSON: Expecting property name enclosed in double"
            " quotes. Nothing of it is served.",
        ),
        (
            "bad.yaml",
            "just text",
            "File bad.yaml, line 1: It is no Kubernetes object. Add apiVersion, kind and metadata.",
        ),
        (
            "bad.yaml",
            "apiVersion: v1\nkind: Service\nmetadata: {}\n",
            "File bad.yaml, line 1: The Service has no metadata.name. Name it.",
        ),
        (
            "bad.yaml",
            "---\n\n---\napiVersion: networking.k8s.io/v1beta1\nkind: Ingress\n",
            "File bad.yaml, line 4: Ingress of apiVersion networking.k8s.io/v1beta1 is not read."
            " Convert it to networking.k8s.io/v1.",
        ),
    ],
)
def test_a_bad_file_is_one_problem_with_its_line(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content)
    (tmp_path / "good.json").write_text(json.dumps(service()))

    reading = Directory(tmp_path).read()

    assert [str(problem) for problem in reading.problems] == [message]
    assert list(reading.objects) == [key_of(service())]


def test_bytes_that_are_no_text_are_a_problem(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_bytes(b"a: 1\nb: \xff\n")

    reading = Directory(tmp_path).read()

    assert [problem.field for problem in reading.problems] == ["line 2"]


def test_a_nest_of_brackets_is_a_problem_and_no_crash(tmp_path: Path) -> None:
    (tmp_path / "deep.json").write_text("[" * 100_000)

    reading = Directory(tmp_path).read()

    assert len(reading.problems) == 1


def test_a_file_that_breaks_keeps_its_last_good_objects_until_it_goes(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text(json.dumps(service()))
    directory = Directory(tmp_path)
    directory.read()

    file.write_text("{")
    broken = directory.read()
    file.unlink()
    removed = directory.read()

    assert list(broken.objects) == [key_of(service())]
    assert str(broken.problems[0]).endswith("Its last good version keeps serving.")
    assert removed == Reading({}, (), 0)


def test_an_object_in_two_files_is_a_problem_and_the_first_file_has_it(tmp_path: Path) -> None:
    reading = read(
        tmp_path,
        a_json=json.dumps(service()),
        b_json=json.dumps(service(type="ExternalName")),
    )

    assert "type" not in reading.objects[key_of(service())]["spec"]
    assert [str(problem) for problem in reading.problems] == [
        "Service shop/api: b.json has it too; the one in a.json counts."
        " Remove it from one of the two."
    ]


def test_a_directory_that_is_gone_keeps_what_was_read(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "a.json").write_text(json.dumps(service()))
    directory = Directory(inner)
    directory.read()

    inner.rename(tmp_path / "elsewhere")
    reading = directory.read()

    assert list(reading.objects) == [key_of(service())]
    assert str(reading.problems[0]) == f"Directory {inner}: The directory is gone. Put it back."


@asynccontextmanager
async def following(directory: Path, cache: Cache) -> AsyncIterator[ManifestsSource]:
    source = ManifestsSource(directory, cache)
    task = asyncio.ensure_future(source.run())
    try:
        await until(lambda: not source.missing)
        yield source
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_new_file_reaches_the_cache(tmp_path: Path) -> None:
    cache = Cache()
    async with following(tmp_path, cache):
        (tmp_path / "a.json").write_text(json.dumps(service()))

        await until(lambda: cache.get(key_of(service())))


async def test_the_swap_of_a_config_map_volume_is_seen_and_read_once(tmp_path: Path) -> None:
    def version(name: str, raw: dict[str, object]) -> None:
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.json").write_text(json.dumps(raw))

    cache = Cache()
    version("..1", service())
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "a.json").symlink_to("..data/a.json")
    async with following(tmp_path, cache) as source:
        assert source.problems == ()
        version("..2", service(type="ExternalName"))
        (tmp_path / "..data_tmp").symlink_to("..2")
        (tmp_path / "..data_tmp").replace(tmp_path / "..data")

        await until(lambda: (cache.get(key_of(service())) or {})["spec"].get("type"))
