"""Stages `hyper` and `hyper-gan`: the hypernetwork, alone and against D."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hgs_cli.models.discriminator import Discriminator
from hgs_cli.models.hyperganstrument import HyperGANStrument
from hgs_cli.training.adversarial import Adversarial
from hgs_cli.training.bandwidth import mask_above
from hgs_cli.training.config import HyperConfig, HyperGanConfig
from hgs_cli.training.losses import Term, logged, near_terms, timbre_loss, total
from hgs_cli.training.notes import Batch
from hgs_cli.training.stage import Figures, Optimiser, Stage


@dataclass(frozen=True)
class _HyperTrial:
    """What H made of one batch."""

    terms: dict[str, Term]  # timbre, reconstruction and periodicity
    figures: Figures  # each of them, and what share of their sum the first two have
    batch: Batch  # the batch
    h: Tensor  # features of its inputs, a row for every target, (B, h_dim)
    # log-mels at the targets' pitches with random noise texture, nothing above the targets' bandwidth, (B, n_mels,
    # n_frames)
    x_hat: Tensor


def _with_map(model: HyperGANStrument) -> nn.Module:
    """H and the part of f that it alone reads."""
    return nn.ModuleList([model.hypernetwork, model.feature_extractor.map])


def _try_hypernetwork(stage: Stage, config: HyperConfig) -> _HyperTrial:
    """Draw a batch and let H refine G for its inputs, in one to several passes."""
    model = stage.model.train()
    batch = stage.draw()
    n_passes = int(stage.sampler.rng.integers(1, config.max_passes + 1))
    with stage.autocast():
        h = stage.extract(batch.x)  # its map learns with H
        offsets = stage.refine(batch, h, n_passes)
        h = h.detach().repeat_interleave(batch.targets, 0)
        envelopes = model.envelopes(h, batch.q, offsets)
    near = near_terms(model.generator, envelopes, batch, config)
    # f knows the noise_texture of real noise: without it every reconstruction would seem to differ in timbre.
    with torch.autocast(stage.device.type, enabled=False):
        x_hat = model.generator.compose(envelopes, batch.q, stage.draw_texture(batch.q.shape[0]))
        x_hat = mask_above(x_hat, batch.bandwidth_hz)
    with stage.autocast():
        # The map learns too: it could please this term by saying nothing.
        width = model.config.feature_extractor.timbre_dim
        timbre = timbre_loss(h[:, :width], stage.extract(x_hat)[:, :width])
    terms = {"timbre": Term(config.timbre, timbre), **near}
    loss = total(terms)
    shares = {
        f"{name}_share": (terms[name].weight * terms[name].value / loss).item() for name in ("timbre", "reconstruction")
    }
    return _HyperTrial(terms, logged(terms) | shares, batch, h, x_hat)


class Hyper(Stage):
    """H and the map that it reads, by timbre and reconstruction; what conditions G, and G, are frozen."""

    name = "hyper"
    learns: tuple[str, ...] = ("hypernetwork", "feature_extractor.map")
    config: HyperConfig

    def trained(self) -> dict[str, nn.Module]:
        """H and its map."""
        return {"hypernetwork": _with_map(self.model)}

    def step(self, optimisers: dict[str, Optimiser]) -> Figures:
        """One batch of pairs, one to several passes."""
        trial = _try_hypernetwork(self, self.config)
        return trial.figures | optimisers["hypernetwork"].descend(trial.terms)


class HyperGan(Adversarial):
    """H, with its map, and D against each other; what conditions G, and G, are frozen."""

    name = "hyper-gan"
    learns = ("hypernetwork", "feature_extractor.map")
    config: HyperGanConfig

    def build_discriminator(self) -> Discriminator:
        """A fresh D, as wide as f, with or without projection."""
        sizes = self.model.config.feature_extractor
        return Discriminator(sizes.timbre_dim, sizes.channels, projection=self.config.projection)

    def trained(self) -> dict[str, nn.Module]:
        """H with its map, and D."""
        return {"hypernetwork": _with_map(self.model), "discriminator": self.discriminator}

    def step(self, optimisers: dict[str, Optimiser]) -> Figures:
        """H on pairs, its results judged by D, then D on the same batch."""
        with torch.set_grad_enabled(not self.discriminator_alone):
            trial = _try_hypernetwork(self, self.config)
        real, q, h, figures = trial.batch.y, trial.batch.q, trial.h, trial.figures
        bandwidth_hz = trial.batch.bandwidth_hz
        if not self.discriminator_alone:
            adversarial = Term(self.config.adversarial, self.fooling_loss(trial.x_hat, real, q, h))
            figures |= optimisers["hypernetwork"].descend(trial.terms | {"adversarial": adversarial})
        fake = trial.x_hat.detach()
        return figures | self.discriminator_step(optimisers["discriminator"], real, fake, q, h, bandwidth_hz)
