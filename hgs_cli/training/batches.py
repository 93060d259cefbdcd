"""Pairs of notes of one instrument, drawn and augmented in the mel domain."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from hgs_cli.audio.mel import LogMel
from hgs_cli.pitch import midi_to_hz
from hgs_cli.spectrum import (
    HOP_LENGTH,
    N_BANDS,
    N_FFT,
    N_FRAMES,
    N_MELS,
    N_STEPS,
    SAMPLE_RATE,
    mel_centres_hz,
    power_to_level,
)
from hgs_cli.training.bandwidth import FULL_BANDWIDTH_HZ, mask_above
from hgs_cli.training.config import DataConfig
from hgs_cli.training.losses import band_power
from hgs_cli.training.notes import Batch, NoteTable
from hgs_cli.training.processes import WHOLE, Part
from hgs_cli.training.transposition import transpose_level

FRAME_S = HOP_LENGTH / SAMPLE_RATE


@dataclass(frozen=True)
class BatchRules:
    """How pairs of notes are drawn."""

    fine_points: int = 42  # of the fine equaliser: one for three mel bands
    # of the equaliser by harmonics: octaves above the fundamental at which it begins and ends, and points in each
    harmonic_octaves: tuple[float, float] = (-0.5, 6.5)
    harmonic_points: int = 2
    between: tuple[float, float] = (0.2, 0.8)  # how far a mixture is on the way to the other instrument
    silence_db: float = -100.0  # below the loudest: what two instruments are as silent as
    ended_db: float = 3.75  # a frame: the fall of what is played faster, once it is over
    same_colour: float = 1.0  # semitones by which an instrument may be moved and is still itself
    tiny: float = 1e-20  # power: keeps silence finite
    same_pitch: float = 0.3  # semitones within which two notes may be mixed
    unpitched_range: tuple[float, float] = (36.0, 84.0)  # pitches at which unpitched examples are asked for


BATCHES = BatchRules()


ALL = slice(None)


class NoiseTextureBank:
    """Random realisations of unit noise in the mel domain, cut from a long one.

    Args:
        filters: Mel filters, (n_freqs, n_mels).
        seed: Of the noise.
        n_frames: Length of the bank.
    """

    def __init__(self, filters: Tensor, seed: int = 0, n_frames: int = 6000) -> None:
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(n_frames * HOP_LENGTH + N_FFT, generator=generator)
        window = torch.hann_window(N_FFT)
        spectrum = torch.stft(noise, N_FFT, HOP_LENGTH, window=window, center=False, return_complex=True)
        mel_power = torch.matmul(filters.T.cpu(), spectrum.abs().square())
        self.factors = mel_power / (window.square().sum() * filters.sum(0).cpu()[:, None])

    def draw(self, batch_size: int, rng: np.random.Generator, mine: NDArray[np.bool_] | slice = ALL) -> Tensor:
        """Factors around 1, (B, n_mels, N_FRAMES); of `batch_size` that are drawn, those which are `mine`."""
        starts = rng.integers(0, self.factors.shape[1] - N_FRAMES, batch_size)[mine]
        found = [self.factors[:, start : start + N_FRAMES] for start in starts]
        return torch.stack(found) if found else self.factors.new_zeros(0, self.factors.shape[0], N_FRAMES)


@dataclass
class _Draft:
    """Pairs while a batch is made of them; every step changes them in place."""

    size: int  # inputs of the whole batch, for which everything random is drawn
    mine: slice  # which of them these are
    targets: int  # of each input
    # mel power of the inputs, (N, n_mels, n_frames), and of the targets, (B, n_mels, n_frames)
    power_x: Tensor
    power_y: Tensor
    # as `Batch` has them
    periodicity_x: Tensor
    periodicity_y: Tensor
    p: Tensor
    q: Tensor
    label: Tensor
    pitched: Tensor
    bandwidth_hz: NDArray[np.float32]  # of each input, its targets and what is mixed with them, the smallest, (N,)

    def batch(self) -> Batch:
        """What has become of them."""
        known_hz = torch.from_numpy(self.bandwidth_hz)
        known_of_targets_hz = known_hz.repeat_interleave(self.targets)
        return Batch(
            x=mask_above(power_to_level(self.power_x), known_hz),
            p=self.p,
            y=mask_above(power_to_level(self.power_y), known_of_targets_hz),
            q=self.q,
            periodicity=self.periodicity_y,
            input_periodicity=self.periodicity_x,
            label=self.label,
            pitched=self.pitched,
            bandwidth_hz=known_of_targets_hz,
        )


class PairSampler:
    """Draws batches of pairs; its random state is its only state.

    Args:
        table: Notes to draw from.
        config: Shares and augmentations.
        seed: Of the draws.
        augment: Off for validation, where self_share alone counts.
    """

    def __init__(self, table: NoteTable, config: DataConfig, seed: int, *, augment: bool = True) -> None:
        self.table, self.config, self.augment = table, config, augment
        self.rng = np.random.default_rng(seed)
        self._recorded, self._rendered, self._unpitched = table.groups()
        self._texture = NoiseTextureBank(LogMel().filters, seed=1)
        # Notes by whole pitch, to find a partner for a mixture.
        pitched = np.flatnonzero(~np.isnan(table.pitch))
        self._at_pitch: dict[int, NDArray[np.int64]] = {
            key: pitched[np.round(table.pitch[pitched]) == key] for key in range(128)
        }

    def state(self) -> dict[str, Any]:
        """The random state, as plain values."""
        return dict(self.rng.bit_generator.state)

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self.rng.bit_generator.state = state

    def _shard(self) -> int:
        draw = self.rng.random()
        groups = [
            (self.config.unpitched_share, self._unpitched),
            (self.config.recorded_share, self._recorded),
            (1.0, self._rendered),
        ]
        for share, group in groups:
            if draw < share and group:
                return int(self.rng.choice(group))
            draw -= share
        return int(self.rng.integers(len(self.table.shards)))

    def _pair(self) -> tuple[int, list[int]]:
        """A note, and notes of its instrument and velocity or itself as its targets."""
        table = self.table
        notes = table.notes_of_shard[self._shard()]
        first = int(self.rng.choice(notes))
        if np.isnan(table.pitch[first]):
            return first, [first] * self.config.targets
        near = np.abs(table.pitch[notes] - table.pitch[first]) <= self.config.reach
        others = notes[near & (table.velocity[notes] == table.velocity[first])]
        if self.config.new_sample:
            fresh = others[table.sample[others] != table.sample[first]]
            others = fresh if fresh.size else others
        itself = self.rng.random(self.config.targets) < self.config.self_share
        return first, [first if same else int(self.rng.choice(others)) for same in itself]

    def _partner(self, first: int, seconds: list[int]) -> tuple[int, list[int]] | None:
        """Notes of another instrument at the pitches of `first` and of all `seconds`, or None."""
        table = self.table
        candidates = self._at_pitch[int(np.round(table.pitch[first]))]
        candidates = candidates[np.abs(table.pitch[candidates] - table.pitch[first]) < BATCHES.same_pitch]
        if candidates.size == 0:
            return None
        other = int(self.rng.choice(candidates))
        notes = table.notes_of_shard[table.shard_of[other]]
        notes = notes[table.velocity[notes] == table.velocity[other]]
        found = []
        for second in seconds:
            fits = notes[np.abs(table.pitch[notes] - table.pitch[second]) < BATCHES.same_pitch]
            if second != first and fits.size == 0:
                return None
            found.append(other if second == first else int(fits[0]))
        return other, found

    def draw(self, batch_size: int, part: Part = WHOLE) -> Batch:
        """The next batch, of `batch_size` targets; of several processes that draw it, each has its part of it.

        Everything random is drawn for the whole batch, so that it is the same however many processes share it; what
        takes time is done for the part.
        """
        n_inputs = max(1, batch_size // self.config.targets)
        drawn = [self._pair() for _ in range(n_inputs)]
        draft = self._draft(drawn, part.of(n_inputs))
        if self.augment:
            self._mix(draft, drawn)
            self._shift(draft)
            self._stretch(draft)
            self._colour(draft)
            self._colour_harmonics(draft)
            self._add_noise(draft)
            loudest = draft.power_x.amax((1, 2), keepdim=True)
            draft.power_x = draft.power_x / loudest
            draft.power_y = draft.power_y / loudest.repeat_interleave(draft.targets, 0)
        return draft.batch()

    def _draft(self, drawn: list[tuple[int, list[int]]], mine: slice) -> _Draft:
        """Those pairs that are `mine`, as they were recorded, inputs at 0 dB."""
        table, targets, pairs = self.table, self.config.targets, drawn[mine]
        first, second = [pair[0] for pair in pairs], [note for pair in pairs for note in pair[1]]
        x, y = table.decibels(first), table.decibels(second)
        gain = -x.amax((1, 2), keepdim=True)
        x, y = x + gain, y + gain.repeat_interleave(targets, 0)
        p, q = torch.from_numpy(table.pitch[first]), torch.from_numpy(table.pitch[second])
        pitched = ~torch.isnan(p)
        label = torch.from_numpy(table.label_of_shard[table.shard_of[first]])
        p = torch.where(
            pitched, p, torch.from_numpy(self.rng.uniform(*BATCHES.unpitched_range, len(drawn))[mine]).float()
        )
        return _Draft(
            size=len(drawn),
            mine=mine,
            targets=targets,
            power_x=torch.pow(10.0, x / 10.0),
            power_y=torch.pow(10.0, y / 10.0),
            periodicity_x=table.periodicity[first].float() / 255.0,
            periodicity_y=table.periodicity[second].float() / 255.0,
            p=p,
            q=torch.where(torch.isnan(q), p.repeat_interleave(targets), q),
            label=torch.where(pitched, label, -1),  # the drums of a kit have nothing in common but their shard
            pitched=pitched,
            bandwidth_hz=np.minimum(table.bandwidth_hz[first], table.bandwidth_hz[second].reshape(-1, targets).min(1)),
        )

    def _mix(self, draft: _Draft, drawn: list[tuple[int, list[int]]]) -> None:
        """Mix some of the pairs with a second instrument at the same pitches."""
        table, rng, mine = self.table, self.rng, draft.mine
        for number in np.flatnonzero(rng.random(draft.size) < self.config.mixture_probability):
            partner = None if np.isnan(table.pitch[drawn[number][0]]) else self._partner(*drawn[number])
            if partner is None:
                continue
            level_db, index = float(rng.uniform(-10.0, 6.0)), int(number) - mine.start
            mix_in = _mix_in
            if self.config.between_share and rng.random() < self.config.between_share:
                level_db, mix_in = 0.0, partial(_go_between, share=float(rng.uniform(*BATCHES.between)))
            if not mine.start <= number < mine.stop:
                continue
            other_x, other_y = table.decibels([partner[0]])[0], table.decibels(partner[1])
            level = level_db - float(other_x.max())
            rows = slice(index * draft.targets, (index + 1) * draft.targets)
            mix_in(draft.power_y[rows], draft.periodicity_y[rows], other_y + level, table.periodicity[partner[1]])
            inputs = slice(index, index + 1)
            other = table.periodicity[partner[0]][None]
            mix_in(draft.power_x[inputs], draft.periodicity_x[inputs], other_x[None] + level, other)
            draft.label[index] = -1
            draft.bandwidth_hz[index] = min(draft.bandwidth_hz[index], *table.bandwidth_hz[[partner[0], *partner[1]]])

    def _shift(self, draft: _Draft) -> None:
        """Move some of the inputs along frequency, and their targets with them."""
        config, rng = self.config, self.rng
        chosen = (rng.random(draft.size) < config.shift_probability)[draft.mine]
        chosen = chosen & draft.pitched.numpy() & (draft.bandwidth_hz >= FULL_BANDWIDTH_HZ)
        drawn = rng.uniform(-config.shift, config.shift, draft.size)[draft.mine]
        semitones = torch.from_numpy(drawn * chosen).float()
        by = semitones.repeat_interleave(draft.targets)
        _move(draft.power_x, draft.periodicity_x, semitones)
        _move(draft.power_y, draft.periodicity_y, by)
        draft.p, draft.q = draft.p + semitones, draft.q + by
        draft.label = torch.where(semitones.abs() > BATCHES.same_colour, -1, draft.label)

    def _stretch(self, draft: _Draft) -> None:
        """Play some of the inputs slower or faster, and their targets with them."""
        config, rng, targets = self.config, self.rng, draft.targets
        if not config.stretch_probability:
            return
        chosen = (rng.random(draft.size) < config.stretch_probability)[draft.mine]
        speeds = np.power(config.stretch, rng.uniform(-1.0, 1.0, draft.size))[draft.mine]
        for index in np.flatnonzero(chosen):
            inputs, rows = slice(index, index + 1), slice(index * targets, (index + 1) * targets)
            for power in (draft.power_x[inputs], draft.power_y[rows]):
                _play(power, float(speeds[index]), BATCHES.ended_db)
            for periodicity in (draft.periodicity_x[inputs], draft.periodicity_y[rows]):
                _play(periodicity, float(speeds[index]))

    def _chosen(self, size: int, probability: float) -> NDArray[np.float64]:
        return (self.rng.random(size) < probability).astype(np.float64)

    def _colour(self, draft: _Draft) -> None:
        """The same equaliser and envelope on an input and all its targets."""
        config, rng, size, mine = self.config, self.rng, draft.size, draft.mine
        equalised = self._chosen(size, config.equaliser_probability)[:, None, None]
        curve_db = (rng.normal(0.0, config.equaliser_db, (size, 1, 9)) * equalised)[mine]
        curve = F.interpolate(torch.from_numpy(curve_db).float(), size=N_MELS, mode="linear", align_corners=True)[:, 0]
        refined = self._chosen(size, config.fine_probability)[:, None, None]
        fine_db = (rng.normal(0.0, config.fine_db, (size, 1, BATCHES.fine_points)) * refined)[mine]
        curve = curve + F.interpolate(torch.from_numpy(fine_db).float(), size=N_MELS, mode="linear")[:, 0]
        time_s = torch.arange(N_FRAMES) * FRAME_S
        slopes = rng.uniform(0.0, 25.0, size) * self._chosen(size, config.envelope_probability)
        envelope_db = -torch.from_numpy(slopes[mine]).float()[:, None] * time_s
        ends = self._chosen(size, config.envelope_probability) > 0
        end_s = np.where(ends, rng.uniform(0.25, 4.0, size), 1e3)[mine]
        after_s = (time_s - torch.from_numpy(end_s).float()[:, None]).clamp_min(0.0)
        envelope_db = envelope_db - 1200.0 * after_s
        factor = torch.pow(10.0, (curve[:, :, None] + envelope_db[:, None, :]) / 10.0)
        draft.power_x = draft.power_x * factor
        draft.power_y = draft.power_y * factor.repeat_interleave(draft.targets, 0)

    def _colour_harmonics(self, draft: _Draft) -> None:
        """The same equaliser on the harmonics of an input and all its targets, wherever their pitch puts them.

        The other one stays where it is, as a body's resonances do: another string or reed has other harmonics.
        """
        config, mine = self.config, draft.mine
        if not config.harmonic_probability:
            return
        low, high = BATCHES.harmonic_octaves
        n_points = round((high - low) * BATCHES.harmonic_points) + 1
        chosen = self._chosen(draft.size, config.harmonic_probability)[:, None]
        drawn = self.rng.normal(0.0, config.harmonic_db, (draft.size, n_points)) * chosen
        curve_db = torch.from_numpy(drawn[mine]).float() * draft.pitched[:, None]

        def factor(curve_db: Tensor, p: Tensor) -> Tensor:
            octaves = torch.log2(mel_centres_hz() / midi_to_hz(p.float())[:, None])
            place = ((octaves - low) * BATCHES.harmonic_points).clamp(0.0, n_points - 1.001)
            left = place.floor().long()
            at_bands_db = torch.lerp(curve_db.gather(1, left), curve_db.gather(1, left + 1), place - left)
            return torch.pow(10.0, at_bands_db / 10.0)[:, :, None]

        draft.power_x = draft.power_x * factor(curve_db, draft.p)
        draft.power_y = draft.power_y * factor(curve_db.repeat_interleave(draft.targets, 0), draft.q)

    def _add_noise(self, draft: _Draft) -> None:
        """The same noise floor under some of the inputs and their targets."""
        rng, targets, mine = self.rng, draft.targets, draft.mine
        power_x, power_y = draft.power_x, draft.power_y
        all_noisy = np.flatnonzero(self._chosen(draft.size, self.config.noise_probability))
        count = all_noisy.size
        if not count:
            return
        ours = (all_noisy >= mine.start) & (all_noisy < mine.stop)
        noisy = torch.from_numpy(all_noisy[ours] - mine.start)
        rows = (noisy[:, None] * targets + torch.arange(targets)).flatten()
        peak_db = 10.0 * torch.log10(power_x[noisy].amax((1, 2)) + BATCHES.tiny)
        level_db = peak_db + torch.from_numpy(rng.uniform(-100.0, -50.0, count)[ours]).float()
        tilt_db = torch.from_numpy(rng.uniform(-20.0, 5.0, count)[ours]).float()
        floor_db = level_db[:, None] + tilt_db[:, None] * torch.linspace(0.0, 1.0, N_MELS)
        floor = torch.pow(10.0, floor_db / 10.0)[:, :, None]
        clean_y, clean_x = band_power(power_y[rows]), band_power(power_x[noisy])
        power_x[noisy] += floor * self._texture.draw(count, rng, ours)
        noise_texture = self._texture.draw(count * targets, rng, ours.repeat(targets))
        power_y[rows] += floor.repeat_interleave(targets, 0) * noise_texture
        draft.periodicity_y[rows] *= clean_y / (band_power(power_y[rows]) + BATCHES.tiny)
        draft.periodicity_x[noisy] *= clean_x / (band_power(power_x[noisy]) + BATCHES.tiny)

    def notes(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """Log-mels (B, n_mels, n_frames), each at its own gain, and pitches (B,) of notes of the table."""
        decibels = self.table.decibels(indices)
        decibels = decibels - decibels.amax((1, 2), keepdim=True)
        levels = mask_above(power_to_level(torch.pow(10.0, decibels / 10.0)), self.bandwidths_hz(indices))
        return levels, torch.from_numpy(self.table.pitch[indices])

    def bandwidths_hz(self, indices: list[int]) -> Tensor:
        """Up to where notes of the table are known, (B,)."""
        return torch.from_numpy(self.table.bandwidth_hz[indices])

    def pitched_notes(self) -> NDArray[np.int64]:
        """Indices of all notes with a pitch."""
        return np.flatnonzero(~np.isnan(self.table.pitch))


def _mix_in(power: Tensor, periodicity: Tensor, other_db: Tensor, other_periodicity: Tensor) -> None:
    """Add notes (N, n_mels, n_frames) in dB to mel power, and to the periodicities what share they have; in place."""
    other = torch.pow(10.0, other_db / 10.0)
    power += other
    share = band_power(other) / (band_power(power) + 1e-12)
    periodicity.lerp_(other_periodicity.float() / 255.0, share)


def _go_between(
    power: Tensor, periodicity: Tensor, other_db: Tensor, other_periodicity: Tensor, *, share: float
) -> None:
    """Move mel power (N, n_mels, n_frames) a share of the way to notes in dB, level by level, in place."""
    own_db = 10.0 * torch.log10(power + 10.0 ** (BATCHES.silence_db / 10.0))
    power.copy_(torch.pow(10.0, torch.lerp(own_db, other_db.clamp(min=BATCHES.silence_db), share) / 10.0))
    periodicity.lerp_(other_periodicity.float() / 255.0, share)


def _play(value: Tensor, speed: float, ended_db: float = 0.0) -> None:
    """Values over time (N, C, T) at another speed, in place; once they are over the last falls, so much a frame."""
    last = value.shape[2] - 1
    place = torch.arange(last + 1) * speed
    left = place.floor().long().clamp(max=last - 1)
    played = torch.lerp(value[:, :, left], value[:, :, left + 1], (place - left).clamp(0.0, 1.0))
    value.copy_(played * torch.pow(10.0, -ended_db / 10.0 * (place - last).clamp(min=0.0) / speed))


def _move(power: Tensor, periodicity: Tensor, semitones: Tensor) -> None:
    """Raise every frequency of mel power (N, n_mels, n_frames) and of periodicity by `semitones` (N,), in place."""
    rows = semitones.nonzero()[:, 0]
    if not rows.numel():
        return
    power[rows] = torch.pow(10.0, transpose_level(torch.log10(power[rows] + BATCHES.tiny), semitones[rows]))
    share = transpose_level(periodicity[rows].repeat_interleave(N_MELS // N_BANDS, 1), semitones[rows])
    periodicity[rows] = share.reshape(-1, N_BANDS, N_MELS // N_BANDS, N_STEPS).mean(2).clamp(0.0, 1.0)
