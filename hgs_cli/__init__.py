"""hgs: one recorded sound in, a playable pitched instrument out.

The public names are loaded at first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hgs_cli.errors import (
        ExistingFileError,
        HgsError,
        InputError,
        OutputError,
        TrainingError,
        UsageError,
        WeightsError,
    )
    from hgs_cli.export.instruments import InstrumentFiles, Playable, write_audition, write_instrument
    from hgs_cli.pipeline import (
        Finish,
        Instrument,
        Inversion,
        Listening,
        Model,
        Multisample,
        MultisampleMix,
        Note,
        NoteKey,
        Reconstruction,
        Rendered,
        Settings,
        SourceHint,
        invert,
        load_model,
        make_instrument,
        make_multisample,
        mix,
        mix_instruments,
        mix_multisamples,
        open_sound,
        reconstruct,
        reinvert,
        render,
    )
    from hgs_cli.pitch import note_name, parse_note, parse_pitches

__version__ = "0.3.0"
__all__ = [
    "ExistingFileError",
    "Finish",
    "HgsError",
    "InputError",
    "Instrument",
    "InstrumentFiles",
    "Inversion",
    "Listening",
    "Model",
    "Multisample",
    "MultisampleMix",
    "Note",
    "NoteKey",
    "OutputError",
    "Playable",
    "Reconstruction",
    "Rendered",
    "Settings",
    "SourceHint",
    "TrainingError",
    "UsageError",
    "WeightsError",
    "__version__",
    "invert",
    "load_model",
    "make_instrument",
    "make_multisample",
    "mix",
    "mix_instruments",
    "mix_multisamples",
    "note_name",
    "open_sound",
    "parse_note",
    "parse_pitches",
    "reconstruct",
    "reinvert",
    "render",
    "write_audition",
    "write_instrument",
]

_LIGHT = {"note_name": "pitch", "parse_note": "pitch", "parse_pitches": "pitch"}
_WRITING = ("InstrumentFiles", "Playable", "write_audition", "write_instrument")


def __getattr__(name: str) -> object:
    """Look a public name up where it is; torch is imported only for those that need it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    if name.endswith("Error"):
        room = "errors"
    elif name in _WRITING:
        room = "export.instruments"
    else:
        room = _LIGHT.get(name, "pipeline")
    return getattr(import_module(f"hgs_cli.{room}"), name)


def __dir__() -> list[str]:
    """The public names, for completion."""
    return sorted(__all__)
