"""The main path: load_model → invert → render or mix.

sound → log-mel x → f → h → H → Δ, and what G could not say of x       `invert`, once per sound
(h, Δ, q) → G → E_h, E_n, + detail → level wanted at q ─┐              `render` and `mix`, per pitch, batched
the recording, moved to q ─────────────────── shaped to it, what it lacks drawn by the vocoder → waveform
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

from numpy.typing import NDArray
from torch import Tensor

from hgs_cli.audio.io import from_array, read_audio
from hgs_cli.audio.onset import begin_at
from hgs_cli.checked import AnyPath, Number, Pitches, as_path, as_pitches
from hgs_cli.console import Report
from hgs_cli.errors import InputError, UsageError
from hgs_cli.inversion import SUFFIX, Inversion
from hgs_cli.models.weights import check_not_forked
from hgs_cli.pitch import NoteKey
from hgs_cli.sampler.analysis import Reconstruction, fits, invert_recording, reconstruct, reinvert
from hgs_cli.sampler.finish import Finish
from hgs_cli.sampler.instrument import Instrument
from hgs_cli.sampler.making import make_instrument, mix_instruments
from hgs_cli.sampler.model import Model, load_model
from hgs_cli.sampler.multisample import Multisample, make_multisample
from hgs_cli.sampler.multisample_mix import MultisampleMix, mix_multisamples
from hgs_cli.sampler.notes import synthesize
from hgs_cli.sampler.playing import PLAIN, Note, Rendered, make_notes, play
from hgs_cli.sampler.settings import Listening, ListeningOptions, Settings, SourceHint

__all__ = [
    "Finish",
    "Instrument",
    "Inversion",
    "Listening",
    "Model",
    "Multisample",
    "MultisampleMix",
    "Note",
    "NoteKey",
    "Reconstruction",
    "Rendered",
    "Settings",
    "SourceHint",
    "invert",
    "load_model",
    "make_instrument",
    "make_multisample",
    "make_notes",
    "mix",
    "mix_instruments",
    "mix_multisamples",
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
    sample_rate: Number,
    **listening: Unpack[ListeningOptions],
) -> Inversion:
    """Turn one sound into an instrument.

    Args:
        model: From `load_model`.
        audio: Mono sound, (T,), or with channels, (T, C), with a full scale of 1, or that of its type if that is whole
            numbers.
        sample_rate: In Hz.
        **listening: How it is listened to, by the names of `Listening`.

    Raises:
        InputError: The sound is empty, silent, too short or not finite, has an impossible rate, or has ended at
            `start_s`.
        UsageError: Something of `Listening` or the model cannot be.
    """
    _check_model(model)
    how = Listening(**listening)
    recording = from_array(audio, sample_rate, how.stereo, max_seconds=how.max_seconds)
    return invert_recording(model, begin_at(recording, how.start_s), how.pitch, how.passes)


def open_sound(
    model: Model,
    path: AnyPath,
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
        OutputError: There is no room for what ffmpeg decodes of it.
        UsageError: The path or the model is none.
    """
    _check_model(model)
    path = as_path(path, "a sound")
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
    inversion: Inversion | Multisample | MultisampleMix,
    pitches: Pitches,
    settings: Settings | None = None,
    finish: Finish = PLAIN,
) -> Rendered:
    """Play an instrument.

    Args:
        model: From `load_model`.
        inversion: From `invert` or `Inversion.load`; or many recordings, from `make_multisample` or `mix_multisamples`.
        pitches: MIDI note numbers, 0 … 127, fractions allowed; at least one. Or a text, `C3-C5:2`.
        settings: How notes sound.
        finish: How long they are and how they end.

    Returns:
        One note per pitch.

    Raises:
        InputError: Other weights have made the inversion.
        UsageError: A pitch is none, or something else is not what it has to be.
        WeightsError: The networks give numbers that are not finite.
    """
    notes = as_pitches(pitches)
    if isinstance(inversion, Multisample | MultisampleMix):
        _check_model(model)
        return play(model, inversion, notes, settings or Settings(), finish)
    check_playable(model, [inversion])
    return play(model, make_instrument(model, inversion), notes, settings or Settings(), finish)


def mix(
    model: Model,
    inversions: Sequence[Inversion | Multisample],
    shares: Sequence[float],
    pitches: Pitches,
    settings: Settings | None = None,
    finish: Finish = PLAIN,
) -> Rendered:
    """Play the instrument between several.

    Args:
        model: From `load_model`.
        inversions: At least one; or instruments of many recordings, and sounds that count as such of one.
        shares: Of each, not negative; only their ratio counts.
        pitches: As for `render`.
        settings: How notes sound.
        finish: How long they are and how they end.

    Returns:
        One note per pitch.

    Raises:
        InputError: Other weights have made an inversion.
        UsageError: The shares do not fit the inversions, a pitch is none, or something else is not what it has to be.
        WeightsError: The networks give numbers that are not finite.
    """
    notes = as_pitches(pitches)
    plain = [one for one in inversions if not isinstance(one, Multisample)]
    check_playable(model, plain)
    if len(plain) == len(inversions):
        return play(model, mix_instruments(model, plain, shares), notes, settings or Settings(), finish)
    alone = {id(one): make_multisample(model, [one]) for one in plain}
    sets = [one if isinstance(one, Multisample) else alone[id(one)] for one in inversions]
    return play(model, mix_multisamples(model, sets, shares), notes, settings or Settings(), finish)


def check_playable(model: Model, inversions: Sequence[Inversion]) -> None:
    """Refuse what is no inversion, or one that other weights have made.

    Raises:
        InputError: Other weights have made it.
        UsageError: It is something else, or the model is none.
    """
    _check_model(model)
    for inversion in inversions:
        if not isinstance(inversion, Inversion):
            raise UsageError(
                f"{type(inversion).__name__} is no Inversion", "give what invert or Inversion.load returns"
            )
        if inversion.weights_sha256 != model.sha256:
            raise InputError("other weights have made this inversion", "make it again with reinvert(model, inversion)")


def _check_model(model: Model) -> None:
    if not isinstance(model, Model):
        raise UsageError(f"{type(model).__name__} is no Model", "give what load_model returns")
    check_not_forked(model.device)
