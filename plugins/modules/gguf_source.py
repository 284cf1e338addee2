#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: a source or an importance matrix that a URL names."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gguf_source
short_description: Prepare the download of a GGUF file or an importance matrix by aria2, and publish the result
description:
  - A file that a URL names is downloaded once, to C(root/.sources/<sha256, 12 digits>/NAME), and gets that name only
    when its sha256 is right. Of a split model (C(NAME-00001-of-00003.gguf)) all parts are downloaded. A path is used
    as it is.
  - M(ik_llama.pi.gguf_model_info) returns what is there and what is missing.
  - Where a server asks to wait (C(Retry-After)), the action plugin of the same name shows for how long, waits, and runs
    the module again.
options:
  what:
    description: What it is; it decides the value of C(argument).
    type: str
    choices: [source, imatrix]
    default: source
  location:
    description: Path, URL or C(hf://OWNER/NAME@REVISION/FILE); of a split model its first part.
    type: str
    required: true
  sha256:
    description: What the sha256 of each file must be. Empty where the repository states it.
    type: list
    elements: str
    default: []
  root:
    description: Folder of all models.
    type: path
    required: true
  connections:
    description: Connections at a time.
    type: int
    default: 8
  rc:
    description: Exit code of the command, for O(state=published).
    type: int
    default: 0
  state:
    description:
      - With V(prepared) the command that downloads what is missing is returned.
      - With V(published) the files that this command has completed get their names. Files with another sha256 are
        removed.
    type: str
    choices: [prepared, published]
    required: true
extends_documentation_fragment:
  - ik_llama.pi.options.hub
attributes:
  check_mode:
    support: full
    description: Reports what would be downloaded, and changes nothing.
author:
  - ik-llama-pi contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Prepare the download of the source
  ik_llama.pi.gguf_source:
    state: prepared
    location: hf://owner/model@main/model-Q8_0.gguf
    root: /models
  register: source
"""

RETURN = r"""
remote:
  description: Whether the location is a URL.
  returned: success
  type: bool
finished:
  description: Whether the files are complete. Always true for a path, which is not examined.
  returned: success
  type: bool
path:
  description: Where the file is, or will be.
  returned: success
  type: str
files:
  description: C(name), C(size), C(sha256) and C(digest_from) (V(repository) or V(given)) of each part.
  returned: success
  type: list
  elements: dict
missing_bytes:
  description: What is still to be downloaded.
  returned: success
  type: int
argv:
  description: The command that downloads it.
  returned: with O(state=prepared), when it is not finished, outside check mode
  type: list
  elements: str
job:
  description: Folder for the state of that command.
  returned: with O(state=prepared), when it is not finished, outside check mode
  type: str
reason:
  description: Why it is not finished, and another attempt is worth it.
  returned: with O(state=published), when it is not finished
  type: str
argument:
  description: What is wrong, as V(source), V(source_sha256), V(imatrix), V(imatrix_sha256), V(hub_token) or V(root).
  returned: failure
  type: str
retry_after:
  description: How many seconds the server asks to wait, where that is longer than an hour in all.
  returned: failure
  type: int
server:
  description: The server that asks to wait.
  returned: failure
  type: str
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.remote import ServerBusy
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.remote_source import (
    RemoteSource,
    SourceError,
    path_facts,
)
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.source import HUB_OPTIONS, is_url


def source_result(params: Mapping[str, Any], check: bool, warn: Callable[[str], None]) -> dict[str, Any]:
    """Prepare or publish, as ``state`` says, and return the module's result. Raises SourceError and OSError."""
    if not is_url(params["location"]):
        return {"changed": False, **path_facts(params["location"])}
    source = RemoteSource(
        params["location"], params["sha256"], Path(params["root"]), params["hub"], params["hub_token"], warn
    )
    missing = source.missing(keep=not check)
    result: dict[str, Any] = {"changed": False}
    if missing and params["state"] == "published" and not check:
        result["reason"] = source.publish(missing, params["rc"])
        missing = source.missing(keep=True)
        result["changed"] = not missing
    elif missing and params["state"] == "prepared":
        source.check_free_space(missing)
        result["changed"] = check
        if not check:
            result.update(argv=source.prepare(missing, params["connections"]), job=str(source.job))
    if not check:
        source.write_note()
    return {**result, **source.facts(missing)}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **HUB_OPTIONS,
            "what": {"type": "str", "choices": ["source", "imatrix"], "default": "source"},
            "location": {"type": "str", "required": True},
            "sha256": {"type": "list", "elements": "str", "default": []},
            "root": {"type": "path", "required": True},
            "connections": {"type": "int", "default": 8},
            "rc": {"type": "int", "default": 0},
            "state": {"type": "str", "choices": ["prepared", "published"], "required": True},
        },
        supports_check_mode=True,
    )
    try:
        result = source_result(module.params, module.check_mode, module.warn)
    except ServerBusy as error:
        module.fail_json(**error.facts)
    except SourceError as error:
        module.fail_json(msg=str(error), argument=error.option(module.params["what"]))
    except OSError as error:
        module.fail_json(msg=str(error), argument="root")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
