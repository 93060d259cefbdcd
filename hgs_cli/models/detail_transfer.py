"""How an input's detail travels to another pitch: two ways to carry it, and a small network that weighs them."""

from __future__ import annotations

import math
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
    """What the network does not learn of the ways to carry detail."""

    source_reach: float = 0.5  # semitones within which the whole residual fades to what the network grants
    formant_width: float = 0.4  # of a harmonic spacing: the Gaussian that turns harmonic detail into formants
    formant_width_mels: float = 6.0  # at least: what is finer belongs to the one note that was recorded
    slow_frames: int = 17  # 0.2 s: what lasts longer is colour, what is shorter is movement
    pool: tuple[int, int] = (2, 4)  # mel bands and frames that share a weight
    # the fs and Gs that the network learned with knew half of the recorded instruments and were further from the truth
    # than the released ones: what it grants is a little too much. Anything from a half to three quarters does as well
    detail_gain: float = 2.0 / 3.0
    # level units: 6 dB; with 20 dB it knew its training instruments better and others worse
    max_correction: float = 0.12
    largest: float = 1.2  # level units: residuals of silence over silence are cut there before the network reads them
    harmonic_share: float = 0.3  # what an untrained network grants of the harmonic-locked detail
    formant_share: float = 0.5  # and of the formant-locked one


TRANSFER = TransferRules()


HEARD = (-1.5, 1.2)  # levels that the network reads
N_WEIGHTS = 10  # of both parts: two ways, slow and quick, and a correction


@dataclass(frozen=True)
class DetailTransferConfig:
    """Sizes of the network."""

    width: int = 24  # channels at the fine grid, twice as many at the coarse one


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


@dataclass(frozen=True)
class MelWarp:
    """Mel bands moved along frequency with their harmonics: every one lies between two that it comes from."""

    high: Tensor  # the upper one, (B, n_mels)
    weights: tuple[Tensor, Tensor]  # of the lower and the upper one, (B, n_mels) each

    def __call__(self, value: Tensor) -> Tensor:
        """Move what is said of bands, (B, n_mels, …): an eighth of the time of the product with `matrix`."""
        row = (self.high + N_MELS * torch.arange(len(value), device=value.device)[:, None]).flatten()
        rows = value.flatten(0, 1)
        low, high = (weight.reshape(-1, 1) for weight in self.weights)
        return torch.addcmul(rows.index_select(0, row - 1) * low, rows.index_select(0, row), high).view(value.shape)

    @property
    def matrix(self) -> Tensor:
        """The same as weights, (B, n_mels, n_mels): target bands by source bands."""
        low, high = self.weights
        weights = torch.zeros(*low.shape, N_MELS, device=low.device)
        weights.scatter_(2, (self.high - 1)[..., None], low[..., None])
        return weights.scatter_(2, self.high[..., None], high[..., None])


def mel_warp(interval: Tensor) -> MelWarp:
    """How mel bands move by semitones upwards, (B,); beyond the mel range they fade to 0."""
    points = mel_centres_hz().to(interval.device)
    origin_hz = points[None] * torch.pow(2.0, -interval[:, None] / 12.0)  # (B, n_mels)
    high = torch.searchsorted(points, origin_hz.contiguous()).clamp(1, N_MELS - 1)
    fraction = ((origin_hz - points[high - 1]) / (points[high] - points[high - 1])).clamp(0.0, 1.0)
    inside = (1.0 - (origin_hz - points[-1]).clamp(min=0.0) / (0.1 * points[-1])).clamp(0.0, 1.0)
    return MelWarp(high, ((1.0 - fraction) * inside, fraction * inside))


def source_weight(interval: Tensor) -> Tensor:
    """How much of the plain residual is kept at intervals in semitones (B,), whatever the network grants: 1 at none."""
    return torch.exp(-interval.float().abs() / TRANSFER.source_reach)


@lru_cache(maxsize=4)
def _means(n: int, width: int, device: torch.device) -> Tensor:
    """Matrix of the means of so many neighbours, (n / width, n)."""
    with torch.inference_mode(False):  # kept, and perhaps trained with next time
        return torch.eye(n // width, device=device).repeat_interleave(width, 1) / width


def _coarse(value: Tensor) -> Tensor:
    """Mean over the frames that share a weight, (…, n_steps); `mean` itself takes four times as long."""
    width = TRANSFER.pool[1]
    means = torch.mv(value.reshape(-1, width), value.new_full((width,), 1.0 / width))
    return means.view(*value.shape[:-1], -1)


def _fine(value: Tensor) -> Tensor:
    """What bands and frames share, (B, C, n_mels / 2, n_steps), on straight lines between their middles at every one.

    (B, C, n_mels, n_frames). In two steps, which take two thirds of the time of one.
    """
    below, above = (
        torch.cat(edge, 2) for edge in ((value[:, :, :1], value[:, :, :-1]), (value[:, :, 1:], value[:, :, -1:]))
    )
    bands = torch.stack([torch.lerp(value, below, 0.25), torch.lerp(value, above, 0.25)], 3).flatten(2, 3)
    return F.interpolate(bands.flatten(1, 2), size=N_FRAMES, mode="linear").view(*bands.shape[:3], N_FRAMES)


def _rows(value: Tensor, notes: int) -> Tensor:
    """From one for every input to one for every note, so many of each in a row."""
    return value.repeat_interleave(notes, 0) if notes > 1 else value


def _slowly(residual: Tensor) -> Tensor:
    """Mean over TRANSFER.slow_frames of residuals (B, n_mels, n_frames)."""
    return F.avg_pool1d(residual, TRANSFER.slow_frames, 1, TRANSFER.slow_frames // 2, count_include_pad=False)


@dataclass(frozen=True)
class Detail:
    """What an input has beyond the first reconstruction, in level units."""

    harmonic: Tensor  # r_h, to be added to E_h, (n_mels, n_frames)
    noise_part: Tensor  # r_n, to be added to E_n, (n_mels, n_frames)


@dataclass(frozen=True)
class ReadDetail:
    """Residuals of inputs as every note reads them: made once, carried to any number of pitches.

    Of an input whose H fades with the interval a second row says what is residual again where H no longer speaks.
    """

    residuals: tuple[Tensor, Tensor]  # r_h and r_n, (N, n_mels, n_frames) each
    parts: Tensor  # their slow and quick parts side by side, harmonic ones first, (N, n_mels, 4 · n_frames)
    formant: Tensor  # the same, smoothed over a harmonic spacing
    levels: Tensor  # of both parts of the inputs, of the frames that share a weight, (n_inputs, n_mels, 2 · n_steps)
    blur: Tensor  # by which they were smoothed, (n_inputs, n_mels, n_mels)
    p: Tensor  # pitches of the inputs, (n_inputs,)


def read_detail(
    r_h: Tensor, r_n: Tensor, source: Envelopes, p: Tensor, by_hyper: tuple[Tensor, Tensor] | None = None
) -> ReadDetail:
    """What notes read of residuals, whatever their pitch.

    Args:
        r_h: Harmonic residual of every input, (N, n_mels, n_frames).
        r_n: Noise residual, likewise.
        source: G's envelopes of the inputs at their own pitches, batch N.
        p: Pitches of the inputs, (N,).
        by_hyper: What `source` owes to the offsets of H, (n_mels, n_frames) each; N is 1 then.
    """
    blur = mel_blur(midi_to_hz(p.float()), TRANSFER.formant_width, TRANSFER.formant_width_mels)
    blur = blur / blur.sum(2, keepdim=True)
    levels = torch.cat(
        [_coarse((source.harmonic + r_h).clamp(*HEARD)), _coarse((source.noise_part + r_n).clamp(*HEARD))], 2
    )
    if by_hyper is not None:
        r_h, r_n = torch.cat([r_h, by_hyper[0][None]]), torch.cat([r_n, by_hyper[1][None]])
    slow_h, slow_n = _slowly(r_h), _slowly(r_n)
    # Every way to carry them is a matrix over mel bands.
    parts = torch.cat([slow_h, r_h - slow_h, slow_n, r_n - slow_n], dim=2)
    return ReadDetail((r_h, r_n), parts, torch.matmul(blur, parts), levels, blur, p)


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
        self, read: ReadDetail, drawn: Envelopes, q: Tensor, share: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Carry residuals to other pitches.

        Args:
            read: Of N inputs; N divides B, and each input has B / N notes in a row.
            drawn: G's envelopes at the wanted pitches, batch B.
            q: Wanted pitches, (B,).
            share: How much of the second row of `read` is residual in every note, 0 … 1, (B,), if it has one.

        Returns:
            What is to be added to E_h and to E_n, each (B, n_mels, n_frames).
        """
        notes = q.shape[0] // read.p.shape[0]
        interval = q.float() - _rows(read.p.float(), notes)
        warp = mel_warp(interval)

        def of_notes(value: Tensor) -> Tensor:
            """From one for every input to one for every note."""
            if share is not None:
                return torch.addcmul(value[:1], value[1:], share[:, None, None])
            return _rows(value, notes)

        warped = warp(of_notes(read.parts)).chunk(4, dim=2)
        formant = of_notes(read.formant).chunk(4, dim=2)
        r_h, r_n = read.residuals
        weights = self._weigh((of_notes(r_h), of_notes(r_n)), read, drawn, warp.matrix, interval, q)
        corrections = TRANSFER.max_correction * torch.tanh(weights[:, 8:])
        granted = _fine(torch.cat([torch.sigmoid(weights[:, :8]), corrections], dim=1))
        whole = source_weight(interval)[:, None, None]
        trusted = 1.0 if self.training else TRANSFER.detail_gain

        def carried(part: int) -> Tensor:
            slow, quick = 2 * part, 2 * part + 1
            added = granted[:, 8 + part]
            for way, kind in enumerate((slow, quick)):
                added = torch.addcmul(added, granted[:, 4 * part + 2 * way], warped[kind])
                added = torch.addcmul(added, granted[:, 4 * part + 2 * way + 1], formant[kind])
            return torch.lerp(trusted * added, warped[slow] + warped[quick], whole)

        return carried(0), carried(1)

    def _weigh(
        self,
        residuals: tuple[Tensor, Tensor],
        read: ReadDetail,
        drawn: Envelopes,
        warp: Tensor,
        interval: Tensor,
        q: Tensor,
    ) -> Tensor:
        """Weights before their squashing, of bands and frames that share one, (B, N_WEIGHTS, n_mels / 2, n_steps).

        Args:
            residuals: Harmonic and noise residual of every note, (B, n_mels, n_frames).
            read: Of the inputs.
            drawn: G's envelopes at q.
            warp: Of the notes, (B, n_mels, n_mels).
            interval: Of the notes, (B,).
            q: Their pitches, (B,).
        """
        notes = q.shape[0] // read.p.shape[0]
        over_bands = _means(N_MELS, TRANSFER.pool[0], q.device)
        n_steps = N_FRAMES // TRANSFER.pool[1]

        def flat(value: Tensor) -> Tensor:
            """Of some features side by side, (B, n_mels / 2, C · n_steps): (B, n_mels / 2, n_steps, C)."""
            return value.reshape(*value.shape[:2], -1, n_steps).transpose(2, 3)

        parts = [_coarse(part.clamp(-TRANSFER.largest, TRANSFER.largest)) * 2.0 for part in residuals]
        own = _rows(read.levels, notes)
        there = [_coarse(part.clamp(*HEARD)) for part in (drawn.harmonic, drawn.noise_part)]
        stacked = torch.cat([*parts, own], dim=2)  # (B, n_mels, 4 n_steps)
        bands_hz = mel_centres_hz().to(q.device).reshape(-1, TRANSFER.pool[0]).mean(1)
        place = torch.log2(bands_hz[None] / midi_to_hz(q.float())[:, None]).clamp(-3.0, 6.0) / 3.0
        mel = torch.linspace(-1.0, 1.0, bands_hz.shape[0], device=q.device).expand(q.shape[0], -1)
        constants = [(interval / 12.0)[:, None].expand_as(mel), (interval.abs() / 12.0)[:, None].expand_as(mel)]
        constants += [((q.float() - 60.0) / 24.0)[:, None].expand_as(mel), mel, place, place.clamp(max=0.0)]
        time = torch.linspace(-1.0, 1.0, n_steps, device=q.device)
        x = torch.cat(
            [
                flat(torch.matmul(torch.matmul(over_bands, warp), stacked)),
                flat(torch.matmul(_rows(torch.matmul(over_bands, read.blur), notes), stacked)),
                flat(torch.matmul(over_bands, torch.cat([own[:, :, n_steps:], *there], dim=2))),
                torch.stack(constants, 2)[:, :, None].expand(-1, -1, n_steps, -1),
                time[:, None].expand(q.shape[0], bands_hz.shape[0], -1, 1),
            ],
            dim=3,
        )
        return self._convolve(x)

    def _convolve(self, x: Tensor) -> Tensor:
        """Weights before their squashing from the features of places, (B, n_mels / 2, n_steps, N_FEATURES)."""
        # Channels last in memory, which is several times faster where they are few.
        fine = activate(self.stem(x.permute(0, 3, 1, 2)))
        y = activate(self.down(fine))
        y = activate(self.near(y)).add_(y).mul_(math.sqrt(0.5))
        y = activate(self.far(y)).add_(y).mul_(math.sqrt(0.5))
        y = y + activate(self.context(y.mean(3)))[..., None]
        # What is joined is the fine grid and the coarse one, every point of it four times: weighed before, not behind.
        weight, width = self.join.weight[:, :, 0, 0], self.config.width
        at_fine = F.linear(fine.permute(0, 2, 3, 1), weight[:, :width], self.join.bias)
        twice = weight[:, width:].repeat(2, 1)  # beside each other in time
        at_coarse = F.linear(y.permute(0, 2, 3, 1), twice).flatten(2)[:, :, None]
        n, n_bands, n_steps, width = at_fine.shape
        joined = activate(at_fine.view(n, n_bands // 2, 2, n_steps * width).add_(at_coarse))
        joined = joined.reshape(n, n_bands * n_steps, width).transpose(1, 2)
        assert self.weights.bias is not None
        weights = torch.matmul(self.weights.weight[:, :, 0, 0], joined) + self.weights.bias[:, None]
        return weights.float().view(n, N_WEIGHTS, n_bands, n_steps)
