"""A quantizer whose engine prints and writes what the real one would, for the tests of evaluations."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path
from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.common import long_jobs
from ansible_collections.ik_llama.pi.plugins.module_utils.common.stamp import write_stamp
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf import evaluation_steps
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.evaluation import logits_bytes
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import Tensor, file_bytes, tensor_bytes
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.model import source_sha256
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.stores import stamp_path
from gguf_files import header_bytes

COMPARED = """\
chunk             PPL               ln(PPL(Q)/PPL(base))          KL Divergence              Δp RMS      Same top p
   1       5.0130 ±    0.8211       0.01203 ±    0.01123       0.02113 ±    0.00213     3.125 ±  0.313 %    91.3 ± 1.7 %

====== Perplexity statistics ======
Mean PPL(Q)                   :   6.712345 ±   0.112233
Mean PPL(base)                :   6.489012 ±   0.109876
Cor(ln(PPL(Q)), ln(PPL(base))):  99.12%
Mean ln(PPL(Q)/PPL(base))     :   0.033812 ±   0.002211
Mean PPL(Q)/PPL(base)         :   1.034390 ±   0.002287
Mean PPL(Q)-PPL(base)         :   0.223333 ±   0.015432

====== KL divergence statistics ======
Mean    KLD:   0.045678 ±   0.001234
Maximum KLD:   4.567890
99.9%   KLD:   1.234567
99.0%   KLD:   0.456789
95.0%   KLD:   0.156789
90.0%   KLD:   0.098765
Median  KLD:   0.019876
10.0%   KLD:   0.000321
 5.0%   KLD:   0.000098
 1.0%   KLD:   0.000005
 0.1%   KLD:  -0.000001
Minimum KLD:  -0.000012

====== Token probability statistics ======
Mean    Δp: -0.412 ± 0.051 %
Maximum Δp: 58.123%
99.9%   Δp: 32.123%
RMS Δp    :  5.678 ± 0.098 %
Same top p: 90.123 ± 0.234 %
"""
BASE = "calculating perplexity over 3 chunks\n[1]6.1000,[2]6.2000,[3]6.4890,\n"
FINAL = BASE + "Final estimate: PPL over 3 chunks for n_ctx=32 = 6.4890 +/- 0.10988\n"
VOCABULARY, CONTEXT, CHUNKS = 5, 32, 8

PROGRAM = f"""#!{sys.executable}
import json, struct, sys, time
from pathlib import Path
mode = json.loads(Path(__file__).with_name("mode.json").read_text())
arguments = dict(zip(sys.argv[1:], sys.argv[2:]))
time.sleep(mode.get("sleep", 0))
base = Path(arguments["--kl-divergence-base"])
if "--kl-divergence" in sys.argv:
    assert base.stat().st_size == mode["size"]
    sys.stdout.write(mode["compared"])
else:
    head = b"_logits_" + struct.pack("<3i", int(arguments["--ctx-size"]), mode["vocabulary"], mode["chunks"])
    base.write_bytes(head.ljust(mode["size"], b"x"))
    sys.stdout.write(mode["base"])
sys.exit(mode.get("rc", 0))
"""
METADATA = {
    "general.architecture": "qwen35moe",
    "general.file_type": 7,
    "general.quantization_version": 2,
    "qwen35moe.block_count": 1,
    "qwen35moe.expert_count": 4,
    "qwen35moe.expert_used_count": 2,
}
SOURCE = [
    Tensor("token_embd.weight", (256, VOCABULARY), "f16"),
    Tensor("blk.0.ffn_up_exps.weight", (256, 8, 4), "f16"),
    Tensor("blk.0.ffn_gate_exps.weight", (256, 8, 4), "f16"),
    Tensor("blk.0.ffn_down_exps.weight", (256, 8, 4), "f16"),
]


class World:
    """A quantizer with a source, three models by four recipes, a text, and an engine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "models"
        header = header_bytes(METADATA, SOURCE)
        size = file_bytes(len(header), [tensor_bytes(item.type, item.shape) for item in SOURCE])
        self.source = folder / "source.gguf"
        self.source.write_bytes(header.ljust(size, b"\0"))
        self.text = folder / "text.txt"
        self.text.write_text("word " * 100)
        (folder / "engine/releases/k/bin").mkdir(parents=True)
        (folder / "engine/releases/k/release.json").write_text(json.dumps({"commit": "c" * 40, "id": "k"}))
        (folder / "engine/current").symlink_to("releases/k")
        self.program = folder / "engine/releases/k/bin/llama-perplexity"
        self.program.write_text(PROGRAM)
        self.program.chmod(0o755)
        self.mode()
        digest = "5" * 64
        (self.root / ".stamps").mkdir(parents=True)
        write_stamp(self.source, stamp_path(self.root, self.source), digest)
        self.sha256 = source_sha256([(digest, "source.gguf")])
        for index, recipes in enumerate((["one"], ["two", "too"], ["three"]), 1):
            self.model(f"{index}" * 12, recipes, self.sha256)
        self.params: dict[str, Any] = {
            "root": str(self.root),
            "name": "m",
            "recipes": [],
            "source": str(self.source),
            "source_sha256": [],
            "hub": "https://hub.test",
            "hub_token": "",
            "text": str(self.text),
            "context": CONTEXT,
            "chunks": CHUNKS,
            "threads": 1,
            "engine_root": str(folder / "engine"),
            "keep": 1,
        }

    def mode(self, **settings: Any) -> None:
        """Say what the program does."""
        size = logits_bytes(VOCABULARY, CONTEXT, CHUNKS)
        mode = {"vocabulary": VOCABULARY, "chunks": CHUNKS, "size": size, "base": FINAL, "compared": COMPARED}
        self.program.with_name("mode.json").write_text(json.dumps(mode | settings))

    def model(self, identifier: str, recipes: list[str], source: str) -> None:
        folder = self.root / "m"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{identifier}.gguf").write_bytes(b"x" * 100)
        manifest = {"id": identifier, "size": 100, "tensor_bytes": 90, "source": {"sha256": source}}
        (folder / f"{identifier}.json").write_text(json.dumps(manifest))
        for recipe in recipes:
            (folder / f"{recipe}.json").symlink_to(f"{identifier}.json")

    def info(self, **params: Any) -> dict[str, Any]:
        return evaluation_steps.evaluation_facts({**self.params, **params}, lambda text: None)

    def step(self, state: str, model: str = "") -> dict[str, Any]:
        return evaluation_steps.evaluation_result({**self.params, "model": model, "state": state}, False)

    def measure(self, model: str = "") -> dict[str, Any]:
        """Prepare, run the command where there is one, publish."""
        staged = self.step("prepared", model)
        if "argv" in staged:
            job = long_jobs.start("x", staged["argv"], staged["job"], staged["job"])
            assert long_jobs.look(staged["job"], job["id"], 20)["finished"]
        return self.step("published", model)

    def logits(self) -> list[str]:
        return sorted(path.name for path in (self.root / ".evaluations").glob("*/*"))


def matrix_bytes(entries: dict[str, list[float]], calls: int) -> bytes:
    data = struct.pack("<i", len(entries))
    for name, values in entries.items():
        data += struct.pack("<i", len(name)) + name.encode()
        data += struct.pack(f"<ii{len(values)}f", calls, len(values), *values)
    return data + struct.pack("<ii", calls, 4) + b"text"


IMATRIX = f"""#!{sys.executable}
import sys
from pathlib import Path
here = Path(__file__)
arguments = dict(zip(sys.argv[1:], sys.argv[2:]))
assert Path(arguments["--file"]).is_file()
data = here.with_name("matrix").read_bytes()
Path(arguments["--output"]).write_bytes(data)
sys.stdout.write("computing over 3 chunks\\n[1]6.1,[2]6.2,[3]6.3,\\n")
sys.exit(0 if data else 1)
"""
