"""Tables for a terminal and as Markdown."""

from __future__ import annotations

#: A head, the side to which each column goes (``l`` or ``r``), and rows.
Table = tuple[list[str], str, list[list[str]]]


def text_table(table: Table) -> list[str]:
    """Return lines for a terminal. No line ends in a space."""
    head, sides, rows = table
    widths = [max(map(len, column)) for column in zip(head, *rows)]
    return [
        "  ".join(
            cell.ljust(width) if side == "l" else cell.rjust(width) for cell, width, side in zip(row, widths, sides)
        ).rstrip()
        for row in [head, *rows]
    ]


def markdown_table(table: Table) -> list[str]:
    """Return lines of Markdown. Strokes in cells do not end them."""
    head, sides, rows = table
    return [
        "| " + " | ".join(head) + " |",
        "|" + "|".join("---" if side == "l" else "---:" for side in sides) + "|",
        *("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows),
    ]
