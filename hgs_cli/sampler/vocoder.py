"""The vocoder: two envelopes and a pitch contour → waveform, the pitch exact by construction."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hgs_cli.pitch import midi_to_hz
from hgs_cli.side_by_side import side_by_side
from hgs_cli.spectrum import (
    AMPLITUDE_OCTAVES,
    DB_PER_UNIT,
    FLOOR_DB,
    HOP_LENGTH,
    MODEL_SAMPLES,
    N_FFT,
    N_FRAMES,
    SAMPLE_RATE,
    BandBlock,
    MelConfig,
    band_blocks,
    bands_to_bins,
    bins_to_bands,
    lines_between_bands,
    mel_points_hz,
    noise_template,
    power_of,
)


@dataclass(frozen=True)
class VocoderRules:
    """How tone and noise are drawn."""

    table_samples: int = 65_536  # one period at most; 30 points on a note's highest harmonic keep images below -60 dB
    harmonic_samples: int = 64  # points of a shorter table on the highest harmonic at least
    min_table: int = 4096  # the shortest table
    top_hz: float = 20_000.0  # above it there are no harmonics
    top_level: float = 1.2  # 10 dB above full scale: a network's slip is not to lower a whole instrument
    max_texture_level: float = 0.3  # 15 dB: the rare deep hole in noise is not filled up
    floor_margin: float = 1e-4  # for rounding: what is at the floor is silent


VOCODER = VocoderRules()


FLOOR_POWER = 10.0 ** (FLOOR_DB / 10.0)
# Of samples of unit noise, so that a bin of its spectrum, as a full-scale sinusoid is 1, has unit expected power.
NOISE_SCALE = float(torch.hann_window(N_FFT).square().sum()) ** -0.5 * float(torch.hann_window(N_FFT).sum()) / 2


class Vocoder:
    """Shapes a flat periodic source by E_h and Gaussian noise by E_n, with one inverse STFT.

    The source is a wave table of unit harmonics, read with the integral of the pitch contour: every harmonic stands
    exactly at its frequency and bends with the contour inside a frame too. The phases of the harmonics are random and
    fixed, since aligned ones buzz.

    Args:
        filters: Mel filters of the front end, (n_freqs, n_mels). Neighbouring triangles sum to 1: as weights they draw
            straight lines between mel centres.
        device: Where notes are made.
    """

    def __init__(self, filters: Tensor, device: torch.device | str = "cpu") -> None:
        filters = filters.detach().clone().float()
        self.filters = filters.to(device)
        self.template = noise_template(filters).to(device)
        self.interpolation = lines_between_bands(filters).to(device)
        self.edges_hz = mel_points_hz(MelConfig())
        self._texture_blocks = band_blocks(filters)
        self._noise_blocks = band_blocks(self.interpolation.T)
        self._bins = self.interpolation.T.contiguous()
        heard = (lines_between_bands(filters) > 0.0).int()
        self._first_band: list[int] = heard.argmax(0).tolist()
        self._past_band: list[int] = (heard.shape[0] - heard.flip(0).argmax(0)).tolist()
        window = torch.hann_window(N_FFT)
        self.window = window.to(device)
        power = torch.zeros(MODEL_SAMPLES + N_FFT)
        for frame in range(N_FRAMES):
            power[frame * HOP_LENGTH :][:N_FFT] += window.square()
        self.window_power = power.to(device)

    def __call__(
        self,
        e_h: Tensor,
        e_n: Tensor,
        pitch: Tensor,
        *,
        seed: int = 0,
        length_samples: int = MODEL_SAMPLES,
    ) -> Tensor:
        """Make notes audible.

        Args:
            e_h: Level of a harmonic's power as an envelope, (B, n_mels, n_frames): all frames that notes reach into.
            e_n: Level of the expected noise power per DFT bin, (B, n_mels, n_frames).
            pitch: MIDI note number over time, (B, N_FRAMES).
            seed: Chooses phases and noise; together with a note's own pitch it decides all randomness, so that a note
                sounds the same whoever else is in the batch.
            length_samples: How much of the notes is drawn; what is drawn does not depend on it.

        Returns:
            Audio on the scale of the input of the front end, (B, length_samples).
        """
        assert e_h.shape == e_n.shape
        assert pitch.shape == (e_h.shape[0], N_FRAMES)
        assert 0 < length_samples <= MODEL_SAMPLES
        notes = side_by_side(
            lambda note: self._note(e_h[note], e_n[note], pitch[note], seed, length_samples), range(len(pitch))
        )
        return torch.stack(notes)

    def _note(self, e_h: Tensor, e_n: Tensor, pitch: Tensor, seed: int, length_samples: int) -> Tensor:
        """One note: envelopes (n_mels, n_frames) and contour (n_frames,) to audio (length_samples,)."""
        n_frames = min(N_FRAMES, (length_samples - 1 + N_FFT // 2) // HOP_LENGTH + 1)  # those that reach into it
        midi = float(pitch.median())
        e_h, e_n = e_h[:, :n_frames], e_n[:, :n_frames]

        def tone() -> Tensor:  # (n_frames, n_freqs): unit power at the peak of a harmonic, before it is shaped
            spectrum = self._spectra(periodic_source(midi_to_hz(pitch.double()), seed, n_frames).to(e_h.device))
            return spectrum.mul_(amplitudes(e_h, *self._between_harmonics(float(midi_to_hz(pitch.median())))))

        def noise() -> Tensor:  # (n_frames, n_freqs): unit expected power in a bin
            drawn = self._noise((seed * 1_000_003 + round(100.0 * midi)) % 2**63, n_frames)
            spectrum = self._spectra(drawn.to(e_h.device))
            even = torch.where(e_n > -1.0, e_n - self._texture(spectrum), e_n)  # the floor stays silence
            return spectrum.mul_(amplitudes(even, self.interpolation, self._noise_blocks))

        voices = side_by_side(lambda voice: voice(), (tone, noise))
        return self._overlap_add(voices[0].add_(voices[1]), length_samples)

    def _noise(self, seed: int, n_frames: int) -> Tensor:
        """White noise whose spectra have unit expected power, as long as so many frames, on the CPU."""
        n_samples = (n_frames - 1) * HOP_LENGTH + N_FFT  # a multiple of 16: a shorter draw begins as a longer one
        noise = torch.randn(n_samples, generator=torch.Generator().manual_seed(seed))
        return noise.mul_(NOISE_SCALE)

    def _overlap_add(self, spectrum: Tensor, length_samples: int) -> Tensor:
        """Inverse STFT of centred frames (n_frames, n_freqs), by least squares: (length_samples,).

        Source: Griffin & Lim, Signal estimation from modified short-time Fourier transform (1984).
        """
        frames = torch.fft.irfft(spectrum, N_FFT)
        n_frames, n_hops = frames.shape[0], N_FFT // HOP_LENGTH
        hops = frames.new_zeros(n_frames + n_hops - 1, HOP_LENGTH)
        pieces = frames.reshape(n_frames, n_hops, HOP_LENGTH)
        for hop in range(n_hops):
            hops[hop : hop + n_frames].addcmul_(pieces[:, hop], self.window[hop * HOP_LENGTH :][:HOP_LENGTH])
        begin = N_FFT // 2
        audio = hops.flatten()[begin : begin + length_samples]
        return audio / self.window_power[begin : begin + length_samples]

    def _spectra(self, audio: Tensor) -> Tensor:
        """Spectra of the frames of audio (T,), the first beginning with it: (n_frames, n_freqs)."""
        return torch.fft.rfft(audio.unfold(0, N_FFT, HOP_LENGTH) * self.window)

    def _texture(self, spectrum: Tensor) -> Tensor:
        """By how much spectra of unit noise (n_frames, n_freqs) are above their level, (n_mels, n_frames).

        E_n that was measured has the texture of the recording in it, and a network's is a mean of logarithms: either
        would flutter once more with that of our own noise.
        """
        scale = (self.window.sum() / 2) ** 2
        heard = bins_to_bands(power_of(spectrum), self.filters, self._texture_blocks)
        level = torch.log10(heard / (scale * self.template[:, None]) + 1e-12).mul_(10.0 / DB_PER_UNIT)
        return level.clamp_(-VOCODER.max_texture_level, VOCODER.max_texture_level)

    def _between_harmonics(self, f0_hz: float) -> tuple[Tensor, tuple[BandBlock, ...]]:
        """Weights that read mel bands at the harmonics of f0 and draw straight lines between, (n_mels, n_freqs).

        And where they are not zero. Bands between the harmonics of a high note, and those below its fundamental, say
        nothing that was ever heard; read directly, they would sound through the side lobes of the window.
        """
        spacing = f0_hz * N_FFT / SAMPLE_RATE  # in bins
        n_freqs, device = len(self._bins), self._bins.device
        last = max(1, int(VOCODER.top_hz / f0_hz))
        position = (torch.arange(1.0, last + 1.0, device=device) * spacing).clamp(max=n_freqs - 1)
        below = position.long().clamp(max=n_freqs - 2)
        bins, above = (self._bins.index_select(0, index) for index in (below, below + 1))
        read = torch.lerp(bins, above, (position - below)[:, None])

        place = torch.arange(n_freqs, device=device) / spacing  # in harmonics
        low = torch.floor(place).clamp(1, max(1, last - 1))
        index = low.long()
        lower, upper = (read.index_select(0, each) for each in (index - 1, index.clamp(max=last - 1)))
        lines = torch.lerp(lower, upper, (place - low).clamp(0.0, 1.0)[:, None])

        def mels(bins: slice) -> slice:
            """The bands between the harmonics around some bins."""
            first, past = (max(1, min(int(each / spacing), last - 1)) for each in (bins.start, bins.stop - 1))
            begin, end = (min(int(each * spacing), n_freqs - 2) for each in (first, past + 1))
            return slice(self._first_band[begin], self._past_band[end + 1])

        return lines.T, tuple(BandBlock(block.bins, mels(block.bins)) for block in self._noise_blocks)


def amplitudes(level: Tensor, lines: Tensor, blocks: tuple[BandBlock, ...]) -> Tensor:
    """Amplitude factors of levels of power in bands (n_mels, n_frames) at every bin, (n_frames, n_freqs).

    Lines (n_mels, n_freqs) whose weights sum to 1 lead from bands to bins. The floor is silence.
    """
    octaves = level.clamp(max=VOCODER.top_level).sub_(1.0).mul_(AMPLITUDE_OCTAVES)
    gain = bands_to_bins(octaves.T, lines, blocks).exp2_()
    # Not √(power - floor), which takes three times as long: 20 dB above the floor they differ by 0.04 dB.
    return gain.sub_(gain.reciprocal(), alpha=FLOOR_POWER * (1.0 + VOCODER.floor_margin)).clamp_(min=0.0)


def periodic_source(f0_hz: Tensor, seed: int, n_frames: int | None = None) -> Tensor:
    """Unit-amplitude harmonics of a moving fundamental, phases fixed.

    Args:
        f0_hz: Fundamental at every frame, float64, (n_frames,).
        seed: Chooses the phases; the same for every note, so that neighbouring keys have one character.
        n_frames: How many frames are drawn; all if not given.

    Returns:
        Audio from half a window before the first frame to half a window after the last, ((n - 1) · hop + n_fft,).
    """
    f0_hz = f0_hz.cpu()
    n_harmonics = min(VOCODER.table_samples // 2 - 1, int(VOCODER.top_hz / float(f0_hz.max())))
    # As short as it may be: what lies in a core's own cache is read several times faster.
    n_table = min(
        VOCODER.table_samples,
        max(VOCODER.min_table, 2 ** math.ceil(math.log2(VOCODER.harmonic_samples * max(1, n_harmonics)))),
    )
    angles = (
        math.tau * torch.rand(VOCODER.table_samples // 16, generator=torch.Generator().manual_seed(seed))[:n_harmonics]
    )
    spectrum = torch.zeros(n_table // 2 + 1, dtype=torch.complex64)
    spectrum[1 : n_harmonics + 1] = torch.polar(torch.full_like(angles, n_table / 2.0), angles)
    table = torch.fft.irfft(spectrum, n_table)
    steps = torch.complex(table, table.roll(-1) - table)  # a point, and how far it is to the next: read at once

    # Held for half a window at either end: (n_frames + n_fft / hop,) knots, straight lines between them.
    ends = N_FFT // 2 // HOP_LENGTH
    knots = torch.cat([f0_hz[:1].expand(ends), f0_hz, f0_hz[-1:].expand(ends)]) / SAMPLE_RATE
    knots = knots[: (n_frames or len(f0_hz)) + 2 * ends]
    cycles = torch.cumsum(0.5 * HOP_LENGTH * (knots[1:] + knots[:-1]), 0)
    start = torch.cat([cycles.new_zeros(1), cycles[:-1]])
    step = torch.arange(HOP_LENGTH, dtype=torch.float32)
    slope = ((knots[1:] - knots[:-1]) / (2.0 * HOP_LENGTH)).float()
    # Whole cycles are dropped at every knot in double precision: what is left of a hop is exact enough in single.
    first = (start - torch.floor(start)).float()[:, None]
    phase = (slope[:, None] * step).add_(knots[:-1].float()[:, None]).mul_(step).add_(first)
    position = phase.frac_().mul_(n_table).flatten()
    whole = torch.floor(position)
    read = steps.index_select(0, whole.int())
    return torch.addcmul(read.real, read.imag, position.sub_(whole))
