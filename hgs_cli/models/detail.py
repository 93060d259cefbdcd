"""Detail transfer: what the networks could not say of a recording, and how it travels to another pitch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from hgs_cli.models.detail_transfer import DetailTransfer, TakenBack, mel_blur, wholeness
from hgs_cli.models.generator import Envelopes, noise_log_bias
from hgs_cli.models.stretch import Stretch, measure_stretch
from hgs_cli.models.vocoder import GAIN_STEP_SAMPLES, mel_points_hz, mel_triangles
from hgs_cli.spectrum import (
    DB_PER_UNIT,
    FLOOR_DB,
    HOP_LENGTH,
    MODEL_SAMPLES,
    N_FFT,
    SAMPLE_RATE,
    MelConfig,
    comb_power,
    level_to_power,
    midi_to_hz,
    partial_ratio,
)

SPLIT_WIDTH = 0.5
SPLIT_WIDTH_MELS = 1.5
LEAST_POWER = 1e-13
TINY = 1e-20  # power: keeps silence over silence finite
KNOWN_SHARE = 0.05  # of a band's power: below it, a part is not heard there and its detail comes from neighbours

AUTO_HNR_DB = 12.0  # the promise is 6 dB in 0.1-5 kHz; a tracker that weighs the whole spectrum asks for more
TONAL_LOW_HZ = 100.0
TONAL_HIGH_HZ = 5000.0
SPREAD = 0.12  # of its frequency, sigma of a line that becomes tone: a single harmonic would be heard as a note itself
SPREAD_HARMONICS = 0.5  # and of a harmonic spacing at least
RING_PERIODS = 16.0  # in which a tone may fall by 60 dB: of fewer periods the ear, or a tracker, makes no pitch

N_PHASES = 128
PHASE_PERIODS = 6.0  # enough to tell harmonics apart, short enough that vibrato and stretched partials stay in step
PHASE_FEW = 12  # harmonics by which the frequency at that moment is found

ATTACK_RISE_DB = 10.0  # within 12 ms; slower onsets are not smeared by the window
ATTACK_MAX_GAIN = 2.5
ATTACK_TAIL_S = 0.045


@dataclass(frozen=True)
class Detail:
    """What an input has beyond the first reconstruction, in level units.

    Attributes:
        harmonic: r_h, to be added to E_h, (n_mels, n_frames).
        noise_part: r_n, to be added to E_n, (n_mels, n_frames).
        attack: Gain on the waveform that restores an onset sharper than the analysis window, every
            GAIN_STEP_SAMPLES samples, (n_gains,); None when the onset is slow.
        phases: Phases of the harmonics at the loudest moment, in radians, (N_PHASES,): whether a note is a train of
            pulses or a smooth wave. None without a pitch.
        stretch: B and cents of its `Stretch`, (2,), None where partials are not evidently stretched.
        remainder: What the vocoder loses at the source pitch, to be added to both envelopes there, (n_mels, n_frames).
    """

    harmonic: Tensor
    noise_part: Tensor
    attack: Tensor | None
    phases: Tensor | None = None
    stretch: Tensor | None = None
    remainder: Tensor | None = None

    def stretch_at(self, source: float, pitch: float) -> Stretch | None:
        """How partials stand in a note of this sound, if they are stretched."""
        if self.stretch is None:
            return None
        coefficient, cents = self.stretch.tolist()
        return Stretch(max(coefficient, 0.0), min(max(cents, -100.0), 0.0)).at(source, pitch)


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


def _comb_template(pitch: Tensor, stretch: Stretch | None = None) -> Tensor:
    """Mel power of unit harmonics, or stretched partials, at MIDI pitches (B,): (B, n_mels)."""
    filters = _filters().to(pitch.device)
    if stretch is not None:
        fundamental_hz = midi_to_hz(pitch.float() + stretch.cents / 100.0)
        return torch.matmul(comb_power(fundamental_hz, stretch=stretch.coefficient), filters)
    return torch.matmul(comb_power(midi_to_hz(pitch.float())), filters)


def _weighted_blur(value: Tensor, weight: Tensor, blur: Tensor) -> Tensor:
    """Weighted mean of value (…, n_mels, n_frames) across mel bands."""
    return (blur @ (value * weight)) / (blur @ weight + 1e-6)


def _above_floor(level: Tensor) -> Tensor:
    """Power of levels with the floor taken off, so that digital silence has none."""
    return (level_to_power(level) - 10.0 ** (FLOOR_DB / 10.0)).clamp(min=0.0)


def _level(power: Tensor) -> Tensor:
    """Level of power without a floor added: envelopes may lie below the floor of a log-mel, which bands sum up to."""
    return torch.log10(power.clamp(min=LEAST_POWER)) * (10.0 / DB_PER_UNIT) + 1.0


def split(x: Tensor, periodicity: Tensor, p: Tensor, stretch: Stretch | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Split log-mels into the levels of their harmonic and their noise part.

    Args:
        x: Log-mels, (B, n_mels, n_frames).
        periodicity: Share of each band that is tone, (B, N_BANDS, N_STEPS).
        p: Pitches, (B,).
        stretch: Of their partials.

    Returns:
        E_h and E_n, which give x again on their templates exactly, and the harmonic share of every band's power, each
        (B, n_mels, n_frames). Where a part has no share its level means nothing.
    """
    power = _above_floor(x)
    noise = _noise_template().to(x.device)[:, None]
    tonal = torch.nn.functional.interpolate(
        periodicity[:, None].float(), size=tuple(x.shape[1:]), mode="bilinear", align_corners=False
    )[:, 0].clamp(1e-3, 1.0 - 1e-3)
    comb = _comb_template(p, stretch)[..., None].clamp(min=1e-9)
    blur = mel_blur(midi_to_hz(p.float()), SPLIT_WIDTH, SPLIT_WIDTH_MELS)
    smooth_h = (blur @ (tonal * power)) / (blur @ comb)
    smooth_n = (blur @ ((1.0 - tonal) * power)) / (blur @ noise)
    model_h, model_n = smooth_h * comb, smooth_n * noise
    gain = power / (model_h + model_n + TINY)
    return _level(smooth_h * gain), _level(smooth_n * gain), model_h / (model_h + model_n + TINY)


def own_hnr_db(x: Tensor, periodicity: Tensor, p: float) -> float:
    """Power of a sound's harmonics over that of its noise between 0.1 and 5 kHz, in dB.

    Args:
        x: Its log-mel, (n_mels, n_frames).
        periodicity: Share of each band that is tone, (N_BANDS, N_STEPS).
        p: Its pitch.
    """
    power, share = _above_floor(x), split(x[None], periodicity[None], torch.tensor([p]))[2][0]
    tone, noise = (float((power * part)[_promised_bands()].sum()) for part in (share, 1.0 - share))
    return 10.0 * math.log10((tone + TINY) / (noise + TINY))


def _heard(residual: Tensor, share: Tensor, ceiling: Tensor, blur: Tensor) -> Tensor:
    """Residual where its part is heard, the neighbours' where it is not, never above what the band as a whole shows."""
    known = share * (1.0 + KNOWN_SHARE) / (share + KNOWN_SHARE)
    filled = known * residual + (1.0 - known) * _weighted_blur(residual, known, blur)
    return torch.minimum(filled, ceiling)


def residuals(
    x: Tensor, periodicity: Tensor, p: Tensor, first: Envelopes, stretch: Stretch | None = None
) -> tuple[Tensor, Tensor]:
    """r_h and r_n of pitched sounds: what their first reconstructions at p lack, each (B, n_mels, n_frames).

    Args:
        x: Log-mels, (B, n_mels, n_frames).
        periodicity: Share of each band that is tone, (B, N_BANDS, N_STEPS).
        p: Pitches, (B,).
        first: The network's envelopes at p, batch B.
        stretch: Of their partials.
    """
    e_h, e_n, share = split(x, periodicity, p, stretch)
    power = _above_floor(x)
    comb = _comb_template(p, stretch)[..., None].clamp(min=1e-9)
    noise = _noise_template().to(x.device)[:, None]
    blur = mel_blur(midi_to_hz(p.float()), SPLIT_WIDTH, SPLIT_WIDTH_MELS)
    r_h = _heard(e_h - first.harmonic, share, _level(power / comb) - first.harmonic, blur)
    r_n = _heard(e_n - first.noise_part, 1.0 - share, _level(power / noise) - first.noise_part, blur)
    return r_h, r_n


def measure_detail(x: Tensor, audio: Tensor, periodicity: Tensor, p: float | None, first: Envelopes) -> Detail:
    """Measure what the first reconstruction lacks of an input.

    Args:
        x: Log-mel of the input, (n_mels, n_frames).
        audio: The input itself on the same scale, (T,); only its attack is read.
        periodicity: Share of each band that is tone, (N_BANDS, N_STEPS).
        p: Pitch of the input; None when it has none.
        first: The network's envelopes at p (at 60 without a pitch), of one note.

    Returns:
        Residuals that restore x at p, and the attack.
    """
    first_h, first_n = (part.float().reshape(x.shape) for part in (first.harmonic, first.noise_part))
    phases = None
    stretch = None
    if p is None:  # all is noise
        power = _above_floor(x)
        r_h, r_n = _level(torch.zeros_like(x)) - first_h, _level(power / _noise_template()[:, None]) - first_n
    else:
        stretch = measure_stretch(audio, p)
        known = Envelopes(first_h[None], first_n[None])
        (r_h,), (r_n,) = residuals(x[None], periodicity[None], torch.tensor([p]), known, stretch)
        phases = harmonic_phases(audio, p, stretch)
    kept = None if stretch is None else torch.tensor([stretch.coefficient, stretch.cents])
    return Detail(r_h, r_n, attack_gain(audio, p), phases, kept)


def harmonic_phases(audio: Tensor, p: float, stretch: Stretch | None = None) -> Tensor:
    """Phases of the harmonics of a note at its loudest moment, in radians.

    Pulses of a reed or a bass string are harmonics in step; taken at one instant, the phases keep the shape of the wave
    at every pitch. Seen through a window that is symmetric about that instant they do not depend on its length.

    Args:
        audio: The note, (T,).
        p: Its pitch; the frequency at that moment is looked for within a semitone of it.
        stretch: Of its partials.

    Returns:
        (N_PHASES,); 0 above half the sample rate.
    """
    f0_hz = float(midi_to_hz(torch.tensor(p)))
    half = max(512, min(N_FFT * 2, math.ceil(0.5 * PHASE_PERIODS * SAMPLE_RATE / f0_hz)))
    audio = torch.nn.functional.pad(audio.float(), (half, max(0, 4 * half - audio.shape[-1])))
    energy = torch.nn.functional.avg_pool1d(audio.square()[None, None], 2 * half, half)[0, 0]
    part = audio[int(energy.argmax()) * half :][: 2 * half] * torch.hann_window(2 * half)
    time_s = (torch.arange(2 * half) - half) / SAMPLE_RATE

    def harmonics(f0: Tensor, n_harmonics: int) -> Tensor:
        """Complex amplitudes of the first harmonics of f0 (n,): (n, n_harmonics)."""
        ratio = partial_ratio(torch.arange(1.0, n_harmonics + 1.0), 0.0 if stretch is None else stretch.coefficient)
        angle = math.tau * f0[:, None, None] * ratio[:, None] * time_s
        return torch.complex(torch.cos(angle) @ part, -torch.sin(angle) @ part)

    candidates = f0_hz * torch.pow(2.0, torch.linspace(-1.0, 1.0, 41) / 12.0)
    n_few = max(1, min(PHASE_FEW, int(0.4 * SAMPLE_RATE / f0_hz)))
    best = candidates[harmonics(candidates, n_few).abs().square().sum(1).argmax()]
    n_harmonics = max(1, min(N_PHASES, int(0.5 * SAMPLE_RATE / f0_hz)))
    phases = harmonics(best[None], n_harmonics)[0].angle()
    return torch.nn.functional.pad(phases, (0, N_PHASES - n_harmonics))


def attack_gain(audio: Tensor, p: float | None) -> Tensor | None:
    """Gain in time that makes a vocoded onset as sharp as the input's.

    An envelope sampled through the analysis window and drawn again through the synthesis window is smeared over both.
    That smeared envelope is computed from the input in closed form; the gain is the ratio of the true one to it, near
    the strongest rise only, since elsewhere the frames follow by themselves.

    Args:
        audio: The input, (T,).
        p: Its pitch; the envelope does not follow single periods.

    Returns:
        Gain every GAIN_STEP_SAMPLES samples, (MODEL_SAMPLES // GAIN_STEP_SAMPLES + 1,), or None for a slow onset.
    """
    audio = torch.nn.functional.pad(audio[:MODEL_SAMPLES].float(), (0, max(0, MODEL_SAMPLES - audio.shape[-1])))
    period = 256 if p is None else SAMPLE_RATE / float(midi_to_hz(torch.tensor(p)))
    width = GAIN_STEP_SAMPLES * max(2, min(16, math.ceil(period / GAIN_STEP_SAMPLES)))
    energy = audio.square()[None, None]
    box = torch.nn.functional.avg_pool1d(energy, GAIN_STEP_SAMPLES, GAIN_STEP_SAMPLES)
    steps = width // GAIN_STEP_SAMPLES
    window = torch.hann_window(steps + 2)[1:-1]
    padded = torch.nn.functional.pad(box, (steps // 2, steps - 1 - steps // 2))
    fine = torch.nn.functional.conv1d(padded, (window / window.sum())[None, None])[0, 0]  # (n_gains - 1,)
    n_gains = fine.shape[0]

    per_frame = HOP_LENGTH // GAIN_STEP_SAMPLES
    taper = torch.hann_window(N_FFT // GAIN_STEP_SAMPLES).square()[None, None]
    half = N_FFT // 2 // GAIN_STEP_SAMPLES
    seen = torch.nn.functional.conv1d(torch.nn.functional.pad(box, (half, half)), taper / taper.sum(), stride=per_frame)
    amplitude = seen.sqrt()
    drawn = torch.nn.functional.conv_transpose1d(amplitude, taper, stride=per_frame)
    norm = torch.nn.functional.conv_transpose1d(torch.ones_like(amplitude), taper, stride=per_frame)
    smeared = (drawn / norm)[0, 0, half : half + n_gains]

    tiny = 1e-6 * float(fine.max()) + 1e-12
    span = round(0.012 * SAMPLE_RATE / GAIN_STEP_SAMPLES)
    before = torch.nn.functional.pad(fine, (span, 0))[:n_gains]
    after = torch.nn.functional.pad(fine, (0, span))[span:]
    rise = 10.0 * torch.log10((after + tiny) / (before + tiny))
    strength = torch.where(after > 0.03 * fine.max(), rise, torch.zeros_like(rise))
    onset = int(strength.argmax())
    if float(strength[onset]) < ATTACK_RISE_DB:
        return None
    ratio = ((fine + tiny).sqrt() / (smeared + tiny**0.5)).clamp(0.0, ATTACK_MAX_GAIN)
    time_s = (torch.arange(n_gains) - onset) * (GAIN_STEP_SAMPLES / SAMPLE_RATE)
    tail = (0.5 + 0.5 * torch.cos(math.pi * time_s / ATTACK_TAIL_S)).where(time_s > 0, torch.ones(()))
    tail = tail.where((time_s < ATTACK_TAIL_S) & (time_s > -0.06), torch.zeros(()))
    gain = ratio**tail
    return torch.cat([gain, gain[-1:]])


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
        if detail.remainder is not None:
            remainder = wholeness(pitch - source)[:, None, None] * detail.remainder.float().to(device)
            r_h, r_n = r_h + remainder, r_n + remainder
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


def keep_ringing(attack: Tensor) -> Tensor:
    """The attack's gain (n_gains,) for tones that ring: as it is up to its peak, from there on nowhere below 1.

    Behind a click the gain falls to nothing at once, and with it would fall the tone.
    """
    behind = torch.arange(attack.shape[-1]) >= int(attack.argmax())
    return torch.where(behind.to(attack.device), attack.clamp(min=1.0), attack)
