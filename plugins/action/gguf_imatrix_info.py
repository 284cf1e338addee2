# SPDX-License-Identifier: Apache-2.0
"""Run the module gguf_imatrix_info, and wait where a server asks for it."""

from __future__ import annotations

from ansible_collections.ik_llama.pi.plugins.plugin_utils.waiting import WaitingAction


class ActionModule(WaitingAction):
    """Action plugin; options and results are those of the module."""
