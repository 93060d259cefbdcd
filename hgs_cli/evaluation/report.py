"""What every measurement reports: tables for people, plain figures for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

FORMAT_VERSION = 2


@dataclass(frozen=True)
class Table:
    """A table for people."""

    title: str  # printed above it
    header: tuple[str, ...]  # names of the columns
    rows: Sequence[tuple[str, ...]]  # cells as text, every row as long as the header
    notes: tuple[str, ...] = ()  # lines printed below it


@dataclass(frozen=True)
class Section:
    """One measurement."""

    name: str  # its key in the JSON
    tables: list[Table]  # for people
    figures: dict[str, Any]  # for programs, kept as `plain` makes them

    def __post_init__(self) -> None:
        object.__setattr__(self, "figures", plain(self.figures))


@dataclass(frozen=True)
class Report:
    """Everything that one evaluation measured."""

    weights: dict[str, str]  # version and sha256 of the bundle
    settings: dict[str, Any]  # what was asked for, plain JSON values
    sections: list[Section]  # in the order in which they are shown

    def tables(self) -> list[Table]:
        """The tables of all sections."""
        return [table for section in self.sections for table in section.tables]

    def to_json(self) -> str:
        """All figures: weights and settings, then each section under its name."""
        head = {"format_version": FORMAT_VERSION, "weights": self.weights, "settings": self.settings}
        figures = {section.name: section.figures for section in self.sections}
        return json.dumps(head | figures, indent=1, allow_nan=False)

    def to_markdown(self) -> str:
        """The tables, for the model card."""
        settings = "".join(f", {name} {value}" for name, value in self.settings.items())
        lines = [f"Weights {self.weights['version']} (sha256 {self.weights['sha256'][:12]}…){settings}.", ""]
        for table in self.tables():
            lines += [f"**{table.title}**", "", "| " + " | ".join(table.header) + " |"]
            lines.append("|" + "|".join(["---"] + ["---:"] * (len(table.header) - 1)) + "|")
            lines += ["| " + " | ".join(row) + " |" for row in table.rows] + [""]
            for note in table.notes:
                lines += [note, ""]
        return "\n".join(lines)


def number(value: float, digits: int = 2) -> str:
    """A figure as text; a dash where there is none."""
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def plain(value: Any, *left_out: str) -> Any:
    """Figures as JSON can hold them: of dataclasses the fields, but for some, and None for nan and infinity."""
    if is_dataclass(value):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value) if each.name not in left_out}
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
