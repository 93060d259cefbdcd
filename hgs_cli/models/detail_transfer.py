"""How an input's detail travels to another pitch: two ways to carry it, and a small network that weighs them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hgs_cli.models.generator import Envelopes
from hgs_cli.models.layers import activate
from hgs_cli.pitch import midi_to_hz
from hgs_cli.spectrum import N_FRAMES, N_MELS, mel_centres_hz


@dataclass(frozen=True)
class TransferRules:
    """What the network does not learn of the ways to carry detail.

    Attributes:
        source_reach: Semitones within which the whole residual fades to what the network grants.
        formant_width: Of a harmonic spacing: the Gaussian that turns harmonic detail into formants.
        formant_width_mels: At least: what is finer belongs to the one note that was recorded.
        slow_frames: 0.2 s: what lasts longer is colour, what is shorter is movement.
        pool: Mel bands and frames that share a weight.
        detail_gain: The fs and Gs that the network learned with knew half of the recorded instruments and were
            further from the truth than the released ones: what it grants is a little too much. Anything from a
            half to three quarters does as well.
        max_correction: Level units: 6 dB; with 20 dB it knew its training instruments better and others worse.
        largest: Level units: residuals of silence over silence are cut there before the network reads them.
        harmonic_share: What an untrained network grants of the harmonic-locked detail.
        formant_share: And of the formant-locked one.
    """

    source_reach: float = 0.5
    formant_width: float = 0.4
    formant_width_mels: float = 6.0
    slow_frames: int = 17
    pool: tuple[int, int] = (2, 4)
    detail_gain: float = 2.0 / 3.0
    max_correction: float = 0.12
    largest: float = 1.2
    harmonic_share: float = 0.3
    formant_share: float = 0.5


TRANSFER = TransferRules()


N_WEIGHTS = 10  # of both parts: two ways, slow and quick, and a correction


@dataclass(frozen=True)
class DetailTransferConfig:
    """Sizes of the network.

    Attributes:
        width: Channels at the fine grid, twice as many at the coarse one.
    """

    width: int = 24


def mel_blur(f0_hz: Tensor, width: float, least_mels: float) -> Tensor:
    """Weights of a Gaussian across mel bands, (B, n_mels, n_mels).

    Args:
        f0_hz: Spacing of the harmonics, (B,).
        width: Sigma, in spacings.
        least_mels: Sigma at least, in mel bands.
    """
    centres = mel_centres_hz().to(f0_hz.device)
    spacing_hz = torch.gradient(centres)[0]
    sigma = (width * f0_hz[:, None] / spacing_hz).clamp(least_mels, N_MELS / 4)
    band = torch.arange(N_MELS, dtype=torch.float32, device=f0_hz.device)
    return torch.exp(-0.5 * ((band[None] - band[:, None]) / sigma[:, :, None]) ** 2)


def mel_warp(interval: Tensor) -> Tensor:
    """Weights that move mel bands along frequency with their harmonics; beyond the mel range they fade to 0.

    Args:
        interval: Semitones upwards, (B,).

    Returns:
        (B, n_mels, n_mels): target bands by source bands.
    """
    points = mel_centres_hz().to(interval.device)
    origin_hz = points[None] * torch.pow(2.0, -interval[:, None] / 12.0)  # (B, n_mels)
    high = torch.searchsorted(points, origin_hz.contiguous()).clamp(1, N_MELS - 1)
    fraction = ((origin_hz - points[high - 1]) / (points[high] - points[high - 1])).clamp(0.0, 1.0)
    inside = (1.0 - (origin_hz - points[-1]).clamp(min=0.0) / (0.1 * points[-1])).clamp(0.0, 1.0)
    weights = torch.zeros(*origin_hz.shape, N_MELS, device=interval.device)
    weights.scatter_(2, (high - 1)[..., None], ((1.0 - fraction) * inside)[..., None])
    return weights.scatter_(2, high[..., None], (fraction * inside)[..., None])


def source_weight(interval: Tensor) -> Tensor:
    """How much of the plain residual is kept at intervals in semitones (B,), whatever the network grants: 1 at none."""
    return torch.exp(-interval.float().abs() / TRANSFER.source_reach)


@lru_cache(maxsize=4)
def _means(n: int, width: int, device: torch.device) -> Tensor:
    """Matrix of the means of so many neighbours, (n / width, n)."""
    with torch.inference_mode(False):  # kept, and perhaps trained with next time
        return torch.eye(n // width, device=device).repeat_interleave(width, 1) / width


def _slowly(residual: Tensor) -> Tensor:
    """Mean over TRANSFER.slow_frames of residuals (B, n_mels, n_frames)."""
    return F.avg_pool1d(residual, TRANSFER.slow_frames, 1, TRANSFER.slow_frames // 2, count_include_pad=False)


@dataclass(frozen=True)
class HyperResidual:
    """What G's envelopes at the source pitch owe to H, and how much of it is residual again in every note.

    Attributes:
        harmonic: With the offsets of H less without them, (n_mels, n_frames).
        noise_part: Likewise.
        share: 0 … 1, (B,).
    """

    harmonic: Tensor
    noise_part: Tensor
    share: Tensor


@dataclass(frozen=True)
class Detail:
    """What an input has beyond the first reconstruction, in level units.

    Attributes:
        harmonic: r_h, to be added to E_h, (n_mels, n_frames).
        noise_part: r_n, to be added to E_n, (n_mels, n_frames).
    """

    harmonic: Tensor
    noise_part: Tensor


class DetailTransfer(nn.Module):
    """What of an input's detail holds at another pitch, by band, time and part.

    A residual can move with its harmonics (harmonic-locked) or stay where it is, smoothed over a harmonic spacing
    (formant-locked). From both, from what G draws at the wanted pitch and from the interval a small convolutional
    network reads how much of each to grant, slow colour and quick movement apart, and what to correct. Trained on pairs
    of real notes whose timbre G does not know.

    Source: ours; see Detail in `hgs manual how-it-works`.

    Args:
        config: Sizes.
    """

    N_FEATURES = 18

    def __init__(self, config: DetailTransferConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.stem = nn.Conv2d(self.N_FEATURES, width, 3, padding=1)
        self.down = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.near = nn.Conv2d(2 * width, 2 * width, 3, padding=1)
        self.far = nn.Conv2d(2 * width, 2 * width, 3, padding=3, dilation=3)
        self.context = nn.Conv1d(2 * width, 2 * width, 3, padding=1)  # of every band, over the whole note
        self.join = nn.Conv2d(3 * width, width, 1)
        self.weights = nn.Conv2d(width, N_WEIGHTS, 1)
        for layer in (self.stem, self.down, self.near, self.far, self.context, self.join):
            assert isinstance(layer, nn.Conv1d | nn.Conv2d)
            assert layer.bias is not None
            nn.init.normal_(layer.weight, std=1.0 / math.sqrt(layer.weight[0].numel()))
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.weights.weight)
        shares = torch.tensor([TRANSFER.harmonic_share, TRANSFER.formant_share] * 4)
        with torch.no_grad():
            assert self.weights.bias is not None
            self.weights.bias.copy_(torch.cat([torch.logit(shares), torch.zeros(2)]))

    def forward(
        self,
        r_h: Tensor,
        r_n: Tensor,
        source: Envelopes,
        drawn: Envelopes,
        p: Tensor,
        q: Tensor,
        by_hyper: HyperResidual | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Carry residuals to other pitches.

        Args:
            r_h: Harmonic residual of every input, (N, n_mels, n_frames); N divides B, and each input has B / N notes
                in a row.
            r_n: Noise residual, likewise.
            source: G's envelopes of the inputs at their own pitches, batch N.
            drawn: G's envelopes at the wanted pitches, batch B.
            p: Pitches of the inputs, (N,).
            q: Wanted pitches, (B,).
            by_hyper: What of `source` counts as residual in some notes, if N is 1.

        Returns:
            What is to be added to E_h and to E_n, each (B, n_mels, n_frames).
        """
        notes = q.shape[0] // p.shape[0]
        interval = q.float() - p.float().repeat_interleave(notes)
        blur = mel_blur(midi_to_hz(p.float()), TRANSFER.formant_width, TRANSFER.formant_width_mels)
        blur = blur / blur.sum(2, keepdim=True)
        warp = mel_warp(interval)

        def of_notes(value: Tensor) -> Tensor:
            """From one for every input to one for every note; of what is taken back, a note's share is added."""
            if by_hyper is not None:
                return value[:1] + by_hyper.share[:, None, None] * value[1:]
            return value.repeat_interleave(notes, 0) if notes > 1 else value

        levels = [part + r for part, r in ((source.harmonic, r_h), (source.noise_part, r_n))]
        if by_hyper is not None:
            r_h, r_n = torch.cat([r_h, by_hyper.harmonic[None]]), torch.cat([r_n, by_hyper.noise_part[None]])
        # Slow and quick residual of both parts, side by side; every way to carry them is a matrix over mel bands.
        slow_h, slow_n = _slowly(r_h), _slowly(r_n)
        residuals = torch.cat([slow_h, r_h - slow_h, slow_n, r_n - slow_n], dim=2)
        warped = torch.matmul(warp, of_notes(residuals)).chunk(4, dim=2)
        formant = of_notes(torch.matmul(blur, residuals)).chunk(4, dim=2)
        weights = self._weigh((of_notes(r_h), of_notes(r_n)), levels, drawn, blur, warp, interval, q)
        grants, corrections = torch.sigmoid(weights[:, :8]), TRANSFER.max_correction * torch.tanh(weights[:, 8:])
        whole = source_weight(interval)[:, None, None]

        trusted = 1.0 if self.training else TRANSFER.detail_gain

        def carried(part: int) -> Tensor:
            slow, quick = 2 * part, 2 * part + 1
            granted = corrections[:, part]
            for way, kind in enumerate((slow, quick)):
                granted = torch.addcmul(granted, grants[:, 4 * part + 2 * way], warped[kind])
                granted = torch.addcmul(granted, grants[:, 4 * part + 2 * way + 1], formant[kind])
            return torch.lerp(trusted * granted, warped[slow] + warped[quick], whole)

        return carried(0), carried(1)

    def _weigh(
        self,
        residuals: tuple[Tensor, Tensor],
        levels: Sequence[Tensor],
        drawn: Envelopes,
        blur: Tensor,
        warp: Tensor,
        interval: Tensor,
        q: Tensor,
    ) -> Tensor:
        """Weights before their squashing, (B, N_WEIGHTS, n_mels, n_frames).

        Args:
            residuals: Harmonic and noise residual of every note, (B, n_mels, n_frames).
            levels: Of both parts of the inputs, (N, n_mels, n_frames).
            drawn: G's envelopes at q.
            blur: Of the inputs, (N, n_mels, n_mels).
            warp: Of the notes, (B, n_mels, n_mels).
            interval: Of the notes, (B,).
            q: Their pitches, (B,).
        """
        notes = q.shape[0] // blur.shape[0]
        over_bands, over_frames = (
            _means(N_MELS, TRANSFER.pool[0], q.device),
            _means(N_FRAMES, TRANSFER.pool[1], q.device).T,
        )
        n_steps = over_frames.shape[1]

        def coarse(value: Tensor) -> Tensor:
            """Mean over the frames that share a weight."""
            return torch.matmul(value, over_frames)

        def flat(value: Tensor) -> Tensor:
            """Of some features side by side, (B, n_mels / 2, C · n_steps): (B, C, n_mels / 2, n_steps)."""
            return value.reshape(*value.shape[:2], -1, n_steps).transpose(1, 2)

        def of_notes(value: Tensor) -> Tensor:
            return value.repeat_interleave(notes, 0) if notes > 1 else value

        parts = torch.cat([2.0 * coarse(part.clamp(-TRANSFER.largest, TRANSFER.largest)) for part in residuals], dim=2)
        own = torch.cat([coarse(part.clamp(-1.5, 1.2)) for part in levels], dim=2)
        there = [coarse(part.clamp(-1.5, 1.2)) for part in (drawn.harmonic, drawn.noise_part)]
        stacked = torch.cat([parts, of_notes(own)], dim=2)  # (B, n_mels, 4 n_steps)
        bands_hz = mel_centres_hz().to(q.device).reshape(-1, TRANSFER.pool[0]).mean(1)
        place = torch.log2(bands_hz[None] / midi_to_hz(q.float())[:, None]).clamp(-3.0, 6.0) / 3.0
        mel = torch.linspace(-1.0, 1.0, bands_hz.shape[0], device=q.device).expand(q.shape[0], -1)
        constants = [(interval / 12.0)[:, None].expand_as(mel), (interval.abs() / 12.0)[:, None].expand_as(mel)]
        constants += [((q.float() - 60.0) / 24.0)[:, None].expand_as(mel), mel, place, place.clamp(max=0.0)]
        time = torch.linspace(-1.0, 1.0, n_steps, device=q.device)
        x = torch.cat(
            [
                flat(torch.matmul(torch.matmul(over_bands, warp), stacked)),
                flat(torch.matmul(torch.matmul(over_bands, of_notes(blur)), stacked)),
                flat(torch.matmul(over_bands, torch.cat([of_notes(own)[:, :, n_steps:], *there], dim=2))),
                torch.stack(constants, 1)[..., None].expand(-1, -1, -1, n_steps),
                time.expand(q.shape[0], 1, bands_hz.shape[0], -1),
            ],
            dim=1,
        )
        weights = self._convolve(x).float().contiguous()  # twice as fast as with channels last and what follows
        return F.interpolate(weights, size=(N_MELS, N_FRAMES), mode="bilinear", align_corners=False)

    def _convolve(self, x: Tensor) -> Tensor:
        """Weights before their squashing, from the features of places, (B, N_FEATURES, n_mels / 2, n_frames / 4)."""
        # Channels last in memory, which is several times faster where they are few.
        fine = activate(self.stem(x.contiguous(memory_format=torch.channels_last)))
        y = activate(self.down(fine))
        y = (y + activate(self.near(y))) * math.sqrt(0.5)
        y = (y + activate(self.far(y))) * math.sqrt(0.5)
        y = y + activate(self.context(y.mean(3)))[..., None]
        y = F.interpolate(y, size=fine.shape[2:], mode="nearest")
        weights: Tensor = self.weights(activate(self.join(torch.cat([fine, y], dim=1))))
        return weights
