#!/usr/bin/env python3
"""Check the project's own rules, which no linter knows.

    python tests/house_rules.py [ROOT] [PATH ...]           print all findings, or those in the paths; 1 if there is one
    python tests/house_rules.py --count [ROOT] [PATH ...]   count the avoided words in comments and documents

ROOT is another checkout; without it, the one that this file belongs to is read. Each check takes a root folder and
returns findings. Links and hidden folders are not read, and of inventories only the sample (--count reads them all).
"""

from __future__ import annotations

import ast
import io
import os
import re
import sys
import tokenize
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import yaml

PRODUCT, LAB = "ik_llama.pi", "ik_llama.lab"
COLLECTIONS = {"": PRODUCT, "lab/": LAB}  # by folder below the root
VERBS = (
    "Check",
    "Assert",
    "Ensure",
    "Get",
    "Read",
    "Install",
    "Create",
    "Configure",
    "Set",
    "Copy",
    "Stage",
    "Build",
    "Start",
    "Stop",
    "Restart",
    "Reload",
    "Enable",
    "Disable",
    "Wait for",
    "Verify",
    "Test",
    "Update",
    "Download",
    "Register",
    "Mark",
    "Skip",
    "Include",
    "Invalidate",
    "Remove",
    "Report",
    "Restore",
)
# "What is ..." as a noun is to be avoided too, but no pattern tells it from a question.
AVOIDED = ("told", "beside", "stands", "shall", "anew", "lay", "bring", "mend", r"of\s+its\s+own")
# A package of module_utils knows those that are named here, and itself.
LAYERS: dict[str, set[str]] = {
    "common": set(),
    "gguf": {"common"},
    "board": {"common"},
    "engine": {"common", "gguf", "board"},
    "server": {"common", "gguf", "board"},
}
# The kinds of plugins that a file may import from. For plugin_utils there is another check.
KINDS = {
    "module_utils": {"module_utils"},
    "modules": {"module_utils"},
    "plugin_utils": {"module_utils", "plugin_utils"},
}
TASK_KEYWORDS = frozenset(
    re.findall(
        r"\w+",
        """
        action always any_errors_fatal args async become become_exe become_flags become_method become_user block
        changed_when check_mode collections connection debugger delay delegate_facts delegate_to diff environment
        failed_when ignore_errors ignore_unreachable listen local_action loop loop_control module_defaults name no_log
        notify poll port register remote_user rescue retries run_once tags throttle timeout until vars when
        """,
    )
)
# Folders whose YAML holds no tasks, where they are not in a role.
NO_TASKS = {"files", "templates", "vars", "defaults", "meta", "group_vars", "host_vars", "inventory", "plugins"}
BLOCKS = ("block", "rescue", "always")
SECTIONS = ("pre_tasks", "tasks", "post_tasks", "handlers")
EXPRESSIONS = {"when", "changed_when", "failed_when", "until", "that", "var"}

WORDS = re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(AVOIDED)})(?![A-Za-z0-9])", re.IGNORECASE)
PRIVATE = re.compile(r"(?<![A-Za-z0-9_])([a-z][a-z0-9]*(?:_[a-z0-9]+)*)__[a-z0-9]\w*")
FULL_NAME = re.compile(r"(?<![\w.])(ik_llama\.(?:pi|lab))\.([a-z][a-z0-9_]*)")
JINJA = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
PIPED = re.compile(r"\|\s*([a-z_]\w*)(?![\w.])")
TESTED = re.compile(r"\bis\s+(?:not\s+)?([a-z_]\w*)(?![\w.])")
MAPPED = re.compile(r"\bmap\(\s*['\"]([a-z_]\w*)['\"]")
SELECTED = re.compile(r"\b(?:select|reject)\(\s*['\"]([a-z_]\w*)['\"]")
SELECTED_BY = re.compile(r"\b(?:select|reject)attr\(\s*['\"][^'\"]*['\"]\s*,\s*['\"]([a-z_]\w*)['\"]")
LOOKED_UP = re.compile(r"\b(?:lookup|query|q)\(\s*['\"]([a-z_]\w*)['\"]")


class Finding(NamedTuple):
    """A breach of a rule: the file below the root, the line from 1, and what is wrong there."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


# --- Files -----------------------------------------------------------------------------------------------------------


def files(root: Path, inventories: bool = False) -> Iterator[str]:
    """Yield the project's files below root, with slashes; of inventories only the sample, or all."""
    for folder, folders, names in os.walk(root):
        below = os.path.relpath(folder, root).replace(os.sep, "/")
        left_out = {"__pycache__", "collections"}
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in left_out)
        if below == "inventory" and not inventories:
            folders[:] = [name for name in folders if name == "sample"]
            continue  # a user's inventory
        for name in sorted(names):
            if not name.startswith(".") and not os.path.islink(os.path.join(folder, name)):
                yield name if below == "." else f"{below}/{name}"


def within(file: str, *folders: str) -> bool:
    """Return whether file is one of these, or below one of these."""
    return any(file == folder or file.startswith(f"{folder}/") for folder in folders)


def role_of(file: str) -> str:
    """Return the name of the role that the file belongs to, or nothing."""
    found = re.match(r"(?:lab/)?roles/([^/]+)/", file)
    return found.group(1) if found else ""


def is_yaml(file: str) -> bool:
    return file.endswith((".yml", ".yaml"))


def is_product(file: str) -> bool:
    return within(file, "roles", "playbooks", "plugins", "site.yml", "inventory", "meta", "galaxy.yml")


def language(root: Path, file: str) -> str:
    """Return yaml, python, text (templates and scripts), or nothing for what is not read."""
    if is_yaml(file):
        return "yaml"
    if file.endswith(".py"):
        return "python"
    if file.endswith((".j2", ".sh")):
        return "text"
    if role_of(file) and "/files/" in file and "." not in PurePosixPath(file).name:
        with (root / file).open("rb") as stream:
            first = stream.readline(100)
        if first.startswith(b"#!"):
            return "python" if b"python" in first else "text"
    return ""


class Source:
    """A file's text, and what is in it. A file that cannot be parsed has a fault, and no content."""

    def __init__(self, path: Path) -> None:
        self.text = path.read_text(encoding="utf-8", errors="replace")
        self.lines = self.text.splitlines()
        self.fault = ""
        self.fault_line = 0

    @cached_property
    def documents(self) -> list[yaml.Node]:
        """The documents of a YAML file, tags unresolved."""
        try:
            return [node for node in yaml.compose_all(self.text, Loader=yaml.CSafeLoader) if node]
        except yaml.MarkedYAMLError as exc:
            self.fault = f"cannot be parsed: {exc.problem}"
            self.fault_line = exc.problem_mark.line + 1 if exc.problem_mark else 1
            return []

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """All nodes of a Python file."""
        try:
            return list(ast.walk(ast.parse(self.text)))
        except SyntaxError as exc:
            self.fault, self.fault_line = f"cannot be parsed: {exc.msg}", exc.lineno or 1
            return []

    @cached_property
    def docstrings(self) -> dict[int, str]:
        """The docstrings of a Python file, by the identity of their nodes."""
        found = {}
        for node in self.nodes:
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and node.body:
                first = node.body[0]
                if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                    found[id(first.value)] = str(first.value.value)
        return found


def read(root: Path, file: str) -> Source:
    """Return what is in a file; it is kept as long as the file is the same."""
    path = root / file
    state = path.stat()
    return _read(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=4096)
def _read(path: Path, _time: int, _size: int) -> Source:
    return Source(path)


# --- YAML ------------------------------------------------------------------------------------------------------------


def pairs(node: yaml.Node | None) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
    """Yield the keys that are scalars, and their values."""
    if isinstance(node, yaml.MappingNode):
        yield from ((key, value) for key, value in node.value if isinstance(key, yaml.ScalarNode))


def get(node: yaml.Node | None, key: str) -> yaml.Node | None:
    return next((value for name, value in pairs(node) if name.value == key), None)


def items(node: yaml.Node | None) -> list[yaml.Node]:
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def value(node: yaml.Node | None) -> str:
    return str(node.value) if isinstance(node, yaml.ScalarNode) else ""


def scalars(node: yaml.Node | None, expression: bool = False) -> Iterator[tuple[yaml.ScalarNode, bool]]:
    """Yield every key and value, with whether it is a Jinja expression without braces."""
    if isinstance(node, yaml.ScalarNode):
        yield node, expression
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from scalars(item, expression)
    elif isinstance(node, yaml.MappingNode):
        for key, content in node.value:
            yield from scalars(key)
            yield from scalars(content, value(key) in EXPRESSIONS)


def line_of(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def hits(source: Source, node: yaml.ScalarNode, pattern: re.Pattern[str]) -> Iterator[tuple[int, str]]:
    """Yield line and text of what the pattern finds in a scalar."""
    if not pattern.search(node.value):
        return
    start, end = node.start_mark, node.end_mark
    found = False
    for number in range(start.line, min(end.line + 1, len(source.lines))):
        line = source.lines[number]
        first = start.column if number == start.line else 0
        last = end.column if number == end.line else len(line)
        for match in pattern.finditer(line, first, last):
            found = True
            yield number + 1, match.group()
    if not found:  # it goes over the end of a line
        yield line_of(node), " ".join(pattern.findall(node.value)[0].split())


@dataclass
class Task:
    """A play, block, task or handler, with its actions: each one's name, arguments, and the node of its name."""

    kind: str
    node: yaml.MappingNode
    actions: list[tuple[str, dict[str, yaml.Node], yaml.Node]] = field(default_factory=list)
    free_form: str = ""


def tasks(source: Source, file: str) -> Iterator[Task]:
    """Yield what a file of tasks or plays has, in order; nothing for other files."""
    folders = PurePosixPath(file).parts[:-1]
    if role_of(file):
        inside = folders[folders.index("roles") + 2 :]
        if not inside or inside[0] not in {"tasks", "handlers"}:
            return
    elif NO_TASKS & set(folders):
        return
    for document in source.documents:
        yield from _entries(document, "handler" if role_of(file) and "handlers" in folders else "task")


def _entries(node: yaml.Node | None, kind: str) -> Iterator[Task]:
    for entry in items(node):
        if not isinstance(entry, yaml.MappingNode):
            continue
        keys = {key.value for key, _ in pairs(entry)}
        if "hosts" in keys or any(key.rpartition(".")[2] == "import_playbook" for key in keys):
            yield Task("play", entry)
            for section in SECTIONS:
                yield from _entries(get(entry, section), "handler" if section == "handlers" else "task")
        elif "block" in keys:
            yield Task("block", entry)
            for block in BLOCKS:
                yield from _entries(get(entry, block), kind)
        else:
            yield _task(kind, entry)


def _task(kind: str, node: yaml.MappingNode) -> Task:
    task = Task(kind, node)
    common = {key.value: content for key, content in pairs(get(node, "args"))}
    for key, content in pairs(node):
        arguments = {**common, **{name.value: argument for name, argument in pairs(content)}}
        if key.value in {"action", "local_action"}:
            if isinstance(content, yaml.ScalarNode):
                name, _, task.free_form = content.value.strip().partition(" ")
                task.actions.append((name, common, content))
            elif get(content, "module"):
                module, _, task.free_form = value(get(content, "module")).partition(" ")
                task.actions.append((module, arguments, content))
        elif key.value not in TASK_KEYWORDS and not key.value.startswith("with_"):
            task.free_form = value(content)
            task.actions.append((key.value, arguments, key))
    return task


def dependencies(source: Source, file: str) -> Iterator[tuple[str, yaml.Node]]:
    """Yield the roles that a role's meta/main.yml names."""
    if file.endswith("/meta/main.yml"):
        for document in source.documents:
            yield from _role_list(get(document, "dependencies"))


def _role_list(node: yaml.Node | None) -> Iterator[tuple[str, yaml.Node]]:
    for entry in items(node):
        named = entry if isinstance(entry, yaml.ScalarNode) else get(entry, "role") or get(entry, "name")
        yield value(named), named or entry


def included_roles(task: Task) -> Iterator[tuple[str, yaml.Node]]:
    """Yield the roles that a task or play names, as they are written; those of a loop too."""
    if task.kind == "play":
        yield from _role_list(get(task.node, "roles"))
    for action, arguments, node in task.actions:
        if action.rpartition(".")[2] not in {"include_role", "import_role"}:
            continue
        free = re.search(r"(?:^|\s)name=(\S.*?)(?=\s+\w+=|$)", task.free_form)
        name = value(arguments.get("name")) or (free.group(1).strip("'\"") if free else "")
        yield name, arguments.get("name", node)
        if "{{" in name:
            for key, content in pairs(task.node):
                if key.value in {"loop", "vars"} or key.value.startswith("with_"):
                    yield from ((scalar.value, scalar) for scalar, _ in scalars(content))


# --- Python and text -------------------------------------------------------------------------------------------------


def strings(source: Source) -> Iterator[tuple[int, str]]:
    """Yield line and text of every string that is no docstring, parts of f-strings too."""
    for node in source.nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in source.docstrings:
            yield node.lineno, node.value


def identifiers(source: Source, defined: bool) -> Iterator[tuple[int, str]]:
    """Yield line and name of all that a file defines, or of all that it uses."""
    for node in source.nodes:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and (not defined or isinstance(node.ctx, ast.Store)):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and (not defined or isinstance(node.ctx, ast.Store)):
            yield node.lineno, node.attr
        elif isinstance(node, ast.keyword) and node.arg and not defined:
            yield node.value.lineno, node.arg


def multiline(line: int, text: str, pattern: re.Pattern[str], source: Source) -> Iterator[tuple[int, str]]:
    """Yield line and text of what the pattern finds in a string that begins at a line."""
    for match in pattern.finditer(text):
        words = match.group()
        # A string may be written in pieces, so that its lines are not those of the file.
        near = range(line - 1, min(line + 60, len(source.lines)))
        yield next((number + 1 for number in near if words in source.lines[number]), line), " ".join(words.split())


def code_and_comments(text: str) -> tuple[str, str]:
    """Return a template or script twice, with line ends kept: without its comments, and nothing but these."""
    code, comments = [], []
    inside = False
    for line in text.splitlines():
        if not inside and re.match(r"\s*#", line):
            code.append("")
            comments.append(line)
            continue
        parts: tuple[list[str], list[str]] = ([], [])
        for part in re.split(r"(\{#|#\})", line):
            inside = inside or part == "{#"
            parts[inside].append(part)
            inside = inside and part != "#}"
        code.append("".join(parts[False]))
        comments.append("".join(parts[True]))
    return "\n".join(code), "\n".join(comments)


# --- The checks ------------------------------------------------------------------------------------------------------


def unparsed(root: Path) -> list[Finding]:
    """A file that cannot be parsed could break any rule."""
    found = []
    for file in files(root):
        kind = "" if within(file, "tests/unit") else language(root, file)  # pytest reads these
        source = read(root, file)
        if (kind == "yaml" and not source.documents) or (kind == "python" and not source.nodes):
            found += [Finding(file, source.fault_line, source.fault)] if source.fault else []
    return found


def private_names(root: Path) -> list[Finding]:
    """A name `<role>__x` is read and set in the folder of that role only.

    Unit tests may look into a role; `make verify` and scenarios are users of the roles, as playbooks are.
    """
    roles = {role_of(file) for file in files(root)} - {""}
    found = []

    def add(file: str, line: int, text: str, only_roles: bool) -> None:
        for match in PRIVATE.finditer(text):
            role = match.group(1)
            if role != role_of(file) and (role in roles or not only_roles):
                whose = f"belongs to role {role}" if role in roles else "belongs to no role"
                found.append(Finding(file, line, f"private name {match.group()} {whose}"))

    for file in files(root):
        if not within(file, "roles", "playbooks", "plugins", "lab", "molecule", "tests", "inventory", "site.yml"):
            continue
        if within(file, "tests/unit", "tests/house_rules.py"):
            continue
        kind, source = language(root, file), read(root, file)
        if not PRIVATE.search(source.text):
            continue
        if kind == "yaml":
            for document in source.documents:
                for scalar, _ in scalars(document):
                    for line, text in hits(source, scalar, PRIVATE):
                        add(file, line, text, only_roles=False)
        elif kind == "python":
            for line, text in (*strings(source), *identifiers(source, defined=False)):
                add(file, line, text, only_roles=True)
        elif kind == "text":
            for number, text in enumerate(code_and_comments(source.text)[0].splitlines(), 1):
                add(file, number, text, only_roles=True)
    return _sorted(found)


def roles_that_include_themselves(root: Path) -> list[Finding]:
    """No role includes itself, or a role that includes it."""
    edges: dict[str, dict[str, Finding]] = defaultdict(dict)
    found = []
    for file in files(root):
        role = role_of(file)
        if not role or not is_yaml(file):
            continue
        source = read(root, file)
        named = [entry for task in tasks(source, file) for entry in included_roles(task)]
        named += dependencies(source, file)
        for name, node in named:
            last = FULL_NAME.sub(r"\2", name)
            if last == role or re.search(r"\{\{[^}]*\b(?:ansible_)?role_name\b", name):
                found.append(Finding(file, line_of(node), f"role {role} includes itself"))
            else:
                edges[role].setdefault(last, Finding(file, line_of(node), ""))
    for circle in circles({role: set(others) for role, others in edges.items()}):
        first = edges[circle[0]][circle[1]]
        found.append(Finding(first.file, first.line, f"roles include each other: {' -> '.join(circle)}"))
    return _sorted(found)


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Return one circle for each group of nodes that reach each other; the first node is at both ends."""
    found: list[list[str]] = []
    done: set[str] = set()
    for start in sorted(edges):
        ways = {start: [start]}
        queue = [start]
        while queue and start not in done:
            node = queue.pop(0)
            for following in sorted(edges.get(node, ())):
                if following == start:
                    found.append([*ways[node], start])
                    done.update(ways[node])
                    queue = []
                    break
                if following not in ways:
                    ways[following] = [*ways[node], following]
                    queue.append(following)
    return found


def plugin_file(file: str) -> tuple[str, str, list[str]] | None:
    """Return collection, kind and Python path of a plugin's file, or None."""
    for folder, collection in COLLECTIONS.items():
        if file.startswith(f"{folder}plugins/") and file.endswith(".py"):
            parts = file.removeprefix(f"{folder}plugins/").removesuffix(".py").split("/")
            if len(parts) > 1:
                path = [part for part in parts if part != "__init__"]
                return collection, parts[0], ["ansible_collections", *collection.split("."), "plugins", *path]
    return None


def imports(source: Source, path: list[str], package: bool) -> Iterator[tuple[int, str, list[str]]]:
    """Yield line, module and imported names of each import, anywhere in a file, with relative ones made full."""
    for node in source.nodes:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = path[: len(path) - node.level + package] if node.level else []
            module = ".".join([*base, *(node.module.split(".") if node.module else [])])
            yield node.lineno, module, [alias.name for alias in node.names]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            name = node.args[0].value
            if called in {"import_module", "__import__"} and isinstance(name, str):
                level = len(name) - len(name.lstrip("."))
                base = path[: len(path) - level + package] if level else []
                yield node.lineno, ".".join([*base, name.lstrip(".")]), []


class Import(NamedTuple):
    """An import between files of the collections; target is a Python path."""

    file: str
    line: int
    collection: str
    kind: str
    path: list[str]
    target: list[str]


def own_imports(root: Path) -> Iterator[Import]:
    """Yield every import of an own file by a plugin; an imported name that is a module counts as that module."""
    all_files = list(files(root))
    known = {".".join(found[2]) for file in all_files if (found := plugin_file(file))}
    folders = {name.rsplit(".", depth)[0] for name in known for depth in range(1, name.count(".") - 2)}
    for file in all_files:
        where = plugin_file(file)
        if not where:
            continue
        collection, kind, path = where
        for line, module, names in imports(read(root, file), path, file.endswith("/__init__.py")):
            if not module.startswith("ansible_collections.ik_llama"):
                continue
            targets = [f"{module}.{name}" for name in names]
            targets = [target if target in known | folders else module for target in targets] or [module]
            for target in sorted(set(targets)):
                yield Import(file, line, collection, kind, path, target.split("."))


def plugin_utils_in_modules(root: Path) -> list[Finding]:
    """What runs on managed hosts does not import what runs on the controller only."""
    found = []
    for file in files(root):
        where = plugin_file(file)
        if where and where[1] in {"modules", "module_utils"}:
            for line, module, names in imports(read(root, file), where[2], file.endswith("/__init__.py")):
                if "plugin_utils" in module.split(".") or "plugin_utils" in names:
                    found.append(Finding(file, line, f"plugins/{where[1]} imports plugin_utils"))
    return _sorted(found)


def layers(root: Path) -> list[Finding]:
    """A package of module_utils imports only packages below it, the product imports nothing of the lab, and no file
    imports one that imports it."""
    found = []
    edges: dict[str, dict[str, Import]] = defaultdict(dict)
    for file in files(root):
        where = plugin_file(file)
        if where and where[:2] == (PRODUCT, "module_utils") and not file.endswith("module_utils/__init__.py"):
            package = where[2][5]
            if file.count("/") < 3:
                found.append(Finding(file, 1, f"belongs to no package of module_utils ({', '.join(LAYERS)})"))
            elif package not in LAYERS:
                found.append(Finding(file, 1, f"package {package} is in no layer ({', '.join(LAYERS)})"))
    for one in own_imports(root):
        edges[".".join(one.path)][".".join(one.target)] = one
        collection, kind = ".".join(one.target[1:3]), one.target[4] if len(one.target) > 4 else ""
        if one.collection == PRODUCT and collection == LAB:
            found.append(Finding(one.file, one.line, "the product imports the lab"))
        elif one.kind in KINDS and kind not in KINDS[one.kind] and kind != "plugin_utils":
            found.append(Finding(one.file, one.line, f"{one.kind} imports {'.'.join(one.target[3:])}"))
        elif one.collection == collection == PRODUCT and one.kind == kind == "module_utils":
            mine, other = (path[5] if len(path) > 5 else "" for path in (one.path, one.target))
            if mine in LAYERS and other != mine and other not in LAYERS[mine]:
                found.append(Finding(one.file, one.line, f"package {mine} imports {other or 'module_utils'}"))
    for circle in circles({module: set(others) for module, others in edges.items()}):
        first = edges[circle[0]][circle[1]]
        names = (name.partition(".plugins.")[2] for name in circle)
        found.append(Finding(first.file, first.line, f"modules import each other: {' -> '.join(names)}"))
    return _sorted(found)


def verbs(root: Path) -> list[Finding]:
    """The name of a play, block, task or handler begins with one of the verbs. That it has one, ansible-lint checks."""
    begins = re.compile(rf"(?:{'|'.join(VERBS)})(?:\s|$)")
    found = []
    for file in files(root):
        if is_yaml(file) and within(file, "roles", "playbooks", "lab", "molecule", "tests", "site.yml"):
            for task in tasks(read(root, file), file):
                name = get(task.node, "name")
                if name and not begins.match(value(name)):
                    text = " ".join(value(name).split())
                    text = f"name of a {task.kind} begins with no verb of the list: {text}"
                    found.append(Finding(file, line_of(name), text))
    return _sorted(found)


def avoided_words(root: Path) -> list[Finding]:
    """No avoided word in a name or message.

    These are, in YAML, all keys and values; in Python, all names that a file defines and all strings but docstrings; in
    templates and scripts, all but comments; and the names of files.
    """
    found = []
    for file in files(root):
        if not (is_product(file) or within(file, "lab", "molecule")):
            continue
        kind = language(root, file)
        if kind == "python" and within(file, "molecule"):
            continue
        if found_in_name := WORDS.search(PurePosixPath(file).name):
            found.append(Finding(file, 1, f"avoided word in the file's name: {found_in_name.group()}"))
        if not kind:
            continue
        source = read(root, file)
        words: list[tuple[int, str]] = []
        if kind == "yaml":
            for document in source.documents:
                for scalar, _ in scalars(document):
                    words += hits(source, scalar, WORDS)
        elif kind == "python":
            for line, text in strings(source):
                words += multiline(line, text, WORDS, source)
            for line, name in identifiers(source, defined=True):
                words += ((line, match.group()) for match in WORDS.finditer(name))
        else:
            for number, text in enumerate(code_and_comments(source.text)[0].splitlines(), 1):
                words += ((number, match.group()) for match in WORDS.finditer(text))
        found += [Finding(file, line, f"avoided word: {word}") for line, word in words]
    return _sorted(found)


def flow(root: Path) -> list[Finding]:
    """No `rolespec_validate: false`, no `end_role`, no change of a package's search path."""
    found = []
    for file in files(root):
        kind = language(root, file)
        source = read(root, file)
        if kind == "python" and "__path__" in source.text:
            found += [Finding(file, line, "__path__ is used") for line in search_paths(source)]
        if kind != "yaml":
            continue
        for document in source.documents:
            for key, content in mappings(document):
                if key.value == "rolespec_validate" and value(content).lower() not in {"true", "yes", "on"}:
                    found.append(Finding(file, line_of(key), "rolespec_validate is not true"))
        for task in tasks(source, file):
            for action, _, node in task.actions:
                short = action.rpartition(".")[2]
                if short == "meta" and "end_role" in task.free_form:
                    found.append(Finding(file, line_of(node), "end_role is used"))
                elif short in {"include_role", "import_role"} and "rolespec_validate=" in task.free_form:
                    found.append(Finding(file, line_of(node), "rolespec_validate is not true"))
    return _sorted(found)


def search_paths(source: Source) -> Iterator[int]:
    """Yield the lines in which a package's search path is read or set."""
    for node in source.nodes:
        if isinstance(node, ast.Attribute) and node.attr == "__path__":
            yield node.lineno
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in {"getattr", "setattr"}:
            named = [part for part in node.args if isinstance(part, ast.Constant) and part.value == "__path__"]
            yield from (part.lineno for part in named)


def mappings(node: yaml.Node | None) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
    """Yield key and value of every mapping, at any depth."""
    for key, content in pairs(node):
        yield key, content
        yield from mappings(content)
    for item in items(node):
        yield from mappings(item)


class Names(NamedTuple):
    """What the collections offer, by kind and short name: the collections that have it."""

    modules: dict[str, set[str]]
    filters: dict[str, set[str]]
    tests: dict[str, set[str]]
    lookups: dict[str, set[str]]
    callbacks: dict[str, set[str]]
    fragments: dict[str, set[str]]
    roles: dict[str, set[str]]
    playbooks: dict[str, set[str]]


def own_names(root: Path) -> Names:
    """Return the names of modules, actions, filters and so on, read from the files."""
    names = Names(*({} for _ in Names._fields))
    kinds = {
        "modules": names.modules,
        "action": names.modules,
        "lookup": names.lookups,
        "callback": names.callbacks,
        "doc_fragments": names.fragments,
    }
    for file in files(root):
        folder = "lab/" if file.startswith("lab/") else ""
        parts = file.removeprefix(folder).split("/")
        stem = PurePosixPath(file).stem
        if stem == "__init__":
            continue

        def add(kind: dict[str, set[str]], name: str, folder: str = folder) -> None:
            kind.setdefault(name, set()).add(COLLECTIONS[folder])

        if parts[0] == "roles" and len(parts) > 2:
            add(names.roles, parts[1])
        elif parts[0] == "playbooks" and len(parts) == 2 and is_yaml(file):
            add(names.playbooks, stem)
        elif parts[0] == "plugins" and len(parts) == 3 and file.endswith((".py", ".yml")):
            if parts[1] in kinds:
                add(kinds[parts[1]], stem)
            elif parts[1] in {"filter", "test"}:
                kind = names.filters if parts[1] == "filter" else names.tests
                for name in [stem] if is_yaml(file) else offered(read(root, file)):
                    add(kind, name)
    return names


def offered(source: Source) -> set[str]:
    """Return the names that FilterModule or TestModule offers, also where the method returns a constant of the file."""
    constants: dict[str, ast.AST] = {}
    for node in source.nodes:
        if isinstance(node, ast.Assign):
            constants.update({target.id: node.value for target in node.targets if isinstance(target, ast.Name)})
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            constants[node.target.id] = node.value
    found: set[str] = set()
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef) and node.name in {"filters", "tests"}:
            inside = list(ast.walk(node))
            inside += [constants[part.id] for part in inside if isinstance(part, ast.Name) and part.id in constants]
            for part in inside:
                if isinstance(part, ast.Dict):
                    found |= {str(key.value) for key in part.keys if isinstance(key, ast.Constant)}
    return found


def full_names(root: Path) -> list[Finding]:
    """Everything of ours is called by its full name, and what is called so is there.

    The product calls nothing of the lab.
    """
    names = own_names(root)
    offers: dict[str, set[str]] = defaultdict(set)
    for offer in names:
        for name, collections in offer.items():
            for collection in collections:
                offers[collection].add(name)
    found = []

    def unqualified(file: str, line: int, what: str, name: str, kind: dict[str, set[str]]) -> None:
        if name in kind:
            full = " or ".join(f"{collection}.{name}" for collection in sorted(kind[name]))
            found.append(Finding(file, line, f"{what} {name} is not called by its full name, {full}"))

    def in_expression(file: str, line: int, text: str, source: Source, last: int) -> None:
        for pattern, kind, what in (
            (PIPED, names.filters, "filter"),
            (MAPPED, names.filters, "filter"),
            (TESTED, names.tests, "test"),
            (SELECTED, names.tests, "test"),
            (SELECTED_BY, names.tests, "test"),
            (LOOKED_UP, names.lookups, "lookup"),
        ):
            for name in pattern.findall(text):
                if name in kind:
                    word = re.compile(rf"(?<![\w.]){name}(?![\w.])")
                    where = [number for number in range(line, last + 1) if word.search(source.lines[number - 1])]
                    unqualified(file, where[0] if where else line, what, name, kind)

    def qualified(file: str, line: int, text: str) -> None:
        for collection, name in FULL_NAME.findall(text):
            if name not in offers[collection] | {"plugins"}:
                found.append(Finding(file, line, f"{collection}.{name} does not exist"))
            if collection == LAB and is_product(file):
                found.append(Finding(file, line, f"the product names {collection}.{name}"))

    for file in files(root):
        kind = language(root, file)
        source = read(root, file)
        if within(file, "ansible.cfg"):
            for number, text in enumerate(source.lines, 1):
                if re.match(r"\s*(?:callbacks_enabled|stdout_callback)\s*=", text):
                    for name in re.split(r"[=,\s]+", text.strip())[1:]:
                        unqualified(file, number, "callback", name, names.callbacks)
        if not within(file, "roles", "playbooks", "plugins", "lab", "molecule", "site.yml", "inventory", "tests"):
            continue
        if kind == "python":
            if "module_name" in source.text:
                for part in source.nodes:
                    if (
                        isinstance(part, ast.keyword)
                        and part.arg == "module_name"
                        and isinstance(part.value, ast.Constant)
                    ):
                        unqualified(file, part.value.lineno, "module", str(part.value.value), names.modules)
            if FULL_NAME.search(source.text) and not within(file, "tests/unit", "tests/house_rules.py"):
                for line, text in strings(source):
                    qualified(file, line, text)
        elif kind == "text":
            code = code_and_comments(source.text)[0]
            for match in JINJA.finditer(code):
                line = code.count("\n", 0, match.start()) + 1
                in_expression(file, line, match.group(), source, line + match.group().count("\n"))
        elif kind == "yaml":
            for document in source.documents:
                for scalar, expression in scalars(document):
                    for line, text in hits(source, scalar, FULL_NAME):
                        qualified(file, line, text)
                    spans = [scalar.value] if expression else JINJA.findall(scalar.value)
                    for text in spans:
                        last = min(scalar.end_mark.line + 1, len(source.lines))
                        in_expression(file, line_of(scalar), text, source, last)
            for task in tasks(source, file):
                for action, _, node in task.actions:
                    unqualified(file, line_of(node), "module", action.removeprefix("ansible.legacy."), names.modules)
                for key, _ in pairs(get(task.node, "module_defaults")):
                    unqualified(file, line_of(key), "module", key.value, names.modules)
                for name, node in included_roles(task):
                    unqualified(file, line_of(node), "role", name, names.roles)
            for name, node in dependencies(source, file):
                unqualified(file, line_of(node), "role", name, names.roles)
    return _sorted(found)


def _sorted(found: Iterable[Finding]) -> list[Finding]:
    return sorted(set(found))


CHECKS: dict[str, Callable[[Path], list[Finding]]] = {
    check.__name__: check
    for check in (
        unparsed,
        private_names,
        roles_that_include_themselves,
        plugin_utils_in_modules,
        layers,
        verbs,
        avoided_words,
        flow,
        full_names,
    )
}


# --- The count -------------------------------------------------------------------------------------------------------


def comments(root: Path, file: str) -> Iterator[tuple[str, str]]:
    """Yield kind and text of what a file says to its readers only."""
    name = PurePosixPath(file).name
    kind = language(root, file)
    if file.endswith(".md"):
        yield "documents", read(root, file).text
    elif name == "Makefile":
        yield "comments", "\n".join(re.findall(r"(?m)(?:^|\s)(#.*)$", read(root, file).text))
    elif kind == "text":
        yield "comments", code_and_comments(read(root, file).text)[1]
    elif kind == "python":
        source = read(root, file)
        yield from (("docstrings", text) for text in source.docstrings.values())
        try:
            tokens = list(tokenize.generate_tokens(io.StringIO(source.text).readline))
        except (tokenize.TokenError, SyntaxError):
            return
        yield "comments", "\n".join(token.string for token in tokens if token.type == tokenize.COMMENT)
    elif kind == "yaml":
        source = read(root, file)
        covered: set[int] = set()
        for document in source.documents:
            for scalar, _ in scalars(document):
                if "#" in source.text[scalar.start_mark.index : scalar.end_mark.index]:
                    covered.update(range(scalar.start_mark.index, scalar.end_mark.index))
            if file.startswith("changelogs/"):
                yield "documents", "\n".join(scalar.value for scalar, _ in scalars(document))
        marks = re.finditer(r"(?m)(?:^|(?<=\s))#.*$", source.text)
        yield "comments", "\n".join(mark.group() for mark in marks if mark.start() not in covered)


def count(root: Path, chosen: Callable[[str], bool] = lambda file: True) -> dict[str, Counter[str]]:
    """Return how often each avoided word occurs in comments, docstrings and documents."""
    found: dict[str, Counter[str]] = {"comments": Counter(), "docstrings": Counter(), "documents": Counter()}
    for file in files(root, inventories=True):
        if chosen(file):
            for kind, text in comments(root, file):
                # A sentence goes on in the next line of a comment.
                plain = re.sub(r"\s*\n\s*#?\s*", " ", text)
                found[kind].update(" ".join(match.lower().split()) for match in WORDS.findall(plain))
    return found


def main(arguments: list[str]) -> int:
    """Run the command; see the file's docstring."""
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0
    root = Path(__file__).resolve().parents[1]
    paths = [Path(argument).resolve() for argument in arguments if argument != "--count"]
    if paths and paths[0].is_dir() and not paths[0].is_relative_to(root):
        root = paths.pop(0)
    missing = [str(path) for path in paths if not path.exists() or not path.is_relative_to(root)]
    if missing:
        print(f"Not in {root}: {', '.join(missing)}.", file=sys.stderr)
        return 2
    below = [path.relative_to(root).as_posix() for path in paths]

    def chosen(file: str) -> bool:
        return not below or "." in below or within(file, *below)

    if "--count" in arguments:
        counts = count(root, chosen)
        for word in sorted({word for counter in counts.values() for word in counter}):
            print(f"{word:12}", *(f"{kind} {counter[word]:4}" for kind, counter in counts.items()), sep="  ")
        print(f"{'all':12}", *(f"{kind} {counter.total():4}" for kind, counter in counts.items()), sep="  ")
        print(sum(counter.total() for counter in counts.values()))
        return 0
    totals = {}
    for name, check in CHECKS.items():
        found = [finding for finding in check(root) if chosen(finding.file)]
        totals[name] = len(found)
        for finding in found:
            print(finding)
    print(", ".join(f"{name} {number}" for name, number in totals.items()), file=sys.stderr)
    return 1 if any(totals.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
