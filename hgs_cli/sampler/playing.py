"""Notes of an instrument at its one gain: as many as are asked for, as long and with the ends that are wished."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import torch
from torch import Tensor

from hgs_cli.audio.loop import Loop, find_loop
from hgs_cli.audio.loudness import GAIN, instrument_gain_db, levelling_db, note_lufs, peak_db, struck_lufs
from hgs_cli.pitch import NoteKey, midi_to_hz
from hgs_cli.sampler.dynamics import layer_softness
from hgs_cli.sampler.finish import Finish, finish_note
from hgs_cli.sampler.instrument import Instrument, MixEnd
from hgs_cli.sampler.making import UNPITCHED_REFERENCE, natural_slope
from hgs_cli.sampler.model import Model
from hgs_cli.sampler.multisample import MULTISAMPLE, Multisample, Voicing
from hgs_cli.sampler.multisample_mix import MultisampleMix
from hgs_cli.sampler.neighbours import Neighbour
from hgs_cli.sampler.notes import synthesize
from hgs_cli.sampler.settings import Settings
from hgs_cli.side_by_side import side_by_side
from hgs_cli.spectrum import MODEL_SAMPLES, SAMPLE_RATE

ManyRecordings = Multisample | MultisampleMix
Playable = Instrument | ManyRecordings
PLAIN = Finish()  # notes as long as the sound
BATCH_NOTES = 32  # notes synthesised at once; more are no faster and cost memory
BATCH_SAMPLES = BATCH_NOTES * MODEL_SAMPLES  # of long notes there are fewer


@dataclass(frozen=True)
class Note:
    """One note.

    Attributes:
        key: Its pitch, dynamic layer and take.
        audio: (T,), or (T, 2) in stereo.
        loop: Where it can be held, None for a one-shot.
    """

    key: NoteKey
    audio: Tensor
    loop: Loop | None


@dataclass(frozen=True)
class Rendered:
    """Notes in memory.

    Attributes:
        notes: In the order of the pitches asked for, in [-1, 1].
        sample_rate: In Hz.
        gain_db: The instrument's gain, lowering included, which all notes have in common.
        lowered_db: What all of them were lowered by, because one would have clipped; 0 if none would.
    """

    notes: tuple[Note, ...]
    sample_rate: int
    gain_db: float
    lowered_db: float

    @property
    def audio(self) -> Tensor:
        """All notes together, (N, T) or (N, T, 2), silence behind the shorter ones."""
        return torch.nn.utils.rnn.pad_sequence([note.audio for note in self.notes], batch_first=True)


def play(
    model: Model, instrument: Playable, pitches: Sequence[float], settings: Settings, finish: Finish = PLAIN
) -> Rendered:
    """Notes of an instrument in memory, at its gain; lowered together if one would clip."""
    gain_db = note_gain_db(instrument, settings)
    notes = list(make_notes(model, instrument, [NoteKey(pitch) for pitch in pitches], settings, finish))
    loudest_db = max(side_by_side(lambda note: peak_db(note.audio), notes)) + gain_db
    lowered_db = lowering_db(loudest_db)
    gained = [replace(note, audio=note.audio * 10.0 ** ((gain_db + lowered_db) / 20.0)) for note in notes]
    return Rendered(tuple(gained), finish.sample_rate, gain_db + lowered_db, lowered_db)


def make_notes(
    model: Model, instrument: Playable, keys: Sequence[NoteKey], settings: Settings, finish: Finish
) -> Iterator[Note]:
    """Synthesise notes in batches, on one loudness curve, before its gain: memory does not grow with their number."""
    length_s = instrument.length_samples / SAMPLE_RATE
    may_be_held = finish.loop or (finish.duration_s is not None and (finish.trim or finish.duration_s > length_s))
    sustained = may_be_held and _is_sustained(model, instrument, keys, settings)
    curve = _loudness_curve(model, instrument, settings)
    reference_lufs = instrument.reference_lufs if isinstance(instrument, Instrument) else MULTISAMPLE.reference_lufs
    struck_db = None if isinstance(instrument, Instrument) else instrument.struck_db
    for one, neighbours, chosen in _batches(instrument, keys, settings):
        pitches = [key.pitch for key in chosen]
        audio = synthesize(model, one, pitches, settings, neighbours).cpu()
        _level(audio, [curve(pitch) for pitch in pitches], one, reference_lufs - one.reference_lufs, struck_db)
        for key, note in zip(chosen, audio, strict=True):
            sounding_hz = midi_to_hz(key.pitch + settings.tune_cents / 100.0)
            channels = note if note.ndim == 2 else note[None]
            finished, loop = finish_note(channels, sounding_hz, finish, sustained, settings.seed)
            yield Note(key, finished.T if note.ndim == 2 else finished[0], loop)


def _batches(
    instrument: Playable, keys: Sequence[NoteKey], settings: Settings
) -> Iterator[tuple[Instrument, Sequence[Sequence[Neighbour]], Sequence[NoteKey]]]:
    """Notes that are made together: what carries them, and what has a say in them."""
    per_note = instrument.length_samples * (2 if settings.stereo else 1)
    n_batch = max(1, min(BATCH_NOTES, BATCH_SAMPLES // per_note))
    if isinstance(instrument, Instrument):
        for start in range(0, len(keys), n_batch):
            yield instrument, (), keys[start : start + n_batch]
        return

    def recordings(voiced: tuple[NoteKey, tuple[Voicing, ...]]) -> list[tuple[int | None, ...]]:
        return [(each.carrier, each.neighbour, each.between, each.dynamic) for each in voiced[1]]

    for _, group in groupby([(key, instrument.voicings(key)) for key in keys], recordings):
        alike = list(group)
        for start in range(0, len(alike), n_batch):
            chosen = alike[start : start + n_batch]
            yield *instrument.ready([voicings for _, voicings in chosen]), [key for key, _ in chosen]


def _loudness_curve(model: Model, instrument: Playable, settings: Settings) -> Callable[[float], float]:
    """Loudness that notes are brought to before any gain, in LUFS, by pitch."""
    natural = settings.level == "natural"
    if not isinstance(instrument, Instrument):
        return lambda pitch: MULTISAMPLE.reference_lufs + (instrument.played_db(pitch) if natural else 0.0)
    own, lufs = instrument.stands_at, instrument.reference_lufs
    slope_db = natural_slope(model, instrument) if natural else 0.0
    return lambda pitch: lufs + slope_db * (pitch - own) / 12.0


@torch.inference_mode()
def _level(
    audio: Tensor, wanted_lufs: Sequence[float], instrument: Instrument, louder_db: float, struck_db: float | None
) -> None:
    """Bring notes (N, T) or (N, 2, T) to so many LUFS, which is `louder_db` above the scale of their instrument.

    Those of many recordings by their loud moments, which are `struck_db` louder.
    """
    part = instrument.parts[instrument.lead]
    mono = part.carrier.mono if part.carrier is not None and audio.ndim == 3 and len(part.carrier.mono) == 2 else None

    def level(index: int) -> None:
        note = audio[index]
        if mono is not None:
            note = (note * mono[:, None]).sum(0)
        elif note.ndim == 2:
            note = note.mean(0)
        note = note[:MODEL_SAMPLES]
        heard_lufs = note_lufs(note) if struck_db is None else struck_lufs(note) - struck_db
        gain_db = louder_db + levelling_db(wanted_lufs[index] - louder_db, heard_lufs)
        audio[index] *= 10.0 ** (gain_db / 20.0)

    side_by_side(level, range(len(wanted_lufs)))


def _is_sustained(model: Model, instrument: Playable, keys: Sequence[NoteKey], settings: Settings) -> bool:
    """Whether the note nearest to the sound's own can be held: then all of them are asked, else none."""
    if not isinstance(instrument, Instrument):  # the key in the middle speaks for all
        middle = sorted(keys, key=lambda key: key.pitch)[len(keys) // 2]
        instrument = instrument.ready([instrument.voicings(middle)])[0]
    own = UNPITCHED_REFERENCE if instrument.offsets_made_at is None else instrument.offsets_made_at
    nearest = min((key.pitch for key in keys), key=lambda pitch: abs(pitch - own))
    plain = replace(settings, softness=0.0, stereo=False)  # all layers and channels are answered alike
    audio = synthesize(model, instrument, [nearest], plain)[0].cpu()
    return find_loop(audio, midi_to_hz(nearest + settings.tune_cents / 100.0), SAMPLE_RATE) is not None


def of_layer(instrument: Playable, index: int, n_layers: int) -> tuple[Playable, float]:
    """What plays one of so many dynamic layers, 0 the softest, and how much softer it is to sound, 0 … 1."""
    if isinstance(instrument, Instrument):
        return instrument, layer_softness(n_layers)[index]
    return instrument.layer(index, n_layers)


def note_gain_db(instrument: Playable, settings: Settings) -> float:
    """The instrument's one gain; that of a mix brings it to a loudness on the line between those of its sounds."""
    if not isinstance(instrument, Instrument):
        return instrument.gain_db(settings.normalize, settings.lufs)

    def gain_db(level: Instrument | MixEnd) -> float:
        reference = level.reference_lufs, level.reference_peak_db
        return instrument_gain_db(settings.normalize, settings.lufs, *reference, level.own_gain_db)

    own_db = gain_db(instrument)
    if not instrument.ends or settings.normalize == "peak":
        return own_db
    wanted_lufs = sum(end.share * (end.lufs + gain_db(end)) for end in instrument.ends)
    between_db = wanted_lufs - instrument.reference_lufs
    if settings.normalize == "none":
        return between_db
    return min(between_db, GAIN.ceiling_db - instrument.reference_peak_db)  # level goes before headroom


def lowering_db(loudest_db: float) -> float:
    """What notes must be lowered by so that the loudest does not clip, in dB; 0 or negative."""
    # The margin is for rounding: what was brought to the ceiling once is not lowered again.
    return GAIN.ceiling_db - loudest_db if loudest_db > GAIN.ceiling_db + 1e-4 else 0.0
