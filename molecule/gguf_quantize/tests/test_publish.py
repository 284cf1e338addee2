"""playbooks/publish.yml makes a folder that is ready to be uploaded, and says of it what inspect.yml says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hub_server import READER, TOKEN, Server
from naming import unnamed
from runs import changed, refused, results, stats

PUBLISH = "playbooks/publish.yml"
RECIPE = "rpi5-16gb-fine"
ROOT = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "models"


@pytest.fixture(scope="module")
def folder() -> Path:
    return ROOT.parent / "published"


@pytest.fixture
def publish(run_playbook: Any, folder: Path) -> Any:
    def run(*arguments: str, recipe: str = RECIPE, license: str = "apache-2.0") -> Any:
        return run_playbook(
            PUBLISH, "-e", f"gguf_publish_folder={folder}", "-e", f"gguf_publish_root={ROOT}",
            "-e", f"gguf_publish_recipe={recipe}", "-e", f"gguf_publish_license={license}", *arguments,
        )  # fmt: skip

    return run


def test_the_folder_is_ready_to_be_uploaded(publish: Any, folder: Path, run_playbook: Any, tmp_path: Path) -> None:
    checked = publish("--check")
    assert checked.returncode == 0, checked.stdout
    assert not folder.exists()
    run = publish()
    assert run.returncode == 0, run.stdout
    link = folder / f"alphabet-{RECIPE}"
    assert sorted(path.name for path in link.iterdir()) == [
        "README.md",
        "SHA256SUMS",
        f"{link.name}.gguf",
        "recipe.yml",
    ]
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=link, check=True)
    manifest = json.loads((ROOT / f"alphabet/{RECIPE}.json").read_text())
    model = ROOT / "alphabet" / manifest["file"]
    assert (link / f"{link.name}.gguf").samefile(model)

    card = (link / "README.md").read_text()
    matter = yaml.safe_load(card.split("---\n")[1])
    assert matter["license"] == "apache-2.0"
    for known in (
        manifest["sha256"],
        manifest["source"]["sha256"],
        manifest["imatrix"]["sha256"],
        manifest["engine"]["commit"],
    ):
        assert known in card
    assert str(Path.home()) not in card

    inspected = run_playbook(
        "playbooks/inspect.yml", "-e", f"file={link}/{link.name}.gguf", "-e", f"claim={link}/recipe.yml",
        "-e", f"inspect_file={tmp_path}/inspected.json",
    )  # fmt: skip
    assert inspected.returncode == 0, inspected.stdout
    report = json.loads((tmp_path / "inspected.json").read_text())
    assert report["claimed"]["differ"] == 0
    for row in report["tensor_groups"]:
        assert f"| {row['group']} | {row['type']} | {row['tensors']} |" in card


def test_a_second_run_changes_nothing_and_a_new_text_replaces_the_folder(publish: Any, folder: Path) -> None:
    link = folder / f"alphabet-{RECIPE}"
    before = os.readlink(link)
    again = publish()
    assert again.returncode == 0, again.stdout
    assert stats(again.stdout)["localhost"]["changed"] == 0, again.stdout
    run = publish("--diff", "-e", "gguf_publish_title=Another")
    assert run.returncode == 0, run.stdout
    (made,) = results(run.stdout, "gguf_publication")
    assert [part["after_header"] for part in made.data["diff"]] == ["README.md", "SHA256SUMS"]
    assert os.readlink(link) != before
    assert [path.name for path in (folder / ".publications").iterdir()] == [Path(os.readlink(link)).name]


def test_what_was_altered_is_not_published(publish: Any, folder: Path) -> None:
    before = sorted(folder.iterdir())
    manifest = json.loads((ROOT / "alphabet/rpi5-16gb-table.json").read_text())
    model = ROOT / "alphabet" / manifest["file"]
    with model.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))
    try:
        run = publish(recipe="rpi5-16gb-table")
    finally:
        with model.open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(last)
    assert run.returncode != 0
    assert unnamed(refused(run.stdout), manifest["sha256"], model) == []
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "keywords", "names"),
    [
        ((), {"license": ""}, ("gguf_publish_license",)),
        (("-e", "gguf_publish_as='a b'"), {}, ("gguf_publish_as", "a b")),
        (("-e", "gguf_publish_base_model=nobody"), {}, ("gguf_publish_base_model", "nobody")),
        (("-e", "gguf_publish_name=nothing"), {}, ("nothing",)),
        (("-e", "gguf_publish_folder=/proc/published"), {}, ("gguf_publish_folder", "/proc/published")),
    ],
)
def test_what_is_missing_is_named(publish: Any, arguments: Any, keywords: Any, names: Any) -> None:
    run = publish(*arguments, **keywords)
    assert run.returncode == 2, run.stdout
    assert unnamed(refused(run.stdout), "localhost", *names) == []
    assert changed(run.stdout) == 0


def test_a_recipe_that_was_changed_since(publish: Any, tmp_path: Path) -> None:
    source = Path(__file__).resolve().parents[3] / f"roles/gguf_quantize/files/recipes/{RECIPE}.yml"
    recipe = yaml.safe_load(source.read_text())
    recipe["rules"].append({"match": r"attn_gate\.weight", "type": "iq2_k", "reason": "changed"})
    (tmp_path / f"{RECIPE}.yml").write_text(yaml.safe_dump(recipe))
    run = publish(recipe=f"{tmp_path}/{RECIPE}.yml")
    assert run.returncode == 2, run.stdout
    assert unnamed(refused(run.stdout), RECIPE) == []


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A hub whose one repository is empty. Its store is the older one (LFS): hf-xet's is no public protocol."""
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    (tmp_path / "hub").mkdir()
    server = Server(tmp_path / "hub")
    yield server
    server.close()


def upload(hub: Server, token: str = TOKEN) -> tuple[str, ...]:
    return (
        "-e", "gguf_publish_upload_to=tests/alphabet", "-e", f"gguf_publish_hub={hub.hub}",
        "-e", json.dumps({"gguf_publish_hub_token": token}),
    )  # fmt: skip


def sent(hub: Server) -> list[str]:
    return [entry["path"] for entry in hub.log if entry["method"] == "PUT" and entry["status"] == 200]


def test_an_upload_that_is_killed_is_continued_and_then_there_is_nothing_to_do(
    publish: Any, begin_playbook: Any, folder: Path, hub: Server, run_playbook: Any, tmp_path: Path
) -> None:
    job = folder / ".upload/job"
    hub.upload_rate = 100_000
    run = begin_playbook(
        PUBLISH, "-e", f"gguf_publish_folder={folder}", "-e", f"gguf_publish_root={ROOT}",
        "-e", f"gguf_publish_recipe={RECIPE}", "-e", "gguf_publish_license=apache-2.0", *upload(hub),
    )  # fmt: skip
    for _ in range(6000):
        if hub.active and (job / "job.json").exists() and any("batch" in entry["path"] for entry in hub._log):
            break
        assert run.poll() is None, run.ended()
        time.sleep(0.01)
    arguments = Path(f"/proc/{json.loads((job / 'job.json').read_text())['pid']}/cmdline").read_text()
    assert TOKEN not in arguments
    time.sleep(1)
    os.killpg(json.loads((job / "job.json").read_text())["pid"], signal.SIGKILL)
    output = run.ended()
    assert run.returncode != 0
    assert TOKEN not in output
    assert not (folder / ".upload/token").exists()
    assert sent(hub) == []

    hub.upload_rate = 1 << 40
    again = publish(*upload(hub))
    assert again.returncode == 0, again.stdout
    assert TOKEN not in again.stdout
    link = folder / f"alphabet-{RECIPE}"
    assert len(sent(hub)) == 1
    for path in link.iterdir():
        assert (hub.folder / path.name).read_bytes() == path.read_bytes()
    assert not (folder / ".upload/token").exists()

    nothing = publish(*upload(hub))
    assert nothing.returncode == 0, nothing.stdout
    assert stats(nothing.stdout)["localhost"]["changed"] == 0, nothing.stdout
    assert len(sent(hub)) == 1

    inspected = run_playbook(
        "playbooks/inspect.yml", "-e", f"file=hf://tests/alphabet@main/{link.name}.gguf",
        "-e", f"claim={link}/recipe.yml", "-e", f"inspect_file={tmp_path}/inspected.json",
        "-e", f"gguf_inspect_hub={hub.hub}",
    )  # fmt: skip
    assert inspected.returncode == 0, inspected.stdout
    report = json.loads((tmp_path / "inspected.json").read_text())
    assert report["claimed"]["differ"] == 0
    sums = (link / "SHA256SUMS").read_text()
    assert f"{report['sha256'][0]['sha256']}  {link.name}.gguf" in sums


@pytest.mark.parametrize(
    ("arguments", "token", "names"),
    [
        ((), READER, ("gguf_publish_hub_token",)),
        ((), "hf_unknown", ("gguf_publish_hub_token",)),
        (("-e", "gguf_publish_upload_to=alphabet"), TOKEN, ("gguf_publish_upload_to", "alphabet")),
        (("-e", "gguf_publish_program=/nowhere/hf"), TOKEN, ("gguf_publish_program", "/nowhere/hf")),
        (("-e", "gguf_publish_hub=http://127.0.0.1:9"), TOKEN, ("gguf_publish_hub", "http://127.0.0.1:9")),
    ],
)
def test_what_keeps_it_from_being_uploaded_is_known_before(
    publish: Any, hub: Server, arguments: Any, token: str, names: Any
) -> None:
    run = publish(*upload(hub, token), *arguments, recipe="rpi5-16gb-card")
    assert run.returncode == 2, run.stdout
    assert unnamed(refused(run.stdout), "localhost", *names) == []
    assert token not in run.stdout
    assert changed(run.stdout) == 0
    assert hub.files() == []
