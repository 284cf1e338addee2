"""A model is published only when it is what the recipe says, and what was in use stays in use otherwise."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ik_llama.pi.plugins.module_utils.common import stamp as stamps
from ansible_collections.ik_llama.pi.plugins.module_utils.common.digest import sha256_file
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf import forecast, model, model_steps
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.forecast import (
    ForecastError,
    check_free_space,
    make_forecast,
)
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import Tensor, file_bytes, tensor_bytes
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.imatrix import entries_without_data
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.model import ModelError
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.recipe import load_recipe
from gguf_files import header_bytes
from hub_server import Server
from naming import named, unnamed

METADATA = {"general.architecture": "qwen35moe", "general.file_type": 7, "general.quantization_version": 2}
SOURCE = [Tensor("token_embd.weight", (256, 4), "f16"), Tensor("blk.0.ffn_up.weight", (256, 8), "f16")]
RESULT = [Tensor("token_embd.weight", (256, 4), "q6_K"), Tensor("blk.0.ffn_up.weight", (256, 8), "iq2_ks")]
RECIPE: dict[str, Any] = {
    "title": "small",
    "origin": "this test",
    "architecture": "qwen35moe",
    "base": "IQ2_KS",
    "requires_imatrix": False,
    "allow_requantize": False,
    "token_embedding": {"type": "q6_K"},
    "output": {"type": "q6_K"},
}


def model_bytes(tensors: list[Tensor]) -> bytes:
    header = header_bytes(METADATA, tensors)
    size = file_bytes(len(header), [tensor_bytes(item.type, item.shape) for item in tensors])
    return header.ljust(size, b"\0")


class World:
    """A quantizer's files, and the module with options for them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "models/m"
        self.source = folder / "source.gguf"
        self.source.write_bytes(model_bytes(SOURCE))
        self.release = folder / "engine/releases/k"
        (self.release / "bin").mkdir(parents=True)
        program = self.release / "bin/llama-quantize"
        program.write_text("")
        program.chmod(0o755)
        self.commit("c1")
        (folder / "engine/current").symlink_to("releases/k")
        self.params: dict[str, Any] = {
            "root": str(folder / "models"),
            "name": "m",
            "recipe_name": "small",
            "recipe": RECIPE,
            "source": str(self.source),
            "source_sha256": [],
            "imatrix": "",
            "source_from": "",
            "imatrix_from": "",
            "hub": "https://hub.test",
            "hub_token": "",
            "engine_commit": "",
            "engine_root": str(folder / "engine"),
            "threads": 0,
        }
        self.warnings: list[str] = []

    def commit(self, commit: str) -> None:
        (self.release / "release.json").write_text(json.dumps({"commit": commit, "id": "k"}))

    def run(self, state: str = "prepared", check: bool = False) -> dict[str, Any]:
        return model_steps.model_result({**self.params, "state": state}, check, self.warnings.append)

    def info(self, check: bool = False, **params: Any) -> dict[str, Any]:
        options = {name: value for name, value in self.params.items() if name not in ("source_from", "imatrix_from")}
        return model_steps.model_facts({**options, "imatrix_sha256": [], **params}, check, self.warnings.append)

    def make(self, data: bytes) -> dict[str, Any]:
        """Look, let ``data`` be what the engine makes, publish."""
        found = self.run()
        assert found["argv"][-2] == found["path"] + ".part"
        Path(found["argv"][-2]).write_bytes(data)
        return self.run("published")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_made_once_then_nothing_is_left_to_do(world: World) -> None:
    world.params["source_from"] = "https://user:secret@host.test/source.gguf?signature=secret"
    found = world.run()
    assert (found["changed"], found["finished"]) == (True, False)
    assert "q6_K" in found["diff"]["after"]
    made = world.make(model_bytes(RESULT))
    manifest = json.loads((world.folder / "small.json").read_text())
    assert os.readlink(world.folder / "small.json") == f"{made['id']}.json"
    assert manifest["sha256"] == made["sha256"] == hashlib.sha256(model_bytes(RESULT)).hexdigest()
    assert manifest["types"] == {tensor.name: tensor.type for tensor in RESULT}
    assert manifest["source"]["sha256"] == hashlib.sha256(world.source.read_bytes()).hexdigest()
    assert manifest["source"]["from"] == "https://host.test/source.gguf"
    assert manifest["engine"] == {"commit": "c1", "id": "k"}
    assert sorted(path.name for path in world.folder.iterdir()) == [
        f"{made['id']}.gguf", f"{made['id']}.json", "small.json",
    ]  # fmt: skip
    assert Path(made["path"]).stat().st_mode & 0o777 == 0o644
    again = world.run()
    assert (again["changed"], again["finished"], again["id"]) == (False, True, made["id"])
    assert "argv" not in again
    assert world.run("published")["changed"] is False


def test_each_input_changes_the_key_and_an_old_model_comes_back_by_its_pointer(world: World) -> None:
    first = world.make(model_bytes(RESULT))["id"]
    world.commit("c2")
    second = world.make(model_bytes(RESULT))["id"]
    assert second != first
    world.commit("c1")
    back = world.run()
    assert (back["changed"], back["finished"], back["id"]) == (True, True, first)
    assert os.readlink(world.folder / "small.json") == f"{first}.json"
    world.params["recipe"] = {**RECIPE, "rules": [{"match": "ffn", "type": "q8_0"}]}
    assert world.run()["id"] not in (first, second)
    world.params["recipe"] = {**RECIPE, "title": "another"}
    assert world.run()["id"] == first
    world.source.write_bytes(model_bytes(SOURCE) + b"x")
    assert world.run()["id"] not in (first, second)


@pytest.mark.parametrize(
    ("data", "code", "names"),
    [
        (
            model_bytes([RESULT[0], Tensor("blk.0.ffn_up.weight", (256, 8), "q2_K")]),
            "differs",
            ["blk.0.ffn_up.weight", "q2_K", "iq2_ks"],
        ),
        (model_bytes(RESULT[:1]), "differs", ["blk.0.ffn_up.weight"]),
        (model_bytes(RESULT) + b"x", "differs", [len(model_bytes(RESULT)), len(model_bytes(RESULT)) + 1]),
        (model_bytes(RESULT)[:-100], "cut-off", []),
        (bytes(4096), "magic", []),
    ],
)
def test_what_differs_is_removed_and_the_model_in_use_stays(
    world: World, data: bytes, code: str, names: list[Any]
) -> None:
    before = world.make(model_bytes(RESULT))["id"]
    world.commit("c2")
    with pytest.raises(ModelError) as caught:
        world.make(data)
    assert (caught.value.argument, caught.value.code) == ("recipe", code)
    assert unnamed(caught.value, *names) == []
    assert os.readlink(world.folder / "small.json") == f"{before}.json"
    assert not list(world.folder.glob("*.part"))


def test_half_a_manifest_and_a_changed_file_are_not_trusted(world: World) -> None:
    made = world.make(model_bytes(RESULT))
    manifest = world.folder / f"{made['id']}.json"
    whole = manifest.read_text()
    manifest.write_text(whole[:50])
    assert world.run()["finished"] is False
    manifest.write_text(whole)
    with open(made["path"], "ab") as file:
        file.write(b"x")
    assert world.run()["finished"] is False
    assert world.make(model_bytes(RESULT))["finished"] is True


def test_check_mode_writes_nothing(world: World, tmp_path: Path) -> None:
    found = world.run(check=True)
    assert (found["changed"], found["finished"], "argv" in found) == (True, False, False)
    assert not (tmp_path / "models").exists()
    (tmp_path / "engine/current").unlink()
    found = world.run(check=True)
    assert (found["changed"], found["id"]) == (True, "")
    (warning,) = world.warnings
    assert unnamed(warning, tmp_path / "engine/current") == []


def test_errors_name_the_option(world: World, tmp_path: Path) -> None:
    world.params["source_sha256"] = ["0" * 64]
    with pytest.raises(ModelError) as caught:
        world.run()
    assert (caught.value.argument, caught.value.code) == ("source_sha256", "sum")
    assert unnamed(caught.value, world.source, "0" * 64) == []
    world.params["source_sha256"] = [hashlib.sha256(world.source.read_bytes()).hexdigest().upper()]
    (world.release / "bin/llama-quantize").unlink()
    with pytest.raises(ModelError) as caught:
        world.run()
    assert (caught.value.argument, caught.value.code) == ("engine_root", "program")
    assert unnamed(caught.value, "llama-quantize", "ik_llama_build_targets") == []
    (tmp_path / "engine/current").unlink()
    with pytest.raises(ModelError) as caught:
        world.run()
    assert (caught.value.argument, caught.value.code) == ("engine_root", "release")
    assert unnamed(caught.value, tmp_path / "engine/current") == []


def test_publishing_without_anything_made(world: World) -> None:
    with pytest.raises(ModelError) as caught:
        world.run("published")
    assert caught.value.code == "part"


def test_room(tmp_path: Path) -> None:
    check_free_space(tmp_path / "not/yet/there", 1)
    with pytest.raises(ForecastError) as caught:
        check_free_space(tmp_path / "not/yet/there", 1 << 70)
    assert caught.value.argument == "root"
    assert unnamed(caught.value, tmp_path / "not/yet/there", 1 << 50) == []


@pytest.mark.parametrize(
    ("name", "changes", "argument", "missing"),
    [
        ("gone.gguf", {}, "source", True),
        ("text.gguf", {}, "source", False),
        ("source.gguf", {"base": "NO"}, "recipe", False),
        ("source.gguf", {"architecture": "llama"}, "recipe", False),
        ("source.gguf", {"requires_imatrix": True}, "imatrix", False),
    ],
)
def test_plan_errors_name_the_option(
    tmp_path: Path, name: str, changes: dict[str, Any], argument: str, missing: bool
) -> None:
    (tmp_path / "text.gguf").write_text("a text that is no model")
    (tmp_path / "source.gguf").write_bytes(model_bytes(SOURCE))
    with pytest.raises(ForecastError) as caught:
        make_forecast(tmp_path / name, {**RECIPE, **changes}, None)
    assert (caught.value.argument, caught.value.missing) == (argument, missing)


def test_plan_says_when_the_matrix_is_missing_or_wrong(tmp_path: Path) -> None:
    source = tmp_path / "source.gguf"
    source.write_bytes(model_bytes(SOURCE))
    with pytest.raises(ForecastError) as caught:
        make_forecast(source, RECIPE, tmp_path / "imatrix.dat")
    assert (caught.value.argument, caught.value.missing) == ("imatrix", True)
    with pytest.raises(ForecastError) as caught:
        make_forecast(source, RECIPE, source)
    assert (caught.value.argument, caught.value.missing, caught.value.code) == ("imatrix", False, "kind")


def test_a_split_source(world: World) -> None:
    parts = [world.source.with_name(f"s-0000{number}-of-00002.gguf") for number in (1, 2)]
    for number, (path, tensor) in enumerate(zip(parts, SOURCE)):
        split = {"split.no": number, "split.count": 2}
        header = header_bytes({**METADATA, **split} if number == 0 else split, [tensor])
        path.write_bytes(header.ljust(file_bytes(len(header), [tensor_bytes(tensor.type, tensor.shape)]), b"\0"))
    world.params["source"] = str(parts[0])
    made = world.make(model_bytes(RESULT))
    source = json.loads((world.folder / "small.json").read_text())["source"]
    sums = [hashlib.sha256(path.read_bytes()).hexdigest() for path in parts]
    assert [part["sha256"] for part in source["parts"]] == sums
    assert (source["file"], source["size"]) == (parts[0].name, sum(path.stat().st_size for path in parts))
    assert (
        source["sha256"]
        == hashlib.sha256("".join(f"{sum_}  {path.name}\n" for sum_, path in zip(sums, parts)).encode()).hexdigest()
    )
    world.params["source_sha256"] = sums
    assert world.run()["id"] == made["id"]
    world.params["source_sha256"] = [sums[1], sums[0]]
    with pytest.raises(ModelError) as caught:
        world.run()
    assert (caught.value.argument, caught.value.code) == ("source_sha256", "sum")
    assert unnamed(caught.value, parts[0], *sums) == []
    assert not named(caught.value, parts[1])
    world.params["source_sha256"] = sums[:1]
    with pytest.raises(ModelError) as caught:
        world.run()
    assert (caught.value.argument, caught.value.code) == ("source_sha256", "count")
    assert unnamed(caught.value, parts[0], 2) == []


def ended(found: dict[str, Any], code: int) -> None:
    """The files that long_command leaves when the command has ended."""
    job = Path(found["job"])
    job.mkdir(parents=True, exist_ok=True)
    facts = {"id": "1", "argv": found["argv"], "chdir": found["chdir"], "pid": 1, "started": time.time() - 10}
    (job / "job.json").write_text(json.dumps(facts))
    (job / "exit.json").write_text(json.dumps({"id": "1", "rc": code, "seconds": 1, "cpu_seconds": 1}))


def test_what_was_made_while_nobody_was_there_is_published(world: World) -> None:
    found = world.run()
    Path(found["argv"][-2]).write_bytes(model_bytes(RESULT))
    ended(found, 1)
    assert "argv" in world.run()
    ended(found, 0)
    again = world.run()
    assert (again["finished"], "argv" in again) == (False, False)
    assert world.run("published")["finished"] is True
    # Of another command, or older than the command itself, it is not.
    world.commit("c2")
    other = world.run()
    Path(other["argv"][-2]).write_bytes(model_bytes(RESULT))
    ended(found, 0)
    assert "argv" in world.run()
    ended(other, 0)
    os.utime(other["argv"][-2], (1, 1))
    assert "argv" in world.run()


def test_what_others_left_half_made_is_removed_when_nobody_works(world: World) -> None:
    left = world.folder / "0123456789ab.gguf.part"
    world.folder.mkdir(parents=True)
    left.write_bytes(b"half")
    world.run(check=True)
    assert left.exists()
    job = world.folder.parent / ".jobs/quantize"
    job.mkdir(parents=True)
    with (job / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        world.run()
        assert left.exists()
    world.run()
    assert not left.exists()


def test_what_another_run_is_about_to_publish_stays(world: World) -> None:
    found = world.run()
    Path(found["argv"][-2]).write_bytes(model_bytes(RESULT))
    job = Path(found["job"])
    job.mkdir(parents=True, exist_ok=True)
    facts = {"id": "1", "argv": found["argv"], "chdir": found["chdir"], "started": time.time() - 1}
    (job / "job.json").write_text(json.dumps(facts))
    (job / "exit.json").write_text(json.dumps({"id": "1", "rc": 0, "seconds": 1, "cpu_seconds": 1}))
    before = dict(world.params)
    world.params["recipe"] = {**RECIPE, "output": {"type": "q8_0"}, "base": "IQ3_K"}
    assert world.run()["id"] != found["id"]
    world.params.update(before)
    assert world.run("published")["finished"] is True


def test_two_runs_publish_one_model_between_them(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    found = world.run()
    Path(found["argv"][-2]).write_bytes(model_bytes(RESULT))
    real, read = sha256_file, []

    def slow(path: Path) -> str:
        read.append(path)
        time.sleep(0.2)
        return str(real(path))

    monkeypatch.setattr(model, "sha256_file", slow)
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(world.run, "published") for _ in range(2)]
        assert len({run.result()["sha256"] for run in runs}) == 1
    assert len(read) == 1
    assert json.loads((world.folder / "small.json").read_text())["id"] == found["id"]


def test_never_onto_itself(world: World) -> None:
    found = world.run()
    os.link(world.source, found["path"])
    world.params["source"] = found["path"]
    (world.folder / "x").mkdir()
    world.params["source"] = f"{world.folder}/x/../{Path(found['path']).name}"
    with pytest.raises(ModelError) as caught:
        world.run()
    assert (caught.value.argument, caught.value.code) == ("source", "place")


def test_the_difference_between_two_recipes(world: World) -> None:
    world.make(model_bytes(RESULT))
    world.params["recipe_name"] = "other"
    world.params["recipe"] = {**RECIPE, "rules": [{"match": "ffn", "type": "q8_0"}]}
    diff = world.run(check=True)["diff"]
    assert unnamed(diff["before_header"], "small") == unnamed(diff["after_header"], "other") == []
    assert "blk.*.ffn_up.weight" in diff["before"]
    assert ("iq2_ks" in diff["before"], "iq2_ks" in diff["after"]) == (True, False)


def test_in_check_mode_a_url_is_planned_from_its_header(world: World) -> None:
    server = Server(world.source.parent)
    try:
        world.params["source"] = f"{server.hub}/ranges/source.gguf"
        found = world.run(check=True)
        assert (found["changed"], found["id"], "q6_K" in found["diff"]["after"]) == (True, "", True)
        with pytest.raises(ModelError) as caught:
            world.run()
        assert (caught.value.argument, caught.value.code) == ("source", "not-fetched")
    finally:
        server.close()


def test_the_state_is_known_without_reading_large_files(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    before = world.info()
    assert (before["id"], before["manifest"], before["pointed"]) == ("", {}, False)
    assert before["forecast"]["types"] == {tensor.name: tensor.type for tensor in RESULT}
    assert not world.folder.parent.exists()
    made = world.make(model_bytes(RESULT))
    monkeypatch.setattr(stamps, "sha256_file", None)
    found = world.info()
    assert (found["id"], found["path"], found["pointed"]) == (made["id"], made["path"], True)
    assert found["manifest"] == made["manifest"]
    assert world.info(engine_commit="c2")["manifest"] == {}
    assert world.info(engine_commit="c2")["id"] not in ("", made["id"])
    assert world.info(source_sha256=["0" * 64])["id"] == ""
    (world.folder / "small.json").unlink()
    assert world.info()["pointed"] is False


def test_the_state_where_the_source_is_missing(world: World) -> None:
    world.source.unlink()
    with pytest.raises(ForecastError) as caught:
        world.info()
    assert (caught.value.argument, caught.value.missing) == ("source", True)
    found = world.info(check=True)
    assert (found["forecast"], found["id"]) == ({}, "")
    assert len(world.warnings) == 1


def test_the_state_counts_what_is_still_to_be_downloaded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(world.source.parent)
    size = world.source.stat().st_size
    wanted: dict[str, Any] = {"source": f"{server.hub}/ranges/source.gguf", "source_sha256": ["1" * 64]}
    try:
        found = world.info(**wanted)
        assert (found["source"]["finished"], found["source"]["missing_bytes"], found["id"]) == (False, size, "")
        free = found["forecast"]["file_bytes"] + size
        monkeypatch.setattr(forecast, "free_bytes", lambda path: free)
        world.info(**wanted)
        monkeypatch.setattr(forecast, "free_bytes", lambda path: free - 1)
        with pytest.raises(ForecastError) as caught:
            world.info(**wanted)
        assert (caught.value.argument, caught.value.code) == ("root", "room")
        with pytest.raises(ModelError) as refused:
            world.info(**wanted, hub="nothing", imatrix="hf://nothing")
        assert refused.value.argument == "imatrix"
    finally:
        server.close()


def test_a_model_of_an_earlier_version_is_not_made_again(world: World) -> None:
    """ID and file name are those that version 0.1 gave; its manifests call the ID key."""
    made = world.make(model_bytes(RESULT))
    path = world.folder / f"{made['id']}.json"
    manifest = json.loads(path.read_text())
    old = {**{name: value for name, value in manifest.items() if name != "id"}, "key": manifest["id"]}
    path.write_text(json.dumps({**old, "engine": {"commit": "c1", "key": "k"}}))
    (world.release / "release.json").write_text(json.dumps({"commit": "c1", "key": "k"}))
    again = world.run()
    assert (again["changed"], again["finished"], again["id"]) == (False, True, made["id"])
    found = world.info()
    assert (found["id"], found["manifest"]["id"], found["pointed"]) == (made["id"], made["id"], True)


def test_the_id_never_changes() -> None:
    """Computed by version 0.1 from the same inputs."""
    assert model.model_id("1" * 64, "2" * 64, load_recipe(RECIPE), "c1") == "4af769b2bd58"
    assert model.model_id("1" * 64, None, load_recipe(RECIPE), "c1") == "7e6a5e49010b"


def matrix_bytes(**entries: list[float]) -> bytes:
    """A matrix in legacy form, with entries for these tensors of the first layer."""
    data = struct.pack("<i", len(entries))
    for name, values in entries.items():
        text = f"blk.0.{name}.weight".encode()
        data += struct.pack("<i", len(text)) + text + struct.pack(f"<ii{len(values)}f", 1, len(values), *values)
    return data


@pytest.mark.parametrize(
    ("data", "requires", "code"),
    [
        (matrix_bytes(ffn_up=[1.0] * 255), True, "size"),
        (matrix_bytes(ffn_up=[1.0] * 255 + [float("nan")]), False, "values"),
        (matrix_bytes(ffn_up=[0.0] * 256), False, "empty"),
        (matrix_bytes(ffn_up=[0.0] * 256, attn_norm=[1.0]), False, "other"),
        (matrix_bytes(attn_q=[1.0] * 256), False, "other"),
        (matrix_bytes(ffn_up=[1.0] * 256)[:-1], False, "damaged"),
        (b"<html>not found</html>", False, "text"),
    ],
)
def test_a_matrix_that_does_not_belong_to_the_source_is_refused_at_once(
    world: World, data: bytes, requires: bool, code: str
) -> None:
    path = world.source.with_name("i.dat")
    path.write_bytes(data)
    with pytest.raises(ForecastError) as caught:
        world.info(imatrix=str(path), recipe={**RECIPE, "requires_imatrix": requires})
    assert (caught.value.argument, caught.value.code) == ("imatrix", code)
    assert unnamed(caught.value, path) == []


def test_types_that_need_a_matrix_are_refused_without_one(world: World) -> None:
    rules = [{"match": "ffn_up", "type": "iq2_xs"}]
    with pytest.raises(ForecastError) as caught:
        world.info(recipe={**RECIPE, "rules": rules})
    assert (caught.value.argument, caught.value.code) == ("imatrix", "demanded")
    assert unnamed(caught.value, "blk.0.ffn_up.weight", "iq2_xs") == []


def test_a_matrix_that_lacks_something_is_a_warning(world: World) -> None:
    """Two tensors more than the matrix has, of a type that can do without."""
    more = [*SOURCE, *(Tensor(f"blk.{layer}.ffn_down.weight", (256, 8), "f16") for layer in (0, 1))]
    world.source.write_bytes(model_bytes(more))
    path = world.source.with_name("i.dat")
    path.write_bytes(matrix_bytes(ffn_up=[1.0] * 256))
    recipe = {**RECIPE, "requires_imatrix": True, "rules": [{"match": "ffn_down", "type": "q4_K"}]}
    world.info(imatrix=str(path), recipe=recipe)
    (warning,) = (text for text in world.warnings if text.startswith("imatrix: "))
    assert unnamed(warning, 1, 3, "blk.0.ffn_down.weight", "q4_K") == []


def test_the_matrix_of_a_finished_model_is_not_read_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    path = world.source.with_name("i.dat")
    path.write_bytes(matrix_bytes(ffn_up=[1.0] * 256))
    world.params["imatrix"] = str(path)
    read = []

    def reading(stream: Any, size: int) -> Any:
        read.append(size)
        return entries_without_data(stream, size)

    monkeypatch.setattr(forecast, "entries_without_data", reading)
    world.info()
    assert read == [path.stat().st_size]
    found = world.run()
    size = world.info()["forecast"]["file_bytes"]
    header = header_bytes(
        {
            **METADATA,
            "quantize.imatrix.file": "i.dat",
            "quantize.imatrix.entries_count": 1,
        },
        RESULT,
    )
    Path(found["argv"][-2]).write_bytes(header.ljust(size, b"\0"))
    world.run("published")
    read.clear()
    assert world.info()["manifest"]["id"] == found["id"]
    assert read == []
