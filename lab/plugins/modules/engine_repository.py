#!/usr/bin/python
"""Ansible module engine_repository."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: engine_repository
short_description: Make a git repository of one commit from a folder of engine source
version_added: "0.2.0"
description:
  - Commits the files of a folder to branch C(main) of a bare repository. The folder is only read.
  - Author, committer and message are fixed: equal files with an equal date make the same commit on every machine.
  - If the folder is the top of a git working copy, its tracked files are taken as they are in the folder, and with
    them the new files that git does not ignore. Otherwise all files are taken.
options:
  source:
    description: Folder with the engine's source.
    type: path
    required: true
  repository:
    description: Path of the bare repository. It is created if it does not exist.
    type: path
    required: true
  date:
    description:
      - Date of the commit, as git understands it. The roles decide by it which defects the engine has.
      - If empty, that of the last commit in O(source). It is required where O(source) is no git working copy.
    type: str
    default: ""
  message:
    description: Message of the commit.
    type: str
    default: Engine source
attributes:
  check_mode:
    support: full
    description: Compares, and leaves the branch as it is.
author:
  - ik-llama-pi
"""

EXAMPLES = r"""
- name: Create a repository from a snapshot of upstream
  ik_llama.lab.engine_repository:
    source: /srv/ik_llama.cpp
    repository: /root/.cache/ik-llama-pi/engine-source-0123456789ab
    date: 2026-04-15T00:00:00+0000
"""

RETURN = r"""
commit:
  description: The commit that the branch points to, or would point to.
  returned: success
  type: str
date:
  description: Date of that commit.
  returned: success
  type: str
"""

import os
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

BRANCH = "refs/heads/main"
#: Nothing of the user's settings decides about the commit.
SETTINGS = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_AUTHOR_NAME": "ik-llama-pi lab",
    "GIT_AUTHOR_EMAIL": "lab@localhost",
    "GIT_COMMITTER_NAME": "ik-llama-pi lab",
    "GIT_COMMITTER_EMAIL": "lab@localhost",
}


class Git:
    """git with fixed settings; a command that fails ends the module."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module

    def __call__(self, *words: str, data: bytes | None = None, **environment: str) -> str:
        argv = ["git", "-c", "safe.directory=*", "-c", "core.fileMode=true", *words]
        settings = {**SETTINGS, **environment}
        run = self.module.run_command(argv, data=data, binary_data=True, environ_update=settings, check_rc=True)
        return str(run[1]).rstrip("\n")


def working_copy(source: Path) -> bool:
    """Return whether the folder is the top of a git working copy (a worktree or submodule has a file `.git`)."""
    return (source / ".git").exists()


def listed(git: Git, source: Path) -> list[str]:
    """Return the files that git knows in a working copy or would add, those that were deleted left out."""
    names = git("-C", str(source), "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    return sorted({name for name in names if name and ((source / name).is_symlink() or (source / name).is_file())})


def commit(git: Git, module: AnsibleModule, index: str) -> tuple[str, str]:
    """Return commit and date after writing the commit, which no branch points to yet."""
    source, repository = Path(module.params["source"]), module.params["repository"]
    date = module.params["date"]
    if not date and working_copy(source):
        date = git("-C", str(source), "log", "-1", "--format=%cI")
    if not date:
        module.fail_json(
            msg=f"{source} (source) is no git working copy, so the date of its commit must be given (date)."
        )
    places = {"GIT_DIR": repository, "GIT_WORK_TREE": str(source), "GIT_INDEX_FILE": index}
    if working_copy(source):
        data = "\0".join(listed(git, source)).encode(errors="surrogateescape")
        git("add", "--force", "--pathspec-from-file=-", "--pathspec-file-nul", data=data, **places)
    else:
        git("add", "--all", "--force", "--", str(source), **places)
    tree = git("write-tree", **places)
    dates = {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
    return git("commit-tree", tree, "-m", module.params["message"], **places, **dates), date


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "source": {"type": "path", "required": True},
            "repository": {"type": "path", "required": True},
            "date": {"type": "str", "default": ""},
            "message": {"type": "str", "default": "Engine source"},
        },
        supports_check_mode=True,
    )
    params: dict[str, Any] = module.params
    if not Path(params["source"]).is_dir():
        module.fail_json(msg=f"{params['source']} (source) is no folder. No repository was changed.")
    git, repository = Git(module), params["repository"]
    with tempfile.TemporaryDirectory(prefix="engine-repository-") as work:
        if not (Path(repository) / "HEAD").exists():
            if module.check_mode:
                params["repository"] = f"{work}/check"
            git("init", "--quiet", "--bare", "--initial-branch=main", params["repository"])
        made, date = commit(git, module, os.path.join(work, "index"))
        before = git("-C", params["repository"], "for-each-ref", "--format=%(objectname)", BRANCH)
        if made != before and not module.check_mode:
            git("-C", params["repository"], "update-ref", BRANCH, made)
    module.exit_json(changed=made != before, commit=made, date=date)


if __name__ == "__main__":
    main()
