"""The project's own rules hold, and each check sees what it is for, and nothing else."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

import pytest
from house_rules import AVOIDED, CHECKS, LAYERS, VERBS, count, main

PROJECT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("check", CHECKS)
def test_project_follows_its_rules(check: str) -> None:
    assert [str(finding) for finding in CHECKS[check](PROJECT)] == []


class Case(NamedTuple):
    """A planted tree, and the places (file:line) at which one check must find something, and no other."""

    check: str
    files: dict[str, str]
    places: list[str]


ROLE = {"roles/server/tasks/main.yml": "---\n"}
OTHER = {"roles/other/tasks/main.yml": "---\n"}
FILTER = {
    "plugins/filter/all.py": """\
        class FilterModule:
            def filters(self):
                return {"own_filter": str}
        """
}
MODULE = {"plugins/modules/own_module.py": "", "plugins/action/own_action.py": "", **FILTER}
LAB_MODULE = {"lab/plugins/modules/lab_module.py": ""}
UTILS = "ansible_collections.ik_llama.pi.plugins"


def common_and_gguf(line: str) -> dict[str, str]:
    """Return a tree in which a module of common has this line."""
    return {
        "plugins/module_utils/common/files.py": f"{line}\n",
        "plugins/module_utils/gguf/header.py": "",
        "plugins/module_utils/gguf/__init__.py": "",
    }


PLANTED = {
    "private name in a playbook": Case(
        "private_names",
        {**ROLE, "playbooks/serve.yml": "- hosts: pis\n  vars:\n    x: '{{ server__url }}'\n"},
        ["playbooks/serve.yml:3"],
    ),
    "private name set by a playbook": Case(
        "private_names",
        {**ROLE, "site.yml": "- hosts: pis\n  vars:\n    server__url: x\n"},
        ["site.yml:3"],
    ),
    "private name in another role": Case(
        "private_names",
        {**ROLE, "roles/other/vars/main.yml": "other_x: >-\n  {{ a\n  ~ server__url }}\n"},
        ["roles/other/vars/main.yml:3"],
    ),
    "private name in another role's template": Case(
        "private_names",
        {**ROLE, "roles/other/templates/unit.j2": "[Unit]\nX={{ server__url }}\n"},
        ["roles/other/templates/unit.j2:2"],
    ),
    "private name of a product role in the lab": Case(
        "private_names",
        {**ROLE, "lab/roles/board/defaults/main.yml": "board_x: '{{ server__url }}'\n"},
        ["lab/roles/board/defaults/main.yml:1"],
    ),
    "private name in a plugin": Case(
        "private_names",
        {**ROLE, "plugins/action/look.py": "def look(host):\n    return host['server__url'] + f'{host.server__x}'\n"},
        ["plugins/action/look.py:2", "plugins/action/look.py:2"],
    ),
    "private name in a scenario": Case(
        "private_names",
        {**ROLE, "molecule/server/tests/test_default.py": "X = '-e server__x=1'\n"},
        ["molecule/server/tests/test_default.py:1"],
    ),
    "private name in the sample": Case(
        "private_names",
        {**ROLE, "inventory/sample/group_vars/pis.yml": "server__x: 1\n"},
        ["inventory/sample/group_vars/pis.yml:1"],
    ),
    "private name of no role": Case(
        "private_names",
        {"roles/server/vars/main.yml": "servr__x: 1\n"},
        ["roles/server/vars/main.yml:1"],
    ),
    "role includes itself by its short name": Case(
        "roles_that_include_themselves",
        {"roles/server/tasks/main.yml": "- ansible.builtin.include_role:\n    name: server\n    tasks_from: x\n"},
        ["roles/server/tasks/main.yml:2"],
    ),
    "role includes itself by its full name": Case(
        "roles_that_include_themselves",
        {"roles/server/tasks/x.yml": "- block:\n    - import_role:\n        name: ik_llama.pi.server\n"},
        ["roles/server/tasks/x.yml:3"],
    ),
    "role includes itself by a variable": Case(
        "roles_that_include_themselves",
        {"roles/server/tasks/x.yml": "- include_role:\n    name: '{{ role_name }}'\n"},
        ["roles/server/tasks/x.yml:2"],
    ),
    "role includes itself by the other variable": Case(
        "roles_that_include_themselves",
        {"roles/server/handlers/main.yml": "- include_role:\n    name: 'ik_llama.pi.{{ ansible_role_name }}'\n"},
        ["roles/server/handlers/main.yml:2"],
    ),
    "role includes itself in a loop": Case(
        "roles_that_include_themselves",
        {
            **OTHER,
            "roles/server/tasks/x.yml": """\
                - include_role:
                    name: "{{ item }}"
                  loop:
                    - ik_llama.pi.other
                    - ik_llama.pi.server
                """,
        },
        ["roles/server/tasks/x.yml:5"],
    ),
    "role includes itself in one line": Case(
        "roles_that_include_themselves",
        {"roles/server/tasks/x.yml": "- action: include_role name=ik_llama.pi.server tasks_from=x\n"},
        ["roles/server/tasks/x.yml:1"],
    ),
    "role includes itself with args": Case(
        "roles_that_include_themselves",
        {"roles/server/tasks/x.yml": "- include_role:\n  args:\n    name: ik_llama.pi.server\n"},
        ["roles/server/tasks/x.yml:3"],
    ),
    "role depends on itself": Case(
        "roles_that_include_themselves",
        {"roles/server/meta/main.yml": "dependencies:\n  - role: ik_llama.pi.server\n"},
        ["roles/server/meta/main.yml:2"],
    ),
    "roles include each other": Case(
        "roles_that_include_themselves",
        {
            "roles/a/tasks/main.yml": "- include_role:\n    name: ik_llama.pi.b\n",
            "roles/b/tasks/main.yml": "- include_role:\n    name: ik_llama.pi.a\n",
        },
        ["roles/a/tasks/main.yml:2"],
    ),
    **{
        f"plugin_utils in {file}: {line}": Case("plugin_utils_in_modules", {file: f"{line}\n"}, [f"{file}:1"])
        for file, line in (
            ("plugins/modules/x.py", f"from {UTILS}.plugin_utils.fleet import y"),
            ("plugins/modules/x.py", f"from {UTILS} import plugin_utils"),
            ("plugins/modules/x.py", f"import {UTILS}.plugin_utils.fleet as y"),
            ("plugins/modules/x.py", "from ..plugin_utils.fleet import y"),
            ("plugins/modules/x.py", "from .. import plugin_utils"),
            ("plugins/modules/x.py", f"import importlib; y = importlib.import_module('{UTILS}.plugin_utils.fleet')"),
            ("plugins/modules/x.py", f"y = __import__('{UTILS}.plugin_utils.fleet')"),
            ("plugins/module_utils/common/x.py", "from ...plugin_utils import fleet"),
            (
                "plugins/module_utils/common/x.py",
                "def y(): from ...plugin_utils import fleet",
            ),
            ("lab/plugins/modules/x.py", f"from {UTILS}.plugin_utils import fleet"),
        )
    },
    **{
        f"common imports gguf: {line}": Case(
            "layers", common_and_gguf(line), ["plugins/module_utils/common/files.py:1"]
        )
        for line in (
            "from ..gguf.header import x",
            "from ..gguf import header",
            "from ..gguf import x",
            "from .. import gguf",
            f"from {UTILS}.module_utils.gguf.header import x",
            f"import {UTILS}.module_utils.gguf.header",
        )
    },
    **{
        f"{package} imports {other}": Case(
            "layers",
            {
                f"plugins/module_utils/{package}/a.py": f"from ..{other}.b import x\n",
                f"plugins/module_utils/{other}/b.py": "",
            },
            [f"plugins/module_utils/{package}/a.py:1"],
        )
        for package, below in LAYERS.items()
        for other in LAYERS
        if other != package and other not in below
    },
    "module in no package": Case("layers", {"plugins/module_utils/x.py": ""}, ["plugins/module_utils/x.py:1"]),
    "package in no layer": Case("layers", {"plugins/module_utils/net/x.py": ""}, ["plugins/module_utils/net/x.py:1"]),
    "module_utils imports an action": Case(
        "layers",
        {"plugins/module_utils/common/x.py": "from ...action.y import z\n", "plugins/action/y.py": ""},
        ["plugins/module_utils/common/x.py:1"],
    ),
    "product imports the lab": Case(
        "layers",
        {
            "plugins/plugin_utils/x.py": "from ansible_collections.ik_llama.lab.plugins.plugin_utils import y\n",
            "lab/plugins/plugin_utils/y.py": "",
        },
        ["plugins/plugin_utils/x.py:1"],
    ),
    "two modules import each other": Case(
        "layers",
        {
            "plugins/module_utils/gguf/a.py": "from .b import x\n",
            "plugins/module_utils/gguf/b.py": "def y():\n    from . import a\n",
        },
        ["plugins/module_utils/gguf/a.py:1"],
    ),
    "three modules import each other": Case(
        "layers",
        {
            "plugins/plugin_utils/a.py": "from .b import x\n",
            "plugins/plugin_utils/b.py": "\nfrom .c import x\n",
            "plugins/plugin_utils/c.py": f"import {UTILS}.plugin_utils.a\n",
        },
        ["plugins/plugin_utils/a.py:1"],
    ),
    "task without a verb": Case(
        "verbs",
        {"roles/server/tasks/main.yml": "- name: Look around\n  meta: noop\n"},
        ["roles/server/tasks/main.yml:1"],
    ),
    "task with half of a verb": Case(
        "verbs", {"site.yml": "- hosts: a\n  tasks:\n    - name: Wait long\n      meta: noop\n"}, ["site.yml:3"]
    ),
    "task with a longer word": Case(
        "verbs", {"roles/server/tasks/main.yml": "- name: Settle it\n  meta: noop\n"}, ["roles/server/tasks/main.yml:1"]
    ),
    "task with a small letter": Case(
        "verbs", {"roles/server/tasks/main.yml": "- name: check it\n  meta: noop\n"}, ["roles/server/tasks/main.yml:1"]
    ),
    "task that begins with a variable": Case(
        "verbs",
        {"roles/server/tasks/main.yml": "- name: '{{ x }} it'\n  meta: noop\n"},
        ["roles/server/tasks/main.yml:1"],
    ),
    "handler without a verb": Case(
        "verbs",
        {"roles/server/handlers/main.yml": "- name: Again\n  meta: noop\n"},
        ["roles/server/handlers/main.yml:1"],
    ),
    "play without a verb": Case(
        "verbs", {"lab/playbooks/up.yml": "- name: Lab\n  hosts: a\n"}, ["lab/playbooks/up.yml:1"]
    ),
    "imported playbook without a verb": Case(
        "verbs",
        {"site.yml": "- name: Serve it\n  import_playbook: ik_llama.pi.serve\n", "playbooks/serve.yml": ""},
        ["site.yml:1"],
    ),
    "block and rescue without a verb": Case(
        "verbs",
        {
            "molecule/default/converge.yml": """\
                - name: Test the server
                  hosts: pis
                  post_tasks:
                    - name: Whole
                      block:
                        - name: Part
                          meta: noop
                      rescue:
                        - name: Afterwards
                          meta: noop
                """
        },
        [f"molecule/default/converge.yml:{line}" for line in (4, 6, 9)],
    ),
    **{
        f"avoided in a task's name: {word}": Case(
            "avoided_words",
            {"roles/server/tasks/main.yml": f"- name: Check {word} it\n  meta: noop\n"},
            ["roles/server/tasks/main.yml:1"],
        )
        for word in ("told", "Beside", "stands", "shall", "anew", "lay", "bring", "mend", "of its own")
    },
    "avoided in a message over two lines": Case(
        "avoided_words",
        {
            "roles/server/tasks/main.yml": """\
                - ansible.builtin.fail:
                    msg: >-
                      It has a room of
                      its own.
                """,
        },
        ["roles/server/tasks/main.yml:2"],
    ),
    "avoided in a later line of a message": Case(
        "avoided_words",
        {
            "playbooks/x.yml": """\
                - hosts: a
                  tasks:
                    - debug:
                        msg: |
                          One.
                          It was told.
                """,
        },
        ["playbooks/x.yml:6"],
    ),
    "avoided in a variable": Case(
        "avoided_words", {"roles/server/defaults/main.yml": "server_bring: 1\n"}, ["roles/server/defaults/main.yml:1"]
    ),
    "avoided in a message of Python": Case(
        "avoided_words",
        {
            "plugins/modules/x.py": """\
                def x(m):
                    m.fail_json(msg='a '
                        f'{m} shall')
                    raise ValueError('anew')
                """,
        },
        ["plugins/modules/x.py:3", "plugins/modules/x.py:4"],
    ),
    "avoided in pieces of a string": Case(
        "avoided_words", {"plugins/filter/x.py": "X = ['a room of '\n     'its own']\n"}, ["plugins/filter/x.py:1"]
    ),
    "avoided in a name of Python": Case(
        "avoided_words",
        {"lab/plugins/filter/x.py": "def bring_it(told):\n    pass\n"},
        ["lab/plugins/filter/x.py:1"] * 2,
    ),
    "avoided in a template": Case(
        "avoided_words",
        {"roles/server/templates/x.service.j2": "# shall\n[Unit]\nDescription=Told\n"},
        ["roles/server/templates/x.service.j2:3"],
    ),
    "avoided in a program without a suffix": Case(
        "avoided_words",
        {"roles/server/files/look": "#!/usr/bin/python3\nprint('told')\n"},
        ["roles/server/files/look:2"],
    ),
    "avoided in a file's name": Case(
        "avoided_words", {"roles/server/tasks/bring.yml": "---\n"}, ["roles/server/tasks/bring.yml:1"]
    ),
    "role whose arguments are not validated": Case(
        "flow",
        {
            **ROLE,
            "playbooks/x.yml": """\
                - hosts: pis
                  tasks:
                    - ansible.builtin.import_role:
                        name: ik_llama.pi.server
                        rolespec_validate: false
                    - ansible.builtin.import_role:
                        name: ik_llama.pi.server
                        rolespec_validate: "{{ x }}"
                    - import_role: name=ik_llama.pi.server rolespec_validate=no
                """,
        },
        [f"playbooks/x.yml:{line}" for line in (5, 8, 9)],
    ),
    "end_role": Case(
        "flow",
        {"roles/server/tasks/main.yml": "- ansible.builtin.meta: end_role\n- meta: end_role\n  when: x\n"},
        ["roles/server/tasks/main.yml:1", "roles/server/tasks/main.yml:2"],
    ),
    "search path of a package": Case(
        "flow",
        {
            "plugins/filter/x.py": "import ansible.module_utils as m\nm.__path__.append('x')\n",
            "tests/unit/conftest.py": "import a\ngetattr(a, '__path__').append('x')\n",
        },
        ["plugins/filter/x.py:2", "tests/unit/conftest.py:2"],
    ),
    "module by its short name": Case(
        "full_names",
        {
            **MODULE,
            "roles/server/tasks/main.yml": """\
                - own_module:
                    x: 1
                - block:
                    - action: own_action x=1
                    - local_action:
                        module: own_module
                    - ansible.legacy.own_module:
                """,
        },
        [f"roles/server/tasks/main.yml:{line}" for line in (1, 4, 6, 7)],
    ),
    "defaults of a module by its short name": Case(
        "full_names",
        {**MODULE, "site.yml": "- hosts: a\n  module_defaults:\n    own_module:\n      x: 1\n"},
        ["site.yml:3"],
    ),
    "filter by its short name": Case(
        "full_names",
        {
            **MODULE,
            "roles/server/tasks/main.yml": """\
                - ansible.builtin.debug:
                    msg: >-
                      {{ a
                      | own_filter }}
                  when: a | own_filter == 1
                - ansible.builtin.assert:
                    that:
                      - a is defined
                      - (a | map('own_filter') | list)
                """,
            "roles/server/templates/x.j2": "X\n{% for x in y | own_filter %}\n{% endfor %}\n",
        },
        [*(f"roles/server/tasks/main.yml:{line}" for line in (4, 5, 9)), "roles/server/templates/x.j2:2"],
    ),
    "filter from a constant by its short name": Case(
        "full_names",
        {
            "lab/plugins/filter/x.py": """\
                NAMES = {"lab_filter": str}
                class FilterModule:
                    def filters(self):
                        return NAMES
                """,
            "lab/playbooks/x.yml": "- hosts: '{{ x | lab_filter }}'\n",
        },
        ["lab/playbooks/x.yml:1"],
    ),
    "test by its short name": Case(
        "full_names",
        {
            "plugins/test/x.py": """\
                class TestModule:
                    def tests(self):
                        return {"own_test": bool}
                """,
            "site.yml": """\
                - hosts: "{{ 'a' if x is not own_test else 'b' }}"
                  vars:
                    x: "{{ y | select('own_test') }}"
                    z: "{{ y | selectattr('a', 'own_test') }}"
                """,
        },
        [f"site.yml:{line}" for line in (1, 3, 4)],
    ),
    "lookup by its short name": Case(
        "full_names",
        {"plugins/lookup/own_lookup.py": "", "site.yml": "- hosts: \"{{ lookup('own_lookup') }}\"\n"},
        ["site.yml:1"],
    ),
    "role by its short name": Case(
        "full_names",
        {
            **ROLE,
            **OTHER,
            "site.yml": """\
                - hosts: a
                  roles:
                    - server
                    - role: other
                  tasks:
                    - include_role:
                        name: other
                """,
            "roles/third/meta/main.yml": "dependencies:\n  - server\n",
        },
        ["site.yml:3", "site.yml:4", "site.yml:7", "roles/third/meta/main.yml:2"],
    ),
    "callback by its short name": Case(
        "full_names",
        {"plugins/callback/own_output.py": "", "ansible.cfg": "[defaults]\ncallbacks_enabled = own_output, x.y.z\n"},
        ["ansible.cfg:2"],
    ),
    "module that an action runs by its short name": Case(
        "full_names",
        {**MODULE, "plugins/action/x.py": "def run(self):\n    self._execute_module(module_name='own_module')\n"},
        ["plugins/action/x.py:2"],
    ),
    "full name of nothing": Case(
        "full_names",
        {
            **MODULE,
            "roles/server/tasks/main.yml": "- ik_llama.pi.own_modul:\n- debug:\n    msg: '{{ a | ik_llama.pi.x }}'\n",
        },
        ["roles/server/tasks/main.yml:1", "roles/server/tasks/main.yml:3"],
    ),
    "full name of the other collection": Case(
        "full_names",
        {**LAB_MODULE, "lab/playbooks/x.yml": "- hosts: a\n  tasks:\n    - ik_llama.pi.lab_module:\n"},
        ["lab/playbooks/x.yml:3"],
    ),
    "product calls the lab": Case(
        "full_names",
        {**LAB_MODULE, "roles/server/tasks/main.yml": "- ik_llama.lab.lab_module:\n"},
        ["roles/server/tasks/main.yml:1"],
    ),
    "YAML that cannot be parsed": Case("unparsed", {"site.yml": "- a: b: c\n"}, ["site.yml:1"]),
    "Python that cannot be parsed": Case("unparsed", {"plugins/filter/x.py": "\ndef x(:\n"}, ["plugins/filter/x.py:2"]),
}
# By the check that could be mistaken; none may find anything.
NEAR_MISSES: dict[str, dict[str, str]] = {
    "private_names": {
        "roles/server/tasks/main.yml": "- ansible.builtin.set_fact:\n    server__x: '{{ server__y }}'\n",
        "roles/server/templates/x.j2": "{{ server__x }}\n",
        "roles/other/tasks/main.yml": "# not server__x\n- ansible.builtin.debug:\n    msg: '{{ server_x }}'\n",
        "roles/other/templates/x.j2": "{# not server__x #}\n# nor server__y\n{{ server_x }}\n",
        "roles/gateway_server/vars/main.yml": "gateway_server__x: 1\n",
        "plugins/modules/x.py": '"""Not server__x."""\n# nor server__y\nX = __name__ + "__main__" + "a__b"\n',
        "tests/unit/test_server.py": "X = 'server__x'\n",
        "inventory/mine/hosts.yml": "server__x: 1\n",
        ".cache/x.yml": "server__x: 1\n",
    },
    "roles_that_include_themselves": {
        "roles/server/tasks/main.yml": """\
            - ansible.builtin.include_tasks: server.yml
            - ansible.builtin.include_role:
                name: ik_llama.pi.server_keys
              vars:
                server_name: server
            - ansible.builtin.debug:
                msg: "{{ role_name }}"
            """,
        "roles/server/tasks/server.yml": "- ansible.builtin.include_role:\n    name: ik_llama.pi.other\n",
        "roles/server_keys/tasks/main.yml": "- ansible.builtin.include_role:\n    name: ik_llama.pi.other\n",
        "roles/other/tasks/main.yml": "---\n",
        "playbooks/server.yml": "- hosts: a\n  roles:\n    - ik_llama.pi.server\n",
    },
    "plugin_utils_in_modules": {
        "plugins/modules/x.py": '''\
            """Knows nothing of plugin_utils."""
            from ..module_utils.common import y
            X = "plugin_utils"
            ''',
        "plugins/module_utils/common/y.py": "",
        "plugins/action/x.py": "from ..plugin_utils import fleet\n",
        "plugins/plugin_utils/fleet.py": "from .other import x\n",
        "plugins/plugin_utils/other.py": "",
    },
    "layers": {
        "plugins/module_utils/__init__.py": "",
        "plugins/module_utils/common/__init__.py": "",
        "plugins/module_utils/common/files.py": "import os\nfrom .text import x\nfrom .gguf import y\n",
        "plugins/module_utils/common/text.py": "import gguf\nfrom ansible.module_utils.basic import AnsibleModule\n",
        "plugins/module_utils/common/gguf.py": "",
        "plugins/module_utils/gguf/header.py": "from ..common.files import x\nfrom ..common import text\n",
        "plugins/module_utils/board/x.py": "from ..common import files\n",
        "plugins/module_utils/engine/x.py": """\
            from ..gguf.header import x
            from ..board import x
            from ..common import text
            """,
        "plugins/module_utils/server/x.py": f"from {UTILS}.module_utils.gguf import header\nfrom . import y\n",
        "plugins/module_utils/server/y.py": "",
        "plugins/plugin_utils/fleet.py": "from ..module_utils.server import x\nfrom ..module_utils.engine.x import y\n",
        "plugins/modules/x.py": "from ..module_utils.server.x import y\n",
        "lab/plugins/module_utils/x.py": f"from {UTILS}.module_utils.common.files import x\n",
    },
    "verbs": {
        "roles/server/tasks/main.yml": """\
            - name: Wait for the server of {{ x }}
              ansible.builtin.wait_for:
                name: whatever
            - name: Check
              ansible.builtin.apt:
                name: rsync
            - ansible.builtin.meta: noop
            - block:
                - name: "Ensure {{ x }} is there"
                  ansible.builtin.meta: noop
            """,
        "roles/server/defaults/main.yml": "server_x:\n  - name: any\n",
        "roles/server/files/x.yml": "- name: any\n",
        "molecule/x/vars/x.yml": "- name: any\n",
        "molecule/x/molecule.yml": "platforms:\n  - name: any\n",
        "site.yml": """\
            - name: Start the servers
              hosts: pis
              roles:
                - role: ik_llama.pi.server
                  name: x
            """,
    },
    "avoided_words": {
        "roles/server/tasks/main.yml": """\
            # told
            - name: Check the layer of standalone delays
              ansible.builtin.meta: noop # anew
            """,
        "roles/server/defaults/main.yml": "server_overlay: amended # shall\n",
        "roles/server/templates/x.j2": "{# told\nanew #}\n# shall\nlayer\n",
        "roles/server/README.md": "It shall.\n",
        "plugins/filter/x.py": '"""Told."""\ndef layer():\n    """Shall."""\n    return "marshall" # anew\n',
        "tests/unit/test_x.py": "X = 'told'\n",
        "molecule/x/tests/test_default.py": "X = 'told'\n",
    },
    "flow": {
        "roles/server/tasks/main.yml": """\
            # no end_role
            - ansible.builtin.meta: end_host
            - ansible.builtin.include_role:
                name: ik_llama.pi.other
                rolespec_validate: true
            - ansible.builtin.debug:
                msg: end_role
            """,
        "roles/other/tasks/main.yml": "---\n",
        "plugins/filter/x.py": "import sys\nX = ['__path__', sys.path, __file__]\n",
    },
    "full_names": {
        **MODULE,
        **ROLE,
        **LAB_MODULE,
        "plugins/filter/documented.yml": "DOCUMENTATION: {}\n",
        "plugins/callback/own_output.py": "",
        "plugins/doc_fragments/own_options.py": "",
        "plugins/modules/x.py": "DOCUMENTATION = '{extends_documentation_fragment: ik_llama.pi.own_options.x}'\n",
        "ansible.cfg": "# own_output\ncallbacks_enabled = ik_llama.pi.own_output\n",
        "roles/other/tasks/main.yml": """\
            - ik_llama.pi.own_module:
                own_module: own_filter
            - ansible.builtin.shell:
                cmd: cat x | own_filter
              vars:
                own_module: "{{ own_filter | string | ik_llama.pi.own_filter | map('ik_llama.pi.own_filter') }}"
              when: own_filter | bool and x | own_filter_of_mine
            - ansible.builtin.include_tasks: server.yml
            - ansible.builtin.include_role:
                name: ik_llama.pi.server
            - ik_llama.pi.own_action: x
            - ansible.builtin.debug:
                msg: "Run ik_llama.pi.site, {{ x | ik_llama.pi.documented }}"
            """,
        "playbooks/site.yml": "- hosts: server\n  roles:\n    - ik_llama.pi.server\n",
        "site.yml": "- import_playbook: ik_llama.pi.site\n",
        "lab/playbooks/x.yml": "- hosts: a\n  tasks:\n    - ik_llama.lab.lab_module:\n    - ik_llama.pi.own_module:\n",
        "plugins/action/own_action.py": f"from {UTILS} import x\nX = 'ik_llama.pi.own_module'\n",
    },
    "unparsed": {"site.yml": "- hosts: !vault x\n---\n- hosts: a\n", "roles/server/files/data": "\0{{\n"},
}
# A planted breach of one rule may break these as well, which is no fault of the check.
ALSO = {"roles_that_include_themselves": {"full_names"}, "plugin_utils_in_modules": {"layers"}}


def plant(root: Path, tree: dict[str, str]) -> Path:
    for name, text in tree.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(dedent(text), encoding="utf-8")
    return root


@pytest.mark.parametrize("case", PLANTED.values(), ids=PLANTED)
def test_check_finds_what_is_planted(case: Case, tmp_path: Path) -> None:
    plant(tmp_path, case.files)
    found = {name: [f"{one.file}:{one.line}" for one in check(tmp_path)] for name, check in CHECKS.items()}
    assert sorted(found[case.check]) == sorted(case.places)
    assert {name for name, places in found.items() if places} - {case.check} <= ALSO.get(case.check, set())


@pytest.mark.parametrize("check", NEAR_MISSES)
def test_near_misses_are_not_found(check: str, tmp_path: Path) -> None:
    plant(tmp_path, NEAR_MISSES[check])
    assert CHECKS[check](tmp_path) == []


def test_each_check_has_both_kinds_of_examples() -> None:
    assert {case.check for case in PLANTED.values()} == set(NEAR_MISSES) == set(CHECKS)


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_may_begin_a_name(verb: str, tmp_path: Path) -> None:
    plant(tmp_path, {"roles/server/tasks/main.yml": f"- name: {verb} it\n  ansible.builtin.meta: noop\n"})
    assert CHECKS["verbs"](tmp_path) == []


def test_links_are_not_followed(tmp_path: Path) -> None:
    plant(tmp_path, {"site.yml": "- hosts: a\n  name: Lab\n"})
    (tmp_path / "playbooks").mkdir()
    (tmp_path / "playbooks/site.yml").symlink_to(tmp_path / "site.yml")
    (tmp_path / "lab").symlink_to(tmp_path)
    assert [finding.file for finding in CHECKS["verbs"](tmp_path)] == ["site.yml"]


def test_count_sees_comments_and_documents_only(tmp_path: Path) -> None:
    plant(
        tmp_path,
        {
            "README.md": "It shall be of\nits own.\n",
            "Makefile": "# anew\nall: ## told\n\techo told\n",
            "site.yml": "# shall, of\n# its own\n- hosts: 'told # told'\n  x: |\n    # told\n  y: 1 # told\n",
            "roles/server/templates/x.j2": "{# told #}\n# anew\nshall\n",
            "plugins/filter/x.py": '"""Shall."""\n# told\nX = "told"\n',
            "tests/unit/test_x.py": "# mend\n",
        },
    )
    assert count(tmp_path) == {
        "comments": {"anew": 2, "told": 4, "shall": 1, "of its own": 1, "mend": 1},
        "docstrings": {"shall": 1},
        "documents": {"shall": 1, "of its own": 1},
    }


def test_command_names_its_findings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plant(
        tmp_path, {"roles/server/tasks/main.yml": "- name: Look\n  ansible.builtin.meta: noop\n", "playbooks/x.yml": ""}
    )
    role, playbooks = str(tmp_path / "roles/server"), str(tmp_path / "playbooks")
    assert main([str(tmp_path)]) == main([str(tmp_path), role]) == main([str(tmp_path), playbooks, role]) == 1
    assert capsys.readouterr().out.count("roles/server/tasks/main.yml:1:") == 3
    assert main([str(tmp_path), playbooks]) == 0
    assert main([str(tmp_path), str(tmp_path / "none")]) == 2
    assert main(["--count", str(tmp_path)]) == 0


def test_avoided_words_are_those_of_the_list() -> None:
    assert len(AVOIDED) == len(set(AVOIDED)) == 9
