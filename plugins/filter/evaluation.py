# SPDX-License-Identifier: Apache-2.0
"""Filters that show what quantizing costs models, and what an importance matrix covers."""

from __future__ import annotations

from typing import Any

from ansible_collections.ik_llama.pi.plugins.plugin_utils.evaluation_report import (
    as_markdown,
    as_text,
    imatrix_as_text,
    plot,
)


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {
            "evaluation_as_markdown": as_markdown,
            "evaluation_as_text": as_text,
            "evaluation_plot": plot,
            "imatrix_as_text": imatrix_as_text,
        }
