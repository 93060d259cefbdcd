"""Stages that train what the paper compares with: a GAN conditioned on pitch alone, and an H that reads mels."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hgs_cli.models.hyperganstrument import HyperGANStrument
from hgs_cli.models.hypernetwork import add_offsets
from hgs_cli.training.adversarial import Adversarial
from hgs_cli.training.bandwidth import known_bands, mask_above
from hgs_cli.training.config import EncoderConfig, MelHyperConfig, PitchGanConfig
from hgs_cli.training.hyper import Hyper
from hgs_cli.training.losses import Term, logged, near_terms, smoothness_loss, total
from hgs_cli.training.notes import Batch
from hgs_cli.training.stage import Figures, Optimiser, Stage, set_trainable


class PitchGan(Adversarial):
    """G against D, both knowing the pitch and no recording: a timbre is a random point of the unit sphere.

    G is the released one's architecture; the random timbre stands where h stands there.

    Source: GANStrument's baseline, a pitch-conditioned GAN (as GANSynth).
    """

    name = "pitch-gan"
    learns = ("generator",)
    config: PitchGanConfig

    def prepare(self) -> None:
        """D, and which notes have a pitch."""
        super().prepare()
        self._notes = self.sampler.pitched_notes()

    def trained(self) -> dict[str, nn.Module]:
        """G and D."""
        return {"generator": self.model.generator, "discriminator": self.discriminator}

    def random_timbres(self, size: int) -> Tensor:
        """Points of the unit sphere in place of h's timbre part, (size, h_dim)."""
        sizes = self.model.config.feature_extractor
        drawn = self.draw_normal(size, sizes.timbre_dim).float()
        return F.pad(F.normalize(drawn, dim=1), (0, sizes.map_dim)).to(self.device)

    def _real(self) -> tuple[Tensor, Tensor, Tensor]:
        """Log-mels of real notes, their pitches and bandwidths."""
        size = self.loop.batch_size
        chosen = self._notes[self.sampler.rng.integers(0, len(self._notes), size)[self.part.of(size)]].tolist()
        real, p = self.sampler.notes(chosen)
        return real.to(self.device), p.to(self.device), self.sampler.bandwidths_hz(chosen).to(self.device)

    def step(self, optimisers: dict[str, Optimiser]) -> Figures:
        """D, then G, on the same pitches."""
        config, model = self.config, self.model.train()
        real, p, bandwidth_hz = self._real()
        size = real.shape[0]
        unconditioned = torch.zeros(size, model.config.feature_extractor.h_dim, device=self.device)
        with self.autocast():
            envelopes = model.envelopes(self.random_timbres(size), p)
        with torch.autocast(self.device.type, enabled=False):
            fake = mask_above(model.generator.compose(envelopes, p, self.draw_texture(size)), bandwidth_hz)
        d_optimiser = optimisers["discriminator"]
        figures = self.discriminator_step(d_optimiser, real, fake.detach(), p, unconditioned, bandwidth_hz)
        if self.discriminator_alone:
            return figures
        terms = {
            "adversarial": Term(1.0, self.fooling_loss(fake, real, p, unconditioned)),
            "smoothness": Term(config.smoothness, smoothness_loss(envelopes)),
        }
        figures["gradient"] = optimisers["generator"].step(total(terms))
        return figures | logged(terms)

    def validate(self) -> Figures:
        """Nothing: without an encoder no recording can be reconstructed."""
        return {}


class Encoder(Stage):
    """An encoder, of f's architecture, into the timbres of a frozen `pitch-gan`."""

    name = "encoder"
    learns = ("feature_extractor",)
    config: EncoderConfig

    def trained(self) -> dict[str, nn.Module]:
        """The encoder."""
        return {"encoder": self.model.feature_extractor}

    def step(self, optimisers: dict[str, Optimiser]) -> Figures:
        """One batch of pairs."""
        model = self.model.train()
        batch = self.draw()
        with self.autocast():
            h = model.extract(batch.x).repeat_interleave(batch.targets, 0)
            envelopes = model.envelopes(h, batch.q)
        return optimisers["encoder"].descend(near_terms(model.generator, envelopes, batch, self.config))


def refine_on_mels(
    model: HyperGANStrument,
    reader: nn.Module,
    x: Tensor,
    h: Tensor,
    p: Tensor,
    passes: int,
    band_mask: Tensor | None = None,
) -> dict[str, Tensor]:
    """Offsets Δ from the input's and the reconstruction's mel-spectrograms instead of their features.

    Args:
        model: Its G and H.
        reader: What H sees of a log-mel, (B, n_mels, n_frames) → (B, h_dim); learned together with H.
        x: Log-mels of the input, (B, n_mels, n_frames).
        h: Features that condition G, (B, h_dim).
        p: Pitch of the input, (B,).
        passes: How often.
        band_mask: Mel bands of the input that hold sound, (B, n_mels), bool; all when None.

    Source: HyperStyle, whose hypernetwork reads the pair of images.
    """
    offsets: dict[str, Tensor] = {}
    seen = reader(x)
    for _ in range(passes):
        with torch.no_grad():
            x_k = model.compose(model.envelopes(h, p, offsets), p, band_mask)
        offsets = add_offsets(offsets, model.hypernetwork(seen, reader(x_k)))
    return offsets


class MelHyper(Hyper):
    """H that reads mel-spectrograms, HyperStyle's way, with losses and data of stage `hyper`.

    What H reads them with begins as f and learns with H, no adversary against pitch; it takes f's place in the
    checkpoint's model. f itself, frozen, conditions G and measures timbre, and is kept beside it as `extractor`.
    """

    name = "mel-hyper"
    learns = ("hypernetwork", "feature_extractor")
    config: MelHyperConfig

    def prepare(self) -> None:
        """f, frozen, beside its copy that learns to read for H."""
        self.extractor = deepcopy(self.model.feature_extractor)
        set_trainable(self.extractor, False)
        self._both = nn.ModuleList([self.model.hypernetwork, self.model.feature_extractor])

    def trained(self) -> dict[str, nn.Module]:
        """H and its reader."""
        return {"hypernetwork": self._both}

    def extra_networks(self) -> dict[str, nn.Module]:
        """The frozen f."""
        return {"extractor": self.extractor}

    def extract(self, x: Tensor) -> Tensor:
        """h by the frozen f."""
        h: Tensor = self.extractor(x)
        return h

    def refine(self, batch: Batch, h: Tensor, passes: int) -> dict[str, Tensor]:
        """Offsets from mels."""
        band_mask = known_bands(batch.input_bandwidth_hz)
        return refine_on_mels(self.model, self.model.feature_extractor, batch.x, h, batch.p, passes, band_mask)
