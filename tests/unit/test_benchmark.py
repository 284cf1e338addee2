"""What serves, as a benchmark of it needs to know, and which programs can measure it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf_files
import pytest
from ansible_collections.ik_llama.pi.plugins.module_utils.server.benchmark import (
    PROGRAMS,
    BenchmarkError,
    differences,
    find_programs,
    model_facts,
)
from gguf_files import QWEN35_METADATA


def release(folder: Path, programs: tuple[str, ...], **manifest: Any) -> Path:
    (folder / "bin").mkdir(parents=True)
    for name in programs:
        (folder / "bin" / name).touch()
    (folder / "release.json").write_text(json.dumps(manifest))
    return folder


def test_a_model_without_a_manifest_is_known_by_its_header(tmp_path: Path) -> None:
    tensors = [
        gguf_files.Tensor("token_embd.weight", (256, 64), "q8_0"),
        gguf_files.Tensor("output.weight", (256, 64), "q6_K"),
    ]
    data = gguf_files.header_bytes(QWEN35_METADATA, tensors)
    sizes = [gguf_files.tensor_bytes(tensor.type, tensor.shape) for tensor in tensors]
    (tmp_path / "alphabet").mkdir()
    path = tmp_path / "alphabet/model.gguf"
    path.write_bytes(data + bytes(sum(gguf_files.padded(size, 32) for size in sizes)))
    (tmp_path / "link").symlink_to(path)
    found = model_facts(tmp_path / "link")
    assert (found["path"], found["name"], found["recipe"]) == (str(path), "alphabet", "")
    assert found["tensor_bytes"] == sum(sizes)
    # One row of the embedding, and the whole output.
    assert found["bytes_per_token"]["total"] == sizes[0] // 64 + sizes[1]


@pytest.mark.parametrize("content", [None, b"GGUF", b"no model"])
def test_a_model_that_is_missing_or_damaged(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "model").write_bytes(content)
    with pytest.raises(BenchmarkError) as refused:
        model_facts(tmp_path / "model")
    assert refused.value.code == "model"


def test_programs_of_another_commit_do_not_count(tmp_path: Path) -> None:
    serving = release(tmp_path / "serving", ("llama-server",), commit="a")
    other = release(tmp_path / "other", PROGRAMS, commit="b")
    assert find_programs([serving, other, tmp_path / "absent"], "a") == ("", {})
    same = release(tmp_path / "same", PROGRAMS, commit="a", compiler="g++ 14")
    folder, manifest = find_programs([serving, other, same], "a")
    assert (folder, manifest["compiler"]) == (str(same / "bin"), "g++ 14")


def test_a_build_that_differs_is_known() -> None:
    one = {"commit": "a", "options": {"GGML_LTO": "ON"}, "compiler": "g++ 12", "target_cpu": "x"}
    assert differences(one, {**one, "targets": ["llama-bench"]}) == []
    assert differences(one, {**one, "options": {"GGML_LTO": "OFF"}, "compiler": "g++ 14"}) == ["options", "compiler"]
    assert differences(one, {}) == []
