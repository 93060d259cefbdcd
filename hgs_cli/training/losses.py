"""One function per loss term, named as in the papers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from hgs_cli.models.generator import Envelopes, Generator
from hgs_cli.spectrum import DB_PER_UNIT, N_BANDS, N_FRAMES, N_MELS, N_STEPS, power_to_level
from hgs_cli.training.bandwidth import known_bands, mask_above, mean_below
from hgs_cli.training.config import EncoderConfig, GanConfig, HyperConfig, WarmupConfig
from hgs_cli.training.notes import Batch
from hgs_cli.training.processes import mean_over_processes


@dataclass(frozen=True)
class LossRules:
    """What losses look at."""

    excess_weight: float = 10.0  # of what is louder than the target
    tiny: float = 1e-6  # keeps the mean over no examples at 0
    audible_range_db: float = 80.0  # below the target's loudest bin nothing is compared
    # the step of the stored 8-bit value: 24 dB; an edge of 0.02 held harmonic-to-noise below 17 dB
    periodicity_edge: float = 0.004


LOSSES = LossRules()


class Term(NamedTuple):
    """A term of a loss."""

    weight: float
    value: Tensor


def total(terms: Mapping[str, Term]) -> Tensor:
    """The loss of a table of named terms: their weighted sum."""
    return reduce(add, (weight * value for weight, value in terms.values()))


def logged(terms: Mapping[str, Term]) -> dict[str, float]:
    """Every term without its weight, for the log; the reconstruction in dB."""
    values = {name: value.item() for name, (_, value) in terms.items()}
    if "reconstruction" in values:
        values["reconstruction_db"] = values.pop("reconstruction") * DB_PER_UNIT
    return values


def near_terms(
    generator: Generator,
    envelopes: Envelopes,
    batch: Batch,
    config: WarmupConfig | GanConfig | HyperConfig | EncoderConfig,
) -> dict[str, Term]:
    """Both terms of `nearness`, with a stage's weights."""
    reconstruction, periodicity = nearness(generator, envelopes, batch)
    weighted = Term(config.reconstruction, reconstruction), Term(config.periodicity, periodicity)
    return dict(zip(("reconstruction", "periodicity"), weighted, strict=True))


def nearness(generator: Generator, envelopes: Envelopes, batch: Batch) -> tuple[Tensor, Tensor]:
    """Reconstruction and periodicity loss of envelopes beside a batch's targets."""
    powers = audible_powers(generator, envelopes, batch.q)
    reconstruction = reconstruction_loss(*powers, batch.y, batch.bandwidth_hz)
    pitched = batch.pitched.repeat_interleave(batch.targets)
    return reconstruction, periodicity_loss(*powers, batch.periodicity, pitched, batch.bandwidth_hz)


def reconstruction_loss(harmonic: Tensor, noise: Tensor, target: Tensor, bandwidth_hz: Tensor | None = None) -> Tensor:
    """Mean |difference| of log-mels in level units, above LOSSES.audible_range_db below the target's peak.

    Args:
        harmonic: Mel power of the harmonic part, (B, n_mels, n_frames).
        noise: Mel power of the noise part, likewise.
        target: Log-mel, (B, n_mels, n_frames).
        bandwidth_hz: Up to where the target is known, (B,); everywhere when None.
    """
    if bandwidth_hz is not None:
        target = mask_above(target, bandwidth_hz)
    floor_level = target.amax((1, 2), keepdim=True) - LOSSES.audible_range_db / 50.0
    floor_power = torch.pow(10.0, (floor_level - 1.0) * 5.0)
    # Added, not clamped: below the floor a gradient remains.
    result = power_to_level(harmonic + noise + floor_power)
    target_power = torch.pow(10.0, (target - 1.0) * 5.0)
    return mean_below((result - power_to_level(target_power + floor_power)).abs(), bandwidth_hz)


def periodicity_loss(
    harmonic: Tensor, noise: Tensor, periodicity: Tensor, pitched: Tensor, bandwidth_hz: Tensor | None = None
) -> Tensor:
    """Cross entropy between the harmonic share of each band and the one measured on the waveform.

    Args:
        harmonic: Mel power of the harmonic part, (B, n_mels, n_frames).
        noise: Mel power of the noise part, likewise.
        periodicity: Measured share, (B, N_BANDS, N_STEPS); for unpitched sounds 0.
        pitched: (B,); unpitched sounds count too: they are noise.
        bandwidth_hz: Up to where the periodicity was measured, (B,); everywhere when None.
    """
    harmonic_bands = band_power(harmonic)
    log_harmonic, log_noise = torch.log(harmonic_bands + 1e-12), torch.log(band_power(noise) + 1e-12)
    audible = torch.maximum(log_harmonic, log_noise).detach()
    if bandwidth_hz is not None:
        audible = torch.where(known_bands(bandwidth_hz, N_BANDS)[:, :, None], audible, -math.inf)
    loudest = audible.amax((1, 2), keepdim=True)
    # The upper 60 dB, and no band in which no harmonic stands: nothing there could answer.
    weight = ((audible > loudest - 0.1 * 2.302585 * 60.0) & (harmonic_bands > 0.0)).float()
    target = periodicity * pitched[:, None, None]
    target = target.clamp(LOSSES.periodicity_edge, 1.0 - LOSSES.periodicity_edge)
    loss = F.binary_cross_entropy_with_logits(log_harmonic - log_noise, target, reduction="none")
    return (loss * weight).sum() / mean_over_processes(weight.sum()).clamp_min(1.0)


def band_power(power: Tensor) -> Tensor:
    """Sum mel power (…, n_mels, n_frames) over bands and steps: (…, N_BANDS, N_STEPS)."""
    shape = (*power.shape[:-2], N_BANDS, N_MELS // N_BANDS, N_STEPS, N_FRAMES // N_STEPS)
    return power.reshape(shape).sum((-3, -1))


def smoothness_loss(envelopes: Envelopes) -> Tensor:
    """Mean |slope| of both envelopes across mel bands, and what exceeds full scale, which no note needs.

    Where no harmonic stands nothing else holds E_h, and above the bandwidth of a file nothing else holds either: no
    data enter here, so all bands count.
    """
    slope = envelopes.harmonic.diff(dim=1).abs().mean() + envelopes.noise_part.diff(dim=1).abs().mean()
    excess = (envelopes.harmonic - 1.0).clamp_min(0.0).mean() + (envelopes.noise_part - 1.0).clamp_min(0.0).mean()
    return slope + LOSSES.excess_weight * excess


def timbre_loss(h: Tensor, h_hat: Tensor) -> Tensor:
    """‖f(x) − f(x̂)‖², averaged over the batch; features (B, h_dim)."""
    return (h - h_hat).square().sum(1).mean()


def relativistic_loss(better: Tensor, worse: Tensor) -> Tensor:
    """Softplus of how much the logits `worse` (B,) exceed their partners `better` (B,).

    Source: R3GAN, the relativistic pairing loss.
    """
    return F.softplus(worse - better).mean()


def gradient_penalty(discriminator: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Half the mean squared norm of D's gradient at x (B, n_mels, n_frames): R1 on real, R2 on generated examples.

    Source: R3GAN; Mescheder et al. (2018).
    """
    x = x.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)
    slopes = gradient.square().sum((1, 2))
    return 0.5 * slopes.sum() / mean_over_processes(slopes.new_tensor(float(slopes.shape[0])))


def confusion_loss(logits: Tensor, prior: Tensor) -> Tensor:
    """Divergence of an adversary's answer from what could be known without the sound, averaged over the batch.

    Where the adversary is sure it pulls hardest; a reversed gradient is weakest there.

    Args:
        logits: Of the adversary, (B, C).
        prior: Probabilities of the classes, (B, C).

    Source: the domain confusion of Tzeng et al. (2015), in place of the reversed gradient of Ganin & Lempitsky (2015).
    """
    divergence = F.kl_div(F.log_softmax(logits.float(), 1), prior, reduction="sum")
    return divergence / mean_over_processes(logits.new_tensor(float(logits.shape[0]), dtype=torch.float32)).clamp_min(
        LOSSES.tiny
    )


def audible_powers(generator: Generator, envelopes: Envelopes, p: Tensor) -> tuple[Tensor, Tensor]:
    """Mel powers of both parts in float32; arguments as `Generator.part_powers`."""
    with torch.autocast(p.device.type, enabled=False):
        return generator.part_powers(Envelopes(envelopes.harmonic.float(), envelopes.noise_part.float()), p.float())
