#!/usr/bin/env python3
"""Count the lines of the product (Python, YAML and templates, without lab and tests) by folder, of several commits::

    tests/bench/lines.py 4c7c84b HEAD

Code is what is neither blank, nor a comment, nor documentation: docstrings, DOCUMENTATION and its kind in modules,
the YAML files beside filters, and argument specifications.
"""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import tokenize
from collections import Counter
from pathlib import Path, PurePosixPath

PROJECT = Path(__file__).resolve().parents[2]
SUFFIXES = (".py", ".yml", ".yaml", ".j2")
PRODUCT = ("playbooks", "plugins", "roles", "site.yml")
#: Roles of the lab, which were beside the others once.
LAB = ("roles/lab_host/", "roles/virtual_pi/", "playbooks/lab")
DOCUMENTS = ("DOCUMENTATION", "EXAMPLES", "RETURN")
QUIET = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING}


def git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=PROJECT, check=True, capture_output=True, text=True).stdout


def documented(tree: ast.Module) -> set[int]:
    """Lines of docstrings, and of the texts that ansible-doc shows."""
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") not in DOCUMENTS:
            continue
        if isinstance(node, ast.Assign | ast.Expr) and isinstance(node.value, ast.Constant):
            lines |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


def code_lines(path: str, text: str) -> int:
    """Number of lines that are code."""
    if (path.startswith("plugins/filter/") and path.endswith(".yml")) or path.endswith("meta/argument_specs.yml"):
        return 0
    if not path.endswith(".py"):
        return sum(bool(line.strip()) and not line.lstrip().startswith("#") for line in text.splitlines())
    used: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in QUIET:
            used |= set(range(token.start[0], token.end[0] + 1))
    return len(used - documented(ast.parse(text)))


def folder(path: str) -> str:
    parts = PurePosixPath(path).parts
    return "/".join(parts[:2]) if parts[0] == "plugins" and len(parts) > 2 else parts[0]


def count(commit: str) -> dict[str, tuple[int, int]]:
    """All lines and lines of code of each folder."""
    total: Counter[str] = Counter()
    code: Counter[str] = Counter()
    for path in git("ls-tree", "-r", "--name-only", commit, "--", *PRODUCT).splitlines():
        if not path.endswith(SUFFIXES) or path.startswith(LAB):
            continue
        text = git("show", f"{commit}:{path}")
        total[folder(path)] += len(text.splitlines())
        code[folder(path)] += code_lines(path, text)
    return {name: (total[name], code[name]) for name in total}


def main() -> None:
    commits = sys.argv[1:] or ["HEAD"]
    counts = [count(commit) for commit in commits]
    names = sorted({name for one in counts for name in one})
    print(f"{'folder':24}" + "".join(f"{commit:>18}" for commit in commits) + "   lines (code)")
    for name in [*names, "together"]:
        cells = []
        for one in counts:
            lines, code = (
                tuple(map(sum, zip(*one.values(), strict=True))) if name == "together" else one.get(name, (0, 0))
            )
            cells.append(f"{f'{lines} ({code})':>18}")
        print(f"{name:24}" + "".join(cells))


if __name__ == "__main__":
    main()
