"""What a recording is heard as: one note, a chord, a drum or several hits, and the pitch it is played from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from hgs_cli.audio.background import without_background
from hgs_cli.audio.chords import (
    find_chord,
    find_distorted_chord,
    find_root,
    find_strike_note,
    harmonic_of,
    has_gaps,
    is_common_period,
)
from hgs_cli.audio.onset import find_hits
from hgs_cli.audio.partials import (
    MODE,
    Partials,
    find_partials,
    flatten_pitch,
    harmonic_share,
    lobe_share,
    mode_of,
    strongest_hz,
)
from hgs_cli.audio.source_pitch import SourcePitch, detect_pitch
from hgs_cli.audio.sustain import is_sustained
from hgs_cli.pitch import MAX_PITCH, MIN_PITCH, hz_to_midi, midi_to_hz, nearest_note, note_name
from hgs_cli.spectrum import MODEL_SAMPLES, N_FRAMES, SAMPLE_RATE

Kind = Literal["pitched", "unpitched", "several pitches", "modes", "several hits"]
Hint = float | Literal["auto"] | None
"""What is known of a sound's pitch: a MIDI note, nothing (`auto`), or that it has none (None)."""


@dataclass(frozen=True)
class HearingRules:
    """What a sound is heard as."""

    chord_share: float = 0.85  # of a harmonic share: with more the sound is one note, whatever else its partials may be
    # a drum may have a period and be no note. By these rules 25 of the 1,876 recorded notes of both collections are
    # taken for drums (seven of them are kettledrums') and 15 of their 120 unpitched one-shots for notes, where 39 have
    # a period. They were set with these recordings known
    sure_period: float = 0.93
    sure_contrast: float = 0.45
    # enough of both together for a note
    likely_contrast: float = 0.3
    likely_share: float = 0.5
    held_lobe_hz: float = 6.0  # what holds its energy for half a second is a note if it has a period
    # of the harmonic share: by so much the period of a drum is more than its strongest mode's
    period_ahead: float = 0.05
    mode_is_note: float = 0.6  # harmonic share of a lone mode that is heard as a note: a bar's, a whistle's
    # so many lines that hold are a bell's or a gong's, heard at the strongest: tone made of them as of noise is a buzz.
    # 13 made bells, plates, skins and FM sounds whose strongest mode is their note: 0.5 dB from the truth instead of
    # 3.3. Of the one-shots a tubular bell, a gong and a bowed cymbal are such
    few_lines: float = 7.0
    contradicting_semitones: float = 0.7  # further off, what is told contradicts what is heard
    sure_hearing: float = 0.8  # less confidence contradicts nobody
    same_semitones: float = 0.5  # between a sound with its background and without: it is one note
    mains_hz: tuple[float, ...] = (50.0, 60.0)  # an octave above hum is a note, above a note its own second partial
    # from C2 on no recorded note lacks its fundamental and others of its harmonics, but one of 1,876; below, tremolo
    # strings do
    lowest_without_gaps: float = 36.0
    # with less of both a period is chance: all recorded notes have more
    doubtful_period: float = 0.8
    doubtful_share: float = 0.15


RULES = HearingRules()
_MAINS = [hz_to_midi(hz) for hz in RULES.mains_hz]


@dataclass(frozen=True)
class Heard:
    """What a recording is heard as."""

    # the reference pitch: where the recording is played as it is. What was told, to the cent; else the note, the root
    # of a chord, the strike note of a bell, the strongest mode of what is unpitched; None for noise
    midi: float | None
    pitch_contour_cents: Tensor  # deviation from `midi` over time, (N_FRAMES,); 0 where nothing periodic sounds
    kind: Kind  # what it is heard as, whatever was told
    # whether `found` is a note, of one or several pitches or of modes that hold, and no mode of what is unpitched
    pitched: bool
    found: float | None  # `midi` as it is heard, whatever was told
    pitches: tuple[float, ...]  # MIDI numbers of the notes that sound at once, in rising order; empty where it is one
    hits: tuple[int, ...]  # samples at which hits begin, at least one; all else is said of the first
    sustained: bool  # whether it holds rather than dies away
    confidence: float  # 0 … 1, how sure `found` is
    harmonic_salience: float  # as in SourcePitch
    harmonic_share: float  # how much of it stands at harmonics of `midi`, 0 … 1; 0 where there is none
    is_cycle: bool = False  # whether it is a single cycle of a waveform, repeated


@dataclass(frozen=True)
class _Finding:
    """What one hit is heard as; attributes as in Heard."""

    kind: Kind
    midi: float | None
    confidence: float
    pitches: tuple[float, ...] = ()


def hear(audio: Tensor, hint: Hint = "auto") -> Heard:
    """Hear what a recording is, and find the pitch it is played from.

    Args:
        audio: Mono at SAMPLE_RATE, (T,). Of several hits the first is heard; beyond MODEL_SAMPLES only hits are.
        hint: The sound's MIDI note if it is known, `auto` to find it, None if it has none.
    """
    audio = audio.detach().float().cpu()
    hits = find_hits(audio)
    end = min([MODEL_SAMPLES, *hits[1:2]])
    first = audio[:end]
    source, partials, finding = _listen(first, hits[0])
    if finding.midi is None and len(hits) > 1:  # a cough before a note
        first = audio[:MODEL_SAMPLES]
        source, partials, finding = _listen(first, hits[0])

    midi, cents = finding.midi, torch.zeros(N_FRAMES)
    if hint is None:
        midi = mode_of(partials)
    elif hint != "auto":
        source = detect_pitch(first, float(hint))
        midi, cents = source.midi, source.pitch_contour_cents
    elif finding.kind == "pitched" and midi == source.midi:
        cents = source.pitch_contour_cents
    share = 0.0
    if midi is not None:
        midi = min(max(midi, MIN_PITCH), MAX_PITCH)
        if hint is not None:
            share = harmonic_share(partials, midi_to_hz(midi))
    return Heard(
        midi=midi,
        pitch_contour_cents=cents,
        kind="several hits" if len(hits) > 1 else finding.kind,
        pitched=finding.kind in ("pitched", "several pitches", "modes"),
        found=finding.midi,
        pitches=finding.pitches,
        hits=tuple(hits),
        sustained=is_sustained(first, SAMPLE_RATE),
        confidence=finding.confidence,
        harmonic_salience=source.harmonic_salience,
        harmonic_share=share,
    )


def hear_cycle(audio: Tensor, midi: float) -> Heard:
    """As `hear`, of a single cycle of a waveform that is repeated, (T,), at a pitch that is known."""
    return replace(
        hear(audio, midi),
        midi=midi,
        pitch_contour_cents=torch.zeros(N_FRAMES),
        kind="pitched",
        pitched=True,
        found=midi,
        pitches=(),
        hits=(0,),
        sustained=True,
        confidence=1.0,
        is_cycle=True,
    )


def _listen(audio: Tensor, onset: int) -> tuple[SourcePitch, Partials, _Finding]:
    """The period, the partials and the finding for a sound (T,) that begins at a sample.

    Without its background, mains hum above all, where that makes it another note.
    """
    heard, foreground = _listen_once(audio, onset), without_background(audio)
    if foreground is None:
        return heard
    again = _listen_once(foreground, onset)
    return again if _is_nearer(heard[2], again[2]) else heard


def _is_nearer(heard: _Finding, again: _Finding) -> bool:
    """Whether what is heard without the background is another note, and surely one if there was none before."""
    if again.midi is None or again.kind == "unpitched":
        return False
    if heard.midi is None or heard.kind == "unpitched":
        return again.confidence >= RULES.sure_hearing
    higher = again.midi - heard.midi
    octaves, at_mains = round(higher / 12.0), any(abs(heard.midi - each) < RULES.same_semitones for each in _MAINS)
    if octaves in (1, 2) and abs(higher - 12.0 * octaves) < RULES.same_semitones and not at_mains:
        return False  # the note that is heard, with less of it
    return abs(higher) > RULES.same_semitones


def _listen_once(audio: Tensor, onset: int) -> tuple[SourcePitch, Partials, _Finding]:
    """As `_listen`, to all that sounds."""
    source = detect_pitch(audio)
    partials = find_partials(audio[onset:])
    if source.midi is not None:
        # Vibrato taken out; where the period is none, its contour would rather put some in.
        flat = find_partials(flatten_pitch(audio, source.pitch_contour_cents)[onset:])
        partials = max(partials, flat, key=lambda one: one.concentration)
    return source, partials, _judge(source, partials)


def _judge(source: SourcePitch, partials: Partials) -> _Finding:
    """What a hit with these partials is heard as, and whose period, if it has one, is that of `source`."""
    mode = mode_of(partials)
    period = None if source.midi is None else _judge_period(source.midi, partials)
    if period is not None and _is_chance(source, period):
        period = None
    distorted = () if period is None else find_distorted_chord(partials, midi_to_hz(period.midi))
    if distorted:
        return _Finding("several pitches", find_root(distorted), 1.0, distorted)
    if period is None or not period.explains or period.share < RULES.chord_share or period.common:
        strike = find_strike_note(partials)
        if strike is not None:
            return _Finding("pitched", strike, 1.0)
        chord = find_chord(partials)
        # A note beside which something else sounds is that note.
        if chord and (period is None or (not period.leads and all(abs(one - period.midi) > 0.5 for one in chord))):
            return _Finding("several pitches", find_root(chord), 1.0, chord)
    of_mode = 0.0 if mode is None else harmonic_share(partials, midi_to_hz(mode))
    held = partials.lobe_hz <= RULES.held_lobe_hz
    if period is not None and period.explains and (held or not period.common):
        is_note = source.confidence >= RULES.sure_period or source.harmonic_salience >= RULES.sure_contrast
        is_note = (
            is_note
            or held
            or (source.harmonic_salience >= RULES.likely_contrast and period.share >= RULES.likely_share)
        )
        if is_note:
            return _Finding("pitched", period.midi, source.confidence)
        if mode is None or period.share > of_mode + RULES.period_ahead:
            return _Finding("unpitched", period.midi, source.confidence)
    if mode is None:
        return _Finding("unpitched", None, 0.0)
    kind: Kind = "unpitched"
    if held and of_mode >= RULES.mode_is_note:
        kind = "pitched"
    elif held and partials.n_lines <= RULES.few_lines:
        kind = "modes"
    return _Finding(kind, mode, lobe_share(partials, midi_to_hz(mode)))


def _is_chance(source: SourcePitch, period: _Period) -> bool:
    """Whether a period is no note's: that of a few partials by themselves, or of noise."""
    if period.gaps and period.midi >= RULES.lowest_without_gaps:
        return True
    return source.confidence < RULES.doubtful_period and period.share < RULES.doubtful_share


@dataclass(frozen=True)
class _Period:
    """What speaks for the period of a hit."""

    midi: float  # MIDI number of the period
    share: float  # harmonic share
    explains: bool  # whether what is strongest is one of its harmonics
    leads: bool  # whether that is the first of them
    common: bool  # whether it is no note but the common period of several
    gaps: bool  # whether its fundamental is missing, and others of its harmonics


def _judge_period(midi: float, partials: Partials) -> _Period:
    f0_hz = midi_to_hz(midi)
    numbers = [
        harmonic_of(hz, f0_hz, 40) for hz in (strongest_hz(partials), strongest_hz(partials, MODE.highest_hz)) if hz
    ]
    gaps = has_gaps(partials, f0_hz)
    common = gaps and is_common_period(partials, f0_hz)
    return _Period(
        midi, harmonic_share(partials, f0_hz), any(numbers) or not numbers, 1 in numbers and not common, common, gaps
    )


def describe_heard(heard: Heard) -> str:
    """One line: `heard as C3 +4 cents, sustained`."""
    if len(heard.hits) > 1:
        first = f"at {_name_and_cents(heard.found)}" if heard.found is not None else "unpitched"
        if heard.pitches:
            first = f"several pitches at once ({_names(heard.pitches)})"
        return f"heard as {len(heard.hits)} hits, the first {first}"
    if heard.found is None:
        return "heard as unpitched"
    if heard.pitches:
        return f"heard as several pitches at once ({_names(heard.pitches)}), root {_name(heard.found)}"
    if heard.kind == "unpitched":
        return f"heard as unpitched, its strongest mode at {_name(heard.found)}"
    if heard.kind == "modes":
        return f"heard as a few modes that hold, the strongest at {_name_and_cents(heard.found)}"
    if heard.is_cycle:
        return f"heard as one cycle of a waveform, {_name_and_cents(heard.found)}"
    return f"heard as {_name_and_cents(heard.found)}, {'sustained' if heard.sustained else 'dying away'}"


def contradiction(heard: Heard, told: float | None) -> str | None:
    """What to warn of where a sound is surely heard otherwise than it is told to be; None where it may be so.

    Args:
        heard: From `hear`.
        told: A MIDI note, or None for "it has no pitch".
    """
    if heard.found is None or heard.kind in ("unpitched", "modes") or heard.confidence < RULES.sure_hearing:
        return None
    notes = heard.pitches or (heard.found,)
    if told is None:
        return f"told to have no pitch, and {describe_heard(heard)}"
    if any(abs(note - told) <= RULES.contradicting_semitones for note in notes):
        return None
    return f"told to be at {_name_and_cents(told)}, and {describe_heard(heard)}"


def _name(midi: float) -> str:
    return note_name(nearest_note(midi)[0])


def _names(pitches: tuple[float, ...]) -> str:
    return " ".join(_name(midi) for midi in pitches)


def _name_and_cents(midi: float) -> str:
    cents = round(nearest_note(midi)[1])
    return f"{_name(midi)} {cents:+d} cents" if cents else _name(midi)
