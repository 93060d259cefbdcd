"""Pairs of notes of one instrument, drawn and augmented in the mel domain."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from hgs_cli.audio.mel import LogMel
from hgs_cli.errors import TrainingError
from hgs_cli.spectrum import (
    HOP_LENGTH,
    N_BANDS,
    N_FFT,
    N_FRAMES,
    N_MELS,
    N_STEPS,
    SAMPLE_RATE,
    MelConfig,
    power_to_level,
)
from hgs_cli.training.bandwidth import FULL_BANDWIDTH_HZ, mask_above
from hgs_cli.training.config import DataConfig
from hgs_cli.training.data import LOWEST_DB, STEP_DB, Shard, read_index, read_shard
from hgs_cli.training.processes import WHOLE, Part

FRAME_S = HOP_LENGTH / SAMPLE_RATE
FINE_POINTS = 42  # of the fine equaliser: one for three mel bands
SET_ASIDE = 6  # every so many of the rendered instruments
SAME_COLOUR = 1.0  # semitones by which an instrument may be moved and is still itself
TINY = 1e-20  # power: keeps silence finite
SAME_PITCH = 0.3  # semitones within which two notes may be mixed
PRIOR_WIDTH = 2.0  # keys: SoundFonts are rendered at every third
ALL = slice(None)
UNPITCHED_RANGE = (36.0, 84.0)  # pitches at which unpitched examples are asked for


@dataclass(frozen=True)
class Batch:
    """Inputs and targets: other notes of the same instrument, or the same. Each of N inputs has B / N targets in a row.

    Attributes:
        x: Log-mel of the input, (N, n_mels, n_frames).
        p: Its pitch, (N,).
        y: Log-mel of the target, (B, n_mels, n_frames), at the gain of x.
        q: Its pitch, (B,).
        periodicity: Of the target, (B, N_BANDS, N_STEPS).
        input_periodicity: Of the input, (N, N_BANDS, N_STEPS).
        label: Index of the input's instrument, (N,); -1 for mixtures and unpitched sounds.
        pitched: Whether the input's pitch means anything, (N,).
        bandwidth_hz: Up to where input and target are known, (B,): the smallest of an input, its targets and what is
            mixed with them. Above it x and y are at the floor.
    """

    x: Tensor
    p: Tensor
    y: Tensor
    q: Tensor
    periodicity: Tensor
    input_periodicity: Tensor
    label: Tensor
    pitched: Tensor
    bandwidth_hz: Tensor

    @property
    def input_bandwidth_hz(self) -> Tensor:
        """Of the inputs, (N,)."""
        return self.bandwidth_hz[:: self.targets]

    @property
    def targets(self) -> int:
        """Targets of each input."""
        return self.y.shape[0] // self.x.shape[0]

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        return Batch(**{name: value.to(device, non_blocking=True) for name, value in vars(self).items()})


class NoteTable:
    """All notes of one side of the split, in memory.

    Args:
        folder: A data set.
        validation: Validation instruments, or those to train on.
        fold, set_aside: Which of the latter, as `DataConfig` has it.

    Raises:
        TrainingError: When the data set is missing or that side of it is empty.
    """

    def __init__(self, folder: Path, *, validation: bool, fold: int = 0, set_aside: bool = False) -> None:
        shards = [shard for shard in read_index(folder) if shard.validation == validation]
        if fold:
            shards = [shard for shard in shards if _is_set_aside(shard, fold) == set_aside]
        if not shards:
            kind = "validation" if validation else "training"
            raise TrainingError(f"{folder} has no {kind} instruments", "build the data with --real or --nsynth")
        self.shards: Sequence[Shard] = shards
        parts = [read_shard(folder, shard) for shard in shards]
        for part in parts:
            if float(part["bandwidth_hz"].min()) < FULL_BANDWIDTH_HZ:
                part["mel"] = mask_above(part["mel"], part["bandwidth_hz"], level=0)
        self.mel = torch.cat([part["mel"] for part in parts])
        self.periodicity = torch.cat([part["periodicity"] for part in parts])
        self.pitch: NDArray[np.float32] = torch.cat([part["pitch"] for part in parts]).numpy()
        self.velocity: NDArray[np.int16] = torch.cat([part["velocity"] for part in parts]).numpy()
        self.sample: NDArray[np.int64] = torch.cat([part["sample"] for part in parts]).numpy()
        self.bandwidth_hz: NDArray[np.float32] = torch.cat([part["bandwidth_hz"] for part in parts]).numpy()
        self.shard_of = np.repeat(np.arange(len(shards)), [part["pitch"].shape[0] for part in parts])
        names = sorted({shard.instrument for shard in shards})
        self.n_instruments = len(names)
        self.label_of_shard = np.array([names.index(shard.instrument) for shard in shards])
        self.notes_of_shard = [np.flatnonzero(self.shard_of == index) for index in range(len(shards))]

    def pairs(self, first: int, seconds: list[int]) -> Batch:
        """One note as the input and others as its targets, as they were recorded.

        Args:
            first: Index of the input.
            seconds: Indices of the B targets.

        Returns:
            A batch of one input, at 0 dB, and B targets at its gain.
        """
        notes = [first, *seconds]
        decibels = self.mel[notes].float() * STEP_DB + LOWEST_DB
        level = power_to_level(torch.pow(10.0, (decibels - decibels[0].max()) / 10.0))
        pitch, periodicity = torch.from_numpy(self.pitch[notes]), self.periodicity[notes].float() / 255.0
        bandwidth_hz = torch.full((len(seconds),), float(self.bandwidth_hz[notes].min()))
        return Batch(
            x=mask_above(level[:1], bandwidth_hz[:1]),
            p=pitch[:1],
            y=mask_above(level[1:], bandwidth_hz),
            q=pitch[1:],
            periodicity=periodicity[1:],
            input_periodicity=periodicity[:1],
            label=torch.tensor([self.label_of_shard[self.shard_of[first]]]),
            pitched=~torch.isnan(pitch[:1]),
            bandwidth_hz=bandwidth_hz,
        )

    def key_prior(self, n_keys: int) -> NDArray[np.float32]:
        """How likely a note of each instrument has each MIDI note, blurred by PRIOR_WIDTH keys.

        Returns:
            (n_instruments + 1, n_keys); the last row, which label -1 finds, is that of all instruments together.
        """
        counts = np.full((self.n_instruments + 1, n_keys), 1e-4)
        pitched = ~np.isnan(self.pitch)
        keys = np.clip(np.round(self.pitch[pitched]).astype(int), 0, n_keys - 1)
        np.add.at(counts, (self.label_of_shard[self.shard_of[pitched]], keys), 1.0)
        counts[-1] += counts[:-1].mean(0)
        apart = np.arange(n_keys)[:, None] - np.arange(n_keys)
        blurred = counts @ np.exp(-0.5 * (apart / PRIOR_WIDTH) ** 2)
        return (blurred / blurred.sum(1, keepdims=True)).astype(np.float32)

    def groups(self) -> tuple[list[int], list[int], list[int]]:
        """Indices of the shards that are recorded, rendered (NSynth is, from sample libraries), and unpitched."""
        recorded, rendered, unpitched = [], [], []
        for index, shard in enumerate(self.shards):
            if not shard.pitched:
                unpitched.append(index)
            elif shard.name.startswith("real-"):
                recorded.append(index)
            else:
                rendered.append(index)
        return recorded, rendered, unpitched


def _is_set_aside(shard: Shard, fold: int) -> bool:
    """Whether a training instrument is set aside: by its name, every other recorded and every so many rendered ones."""
    number = hashlib.sha256(shard.instrument.encode()).digest()[0]
    return number % 2 == fold % 2 if shard.name.startswith("real-") else number % SET_ASIDE == 0


class SpeckleBank:
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
        self._speckle = SpeckleBank(LogMel().filters, seed=1)
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
        candidates = candidates[np.abs(table.pitch[candidates] - table.pitch[first]) < SAME_PITCH]
        if candidates.size == 0:
            return None
        other = int(self.rng.choice(candidates))
        notes = table.notes_of_shard[table.shard_of[other]]
        notes = notes[table.velocity[notes] == table.velocity[other]]
        found = []
        for second in seconds:
            fits = notes[np.abs(table.pitch[notes] - table.pitch[second]) < SAME_PITCH]
            if second != first and fits.size == 0:
                return None
            found.append(other if second == first else int(fits[0]))
        return other, found

    def _decibels(self, notes: list[int]) -> Tensor:
        return self.table.mel[notes].float() * STEP_DB + LOWEST_DB

    def draw(self, batch_size: int, part: Part = WHOLE) -> Batch:
        """The next batch, of `batch_size` targets; of several processes that draw it, each has its part of it.

        Everything random is drawn for the whole batch, so that it is the same however many processes share it; what
        takes time is done for the part.
        """
        table, rng, targets = self.table, self.rng, self.config.targets
        n_inputs = max(1, batch_size // targets)
        mine = part.of(n_inputs)
        drawn = [self._pair() for _ in range(n_inputs)]
        pairs = drawn[mine]
        first, second = [pair[0] for pair in pairs], [note for pair in pairs for note in pair[1]]
        x, y = self._decibels(first), self._decibels(second)
        gain = -x.amax((1, 2), keepdim=True)
        x, y = x + gain, y + gain.repeat_interleave(targets, 0)
        periodicity = table.periodicity[second].float() / 255.0
        periodicity_x = table.periodicity[first].float() / 255.0
        p, q = torch.from_numpy(table.pitch[first]), torch.from_numpy(table.pitch[second])
        pitched = ~torch.isnan(p)
        label = torch.from_numpy(table.label_of_shard[table.shard_of[first]])
        label = torch.where(pitched, label, -1)  # the drums of a kit have nothing in common but their shard
        p = torch.where(pitched, p, torch.from_numpy(rng.uniform(*UNPITCHED_RANGE, n_inputs)[mine]).float())
        q = torch.where(torch.isnan(q), p.repeat_interleave(targets), q)

        bandwidth_hz = np.minimum(table.bandwidth_hz[first], table.bandwidth_hz[second].reshape(-1, targets).min(1))
        power_x, power_y = torch.pow(10.0, x / 10.0), torch.pow(10.0, y / 10.0)
        if self.augment:
            for number in np.flatnonzero(rng.random(n_inputs) < self.config.mixture_probability):
                partner = None if np.isnan(table.pitch[drawn[number][0]]) else self._partner(*drawn[number])
                if partner is None:
                    continue
                level_db, index = float(rng.uniform(-10.0, 6.0)), int(number) - mine.start
                if not mine.start <= number < mine.stop:
                    continue
                other_x, other_y = self._decibels([partner[0]])[0], self._decibels(partner[1])
                level = level_db - float(other_x.max())
                rows = slice(index * targets, (index + 1) * targets)
                _mix_in(power_y[rows], periodicity[rows], other_y + level, table.periodicity[partner[1]])
                inputs = slice(index, index + 1)
                other = table.periodicity[partner[0]][None]
                _mix_in(power_x[inputs], periodicity_x[inputs], other_x[None] + level, other)
                label[index] = -1
                bandwidth_hz[index] = min(bandwidth_hz[index], *table.bandwidth_hz[[partner[0], *partner[1]]])
            semitones = self._shifts(n_inputs, mine, pitched.numpy(), bandwidth_hz)
            by = semitones.repeat_interleave(targets)
            power_x, periodicity_x = _moved(power_x, periodicity_x, semitones)
            power_y, periodicity = _moved(power_y, periodicity, by)
            p, q = p + semitones, q + by
            label = torch.where(semitones.abs() > SAME_COLOUR, -1, label)
            power_x, power_y = self._augmented(n_inputs, mine, power_x, power_y, periodicity_x, periodicity)
            loudest = power_x.amax((1, 2), keepdim=True)
            power_x, power_y = power_x / loudest, power_y / loudest.repeat_interleave(targets, 0)
        known_hz = torch.from_numpy(bandwidth_hz)
        known_of_targets_hz = known_hz.repeat_interleave(targets)
        return Batch(
            x=mask_above(power_to_level(power_x), known_hz),
            p=p,
            y=mask_above(power_to_level(power_y), known_of_targets_hz),
            q=q,
            periodicity=periodicity,
            input_periodicity=periodicity_x,
            label=label,
            pitched=pitched,
            bandwidth_hz=known_of_targets_hz,
        )

    def _shifts(self, size: int, mine: slice, pitched: NDArray[np.bool_], bandwidth_hz: NDArray[np.float32]) -> Tensor:
        """By how many semitones each input of a part, of `size` inputs, and its targets are moved; 0 for most."""
        config, rng = self.config, self.rng
        moved = (rng.random(size) < config.shift_probability)[mine] & pitched & (bandwidth_hz >= FULL_BANDWIDTH_HZ)
        return torch.from_numpy(rng.uniform(-config.shift, config.shift, size)[mine] * moved).float()

    def _augmented(
        self, size: int, mine: slice, power_x: Tensor, power_y: Tensor, periodicity_x: Tensor, periodicity: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The same equaliser, envelope and noise floor on an input and all its targets; periodicities in place.

        The inputs are a part of `size`.
        """
        config, rng = self.config, self.rng
        targets = power_y.shape[0] // power_x.shape[0]

        def chosen(probability: float) -> NDArray[np.float64]:
            return (rng.random(size) < probability).astype(np.float64)

        equalised = chosen(config.equaliser_probability)[:, None, None]
        curve_db = (rng.normal(0.0, config.equaliser_db, (size, 1, 9)) * equalised)[mine]
        curve = F.interpolate(torch.from_numpy(curve_db).float(), size=N_MELS, mode="linear", align_corners=True)[:, 0]
        refined = chosen(config.fine_probability)[:, None, None]
        fine_db = (rng.normal(0.0, config.fine_db, (size, 1, FINE_POINTS)) * refined)[mine]
        curve = curve + F.interpolate(torch.from_numpy(fine_db).float(), size=N_MELS, mode="linear")[:, 0]
        time_s = torch.arange(N_FRAMES) * FRAME_S
        slopes = rng.uniform(0.0, 25.0, size) * chosen(config.envelope_probability)
        envelope_db = -torch.from_numpy(slopes[mine]).float()[:, None] * time_s
        end_s = np.where(chosen(config.envelope_probability) > 0, rng.uniform(0.25, 4.0, size), 1e3)[mine]
        after_s = (time_s - torch.from_numpy(end_s).float()[:, None]).clamp_min(0.0)
        envelope_db = envelope_db - 1200.0 * after_s
        factor = torch.pow(10.0, (curve[:, :, None] + envelope_db[:, None, :]) / 10.0)
        power_x, power_y = power_x * factor, power_y * factor.repeat_interleave(targets, 0)

        all_noisy = np.flatnonzero(chosen(config.noise_probability))
        if all_noisy.size:
            count = all_noisy.size
            ours = (all_noisy >= mine.start) & (all_noisy < mine.stop)
            noisy = torch.from_numpy(all_noisy[ours] - mine.start)
            rows = (noisy[:, None] * targets + torch.arange(targets)).flatten()
            peak_db = 10.0 * torch.log10(power_x[noisy].amax((1, 2)) + 1e-20)
            level_db = peak_db + torch.from_numpy(rng.uniform(-100.0, -50.0, count)[ours]).float()
            tilt_db = torch.from_numpy(rng.uniform(-20.0, 5.0, count)[ours]).float()
            floor_db = level_db[:, None] + tilt_db[:, None] * torch.linspace(0.0, 1.0, N_MELS)
            floor = torch.pow(10.0, floor_db / 10.0)[:, :, None]
            clean, clean_x = _band_power(power_y[rows]), _band_power(power_x[noisy])
            power_x[noisy] += floor * self._speckle.draw(count, rng, ours)
            speckle = self._speckle.draw(count * targets, rng, ours.repeat(targets))
            power_y[rows] += floor.repeat_interleave(targets, 0) * speckle
            periodicity[rows] *= clean / (_band_power(power_y[rows]) + TINY)
            periodicity_x[noisy] *= clean_x / (_band_power(power_x[noisy]) + TINY)
        return power_x, power_y

    def notes(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """Log-mels (B, n_mels, n_frames), each at its own gain, and pitches (B,) of notes of the table."""
        decibels = self._decibels(indices)
        decibels = decibels - decibels.amax((1, 2), keepdim=True)
        levels = mask_above(power_to_level(torch.pow(10.0, decibels / 10.0)), self.bandwidths_hz(indices))
        return levels, torch.from_numpy(self.table.pitch[indices])

    def bandwidths_hz(self, indices: list[int]) -> Tensor:
        """Up to where notes of the table are known, (B,)."""
        return torch.from_numpy(self.table.bandwidth_hz[indices])

    def pitched_notes(self) -> NDArray[np.int64]:
        """Indices of all notes with a pitch."""
        return np.flatnonzero(~np.isnan(self.table.pitch))


def _band_power(power: Tensor) -> Tensor:
    """Sum mel power (…, n_mels, n_frames) over bands and steps: (…, N_BANDS, N_STEPS)."""
    shape = (*power.shape[:-2], N_BANDS, N_MELS // N_BANDS, N_STEPS, N_FRAMES // N_STEPS)
    return power.reshape(shape).sum((-3, -1))


def _mix_in(power: Tensor, periodicity: Tensor, other_db: Tensor, other_periodicity: Tensor) -> None:
    """Add notes (N, n_mels, n_frames) in dB to mel power, and to the periodicities what share they have; in place."""
    other = torch.pow(10.0, other_db / 10.0)
    power += other
    share = _band_power(other) / (_band_power(power) + 1e-12)
    periodicity.lerp_(other_periodicity.float() / 255.0, share)


def _moved(power: Tensor, periodicity: Tensor, semitones: Tensor) -> tuple[Tensor, Tensor]:
    """Mel power (N, n_mels, n_frames) and periodicity with every frequency raised by `semitones` (N,)."""
    rows = semitones.nonzero()[:, 0]
    if not rows.numel():
        return power, periodicity
    power[rows] = torch.pow(10.0, transpose_level(torch.log10(power[rows] + TINY), semitones[rows]))
    share = transpose_level(periodicity[rows].repeat_interleave(N_MELS // N_BANDS, 1), semitones[rows])
    periodicity[rows] = share.reshape(-1, N_BANDS, N_MELS // N_BANDS, N_STEPS).mean(2).clamp(0.0, 1.0)
    return power, periodicity


def transpose_level(x: Tensor, semitones: Tensor) -> Tensor:
    """Log-mels (B, n_mels, n_frames) with every frequency raised by `semitones` (B,), colour and all; for a few only.

    As faster playback would, with the window's lobes widened too: 6 % a semitone, which the filters hide.

    Source: Slaney's mel scale (Auditory Toolbox), linear to 1 kHz and logarithmic above.
    """
    config = MelConfig()
    bounds = [3.0 * hz / 200.0 if hz < 1000.0 else _log_mel(hz) for hz in (config.f_min_hz, config.f_max_hz)]
    step = (bounds[1] - bounds[0]) / (config.n_mels + 1)
    mel = bounds[0] + step * torch.arange(1, config.n_mels + 1, dtype=torch.float64)
    centre_hz = torch.where(mel < 15.0, mel * 200.0 / 3.0, 1000.0 * torch.exp((mel - 15.0) * np.log(6.4) / 27.0))
    source_hz = centre_hz * torch.pow(2.0, -semitones.double().cpu()[:, None] / 12.0)  # (B, n_mels)
    source_mel = torch.where(
        source_hz < 1000.0, source_hz * 3.0 / 200.0, 15.0 + 27.0 * torch.log(source_hz / 1000.0) / np.log(6.4)
    )
    position = (source_mel - mel[0]) / step
    left = position.floor()
    t = (position - left).float()
    # Catmull-Rom: lines would blur what stands between two bands, and the blur would tell the moved from the unmoved.
    taps = (
        -0.5 * t + t**2 - 0.5 * t**3,
        1.0 - 2.5 * t**2 + 1.5 * t**3,
        0.5 * t + 2.0 * t**2 - 1.5 * t**3,
        -0.5 * t**2 + 0.5 * t**3,
    )
    matrix = torch.zeros(x.shape[0], config.n_mels, config.n_mels)
    for offset, tap in zip((-1, 0, 1, 2), taps, strict=True):
        index = (left + offset).long().clamp(0, config.n_mels - 1)
        matrix.scatter_add_(2, index[:, :, None], tap[:, :, None])
    return torch.bmm(matrix.to(x), x)


def _log_mel(hz: float) -> float:
    return float(15.0 + 27.0 * np.log(hz / 1000.0) / np.log(6.4))


def nearest_neighbours(features: Tensor, count: int) -> Tensor:
    """Indices of the nearest features of every feature, itself left out.

    Args:
        features: L2-normalised, (N, D).
        count: How many.

    Returns:
        (N, count).

    Source: IC-GAN, instance conditioning.
    """
    found = []
    for start in range(0, features.shape[0], 1024):
        likeness = features[start : start + 1024] @ features.T
        rows = torch.arange(likeness.shape[0])
        likeness[rows, rows + start] = -2.0
        found.append(likeness.topk(min(count, features.shape[0] - 1), dim=1).indices)
    return torch.cat(found)
