"""What a benchmark of a board needs to know: what serves, from what it was made, and which programs can measure it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.common.files import read_json
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.footprint import bytes_per_token, hyperparameters
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.forecast import read_gguf
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import GGUFError

#: The programs of the engine that measure: speed of prompt and generation, and both over the length of the context.
PROGRAMS = ("llama-bench", "llama-sweep-bench")
#: What makes two releases the same build of one engine.
BUILD = ("commit", "options", "compiler", "target_cpu")


class BenchmarkError(Exception):
    """A board cannot be measured; ``code`` is one word for the reason."""

    def __init__(self, text: str, code: str) -> None:
        super().__init__(text)
        self.code = code


def model_facts(model: Path) -> dict[str, Any]:
    """Return what the speed and the memory of a model depend on, from its header and its manifest.

    Returns:
        `path`, `architecture`, `hparams`, `tensor_bytes`, `bytes_per_token` (always, experts, total), `recipe`, `name`
        and `sha256`; the last three are empty where there is no manifest.

    Raises:
        BenchmarkError: if the file is not there, or is no model.
    """
    try:
        path = model.resolve(strict=True)
        header = read_gguf(path)
        hparams = hyperparameters(header)
    except (OSError, GGUFError) as error:
        raise BenchmarkError(f"the model at {model} cannot be read: {error}", "model") from error
    manifest: dict[str, Any] = read_json(path.with_suffix(".json"), {})
    return {
        "path": str(path),
        "architecture": header.architecture,
        "hparams": hparams,
        "tensor_bytes": header.tensor_bytes,
        "bytes_per_token": bytes_per_token(header.tensors, hparams),
        "recipe": str(manifest.get("recipe", "")),
        "name": path.parent.name,
        "sha256": str(manifest.get("sha256", "")),
    }


def find_programs(engines: list[Path], commit: str) -> tuple[str, dict[str, Any]]:
    """Return the folder with all of `PROGRAMS`, and the manifest of its release; empty where there is none.

    Args:
        engines: folders of releases, the best first. Those of another commit do not count.
        commit: of the release that serves.
    """
    for engine in engines:
        manifest: dict[str, Any] = read_json(engine / "release.json", {})
        if manifest.get("commit") == commit and all((engine / "bin" / name).is_file() for name in PROGRAMS):
            return str(engine.resolve() / "bin"), manifest
    return "", {}


def differences(serving: dict[str, Any], measuring: dict[str, Any]) -> list[str]:
    """Return how the build of the programs that measure differs from the one that serves, as names of `BUILD`."""
    return [name for name in BUILD if measuring and serving.get(name) != measuring.get(name)]
