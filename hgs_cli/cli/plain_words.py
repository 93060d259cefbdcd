"""Typer in plain words: help without the names of types, mistakes as one would tell a musician of them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from hgs_cli.errors import UsageError
from hgs_cli.pitch import is_note_word, is_several, parse_pitches

PITCHES = ("--pitches", "-p")
OLD_SOURCE_NOTE = "--pitch"
_PITCHES_AMONG_FLAGS = re.compile(r"-[fqr]*p")  # -p, or flags before it in one word: -fp 60
_UNBOUNDED = 2**31 - 1  # from which a range's upper end says nothing
_N_POSSIBLE = 3  # options that a mistyped one may be told of


class _Plain:
    """What has help with ranges and choices where Typer has types."""

    def get_params(self, ctx: Any) -> list[Any]:
        """All options and arguments."""
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for param in params:
            _say_plainly(param, ctx)
        return params


class PlainCommand(_Plain, TyperCommand):
    """A command in plain words."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line."""
        try:
            return super().parse_args(ctx, args)
        except typer.TyperException as error:
            if getattr(error, "ctx", None) is None:  # of a value that is missing Typer does not know whose it is
                error.ctx = ctx  # type: ignore[attr-defined]
            raise


class PlainGroup(_Plain, TyperGroup):
    """Commands under one name, as plain."""


class PlayingCommand(PlainCommand):
    """A command with `--pitches`, which may be several words, and with `--pitch`, which is often taken for it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line.

        Raises:
            UsageError: There is `--pitch`, the sound's own note, and nothing says what to play.
        """
        old = any(word == OLD_SOURCE_NOTE or word.startswith(f"{OLD_SOURCE_NOTE}=") for word in args)
        rest = super().parse_args(ctx, join_note_words(args))
        note = ctx.params["source_note"]
        unsaid = ctx.get_parameter_source("pitches").name == "DEFAULT"
        if old and unsaid and not ctx.resilient_parsing and note.strip().lower() not in ("auto", "none"):
            if is_several(note) and "," not in note:
                return rest  # which is no sound's own note, and told as such
            raise UsageError(
                f"--pitch {note} is the note that the sound has, and nothing says what to play",
                f"give --pitches {note} to play that, or --source-note {note} if the sound has it",
            )
        return rest


def join_note_words(args: Sequence[str]) -> list[str]:
    """A command line whose pitch spec is one word: `-p C3 E3 -p 60 - 72` is `-p "C3 E3,60 - 72"`.

    A word that is the name of a file is one; so is a `-` that no note follows, which is stdin.
    """
    joined: list[str] = []
    specs: list[str] = []
    place, index = 0, 0
    while index < len(args) and args[index] != "--":
        name, equals, value = args[index].partition("=")
        if name == PITCHES[0] and equals:
            given, index = value, index + 1
        elif (name == PITCHES[0] or _PITCHES_AMONG_FLAGS.fullmatch(args[index])) and index + 1 < len(args):
            flags = args[index].removesuffix("p")
            joined += [flags] if name != PITCHES[0] and flags != "-" else []
            given, index = args[index + 1], index + 2
        else:
            joined.append(args[index])
            index += 1
            continue
        more = _n_note_words(given, args[index:])
        specs.append(" ".join([given, *args[index : index + more]]))
        index += more
        place = place or len(joined) + 1
    if specs:
        joined.insert(place - 1, f"{PITCHES[0]}={','.join(specs)}")
    return [*joined, *args[index:]]


def _n_note_words(given: str, words: Sequence[str]) -> int:
    """How many words behind a pitch spec go on with it."""
    most = 0
    while most < len(words) and is_note_word(words[most]) and not os.path.lexists(words[most]):
        most += 1
    for count in range(most, 0, -1):
        try:
            parse_pitches(" ".join([given, *words[:count]]))
        except UsageError:
            continue
        return count
    return 0


# --- help -------------------------------------------------------------------------------------------------------------


def _say_plainly(param: Any, ctx: Any) -> None:
    """Let an option's or argument's help say what it takes: a range, a choice, a word in capitals; a flag nothing."""
    if not isinstance(param, TyperOption):
        param.display_type_rich = lambda ctx: None  # its name says it, dots and brackets included
        param.get_usage_pieces = lambda ctx: [param.display_name_raw]
        return
    if param.is_flag:
        param.metavar = ""
        return
    if param.metavar is None:
        kind = param.type_descriptor
        if kind.is_choice:
            param.metavar = param.display_type(ctx).strip("<>")
        else:
            param.metavar = "FILE" if kind.is_path else "N" if kind.annotation is int else "TEXT"
            if kind.annotation is float:
                param.metavar = ""
    bounds = _bounds(param)
    if bounds:
        param.metavar = f"{bounds} {param.metavar}".strip() if param.metavar != "N" else bounds
        param.min = param.max = None  # what is checked stands elsewhere; here it would be said twice


def _bounds(param: TyperOption) -> str:
    low, high = param.min, param.max
    if low is None:
        return ""
    return f"{low:g} or more" if high is None or high >= _UNBOUNDED else f"{low:g}..{high:g}"


# --- mistakes ---------------------------------------------------------------------------------------------------------


def describe_mistake(error: typer.TyperException) -> str:
    """What Typer complains of, and what to do about it, in one line."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "hgs"
    what, remedy = _plain(error, context, command)
    return str(UsageError(what, remedy))  # one line without codes, whatever was typed


def _plain(error: Any, context: Any, command: str) -> tuple[str, str]:
    see = f"see {command} --help"
    kind, param = type(error).__name__, getattr(error, "param", None)
    message = " ".join(error.format_message().strip().rstrip(".").split())
    if kind == "MissingParameter" and param is not None:
        return f"{_name(param)} is missing", _example(context) or see
    if kind == "BadParameter" and param is not None:
        source = context.get_parameter_source(param.name) if context is not None else None
        from_variable = source is not None and source.name == "ENVIRONMENT"
        name = param.envvar if from_variable else _name(param)
        return f"{name} {_given(error)}".strip(), f"give {_allowed(param)}"
    if kind == "NoSuchOption":
        return f"there is no option {error.option_name}", _near_options(error, context, see)
    if kind == "BadOptionUsage" and "requires" in message:
        wanted = next((each for each in context.command.get_params(context) if error.option_name in each.opts), None)
        shown = "" if wanted is None else f"such as {error.option_name} {wanted.metavar}; "
        more = "what to play is --pitches NOTES; " if error.option_name == OLD_SOURCE_NOTE else ""
        return f"{error.option_name} needs a value behind it", f"{shown}{more}{see}"
    if kind == "BadOptionUsage":
        return f"{error.option_name} takes no value", f"write {error.option_name} alone"
    if message.startswith("Got unexpected extra"):
        return f"too much: {message.partition('(s) (')[2].removesuffix(')')}", see
    if message == "Missing command":
        return "a command is missing", see
    if message.startswith("No such command"):
        return message.replace("No such command", "there is no command", 1), see
    return message, see


def _name(param: Any) -> str:
    """An option by its first name, an argument by what it takes."""
    return str(
        param.opts[0] if isinstance(param, TyperOption) else re.split(r"[|.]", param.display_name_raw.strip("[]"))[0]
    )


def _given(error: Any) -> str:
    """What was given for an option, if pydantic says so, which looks at it for Typer."""
    told = getattr(error.__cause__, "errors", None)
    return str(told()[0].get("input", "")) if callable(told) else ""


def _allowed(param: Any) -> str:
    info = param.type_descriptor
    if info.is_choice:
        *most, last = [choice.value if hasattr(choice, "value") else str(choice) for choice in info.choices]
        return f"{', '.join(most)} or {last}" if most else last
    whole = "a whole number" if info.annotation is int else "a number"
    low, high = info.parameter_info.min, info.parameter_info.max
    if low is None:
        return whole
    return f"{whole} from {low:g} {'on' if high is None or high >= _UNBOUNDED else f'to {high:g}'}"


def _near_options(error: Any, context: Any, see: str) -> str:
    if context is not None and context.parent is None:
        return f"a command comes first, as in hgs render snare.wav -p 60; {see}"
    near = list(error.possibilities or ())[:_N_POSSIBLE]
    return f"did you mean {' or '.join(near)}? {see}" if near else see


def _example(context: Any) -> str:
    """The example in a command's help."""
    found = re.search(r"Example: (.+)", (context.command.help or "") if context is not None else "")
    return f"as in {found[1]}" if found else ""
