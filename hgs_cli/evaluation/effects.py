"""Recordings through effects: the note that is given and the real one at the other pitch went through the same.

Users bring what has a room in it, an echo, an amplifier, hiss, hum. None of it moves with the key, and neither the
networks nor the hand rules were made with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchaudio.functional import highpass_biquad, lowpass_biquad

from hgs_cli.console import HowFar
from hgs_cli.evaluation.cross_pitch import render_notes
from hgs_cli.evaluation.measures import Distance, Mean
from hgs_cli.evaluation.pairs import BANDS
from hgs_cli.evaluation.peers import USUAL_PEERS, Peers, find_peers
from hgs_cli.evaluation.recordings import Note, choose_source, notes_of_band, read_known, read_note
from hgs_cli.evaluation.report import Section, Table, number
from hgs_cli.evaluation.sources import CrossPitchOptions
from hgs_cli.evaluation.workers import measure_each
from hgs_cli.pipeline import Model, invert, make_instrument
from hgs_cli.spectrum import MODEL_SAMPLES, SAMPLE_RATE

OURS = "hgs"
MOVED_BANDS = BANDS[1:]


@dataclass(frozen=True)
class EffectRules:
    """How recordings are treated, and how much is measured."""

    hall_s: float = 1.6  # in which a hall's answer falls by 60 dB
    hall_db: float = -6.0  # its energy beside a click's own
    echo_s: float = 0.3  # between repeats
    echo_gain: float = 0.5  # of each beside the one before
    drive: float = 24.0  # into the amplifier's hyperbolic tangent, of a peak of 1 / 2
    tremolo_hz: float = 5.5
    tremolo_depth: float = 0.45  # around 0.55
    chorus: tuple[tuple[float, float], ...] = ((0.7, 0.012), (1.1, 0.019))  # rate in Hz and delay in s of every voice
    chorus_s: float = 0.004  # by which delays swing
    chorus_gain: float = 0.7  # of a voice
    hiss_db: float = -40.0  # of white noise beside the recording's peak
    hum_db: float = -30.0  # of the peak of mains hum, likewise
    hum_hz: float = 50.0
    hum_overtones: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 8, 10)  # each as loud as one over its number
    telephone_hz: tuple[float, float] = (350.0, 3400.0)  # where the band begins and ends
    n_targets: int = 2  # of a source in every band of intervals
    quick_targets: int = 1  # the same for a quick measurement
    right_semitones: float = 0.5  # a pitch found is right up to this
    n_worst: int = 10  # that are listed


EFFECT = EffectRules()


# --- what is done to sounds -----------------------------------------------------------------------------------------


@lru_cache(maxsize=2)
def _noise(n: int, seed: int) -> Tensor:
    return torch.randn(n, generator=torch.Generator().manual_seed(seed))


def _hall(audio: Tensor) -> Tensor:
    """Beside the sound the answer of a room, noise that dies away."""
    n = round(EFFECT.hall_s * SAMPLE_RATE)
    answer = _noise(n, 1) * torch.exp(-math.log(1000.0) / n * torch.arange(n))
    answer = answer * (10.0 ** (EFFECT.hall_db / 20.0) / answer.square().sum().sqrt())
    answer[0] += 1.0
    n_fft = 2 ** math.ceil(math.log2(len(audio) + n))
    return torch.fft.irfft(torch.fft.rfft(audio, n_fft) * torch.fft.rfft(answer, n_fft), n_fft)[: len(audio)]


def _echo(audio: Tensor) -> Tensor:
    step = round(EFFECT.echo_s * SAMPLE_RATE)
    made = audio.clone()
    for start in range(step, len(audio), step):  # each answers the one before
        end = min(len(audio), start + step)
        made[start:end] += EFFECT.echo_gain * made[start - step : end - step]
    return made


def _amplifier(audio: Tensor) -> Tensor:
    return torch.tanh(EFFECT.drive * audio)


def _tremolo(audio: Tensor) -> Tensor:
    swing = torch.sin(math.tau * EFFECT.tremolo_hz / SAMPLE_RATE * torch.arange(len(audio)))
    return audio * (1.0 - EFFECT.tremolo_depth + EFFECT.tremolo_depth * swing)


def _chorus(audio: Tensor) -> Tensor:
    sample = torch.arange(len(audio), dtype=torch.float64)
    made = audio.clone()
    for rate_hz, delay_s in EFFECT.chorus:
        late = delay_s + EFFECT.chorus_s * torch.sin(math.tau * rate_hz / SAMPLE_RATE * sample)
        place = (sample - SAMPLE_RATE * late).clamp(0.0, len(audio) - 2.0)
        low = place.long()
        made += EFFECT.chorus_gain * torch.lerp(audio[low], audio[low + 1], (place - low).float())
    return made


def _hiss(audio: Tensor) -> Tensor:
    return audio + 10.0 ** (EFFECT.hiss_db / 20.0) * audio.abs().max() * _noise(len(audio), 2)


def _hum(audio: Tensor) -> Tensor:
    time = torch.arange(len(audio)) / SAMPLE_RATE
    hum = torch.zeros_like(audio)
    for overtone in EFFECT.hum_overtones:
        hum += torch.sin(math.tau * EFFECT.hum_hz * overtone * time + overtone) / overtone
    return audio + 10.0 ** (EFFECT.hum_db / 20.0) * audio.abs().max() * hum / hum.abs().max()


def _telephone(audio: Tensor) -> Tensor:
    low_hz, high_hz = EFFECT.telephone_hz
    made: Tensor = lowpass_biquad(highpass_biquad(audio, SAMPLE_RATE, low_hz), SAMPLE_RATE, high_hz)
    return made


EFFECTS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda audio: audio,
    "hall": _hall,
    "echo": _echo,
    "amplifier": _amplifier,
    "tremolo": _tremolo,
    "chorus": _chorus,
    "hiss": _hiss,
    "hum": _hum,
    "telephone": _telephone,
}
"""By name: audio of a peak of 1 / 2, (T,), to audio that is as long."""


def treat(effect: str, audio: Tensor) -> Tensor:
    """A recording (T,) through an effect, with a peak of 1 / 2: (MODEL_SAMPLES,), what rings on with it."""
    audio = torch.nn.functional.pad(audio[:MODEL_SAMPLES], (0, max(0, MODEL_SAMPLES - len(audio))))
    made = EFFECTS[effect](0.5 * audio / audio.abs().max().clamp(min=1e-9))
    return 0.5 * made / made.abs().max().clamp(min=1e-9)


# --- what is measured -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TreatedNote:
    """One note that was asked for beside the real one."""

    instrument: str
    effect: str
    semitones: float  # between the recording and it
    distance_db: dict[str, float]  # by row


@dataclass(frozen=True)
class TreatedInstrument:
    """What was measured of one instrument."""

    notes: list[TreatedNote]
    right: dict[str, bool]  # by effect, whether the pitch of the recording was found


@dataclass(frozen=True)
class EffectsResult:
    """The test of one model."""

    instruments: list[TreatedInstrument]
    peers: Peers  # that were measured, or could not be

    @property
    def notes(self) -> list[TreatedNote]:
        """All of them."""
        return [note for each in self.instruments for note in each.notes]

    @property
    def rows(self) -> list[str]:
        """Programs in the order of the tables."""
        return [row for row in (OURS, *USUAL_PEERS) if row in self.notes[0].distance_db]

    def distance(self, row: str, effect: str, bands: Sequence[tuple[str, int, int]] = MOVED_BANDS) -> Mean:
        """Distance to the real notes, dB, bootstrap over instruments."""
        return Mean.over_instruments(
            (note.instrument, note.distance_db[row])
            for note in self.notes
            if note.effect == effect and any(least <= round(abs(note.semitones)) <= most for _, least, most in bands)
        )

    def section(self) -> Section:
        """Tables and figures."""
        n = len(self.instruments)
        tested = []
        for effect in EFFECTS:
            right = sum(each.right[effect] for each in self.instruments)
            tested.append((effect, f"{right} of {n}", *(self.distance(row, effect).text() for row in self.rows)))
        by_band = [
            (effect, *(number(self.distance(OURS, effect, [band]).mean) for band in BANDS)) for effect in EFFECTS
        ]
        notes = ["Means over instruments; in brackets 95 %, bootstrap over instruments."]
        notes += self.peers.notes
        tables = [
            Table(
                f"Recordings through effects: dB to the real note through the same, at other pitches, {n} instruments",
                ("effect", "pitch found", *self.rows),
                tested,
                tuple(notes),
            ),
            Table(
                "Recordings through effects: hgs by semitones, dB",
                ("effect", *(name for name, _, _ in BANDS)),
                by_band,
            ),
        ]
        if len(self.rows) > 1:
            tables.append(self._worst_table())
        return Section("effects", tables, self._figures())

    def _behind(self) -> list[tuple[float, str, str]]:
        """By how much every instrument through every effect is further than its best peer, and who it is."""
        found = []
        for each in self.instruments:
            for effect in EFFECTS:
                notes = [note for note in each.notes if note.effect == effect and round(note.semitones)]
                if notes:
                    mean = {row: sum(note.distance_db[row] for note in notes) / len(notes) for row in self.rows}
                    best = min(mean[row] for row in self.rows[1:])
                    found.append((mean[OURS] - best, notes[0].instrument, effect))
        return sorted(found, reverse=True)

    def _worst_table(self) -> Table:
        behind = self._behind()
        return Table(
            "Recordings through effects: furthest behind the best peer",
            ("instrument", "effect", "dB behind"),
            [(name, effect, number(more_db)) for more_db, name, effect in behind[: EFFECT.n_worst]],
            (
                f"The best peer of each is chosen after the fact. Nearer than it: "
                f"{sum(more_db < 0.0 for more_db, _, _ in behind)} of {len(behind)}.",
            ),
        )

    def _figures(self) -> dict[str, Any]:
        return {
            **self.peers.figures,
            "distance_db": {
                effect: {row: self.distance(row, effect).figures() for row in self.rows} for effect in EFFECTS
            },
            "notes": [vars(note) for note in self.notes],
        }


def measure_effects(
    model: Model,
    real_dirs: Sequence[Path],
    instruments: Sequence[str],
    options: CrossPitchOptions | None = None,
    *,
    workers: int = 1,
    advance: HowFar = lambda done, total: None,
) -> EffectsResult:
    """Measure a model and its peers on recordings through effects.

    Args:
        model: From `load_model`.
        real_dirs: Folders with a manifest and recordings.
        instruments: Whose notes are used.
        options: How much is measured, detail, H, seed.
        workers: Processes, one thread each; 1 stays in this one.
        advance: Takes instruments done and their number.

    Raises:
        InputError: A manifest or a recording cannot be used, or a peer fails.
    """
    options = options or CrossPitchOptions()
    known = {name: notes for folder in real_dirs for name, notes in read_known(folder, instruments).items()}
    found = measure_each(model, known, partial(_measure_instrument, options=options), workers, advance)
    return EffectsResult([found[name] for name in known if found[name].notes], find_peers().usual)


def _measure_instrument(model: Model, recordings: list[Note], options: CrossPitchOptions) -> TreatedInstrument:
    source, loud = choose_source(recordings)
    n = EFFECT.quick_targets if options.quick else EFFECT.n_targets
    targets = [note for _, least, most in BANDS for note in _spread(notes_of_band(source, loud, least, most), n)]
    original, reals = read_note(source.path), [read_note(target.path) for target in targets]
    peers = find_peers().usual.found
    distance, notes, right = Distance(), [], {}
    for effect in EFFECTS:
        audio = treat(effect, original)
        inversion = invert(model, audio, SAMPLE_RATE, passes=None if options.hyper else 0)
        heard = inversion.source_pitch
        right[effect] = heard is not None and abs(heard - source.midi) <= EFFECT.right_semitones
        shifts = {peer.name: peer.open(audio, source.midi) for peer in peers}
        pitches = [target.midi for target in targets]
        ours = render_notes(model, make_instrument(model, inversion), pitches, options.detail, options.seed)
        for target, real, note in zip(targets, reals, ours, strict=True):
            truth, semitones = treat(effect, real), target.midi - source.midi
            outputs = {OURS: note} | {name: shift(semitones) for name, shift in shifts.items()}
            n_samples = min(len(original), len(real))  # how long players held their notes is not what is measured
            distances = {row: distance(output, truth, n_samples) for row, output in outputs.items()}
            notes.append(TreatedNote(source.instrument, effect, semitones, distances))
    return TreatedInstrument(notes, right)


def _spread(notes: Sequence[Note], n: int) -> list[Note]:
    """At most so many of some notes, evenly among them."""
    return (
        list(notes) if len(notes) <= n else [notes[round((index + 0.5) * len(notes) / n - 0.5)] for index in range(n)]
    )
