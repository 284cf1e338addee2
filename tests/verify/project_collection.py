"""Importing this makes `ansible_collections.ik_llama` importable, from the clone's folder of links."""

from __future__ import annotations

from pathlib import Path

from ansible.plugins.loader import init_plugin_loader

PROJECT = Path(__file__).resolve().parents[2]

init_plugin_loader([str(PROJECT / ".collections")])
