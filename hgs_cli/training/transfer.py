"""Stage `detail`: what of a residual holds at another pitch, learned on notes whose timbre G does not know."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from hgs_cli.models.detail_transfer import read_detail
from hgs_cli.models.generator import Envelopes
from hgs_cli.sampler.detail import residuals
from hgs_cli.spectrum import DB_PER_UNIT, level_to_power
from hgs_cli.training.bandwidth import known_bands, mask_above, mean_below
from hgs_cli.training.config import DetailConfig
from hgs_cli.training.losses import Term, audible_powers, logged, periodicity_loss, total
from hgs_cli.training.notes import Batch, NoteTable
from hgs_cli.training.stage import Figures, Optimiser, Stage

FLOOR_DB, ALIGNED_DB = 70.0, 50.0  # as the cross-pitch distance of the evaluation has them
INTERVALS = ((1, 5), (6, 12), (13, 24))
VALIDATION_BATCH = 24


def aligned_distance(
    harmonic: Tensor, noise: Tensor, target: Tensor, bandwidth_hz: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The cross-pitch distance in the log-mel domain: after the best common gain, nothing below FLOOR_DB compared.

    Args:
        harmonic: Mel power of the harmonic part, (B, n_mels, n_frames).
        noise: Mel power of the noise part, likewise.
        target: Log-mel, (B, n_mels, n_frames).
        bandwidth_hz: Up to where the target is known, (B,).

    Returns:
        Mean |difference| in dB of every note, (B,), and the gain in dB that was needed, (B,).
    """
    known = torch.ones_like(target[:, :, :1], dtype=torch.bool)
    if bandwidth_hz is not None:
        target, known = mask_above(target, bandwidth_hz), known_bands(bandwidth_hz)[:, :, None]
    top = target.amax((1, 2), keepdim=True)
    heard = known & (target > top - ALIGNED_DB / DB_PER_UNIT)
    floor = level_to_power(top - FLOOR_DB / DB_PER_UNIT)
    level = 0.2 * torch.log10(harmonic + noise + 1e-12) + 1.0
    gaps = torch.where(heard, (target - level).detach(), torch.nan)
    gain = torch.nanmedian(gaps.flatten(1), dim=1).values[:, None, None]
    # The median stands for the gain, a mean for its gradient: a gain without one would let all levels drift downwards.
    mean_level = (level * heard).sum((1, 2), keepdim=True) / heard.sum((1, 2), keepdim=True).clamp_min(1)
    gain = gain + mean_level.detach() - mean_level
    # Added, not clamped: below the floor a gradient remains.
    ours = 0.2 * torch.log10((harmonic + noise) * torch.pow(10.0, 5.0 * gain) + floor)
    real = 0.2 * torch.log10(level_to_power(target) + floor)
    difference = torch.where(known, (ours - real).abs(), 0.0)
    distance = difference.mean((1, 2)) / known.float().mean((1, 2)).clamp_min(1e-6)
    return distance * DB_PER_UNIT, gain[:, 0, 0] * DB_PER_UNIT


class DetailStage(Stage):
    """The detail transfer on pairs of notes; f, G and H frozen.

    G knows the instruments that it was trained on so well that their residuals are smaller, and its notes at other
    pitches nearer, than those of any sound that a user brings. So f and G come from a warm-up that never heard one fold
    of the training instruments, and the pairs from that fold.
    """

    name = "detail"
    learns = ("detail_transfer",)
    config: DetailConfig

    def trained(self) -> dict[str, nn.Module]:
        """The detail transfer."""
        return {"detail_transfer": self.model.detail_transfer}

    def _carried(self, batch: Batch, h: Tensor, *, kept: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
        """Mel powers of both parts at the targets' pitches, and the distance at the inputs' own before detail, in dB.

        Args:
            batch: Pairs.
            h: Features of its inputs, (N, h_dim).
            kept: Share of the detail.
        """
        model = self.model
        with torch.no_grad(), self.autocast():
            offsets = self.refine(batch, h, model.config.hypernetwork.n_passes)
            source = _plain(model.envelopes(h, batch.p, offsets))
            first = _plain(model.envelopes(h.repeat_interleave(batch.targets, 0), batch.q, offsets))
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            known = batch.input_bandwidth_hz
            own, _ = aligned_distance(*audible_powers(model.generator, source, batch.p), batch.x, known)
            r_h, r_n = residuals(batch.x, batch.input_periodicity, batch.p, source)
        add_h, add_n = model.detail_transfer(read_detail(r_h, r_n, source, batch.p), first, batch.q)
        carried = Envelopes(first.harmonic + kept * add_h, first.noise_part + kept * add_n)
        return *audible_powers(model.generator, carried, batch.q), own.mean()

    def step(self, optimisers: dict[str, Optimiser]) -> Figures:
        """One batch of pairs."""
        config, model = self.config, self.model.train()
        batch = self.draw()
        with torch.no_grad(), self.autocast():
            h = model.extract(batch.x)
        harmonic, noise, own = self._carried(batch, h)
        distance, gain = aligned_distance(harmonic, noise, batch.y, batch.bandwidth_hz)
        pitched = batch.pitched.repeat_interleave(batch.targets)
        periodicity = periodicity_loss(harmonic, noise, batch.periodicity, pitched, batch.bandwidth_hz)
        movement = movement_loss(harmonic + noise, batch.y, batch.bandwidth_hz)
        terms = {
            "distance": Term(config.distance, distance.mean() / DB_PER_UNIT),
            "periodicity": Term(config.periodicity, periodicity),
            "movement": Term(config.movement, movement),
            "level": Term(config.level, level_loss(harmonic + noise, batch.y, batch.bandwidth_hz)),
        }
        loss = total(terms)
        norm = optimisers["detail_transfer"].step(loss)
        decibels = {"distance_db": distance.mean().item(), "own_db": own.item(), "gain_db": gain.abs().mean().item()}
        return {"loss": loss.item(), **logged(terms), **decibels, "gradient": norm}

    @torch.no_grad()
    def validate(self) -> Figures:
        """Aligned distances in dB from the middle note of every validation instrument to all others, by interval.

        With the detail transfer (`val_1_5_db`, `val_6_12_db`, …), without any detail (`…_plain_db`), and at the inputs'
        own pitches without detail (`val_own_db`).
        """
        self.model.eval()
        sums: dict[str, dict[str, list[float]]] = {}
        for name, batch in middle_batches(self.validation_table, self.device):
            with self.autocast():
                h = self.model.extract(batch.x)
            for suffix, kept in (("", 1.0), ("_plain", 0.0)):
                harmonic, noise, own = self._carried(batch, h, kept=kept)
                values, _ = aligned_distance(harmonic, noise, batch.y, batch.bandwidth_hz)
                sums.setdefault("val_own_db", {}).setdefault(name, []).append(own.item())
                for p, q, value in zip(
                    batch.p.repeat_interleave(batch.targets).tolist(), batch.q.tolist(), values.tolist(), strict=True
                ):
                    for low, high in INTERVALS:
                        if low <= round(abs(q - p)) <= high:
                            key = f"val_{low}_{high}{suffix}_db"
                            sums.setdefault(key, {}).setdefault(name, []).append(value)
        # Every instrument counts alike, as in the cross-pitch table.
        return {key: float(np.mean([np.mean(values) for values in by_name.values()])) for key, by_name in sums.items()}


def _plain(envelopes: Envelopes) -> Envelopes:
    return Envelopes(envelopes.harmonic.float(), envelopes.noise_part.float())


def movement_loss(power: Tensor, target: Tensor, bandwidth_hz: Tensor) -> Tensor:
    """By how much bands move less or more from frame to frame than the target's do, in level units.

    A mean over time in every band: which way the target moves at a moment cannot be known, how lively it is can.

    Args:
        power: Mel power, (B, n_mels, n_frames).
        target: Log-mel, likewise.
        bandwidth_hz: Up to where the target is known, (B,).
    """
    target = mask_above(target, bandwidth_hz)
    level = mask_above(0.2 * torch.log10(power + 1e-9) + 1.0, bandwidth_hz)
    heard = (target > target.amax((1, 2), keepdim=True) - ALIGNED_DB / DB_PER_UNIT)[:, :, 1:].float()
    share = heard.mean(2)
    ours, real = ((x.diff(dim=2).abs() * heard).mean(2) / (share + 0.02) for x in (level, target))
    return mean_below(((ours - real).abs() * share)[..., None], bandwidth_hz)


def level_loss(power: Tensor, target: Tensor, bandwidth_hz: Tensor) -> Tensor:
    """Mean |difference| of the loudness of notes, in level units: the aligned distance does not ask for it.

    Arguments as `movement_loss`.
    """
    known = known_bands(bandwidth_hz)[:, :, None]
    powers = (power * known, level_to_power(target) * known)
    ours, real = (0.2 * torch.log10(each.sum(1).mean(1) + 1e-9) for each in powers)
    return (ours - real).abs().mean()


def middle_batches(table: NoteTable, device: torch.device) -> list[tuple[str, Batch]]:
    """Of every pitched instrument of a table, its middle note as the input and all of its velocity as targets.

    Args:
        table: Notes.
        device: Where the batches go.

    Returns:
        (instrument, batch); an instrument with many notes has several.
    """
    found = []
    for index, shard in enumerate(table.shards):
        notes = table.notes_of_shard[index]
        if not shard.pitched or notes.size < 2:
            continue
        loud = notes[table.velocity[notes] == table.velocity[notes].max()]
        loud = loud[np.argsort(table.pitch[loud])]
        middle = int(loud[len(loud) // 2])
        others = [int(note) for note in loud if note != middle]
        others = [note for note in others if abs(table.pitch[note] - table.pitch[middle]) <= INTERVALS[-1][1] + 0.5]
        for start in range(0, len(others), VALIDATION_BATCH):
            targets = others[start : start + VALIDATION_BATCH]
            found.append((shard.instrument, table.pairs(middle, targets).to(device)))
    return found
