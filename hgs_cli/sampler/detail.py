"""Detail transfer: what the networks could not say of a recording, and how it travels to another pitch."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from hgs_cli.models.detail_transfer import Detail, DetailTransfer, ReadDetail, mel_blur, read_detail
from hgs_cli.models.generator import Envelopes
from hgs_cli.pitch import midi_to_hz
from hgs_cli.spectrum import (
    FLOOR_DB,
    front_end_comb,
    front_end_noise,
    level_to_power,
    power_to_exact_level,
)


@dataclass(frozen=True)
class SplitRules:
    """How a log-mel is split into tone and noise."""

    width: float = 0.5  # of the Gaussian that tells the parts of neighbours apart, in spacings of the harmonics
    width_mels: float = 1.5  # the least of it, in mel bands
    # of a band's power: below it, a part is not heard there and its detail comes from neighbours
    known_share: float = 0.05


SPLIT = SplitRules()


TINY = 1e-20  # power: keeps silence over silence finite


@dataclass(frozen=True)
class SourceDetail:
    """A sound's detail, and what it was measured against."""

    pitch: float | None  # MIDI note of the sound; None where it has none
    detail: Detail  # what G could not say of it at its own pitch
    envelopes: Envelopes  # G's there, with the offsets of H, each (n_mels, n_frames)
    without_offsets: Envelopes | None = None  # the same without them; None for an unpitched sound
    _read: dict[torch.device, ReadDetail] = field(default_factory=dict, init=False, repr=False, compare=False)

    def read(self, device: torch.device) -> ReadDetail:
        """It as all notes read it; kept."""
        assert self.pitch is not None
        if device not in self._read:
            shape = self.detail.harmonic.shape

            def plain(value: Tensor) -> Tensor:
                return value.float().to(device).reshape(1, *shape)

            source = Envelopes(plain(self.envelopes.harmonic), plain(self.envelopes.noise_part))
            by_hyper = None
            if self.without_offsets is not None:
                without = self.without_offsets
                by_hyper = (
                    (source.harmonic - plain(without.harmonic))[0],
                    (source.noise_part - plain(without.noise_part))[0],
                )
            p = torch.tensor([self.pitch], device=device)
            self._read[device] = read_detail(
                plain(self.detail.harmonic), plain(self.detail.noise_part), source, p, by_hyper
            )
        return self._read[device]


def _weighted_blur(value: Tensor, weight: Tensor, blur: Tensor) -> Tensor:
    """Weighted mean of value (…, n_mels, n_frames) across mel bands."""
    return (blur @ (value * weight)) / (blur @ weight + 1e-6)


def _above_floor(level: Tensor) -> Tensor:
    """Power of levels with the floor taken off, so that digital silence has none."""
    return (level_to_power(level) - 10.0 ** (FLOOR_DB / 10.0)).clamp(min=0.0)


def split(x: Tensor, periodicity: Tensor, p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Split log-mels into the levels of their harmonic and their noise part.

    Args:
        x: Log-mels, (B, n_mels, n_frames).
        periodicity: Share of each band that is tone, (B, N_BANDS, N_STEPS).
        p: Pitches, (B,).

    Returns:
        E_h and E_n, which give x again on their templates exactly, and the harmonic share of every band's power, each
        (B, n_mels, n_frames). Where a part has no share its level means nothing.
    """
    power = _above_floor(x)
    noise = front_end_noise().to(x.device)[:, None]
    tonal = torch.nn.functional.interpolate(
        periodicity[:, None].float(), size=tuple(x.shape[1:]), mode="bilinear", align_corners=False
    )[:, 0].clamp(1e-3, 1.0 - 1e-3)
    comb = front_end_comb(p)[..., None].clamp(min=1e-9)
    blur = mel_blur(midi_to_hz(p.float()), SPLIT.width, SPLIT.width_mels)
    smooth_h = (blur @ (tonal * power)) / (blur @ comb)
    smooth_n = (blur @ ((1.0 - tonal) * power)) / (blur @ noise)
    model_h, model_n = smooth_h * comb, smooth_n * noise
    gain = power / (model_h + model_n + TINY)
    return (
        power_to_exact_level(smooth_h * gain),
        power_to_exact_level(smooth_n * gain),
        model_h / (model_h + model_n + TINY),
    )


def _heard(residual: Tensor, share: Tensor, ceiling: Tensor, blur: Tensor) -> Tensor:
    """Residual where its part is heard, the neighbours' where it is not, never above what the band as a whole shows."""
    known = share * (1.0 + SPLIT.known_share) / (share + SPLIT.known_share)
    filled = known * residual + (1.0 - known) * _weighted_blur(residual, known, blur)
    return torch.minimum(filled, ceiling)


def residuals(x: Tensor, periodicity: Tensor, p: Tensor, drawn: Envelopes) -> tuple[Tensor, Tensor]:
    """r_h and r_n of pitched sounds: what their first reconstructions at p lack, each (B, n_mels, n_frames).

    Args:
        x: Log-mels, (B, n_mels, n_frames).
        periodicity: Share of each band that is tone, (B, N_BANDS, N_STEPS).
        p: Pitches, (B,).
        drawn: The network's envelopes at p, batch B.
    """
    e_h, e_n, share = split(x, periodicity, p)
    power = _above_floor(x)
    comb = front_end_comb(p)[..., None].clamp(min=1e-9)
    noise = front_end_noise().to(x.device)[:, None]
    blur = mel_blur(midi_to_hz(p.float()), SPLIT.width, SPLIT.width_mels)
    r_h = _heard(e_h - drawn.harmonic, share, power_to_exact_level(power / comb) - drawn.harmonic, blur)
    r_n = _heard(e_n - drawn.noise_part, 1.0 - share, power_to_exact_level(power / noise) - drawn.noise_part, blur)
    return r_h, r_n


def measure_detail(x: Tensor, periodicity: Tensor, p: float | None, drawn: Envelopes) -> Detail:
    """Measure what the first reconstruction lacks of an input: residuals that restore x at p.

    Args:
        x: Log-mel of the input, (n_mels, n_frames).
        periodicity: Share of each band that is tone, (N_BANDS, N_STEPS).
        p: Pitch of the input; None when it has none, and all of it is noise.
        drawn: The network's envelopes at p (at 60 without a pitch), of one note.
    """
    first_h, first_n = (part.float().reshape(x.shape) for part in (drawn.harmonic, drawn.noise_part))
    if p is None:
        power = _above_floor(x)
        return Detail(
            power_to_exact_level(torch.zeros_like(x)) - first_h,
            power_to_exact_level(power / front_end_noise()[:, None]) - first_n,
        )
    known = Envelopes(first_h[None], first_n[None])
    (r_h,), (r_n,) = residuals(x[None], periodicity[None], torch.tensor([p]), known)
    return Detail(r_h, r_n)


def noise_envelope(x: Tensor) -> Envelopes:
    """Envelopes of log-mels (B, n_mels, n_frames) of which all is noise."""
    template = front_end_noise()[:, None].to(x.device)
    return Envelopes(power_to_exact_level(torch.zeros_like(x)), power_to_exact_level(_above_floor(x) / template))


def transfer_detail(
    transfer: DetailTransfer,
    source: SourceDetail,
    drawn: Envelopes,
    q: Tensor,
    amount: float = 1.0,
    offset_strength: Tensor | None = None,
) -> Envelopes:
    """Add a sound's detail to the network's envelopes at other pitches.

    Args:
        transfer: Weighs what holds at another pitch.
        source: Detail, and what it was measured against; without a pitch all of it stays in place.
        drawn: The network's envelopes at `q`, batch B.
        q: Wanted pitches, (B,).
        amount: 0 nothing … 1 all; at the source pitch all of it restores the sound.
        offset_strength: How much of H's offsets is in `drawn`, (B,): what H says no longer is detail again. All when
            None.
    """
    if amount == 0.0:
        return drawn
    device = drawn.harmonic.device
    if source.pitch is None:
        r_h, r_n = source.detail.harmonic.float().to(device)[None], source.detail.noise_part.float().to(device)[None]
    else:
        share = None
        if source.without_offsets is not None:
            share = torch.zeros_like(q) if offset_strength is None else 1.0 - offset_strength
        r_h, r_n = transfer(source.read(device), drawn, q, share)
    return Envelopes(drawn.harmonic + amount * r_h, drawn.noise_part + amount * r_n)
