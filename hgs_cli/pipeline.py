"""The main path: load_model → invert → render or mix.

sound → log-mel x → f → h → H → Δ, and what G could not say of x       `invert`, once per sound
(h, Δ, q) → G → E_h, E_n, + detail → level wanted at q ─┐              `render` and `mix`, per pitch, batched
the recording, moved to q ─────────────────── shaped to it, what it lacks drawn by the vocoder → waveform
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

from numpy.typing import NDArray
from torch import Tensor

from hgs_cli.audio.io import from_array, read_audio
from hgs_cli.audio.onset import begin_at
from hgs_cli.console import Report
from hgs_cli.errors import InputError
from hgs_cli.inversion import SUFFIX, Inversion
from hgs_cli.pitch import NoteKey
from hgs_cli.sampler.analysis import Reconstruction, fits, invert_recording, reconstruct, reinvert
from hgs_cli.sampler.finish import Finish
from hgs_cli.sampler.instrument import Instrument
from hgs_cli.sampler.making import make_instrument, mix_instruments
from hgs_cli.sampler.model import Model, load_model
from hgs_cli.sampler.notes import synthesize
from hgs_cli.sampler.playing import PLAIN, Note, Rendered, make_notes, play
from hgs_cli.sampler.settings import Listening, ListeningOptions, Settings, SourceHint

__all__ = [
    "Finish",
    "Instrument",
    "Inversion",
    "Listening",
    "Model",
    "Note",
    "NoteKey",
    "Reconstruction",
    "Rendered",
    "Settings",
    "SourceHint",
    "invert",
    "load_model",
    "make_instrument",
    "make_notes",
    "mix",
    "mix_instruments",
    "open_sound",
    "play",
    "reconstruct",
    "reinvert",
    "render",
    "synthesize",
]

AS_FOUND = Listening()


def invert(
    model: Model,
    audio: Tensor | NDArray[Any],
    sample_rate: int,
    **listening: Unpack[ListeningOptions],
) -> Inversion:
    """Turn one sound into an instrument.

    Args:
        model: From `load_model`.
        audio: Mono sound, (T,), or with channels, (T, C).
        sample_rate: In Hz.
        **listening: How it is listened to, by the names of `Listening`.

    Raises:
        InputError: The sound is empty, silent, too short or not finite, or has ended at `start_s`.
        UsageError: max_seconds is out of range.
    """
    how = Listening(**listening)
    recording = from_array(audio, sample_rate, how.stereo, max_seconds=how.max_seconds)
    return invert_recording(model, begin_at(recording, how.start_s), how.pitch, how.passes)


def open_sound(
    model: Model,
    path: Path,
    listening: Listening = AS_FOUND,
    report: Report = lambda line: None,
) -> Inversion:
    """Read a sound or an .hgs file as an instrument.

    Args:
        model: From `load_model`.
        path: A sound file, or an .hgs file, which is inverted again if other weights made it.
        listening: How a sound is listened to; an .hgs file keeps what it was made with.
        report: Takes a line where something was cropped, left out or made again.

    Raises:
        InputError: The file cannot be used.
    """
    if path.suffix.lower() == SUFFIX:
        inversion = Inversion.load(path)
        if listening.pitch != "auto" or listening.passes is not None:
            report(f"{path} keeps the pitch and the passes that it was inverted with")
        if inversion.weights_sha256 != model.sha256:
            report(f"{path} was made with other weights; it is inverted again from its stored spectrogram")
            return reinvert(model, inversion)
        if not fits(model, inversion):
            raise InputError(f"{path} is damaged: it does not fit the weights", "make it again with hgs invert")
        return inversion
    recording = read_audio(path, listening.stereo, max_seconds=listening.max_seconds)
    if recording.flaw:
        report(f"{path} {recording.flaw}")
    if recording.cropped_s:
        report(f"{path} is longer than {listening.max_seconds:g} s; its last {recording.cropped_s:.2f} s are not used")
    if recording.cancelled:
        report(f"the channels of {path} cancel each other out; the networks hear the loudest alone")
    recording = begin_at(recording, listening.start_s)
    return invert_recording(
        model, recording, listening.pitch, listening.passes, lambda line: report(f"{path.name} is {line}")
    )


def render(
    model: Model,
    inversion: Inversion,
    pitches: Sequence[float],
    settings: Settings | None = None,
    finish: Finish = PLAIN,
) -> Rendered:
    """Play an instrument.

    Args:
        model: From `load_model`.
        inversion: From `invert` or `Inversion.load`.
        pitches: MIDI note numbers, 0 … 127, fractions allowed; at least one.
        settings: How notes sound.
        finish: How long they are and how they end.

    Returns:
        One note per pitch.
    """
    return play(model, make_instrument(model, inversion), pitches, settings or Settings(), finish)


def mix(
    model: Model,
    inversions: Sequence[Inversion],
    shares: Sequence[float],
    pitches: Sequence[float],
    settings: Settings | None = None,
    finish: Finish = PLAIN,
) -> Rendered:
    """Play the instrument between several.

    Args:
        model: From `load_model`.
        inversions: At least one.
        shares: Of each, not negative; only their ratio counts.
        pitches: As for `render`.
        settings: How notes sound.
        finish: How long they are and how they end.

    Returns:
        One note per pitch.

    Raises:
        UsageError: The shares do not fit the inversions.
    """
    return play(model, mix_instruments(model, inversions, shares), pitches, settings or Settings(), finish)
