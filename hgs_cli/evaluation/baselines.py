"""Baselines of the paper's table: how each hears sounds, mixes them, and plays them at other pitches."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from hgs_cli.models.feature_extractor import FeatureExtractor
from hgs_cli.models.generator import Envelopes
from hgs_cli.models.hyperganstrument import HyperGANStrument
from hgs_cli.models.hypernetwork import add_offsets
from hgs_cli.training.checkpoint import load_checkpoint, model_from_checkpoint
from hgs_cli.training.compare import refine_on_mels

OPTIMISATION_STEPS = 40
OPTIMISATION_RATE = 0.005  # of the unit sphere; four times as much leaves the timbres that G knows
GANSTRUMENT, HYPERGANSTRUMENT = "GANStrument (H off)", "HyperGANStrument"

RUNS = {
    "GAN on pitch, encoder": "encoder",
    "GAN on pitch, encoder + optimisation": "encoder",
    "H on mel-spectrograms": "mel-hyper",
    "H, stage 1": "hyper",
    "H, stage 2 without D's projection": "no-projection",
}
"""Rows that need a run beside the released weights: row → folder of the run."""


@dataclass(frozen=True)
class Heard:
    """What a baseline made of sounds: a timbre for its G, and offsets of G's weights."""

    h: Tensor  # (B, h_dim)
    offsets: dict[str, Tensor]  # Δ by layer name, each of batch B; empty for none


class Baseline(ABC):
    """A row of the table: how it hears sounds, mixes them, and plays them at other pitches.

    Args:
        name: Of the row.
        model: Whose G plays.
        trained: Steps and minutes, for the table.
    """

    def __init__(self, name: str, model: HyperGANStrument, trained: str) -> None:
        self.name, self.model, self.trained = name, model.eval().requires_grad_(False), trained

    @abstractmethod
    def hear(self, x: Tensor, p: Tensor, band_mask: Tensor) -> Heard:
        """Invert log-mels x (B, n_mels, n_frames) at pitches p (B,), as far as `band_mask` (B, n_mels) lets it hear."""

    @abstractmethod
    def mix(self, first: Heard, second: Heard, share: float, p: Tensor, band_mask: Tensor) -> Heard:
        """The sounds between: `share` of the second, (1 - share) of the first; p (B,) is the mean pitch."""

    def play(self, heard: Heard, q: Tensor) -> Envelopes:
        """Envelopes at pitches q (B,)."""
        return self.model.envelopes(heard.h, q, heard.offsets)


class GANStrumentBaseline(Baseline):
    """h by f, no offsets; mixed h."""

    def hear(self, x: Tensor, p: Tensor, band_mask: Tensor) -> Heard:
        """h = f(x)."""
        return Heard(self.model.extract(x), {})

    def mix(self, first: Heard, second: Heard, share: float, p: Tensor, band_mask: Tensor) -> Heard:
        """Features interpolated."""
        return Heard(torch.lerp(first.h, second.h, share), {})


class HyperGANStrumentBaseline(GANStrumentBaseline):
    """h by f, offsets by H from features; for a mix they are made anew.

    Args:
        name: Of the row.
        model: f, G and H.
        trained: For the table.
        passes: Of H.
    """

    def __init__(self, name: str, model: HyperGANStrument, trained: str, passes: int) -> None:
        super().__init__(name, model, trained)
        self.passes = passes

    def hear(self, x: Tensor, p: Tensor, band_mask: Tensor) -> Heard:
        """h = f(x), Δ = H(h, f(x_init))."""
        h = self.model.extract(x)
        return Heard(h, self.model.refine(h, p, self.passes, band_mask))

    def mix(self, first: Heard, second: Heard, share: float, p: Tensor, band_mask: Tensor) -> Heard:
        """Features interpolated, then refined."""
        h = torch.lerp(first.h, second.h, share)
        return Heard(h, self.model.refine(h, p, self.passes, band_mask))


class MelHyperBaseline(Baseline):
    """h by f, offsets by an H that reads mel-spectrograms; a mix has none to read, so its offsets are interpolated.

    Args:
        name: Of the row.
        model: G, H, and in f's place the reader of H.
        trained: For the table.
        extractor: f.
        passes: Of H.
    """

    def __init__(
        self, name: str, model: HyperGANStrument, trained: str, extractor: FeatureExtractor, passes: int
    ) -> None:
        super().__init__(name, model, trained)
        self.extractor, self.passes = extractor.eval().requires_grad_(False), passes

    def hear(self, x: Tensor, p: Tensor, band_mask: Tensor) -> Heard:
        """h = f(x), Δ = H(x, x_init)."""
        h = self.extractor(x)
        return Heard(h, refine_on_mels(self.model, self.model.feature_extractor, x, h, p, self.passes, band_mask))

    def mix(self, first: Heard, second: Heard, share: float, p: Tensor, band_mask: Tensor) -> Heard:
        """Features and offsets interpolated."""
        offsets = add_offsets(self._scaled(first.offsets, 1.0 - share), self._scaled(second.offsets, share))
        return Heard(torch.lerp(first.h, second.h, share), offsets)

    def _scaled(self, offsets: dict[str, Tensor], factor: float) -> dict[str, Tensor]:
        shapes = self.model.generator.offset_shapes()
        scaled = {}
        for name, value in offsets.items():
            scaled[name] = value * factor
            if value.dim() == 3:  # of a product only the output factors are scaled
                scaled[name][:, shapes[name][0] :] = value[:, shapes[name][0] :]
        return scaled


class PitchGanBaseline(Baseline):
    """A GAN on pitch alone: timbres are points of the unit sphere, found by an encoder and, if asked, by descent.

    Args:
        name: Of the row.
        model: G, and in f's place the encoder.
        trained: For the table.
        steps: Of descent on the timbre.
    """

    def __init__(self, name: str, model: HyperGANStrument, trained: str, steps: int = 0) -> None:
        super().__init__(name, model, trained)
        self.steps = steps

    def hear(self, x: Tensor, p: Tensor, band_mask: Tensor) -> Heard:
        """Encode, then descend on the table's own mean square error with Adam; the rate falls to zero as a cosine."""
        h = self.model.extract(x)
        if self.steps == 0:
            return Heard(h, {})
        width = self.model.config.feature_extractor.timbre_dim
        with torch.enable_grad():
            point = h[:, :width].clone().requires_grad_(True)
            adam = torch.optim.Adam([point], lr=OPTIMISATION_RATE, betas=(0.9, 0.99))
            for step in range(self.steps):
                adam.param_groups[0]["lr"] = OPTIMISATION_RATE * 0.5 * (1.0 + math.cos(math.pi * step / self.steps))
                envelopes = self.model.envelopes(self._on_sphere(point, h), p)
                with torch.autocast(x.device.type, enabled=False):
                    error = (self.model.compose(envelopes, p) - x).square() * band_mask[:, :, None]
                adam.zero_grad()
                error.sum().backward()  # type: ignore[no-untyped-call]
                adam.step()
        return Heard(self._on_sphere(point.detach(), h), {})

    @staticmethod
    def _on_sphere(point: Tensor, h: Tensor) -> Tensor:
        return torch.cat([F.normalize(point, dim=1), h[:, point.shape[1] :]], dim=1)

    def mix(self, first: Heard, second: Heard, share: float, p: Tensor, band_mask: Tensor) -> Heard:
        """Points interpolated and brought back to the sphere."""
        width = self.model.config.feature_extractor.timbre_dim
        h = torch.lerp(first.h, second.h, share)
        return Heard(self._on_sphere(h[:, :width], h), {})


def open_baselines(released: HyperGANStrument, runs: Path | None) -> tuple[list[Baseline], list[str]]:
    """The rows that can be measured, and the names of those whose run is missing.

    Args:
        released: f, G and H.
        runs: Folder of the runs that RUNS names.

    Raises:
        TrainingError: A run is there and cannot be read.
    """
    passes = released.config.hypernetwork.n_passes
    found: list[Baseline] = []
    missing: list[str] = []
    for row, folder in RUNS.items():
        path = None if runs is None else runs / folder
        if path is None or not path.exists():
            missing.append(row)
            continue
        checkpoint = load_checkpoint(path)
        model = model_from_checkpoint(checkpoint)
        trained = f"{checkpoint.step} steps, {checkpoint.elapsed_s / 60.0:.0f} min"
        if folder == "encoder":
            steps = OPTIMISATION_STEPS if "optimisation" in row else 0
            suffix = f", {steps} steps a sound" if steps else ""
            found.append(PitchGanBaseline(row, model, trained + suffix, steps))
        elif folder == "mel-hyper":
            extractor = FeatureExtractor(model.config.feature_extractor)
            extractor.load_state_dict(checkpoint.networks["extractor"])
            found.append(MelHyperBaseline(row, model, trained, extractor, passes))
        else:
            found.append(HyperGANStrumentBaseline(row, model, trained, passes))
    at = next((index for index, one in enumerate(found) if not isinstance(one, PitchGanBaseline)), len(found))
    found.insert(at, GANStrumentBaseline(GANSTRUMENT, released, "model card"))
    found.append(HyperGANStrumentBaseline(HYPERGANSTRUMENT, released, "model card", passes))
    return found, missing
