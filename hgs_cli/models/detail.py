"""Detail transfer: what the networks could not say of a recording, and how it travels to another pitch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from hgs_cli.models.detail_transfer import DetailTransfer, TakenBack, mel_blur
from hgs_cli.models.generator import Envelopes, noise_log_bias
from hgs_cli.models.vocoder import mel_points_hz, mel_triangles
from hgs_cli.spectrum import (
    DB_PER_UNIT,
    FLOOR_DB,
    HOP_LENGTH,
    N_FFT,
    SAMPLE_RATE,
    MelConfig,
    comb_power,
    level_to_power,
    midi_to_hz,
)

SPLIT_WIDTH = 0.5
SPLIT_WIDTH_MELS = 1.5
LEAST_POWER = 1e-13
TINY = 1e-20  # power: keeps silence over silence finite
KNOWN_SHARE = 0.05  # of a band's power: below it, a part is not heard there and its detail comes from neighbours

AUTO_HNR_DB = 12.0  # the promise is 6 dB in 0.1-5 kHz; a tracker asks for more, and the attack keeps its noise
TONAL_LOW_HZ = 100.0
TONAL_HIGH_HZ = 5000.0
SPREAD = 0.12  # of its frequency, sigma of a line that becomes tone: a single harmonic would be heard as a note itself
SPREAD_HARMONICS = 0.5  # and of a harmonic spacing at least
RING_PERIODS = 16.0  # in which a tone may fall by 60 dB: of fewer periods the ear, or a tracker, makes no pitch


@dataclass(frozen=True)
class Detail:
    """What an input has beyond the first reconstruction, in level units.

    Attributes:
        harmonic: r_h, to be added to E_h, (n_mels, n_frames).
        noise_part: r_n, to be added to E_n, (n_mels, n_frames).
    """

    harmonic: Tensor
    noise_part: Tensor


@lru_cache(maxsize=1)
def _filters() -> Tensor:
    return mel_triangles(MelConfig())


@lru_cache(maxsize=1)
def _centres_hz() -> Tensor:
    return mel_points_hz(MelConfig())[1:-1].float()


@lru_cache(maxsize=1)
def _promised_bands() -> Tensor:
    """Bands in which a harmonic-to-noise ratio is promised, (n_mels,), bool."""
    return (_centres_hz() >= TONAL_LOW_HZ) & (_centres_hz() <= TONAL_HIGH_HZ)


@lru_cache(maxsize=1)
def _noise_template() -> Tensor:
    """Mel power whose logarithm is the mean logarithm of unit noise, (n_mels,); the same as G's own template."""
    return _filters().sum(0) * noise_log_bias(_filters())


def _comb_template(pitch: Tensor) -> Tensor:
    """Mel power of unit harmonics at MIDI pitches (B,): (B, n_mels)."""
    return torch.matmul(comb_power(midi_to_hz(pitch.float())), _filters().to(pitch.device))


def _weighted_blur(value: Tensor, weight: Tensor, blur: Tensor) -> Tensor:
    """Weighted mean of value (…, n_mels, n_frames) across mel bands."""
    return (blur @ (value * weight)) / (blur @ weight + 1e-6)


def _above_floor(level: Tensor) -> Tensor:
    """Power of levels with the floor taken off, so that digital silence has none."""
    return (level_to_power(level) - 10.0 ** (FLOOR_DB / 10.0)).clamp(min=0.0)


def _level(power: Tensor) -> Tensor:
    """Level of power without a floor added: envelopes may lie below the floor of a log-mel, which bands sum up to."""
    return torch.log10(power.clamp(min=LEAST_POWER)) * (10.0 / DB_PER_UNIT) + 1.0


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
    noise = _noise_template().to(x.device)[:, None]
    tonal = torch.nn.functional.interpolate(
        periodicity[:, None].float(), size=tuple(x.shape[1:]), mode="bilinear", align_corners=False
    )[:, 0].clamp(1e-3, 1.0 - 1e-3)
    comb = _comb_template(p)[..., None].clamp(min=1e-9)
    blur = mel_blur(midi_to_hz(p.float()), SPLIT_WIDTH, SPLIT_WIDTH_MELS)
    smooth_h = (blur @ (tonal * power)) / (blur @ comb)
    smooth_n = (blur @ ((1.0 - tonal) * power)) / (blur @ noise)
    model_h, model_n = smooth_h * comb, smooth_n * noise
    gain = power / (model_h + model_n + TINY)
    return _level(smooth_h * gain), _level(smooth_n * gain), model_h / (model_h + model_n + TINY)


def _heard(residual: Tensor, share: Tensor, ceiling: Tensor, blur: Tensor) -> Tensor:
    """Residual where its part is heard, the neighbours' where it is not, never above what the band as a whole shows."""
    known = share * (1.0 + KNOWN_SHARE) / (share + KNOWN_SHARE)
    filled = known * residual + (1.0 - known) * _weighted_blur(residual, known, blur)
    return torch.minimum(filled, ceiling)


def residuals(x: Tensor, periodicity: Tensor, p: Tensor, first: Envelopes) -> tuple[Tensor, Tensor]:
    """r_h and r_n of pitched sounds: what their first reconstructions at p lack, each (B, n_mels, n_frames).

    Args:
        x: Log-mels, (B, n_mels, n_frames).
        periodicity: Share of each band that is tone, (B, N_BANDS, N_STEPS).
        p: Pitches, (B,).
        first: The network's envelopes at p, batch B.
    """
    e_h, e_n, share = split(x, periodicity, p)
    power = _above_floor(x)
    comb = _comb_template(p)[..., None].clamp(min=1e-9)
    noise = _noise_template().to(x.device)[:, None]
    blur = mel_blur(midi_to_hz(p.float()), SPLIT_WIDTH, SPLIT_WIDTH_MELS)
    r_h = _heard(e_h - first.harmonic, share, _level(power / comb) - first.harmonic, blur)
    r_n = _heard(e_n - first.noise_part, 1.0 - share, _level(power / noise) - first.noise_part, blur)
    return r_h, r_n


def measure_detail(x: Tensor, periodicity: Tensor, p: float | None, first: Envelopes) -> Detail:
    """Measure what the first reconstruction lacks of an input: residuals that restore x at p.

    Args:
        x: Log-mel of the input, (n_mels, n_frames).
        periodicity: Share of each band that is tone, (N_BANDS, N_STEPS).
        p: Pitch of the input; None when it has none, and all of it is noise.
        first: The network's envelopes at p (at 60 without a pitch), of one note.
    """
    first_h, first_n = (part.float().reshape(x.shape) for part in (first.harmonic, first.noise_part))
    if p is None:
        power = _above_floor(x)
        return Detail(_level(torch.zeros_like(x)) - first_h, _level(power / _noise_template()[:, None]) - first_n)
    known = Envelopes(first_h[None], first_n[None])
    (r_h,), (r_n,) = residuals(x[None], periodicity[None], torch.tensor([p]), known)
    return Detail(r_h, r_n)


def noise_envelope(x: Tensor) -> Envelopes:
    """Envelopes of log-mels (B, n_mels, n_frames) of which all is noise."""
    template = _noise_template()[:, None].to(x.device)
    return Envelopes(_level(torch.zeros_like(x)), _level(_above_floor(x) / template))


def transfer_detail(
    transfer: DetailTransfer,
    detail: Detail,
    known: Envelopes,
    first: Envelopes,
    source: float | None,
    pitch: Tensor,
    amount: float = 1.0,
    unrefined: Envelopes | None = None,
    refined: Tensor | None = None,
) -> Envelopes:
    """Add an input's detail to the network's envelopes at other pitches.

    Args:
        transfer: Weighs what holds at another pitch.
        detail: Residuals measured at the source pitch.
        known: The network's envelopes that they were measured against, each (n_mels, n_frames).
        first: The network's envelopes at `pitch`, batch B.
        source: Pitch of the input; None when it has none, and all of its detail stays in place.
        pitch: Wanted pitches, (B,).
        amount: 0 nothing … 1 all; at the source pitch all of it restores the input.
        unrefined: As `known`, without the offsets of H.
        refined: How much of the offsets is in `first`, (B,): what H says no longer is detail again. All when None.
    """
    if amount == 0.0:
        return first
    device = first.harmonic.device
    r_h, r_n = detail.harmonic.float().to(device)[None], detail.noise_part.float().to(device)[None]
    if source is not None:
        at_source = Envelopes(*(part.float().to(device).reshape(r_h.shape) for part in vars(known).values()))
        taken_back = None
        if unrefined is not None and refined is not None and bool((refined < 1.0).any()):
            by_h = [
                with_h - without_h.float().to(device).reshape(r_h.shape)
                for with_h, without_h in zip(vars(at_source).values(), vars(unrefined).values(), strict=True)
            ]
            taken_back = TakenBack(by_h[0][0], by_h[1][0], 1.0 - refined)
        r_h, r_n = transfer(r_h, r_n, at_source, first, pitch.new_tensor([source]), pitch, taken_back)
    return Envelopes(first.harmonic + amount * r_h, first.noise_part + amount * r_n)


def _part_powers(envelopes: Envelopes) -> tuple[Tensor, Tensor]:
    return level_to_power(envelopes.harmonic.float().cpu()), level_to_power(envelopes.noise_part.float().cpu())


def _band_energies(harmonic: Tensor, noise: Tensor, pitch: Tensor) -> tuple[Tensor, Tensor]:
    """Energies of both parts between 0.1 and 5 kHz, of notes at pitches (B,): (B,) each."""
    inside = _promised_bands()
    comb = (_comb_template(pitch.cpu()) * inside)[..., None]
    return (harmonic * comb).sum((1, 2)), (noise * (_filters().sum(0) * inside)[:, None]).sum((1, 2))


def apply_tonal(envelopes: Envelopes, pitch: Tensor, tonal: float | None = None) -> Envelopes:
    """Give an unpitched sound a pitch: move energy from its noise to the harmonics of the wanted note.

    Colour and envelope stay, as the power in every band does, with three exceptions without which no note is heard:
    what lies below the fundamental moves to it; a line of the spectrum, which as a single harmonic would be a note of
    its own, is spread over its neighbours; and a tone rings for at least RING_PERIODS of its periods.

    Args:
        envelopes: Of the notes, batch B.
        pitch: Wanted pitches, (B,).
        tonal: Share of the noise that becomes tone, 0 … 1. None: so much that the harmonic-to-noise ratio between
            0.1 and 5 kHz reaches AUTO_HNR_DB; a note that has it already stays as it is.
    """
    if tonal == 0.0:
        return envelopes
    device = envelopes.harmonic.device
    f0_hz = midi_to_hz(pitch.float().cpu())
    points = _centres_hz()
    noise_template = _filters().sum(0)
    # Unit harmonics f0 apart have this much power in an average bin: a Hann lobe sums to 1.5 bins.
    density = (1.5 * (SAMPLE_RATE / N_FFT) / f0_hz)[:, None, None]
    harmonic, noise = _part_powers(envelopes)

    if tonal is None:
        h_energy, n_energy = _band_energies(harmonic, noise, pitch)
        wanted = 1.0 / (1.0 + 10.0 ** (-AUTO_HNR_DB / 10.0))
        share = ((wanted * (h_energy + n_energy) - h_energy) / (n_energy + 1e-20)).clamp(0.0, 1.0)
    else:
        share = torch.full_like(f0_hz, tonal)
    share = share[:, None, None]
    # No harmonic stands below the fundamental: that energy joins the first one, so that a kick sounds at the note.
    below = torch.sigmoid((0.75 * f0_hz[:, None] - points[None]) / (0.1 * f0_hz[:, None]))[..., None]
    # What is left there falls faster than elsewhere: a thump would be heard as another note.
    moved = noise * (1.0 - (1.0 - share) ** (1.0 + below))
    lost = (moved * below * noise_template[None, :, None]).sum(1, keepdim=True)
    around = torch.exp(-0.5 * ((points[None] - f0_hz[:, None]) / (0.25 * f0_hz[:, None] + 30.0)) ** 2)[..., None]
    # A unit harmonic has 1.5 bins of power, whichever its band.
    added = _ringing(_spread(moved * (1.0 - below), f0_hz) / density + lost * around / 1.5, f0_hz)
    tone = Envelopes(_level(harmonic + added).to(device), _level(noise - moved).to(device))
    changed = (share > 0.0).to(device)
    return Envelopes(
        torch.where(changed, tone.harmonic, envelopes.harmonic),
        torch.where(changed, tone.noise_part, envelopes.noise_part),
    )


def _spread(power: Tensor, f0_hz: Tensor) -> Tensor:
    """Power per bin (B, n_mels, n_frames) with every line as wide as SPREAD of its frequency; none of it is lost."""
    points, width = _centres_hz(), _filters().sum(0)
    sigma_hz = torch.maximum(SPREAD * points[None], SPREAD_HARMONICS * f0_hz[:, None])  # (B, n_mels), of the origin
    to = torch.exp(-0.5 * ((points[None, :, None] - points[None, None]) / sigma_hz[:, None]) ** 2)
    to = to / (width[:, None] * to).sum(1, keepdim=True)  # (B, n_mels to, n_mels from)
    return torch.matmul(to * width, power)


def _ringing(power: Tensor, f0_hz: Tensor) -> Tensor:
    """Power (B, n_mels, n_frames) that nowhere falls faster than by 60 dB in RING_PERIODS periods of f0 (B,)."""
    frame_db = 60.0 * HOP_LENGTH / SAMPLE_RATE * f0_hz / RING_PERIODS
    fall_db = frame_db[:, None, None] * torch.arange(power.shape[-1])
    # The loudest moment before, less what it has fallen by since: a running maximum of what is tilted upwards.
    tilted = 10.0 * torch.log10(power + TINY) + fall_db
    return torch.pow(10.0, (tilted.cummax(-1).values - fall_db) / 10.0)
