"""What is wrong with an inventory by itself: names, addresses, groups. All functions are pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import PurePath
from typing import Any

import yaml

#: Beginnings of names that belong to Ansible, or to a user's secrets.
FOREIGN = ("ansible_", "vault_", "inventory_", "group_", "hostvars", "groups", "omit", "playbook_", "role_", "play_")
#: How similar a name must be to a known one to be a misspelling of it, where it does not begin with a role's name.
ALIKE = 0.9


def misspelt(names: Iterable[str], known: Collection[str], roles: Iterable[str], text: str) -> dict[str, str]:
    """Return names that nobody reads, each with the known name that was meant, or '' if there is none like it.

    Args:
        names: variables that the inventory sets for a host.
        known: all variables that roles and playbooks read.
        roles: names of roles; what begins with one of them should be known.
        text: the values of all variables as they are written: a name in them is a user's own helper.
    """
    prefixes = tuple(f"{role}_" for role in roles)
    found = {}
    for name in sorted(set(names) - set(known)):
        if name.startswith(FOREIGN) or re.search(rf"\b{re.escape(name)}\b", text):
            continue
        ours = name.startswith(prefixes) and "__" not in name
        like = difflib.get_close_matches(name, list(known), n=1, cutoff=0.7 if ours else ALIKE)
        if ours or like:
            found[name] = like[0] if like else ""
    return found


def where_set(files: Mapping[str, str], name: str) -> str:
    """Return `path:line` of the last of these files (path to text) that sets a variable, empty if none does.

    YAML keys (`name:`) and INI assignments (`name=`) are found; what a program prints is not.
    """
    pattern = re.compile(rf"""(?:^|[\s{{,])["']?{re.escape(name)}["']?\s*[:=]""")
    found = ""
    for path, text in files.items():
        for number, line in enumerate(text.splitlines(), start=1):
            if not line.lstrip().startswith("#") and pattern.search(line):
                found = f"{path}:{number}"
    return found


#: Numbers that YAML 1.1 does not read as decimal ones: octal, hexadecimal, binary, and of base 60 (4:16 is 256).
OTHER_BASE = re.compile(r"[-+]?(?:0[0-7_]+|0x[0-9a-fA-F_]+|0b[01_]+|[1-9][0-9_]*(?::[0-5]?[0-9])+)")
#: What is no text unless it is quoted, by the end of its tag.
NO_TEXT = {"bool": "a boolean", "float": "a number", "timestamp": "a date"}


def misread(text: str, options: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, int, str]]:
    """Return values that YAML reads as something else than is written: name, line from 1, and a sentence.

    Args:
        text: of a file of variables or hosts; one that is no YAML has none.
        options: the specifications of known variables by their names. `ansible_port` is known in any case.
    """
    try:
        documents = [node for node in yaml.compose_all(text, Loader=yaml.SafeLoader) if node]
    except yaml.YAMLError:
        return []
    return [
        found for document in documents for found in _misread(document, {"ansible_port": {"type": "int"}, **options})
    ]


def _misread(node: yaml.Node, options: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, int, str]]:
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _misread(item, options)
    for key, value in node.value if isinstance(node, yaml.MappingNode) else []:
        if option := options.get(str(key.value)):
            items = value.value if isinstance(value, yaml.SequenceNode) else [value]
            kind = option.get("elements", "str") if items is value.value else option.get("type", "str")
            for item in items:
                if sentence := _meaning(item, kind, "choices" in option):
                    yield str(key.value), item.start_mark.line + 1, sentence
        else:
            yield from _misread(value, options)


def _meaning(node: yaml.Node, kind: str, has_choices: bool) -> str:
    """Return what YAML makes of a value that is written without quotes, empty if it is what it looks like."""
    if not isinstance(node, yaml.ScalarNode) or node.style:
        return ""
    tag = node.tag.rpartition(":")[2]
    if tag == "int" and OTHER_BASE.fullmatch(node.value):
        read = yaml.safe_load(node.value)
        return f"YAML reads {node.value} as {read}. Write a number without a leading zero, and any other text in quotes"
    # Words of choices like off are expected as booleans too.
    if kind == "str" and tag in NO_TEXT and not has_choices:
        return f"YAML reads {node.value} as {NO_TEXT[tag]}. Write it in quotes"
    return ""


def unread_files(paths: Iterable[str]) -> list[str]:
    """Return sentences about files that Ansible does not read, of the files that may set variables of a host.

    Of `pis/` and `pis.yml` in one place it reads the folder alone (ansible-core, parsing/dataloader.py,
    find_vars_files).
    """
    known = set(paths)
    folders = {str(parent) for path in known for parent in PurePath(path).parents}
    return [
        f"Ansible does not read {path}, because there is a folder {folder}. Move it into that folder"
        for path in sorted(known)
        for folder, dot, _ending in [path.rpartition(".")]
        if dot and folder in folders
    ]


def address_clashes(addresses: Mapping[str, tuple[str, str]]) -> list[str]:
    """Return sentences about hosts that are one and the same: name to address and SSH port."""
    hosts: dict[tuple[str, str], list[str]] = {}
    for name, address in addresses.items():
        hosts.setdefault(address, []).append(name)
    return [
        f"{' and '.join(names)} have the same address (ansible_host = {address}, ansible_port = {port})."
        " Each host needs its own"
        for (address, port), names in hosts.items()
        if len(names) > 1
    ]


def group_problems(
    groups: Mapping[str, Collection[str]], needed: Mapping[str, str], optional: Collection[str]
) -> list[str]:
    """Return sentences about groups that are missing, and about those whose names are like one that has a meaning.

    Args:
        groups: name to hosts.
        needed: groups that must have hosts, and what these do.
        optional: groups that may have some.
    """
    known = [*needed, *optional]
    problems = []
    for group, task in needed.items():
        if groups.get(group):
            continue
        like = difflib.get_close_matches(group, [name for name in groups if name not in known], n=1, cutoff=0.7)
        meant = f". Is it '{like[0]}'?" if like else ""
        problems.append(f"the group '{group}' has no hosts, and its hosts {task}{meant}")
    for name in groups:
        like = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
        if name not in known and like and groups.get(like[0]):
            problems.append(f"the group '{name}' has no meaning. Did you mean '{like[0]}'?")
    return problems


def thread_notes(options: Mapping[str, Any], cores: int) -> list[str]:
    """Return sentences about threads that a board has no cores for."""
    return [
        f"the board has {cores} cores, and more threads are slower (llama_server_{name} = {options[name]})"
        for name in ("threads", "threads_batch")
        if options[name] > cores
    ]


def by_text(found: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    """Return each sentence once, as `text`, with the `hosts` that it is true of; some are of no single host.

    Args:
        found: name of a host, or '', and a sentence.
    """
    hosts: dict[str, list[str]] = {}
    for name, sentence in found:
        hosts.setdefault(sentence, []).extend([name] if name else [])
    return [{"hosts": names, "text": sentence} for sentence, names in hosts.items()]


def lines_of(found: Iterable[tuple[str, str]]) -> list[str]:
    """Return the same as lines."""
    return [
        f"{', '.join(entry['hosts'])}: {entry['text']}." if entry["hosts"] else f"{entry['text']}."
        for entry in by_text(found)
    ]
