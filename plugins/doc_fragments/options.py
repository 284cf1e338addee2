"""Documentation of options that several modules have."""

from __future__ import annotations


class ModuleDocFragment:
    """The options by group; their argument specs are constants in module_utils."""

    HUB = r"""
options:
  hub:
    description: The server of C(hf://) locations.
    type: str
    default: https://huggingface.co
  hub_token:
    description: Access token for the hub. It is sent to no other server.
    type: str
    default: ""
"""

    MODEL = r"""
options:
  root:
    description: Folder of all models.
    type: path
    required: true
  name:
    description: Name of the model.
    type: str
    required: true
  recipe_name:
    description: Name of the recipe, for the link to the model in use.
    type: str
    required: true
  recipe:
    description: The recipe's data, as read from its file.
    type: dict
    required: true
  source_sha256:
    description:
      - What the sha256 of the source, or of each of its parts, must be. Empty where the repository states it, or where
        it is not known.
    type: list
    elements: str
    default: []
  engine_root:
    description: Folder of engine releases.
    type: path
    required: true
"""

    EVALUATION = r"""
options:
  root:
    description: Folder of all models.
    type: path
    required: true
  text:
    description: A plain text on this host.
    type: str
    required: true
  context:
    description: Tokens of a chunk. The model sees each chunk alone.
    type: int
    default: 512
  chunks:
    description: How many chunks of the text are computed at most; 0 for all.
    type: int
    default: 0
  threads:
    description: Threads that compute; 0 for as many as the host has.
    type: int
    default: 0
  engine_root:
    description: Folder of engine releases. The program is of the same commit as that which C(current) names.
    type: path
    required: true
"""

    PLACE = r"""
options:
  folder:
    description: Folder of all models of this name.
    type: path
    required: true
  sha256:
    description: The model's sha256.
    type: str
    required: true
  size:
    description: Its size in bytes.
    type: int
    required: true
"""

    DEPLOYMENT = r"""
options:
  root:
    description: Folder of deployments and pointers.
    type: path
    default: /var/lib/llama
  unit_path:
    description: Where the systemd unit belongs.
    type: path
    default: /etc/systemd/system/llama-server.service
  engine:
    description: Pointer to the engine release.
    type: path
  model:
    description: Pointer to the GGUF.
    type: path
  arguments:
    description: Arguments of llama-server, a list for each flag, without the model.
    type: list
    elements: list
    default: []
  files:
    description:
      - The files of the deployment, text by name. C(run) starts the server in the deployment's folder, where C(engine)
        and C(model) are; the file with the name of the unit is the systemd unit.
      - An empty text makes no file.
    type: dict
    default: {}
"""
