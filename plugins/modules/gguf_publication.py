#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: a folder with a model that is ready to be uploaded."""

from __future__ import annotations

DOCUMENTATION = """
---
module: gguf_publication
short_description: Make a folder with a model that is ready to be uploaded
version_added: "0.2.0"
description:
  - Verifies the sha256 of the model in use of a recipe, and links it into a folder with the texts that come with it and
    a file C(SHA256SUMS).
  - The folder is made once, named by its content, and gets its name last. A link named O(publication) leads to it.
    Publications that no link names are removed.
  - With O(state=absent) all publications are removed, and the folder if it is empty then.
options:
  state:
    description: What to do.
    type: str
    choices: [present, absent]
    default: present
  folder:
    description: Folder of all publications, on the file system of O(root).
    type: path
    required: true
  root:
    description: Folder of all models. Needed for O(state=present), like all that follow.
    type: path
  name:
    description: Name of the model.
    type: str
  recipe:
    description: Name of the recipe.
    type: str
  publication:
    description: Name of this publication, and of its GGUF file without C(.gguf).
    type: str
  texts:
    description: The other files, content by name.
    type: dict
attributes:
  check_mode:
    support: full
    description: Verifies nothing, and makes nothing.
  diff_mode:
    support: full
    description: Shows how the texts differ from those of the publication in use.
author: ik-llama-pi contributors (!UNKNOWN)
"""

EXAMPLES = """
- name: Create the folder to upload
  ik_llama.pi.gguf_publication:
    root: ~/.local/share/ik-llama-pi/models
    name: alphabet
    recipe: rpi5-16gb-card
    folder: ~/.local/share/ik-llama-pi/published
    publication: alphabet-rpi5-16gb-card
    texts:
      README.md: "{{ lookup('ansible.builtin.template', 'README.md.j2') }}"
"""

RETURN = """
id:
  description: Made from the content of all files.
  returned: for O(state=present)
  type: str
path:
  description: The link that leads to the folder.
  returned: for O(state=present)
  type: str
files:
  description: Names of the files.
  returned: for O(state=present)
  type: list
  elements: str
removed:
  description: Paths that were removed, or would be, below the folder.
  returned: for O(state=absent)
  type: list
  elements: str
argument:
  description: The option that is wrong.
  returned: failure
  type: str
code:
  description: A word for what is wrong, V(model), V(folder), V(device) or V(sum).
  returned: failure
  type: str
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.publication import (
    Publication,
    PublicationError,
    find_model,
    ours,
    remove,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "folder": {"type": "path", "required": True},
            "root": {"type": "path"},
            "name": {"type": "str"},
            "recipe": {"type": "str"},
            "publication": {"type": "str"},
            "texts": {"type": "dict"},
        },
        required_if=[("state", "present", ["root", "name", "recipe", "publication", "texts"])],
        supports_check_mode=True,
    )
    params = module.params
    folder = Path(params["folder"])
    if params["state"] == "absent":
        _remove(module, folder)
    try:
        model = find_model(Path(params["root"]), params["name"], params["recipe"], folder)
        publication = Publication(folder, params["publication"], model, params["texts"])
        before = publication.before()
        changed = not publication.finished()
        if changed and not module.check_mode:
            publication.publish()
    except PublicationError as error:
        module.fail_json(msg=str(error), argument=error.argument, code=error.code)
    except (OSError, ValueError) as error:
        module.fail_json(msg=str(error), argument="folder", code="file")
    module.exit_json(
        changed=changed,
        id=publication.id,
        path=str(publication.link),
        files=sorted([publication.file, *publication.texts]),
        diff=[
            {"before_header": name, "after_header": name, "before": before[name], "after": text}
            for name, text in publication.texts.items()
            if before[name] != text
        ],
    )


def _remove(module: AnsibleModule, folder: Path) -> None:
    try:
        found = [str(path.relative_to(folder)) for path in ours(folder)]
        if found and not module.check_mode:
            remove(folder)
    except OSError as error:
        module.fail_json(msg=str(error), argument="folder", code="file")
    lines = "".join(f"{name}\n" for name in found)
    module.exit_json(changed=bool(found), removed=found, diff={"before": lines, "after": ""})


if __name__ == "__main__":
    main()
