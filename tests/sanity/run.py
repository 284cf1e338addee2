#!/usr/bin/env python3
"""Run ``ansible-test sanity`` on the collection as it would be shipped: all tests, or those that are named.

    tests/sanity/run.py [argument of ansible-test sanity ...]      for example: --test validate-modules

ansible-test sees no file in a folder of links, so a copy is tested. It makes its virtual environments by a script
that it would download; here that script calls the wheel of the same version of pip, downloaded by name.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import ansible_test
import collection

PYTHON = "3.11"
CACHE = Path("~/.ansible/test/cache").expanduser()
BOOTSTRAP = """# Written by tests/sanity/run.py of ik_llama.pi.
import os
import runpy
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), {wheel!r}))
words = [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]
sys.argv[1:] = ["install", "pip=={version}", *words]
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""


def pip_version() -> str:
    """Return the version of pip that ansible-test puts into its virtual environments."""
    source = (Path(ansible_test.__file__ or "").parent / "_internal/python_requirements.py").read_text()
    found = re.search(r"pip='([0-9.]+)'", source)
    if not found:
        raise SystemExit("ansible-test does not name its version of pip: adapt tests/sanity/run.py.")
    return found[1]


def provide_bootstrap() -> None:
    """Put pip's bootstrap script where ansible-test looks for it before it downloads one."""
    version = pip_version()
    script = CACHE / f"get_pip_{version.replace('.', '_')}.py"
    if script.exists():
        return
    CACHE.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", f"--dest={CACHE}", f"pip=={version}"]
    subprocess.run(command, check=True)
    script.write_text(BOOTSTRAP.format(wheel=next(CACHE.glob(f"pip-{version}-*.whl")).name, version=version))


def prepare(folder: Path) -> Path:
    """Return the root of the collection below `folder`, with what only its tests need."""
    root = collection.unpack(folder)
    for made in ("MANIFEST.json", "FILES.json"):  # as in a source tree, where galaxy.yml says the same
        (root / made).unlink()
    ignored = [f"tests/sanity/{file.name}" for file in Path(__file__).parent.glob("ignore-*.txt")]
    for name in ["galaxy.yml", "tests/config.yml", *ignored]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(collection.PROJECT / name, root / name)
    shutil.copytree(collection.PROJECT / "changelogs/fragments", root / "changelogs/fragments", dirs_exist_ok=True)
    for command in (["init", "--quiet"], ["add", "--all"]):  # ansible-test asks git which files there are
        subprocess.run(["git", "-C", str(root), *command], check=True)
    return root


def main() -> int:
    """Return the exit code of ansible-test."""
    provide_bootstrap()
    with tempfile.TemporaryDirectory(prefix="ik_llama.pi-") as folder:
        root = prepare(Path(folder))
        command = ["ansible-test", "sanity", f"--python={PYTHON}", "--color=no", *sys.argv[1:]]
        return subprocess.run(command, check=False, cwd=root, env={**os.environ, "PIP_QUIET": "1"}).returncode


if __name__ == "__main__":
    sys.exit(main())
