"""Sources from servers of all manners: what is right is taken, and nothing else is ever taken for a model."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import read_header
from naming import unnamed
from runs import Background, changed, failures, refused

PROJECT = Path(__file__).resolve().parents[3]


FOLDER = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
MODELS = FOLDER / "models"
TOKEN = "hf_tokenOfTheTests"
COMMAND = [
    "ansible-playbook",
    f"--inventory={PROJECT}/lab/inventory/containers.yml",
    f"{PROJECT}/molecule/gguf_source/converge.yml",
]


def requests() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / "requests.jsonl").read_text().splitlines()]


HUB = requests()[0]["hub"]


def sha256(name: str) -> str:
    return hashlib.sha256((FOLDER / "served" / name).read_bytes()).hexdigest()


def start(**variables: str) -> Background:
    """Run the role with other variables than converge.yml has."""
    return Background([*COMMAND, "--extra-vars", json.dumps({"name_of_model": "another", **variables})], PROJECT)


def shown(run: Background) -> str:
    """All it said until its end."""
    said = run.ended()
    assert TOKEN not in said
    return said


def nothing_is_there() -> bool:
    """No model, and no source, of another name than unfinished ones."""
    return not list((MODELS / "another").glob("*.gguf")) and not list((MODELS / ".sources").glob("*/large.gguf"))


def content(path: Path) -> dict[str, bytes]:
    """Each tensor's data."""
    with path.open("rb") as file:
        header = read_header(file, path.stat().st_size)
        ends = [*sorted(tensor.offset for tensor in header.tensors)[1:], path.stat().st_size - header.data_start]
        found = {}
        for tensor, end in zip(sorted(header.tensors, key=lambda item: item.offset), ends, strict=True):
            file.seek(header.data_start + tensor.offset)
            found[tensor.name] = file.read(end - tensor.offset)
    return found


def test_what_was_made_of_a_split_gated_source(tmp_path: Path) -> None:
    """The same as the engine makes of the whole file and the matrix in its own form."""
    manifest = json.loads((MODELS / "fetched/rpi5-16gb-card.json").read_text())
    made = MODELS / "fetched" / manifest["file"]
    assert [part["sha256"] for part in manifest["source"]["parts"]] == [
        sha256(f"alphabet-0000{number}-of-00003.gguf") for number in (1, 2, 3)
    ]
    assert manifest["imatrix"]["file"] == "imatrix.dat"
    argv = json.loads((MODELS / ".jobs/quantize/job.json").read_text())["argv"]
    assert argv[-3].endswith("alphabet-00001-of-00003.gguf")
    argv[argv.index("--imatrix") + 1] = str(FOLDER / "served/alphabet.imatrix.dat")
    argv[-3:] = [str(FOLDER / "served/alphabet.gguf"), str(tmp_path / "plain.gguf"), argv[-1]]
    subprocess.run(argv, check=True, capture_output=True)
    ours, plain = content(made), content(tmp_path / "plain.gguf")
    assert ours.keys() == plain.keys()
    # The matrix was divided and multiplied in between: a last bit of a weight may tip a rounding here and there.
    differ = sum(a != b for name in ours for a, b in zip(ours[name], plain[name], strict=True))
    assert differ < 1e-3 * sum(map(len, ours.values()))


def test_the_token_went_to_the_hub_alone_and_is_nowhere(tmp_path: Path) -> None:
    seen = [entry for entry in requests() if "path" in entry]
    assert {entry["token"] for entry in seen if entry["path"].startswith("/gated/")} == {True}
    assert {entry["token"] for entry in seen if entry["port"] == "store"} == {False}
    assert not [path for path in MODELS.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    assert not list(MODELS.rglob("aria2.input"))


def test_a_second_run_reads_nothing() -> None:
    """The last run before these tests was the one that found all finished: it asked for the sha256 alone."""
    seen = requests()
    whole = [entry for entry in seen[1:] if entry["method"] == "GET" and not entry["range"]]
    last = max(index for index, entry in enumerate(seen) if entry in whole)
    assert {entry["method"] for entry in seen[last + 1 :]} == {"HEAD"}
    assert sum(entry["sent"] for entry in whole) < 28_000_000


@pytest.fixture(scope="module")
def killed() -> str:
    """A download of large.gguf that was killed with all that belongs to it, as by a power cut; what was said then."""
    run = start(source=f"{HUB}/slow/large.gguf", source_sha256=sha256("large.gguf"))
    job = MODELS / f".jobs/fetch-{sha256('large.gguf')[:12]}"
    part = MODELS / f".sources/{sha256('large.gguf')[:12]}/large.gguf.part"
    control = part.with_name(part.name + ".aria2")
    noted = set()
    for _ in range(2400):
        # aria2 notes at the beginning that it has nothing, and then every five seconds what it has.
        if control.exists():
            noted.add(control.stat().st_mtime_ns)
        if len(noted) > 1:
            break
        assert run.poll() is None, shown(run)
        time.sleep(0.05)
    os.killpg(json.loads((job / "job.json").read_text())["pid"], signal.SIGKILL)
    said = shown(run)
    assert run.returncode != 0
    assert part.exists()
    return said


def test_killed_in_the_middle_of_a_download(killed: str) -> None:
    (failure,) = failures(killed).values()
    assert (failure.action, failure.data["code"]) == ("long_command", "killed")
    assert nothing_is_there()


def test_the_next_run_resumes_even_from_a_server_that_breaks_off(killed: str) -> None:
    before = len(requests())
    run = start(source=f"{HUB}/broken/large.gguf", source_sha256=sha256("large.gguf"))
    said = shown(run)
    assert run.returncode == 0, said
    sent = [entry for entry in requests()[before:] if entry["agent"] == "aria2"]
    assert [entry for entry in sent if entry["path"] == "/broken/large.gguf" and entry["sent"] == 12_000_000]
    # What the first run brought is not asked for again: each of its connections goes on behind where it began. (aria2
    # opens with one request for the whole, to see what the server is, and breaks that off.)
    begun = {entry["range"].partition("-")[0] for entry in requests()[1:before] if entry["path"] == "/slow/large.gguf"}
    again = [entry["range"].partition("-")[0] for entry in sent if entry["range"]]
    assert again
    assert not begun & set(again)
    assert "bytes=0" not in again
    assert sha256("large.gguf") in (MODELS / "another/rpi5-16gb-card.json").read_text()


def test_a_wrong_sha256() -> None:
    wrong = "0" * 64
    run = start(source=f"{HUB}/ranges/alphabet.gguf", source_sha256=wrong)
    said = shown(run)
    assert run.returncode != 0
    assert unnamed(refused(said), "gguf_quantize_source_sha256", "alphabet.gguf", wrong) == []
    assert not [path for path in (MODELS / f".sources/{wrong[:12]}").rglob("*") if path.is_file()]


def test_a_server_without_range_requests() -> None:
    before = len(requests())
    run = start(source=f"{HUB}/plain/large.gguf", source_sha256="1" * 64)
    said = shown(run)
    assert run.returncode != 0
    assert unnamed(refused(said), "gguf_quantize_source", f"{HUB}/plain/large.gguf", 200, 206) == []
    assert sum(entry["sent"] for entry in requests()[before:]) < 8_000_000


#: What the hub's owner stands for in tests/unit/hub_server.py, and what the answer names.
REFUSED = {
    "nobody": ("nobody/alphabet", "gguf_quantize_source"),
    "terms": ("terms/alphabet", "gguf_quantize_hub_token"),
    "renamed": ("main", "renamed/alphabet"),
    "moved-file": ("alphabet.gguf", "moved-file/alphabet"),
}


def test_what_the_hub_refuses_is_said_before_anything_is_downloaded(run_playbook: Any, tmp_path: Path) -> None:
    before = len(requests())
    hosts = {
        name: {"ansible_connection": "local", "gguf_quantize_source": f"hf://{name}/alphabet@main/alphabet.gguf"}
        for name in REFUSED
    }
    house, play = tmp_path / "house.yml", tmp_path / "play.yml"
    house.write_text(json.dumps({"hubs": {"hosts": hosts, "vars": {"ansible_python_interpreter": sys.executable}}}))
    play.write_text(
        "- hosts: hubs\n  gather_facts: false\n  tasks:\n"
        "    - ansible.builtin.import_role: {name: ik_llama.pi.gguf_quantize, tasks_from: preflight}\n"
    )
    run = run_playbook(
        "-i", str(house), str(play), "-e", json.dumps({"gguf_quantize_hub": HUB, "gguf_quantize_root": str(MODELS)})
    )
    assert run.returncode == 2, run.stdout
    for name, names in REFUSED.items():
        assert unnamed(refused(run.stdout, name), name, *names) == []
    assert changed(run.stdout) == 0
    assert sum(entry["sent"] for entry in requests()[before:]) == 0


def test_a_link_that_expires_is_asked_for_again() -> None:
    """The store honours each signed URL twice; of several connections all but the first are refused."""
    shutil.rmtree(MODELS / f".sources/{sha256('large.gguf')[:12]}")
    before = len(requests())
    run = start(source="hf://gated/alphabet@main/large.gguf")
    said = shown(run)
    assert run.returncode == 0, said
    assert [entry for entry in requests()[before:] if entry["status"] == 403], "no link expired"
    manifest = json.loads((MODELS / "another/rpi5-16gb-card.json").read_text())
    assert manifest["source"]["sha256"] == sha256("large.gguf")
