"""The man page, in troff, from the text of the help and of the manual; see man(7) for its letters."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer

from hgs_cli.manual import topics


def man_page(context: Any, version: str) -> str:
    """The man page of all commands.

    Args:
        context: Of the whole program.
        version: Of it.
    """
    commands = list(_commands(context))
    lines = [f'.TH HGS 1 "" "hgs {version}" "User Commands"', ".SH NAME", r"hgs \- " + _text(_first(context))]
    lines.append(".SH SYNOPSIS")
    for each in commands:
        lines += [rf"\fB{_text(each.command_path)}\fR {_text(_usage(each))}", ".br"]
    lines.append(".SH DESCRIPTION")
    lines += _paragraphs(context.command.help or "")
    lines.append(".SH COMMANDS")
    for each in commands:
        lines += _command(each)
    lines += [".SH EXAMPLES", *_examples()]
    lines += [".SH EXIT STATUS", *_exit_codes()]
    lines += [".SH ENVIRONMENT", *_variables(commands)]
    lines += [".SH SEE ALSO", rf"\fBhgs manual\fR lists the pages of the manual: {_text(', '.join(topics()))}."]
    return "\n".join(lines)


def _commands(context: Any) -> Iterator[Any]:
    """Contexts of all commands below one, in the order of the help."""
    for name in context.command.list_commands(context):
        command = context.command.get_command(context, name)
        inside = typer.Context(command, info_name=name, parent=context)
        if hasattr(command, "list_commands"):
            yield from _commands(inside)
        else:
            yield inside


def _first(context: Any) -> str:
    return str(context.command.help).split("\n\n")[0].strip().rstrip(".")


def _usage(context: Any) -> str:
    return " ".join(context.command.collect_usage_pieces(context))


def _command(context: Any) -> list[str]:
    lines = [f'.SS "{_text(context.command_path)}"', *_paragraphs(context.command.help or "")]
    panels: dict[str, list[str]] = {}
    for param in context.command.get_params(context):
        record = param.get_help_record(context)
        if record is not None:
            panel = getattr(param, "rich_help_panel", None) or ""
            panels.setdefault(panel, []).extend([".TP", rf"\fB{_text(record[0])}\fR", _text(record[1])])
    for panel in sorted(panels, key=bool):  # what stands in none comes first, as in the help
        lines += [".PP", rf"\fI{_text(panel)}\fR", *panels[panel]] if panel else panels[panel]
    return lines


def _paragraphs(text: str) -> list[str]:
    lines: list[str] = []
    for paragraph in text.strip().split("\n\n"):
        lines += [".PP", _text(" ".join(paragraph.split()))]
    return lines


def _examples() -> list[str]:
    """The cookbook: what each recipe is for, and the recipe."""
    lines: list[str] = []
    for block in re.findall(r"```sh\n(.*?)```", topics()["cookbook"].read_text(encoding="utf-8"), re.DOTALL):
        for line in block.splitlines():
            if line.startswith("# "):
                lines += [".PP", _text(line.removeprefix("# ") + ":")]
            elif line:
                lines += [".RS 4", ".nf", _text(line), ".fi", ".RE"]
    return lines


def _exit_codes() -> list[str]:
    page = topics()["files"].read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", page, re.MULTILINE)
    return [line for code, meaning in rows for line in (".TP", rf"\fB{code}\fR", _text(meaning))]


def _variables(commands: list[Any]) -> list[str]:
    told = {"HGS_WEIGHTS": "Weights to use."}
    for context in commands:
        for param in context.command.get_params(context):
            if isinstance(param.envvar, str):
                told.setdefault(param.envvar, f"As {param.opts[0]}: {param.help}")
    return [line for name, help_text in sorted(told.items()) for line in (".TP", rf"\fB{name}\fR", _text(help_text))]


def _text(text: str) -> str:
    """Text as troff reads it: backslashes and hyphens are themselves, and no line is taken for a command."""
    plain = text.replace("`", "").replace("\\", "\\e").replace("-", "\\-").replace("\n", " ")
    return f"\\&{plain}" if plain.startswith((".", "'")) else plain
