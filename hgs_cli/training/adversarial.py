"""Stage `gan`, and what the stages with a discriminator share."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from hgs_cli.models.discriminator import Discriminator
from hgs_cli.training.bandwidth import mask_above
from hgs_cli.training.config import GanConfig, HyperGanConfig, PitchGanConfig
from hgs_cli.training.losses import Term, gradient_penalty, near_terms, relativistic_loss, smoothness_loss, total
from hgs_cli.training.stage import Figures, Optimiser, Stage, set_trainable


class Adversarial(Stage):
    """What the stages with a discriminator share."""

    config: GanConfig | HyperGanConfig | PitchGanConfig

    def prepare(self) -> None:
        """D."""
        self.discriminator = self.build_discriminator().to(self.device)
        self.n_steps = 0

    def build_discriminator(self) -> Discriminator:
        """A fresh D, as wide as f."""
        sizes = self.model.config.feature_extractor
        return Discriminator(sizes.timbre_dim, sizes.channels)

    def extra_networks(self) -> dict[str, nn.Module]:
        """D."""
        return {"discriminator": self.discriminator}

    def learning_rate(self, optimiser: str) -> float:
        """Peak rate of an optimiser."""
        return self.config.discriminator_rate if optimiser == "discriminator" else self.loop.learning_rate

    @property
    def discriminator_alone(self) -> bool:
        """Whether D still learns by itself: G is good already, D knows nothing."""
        return self.progress < self.config.discriminator_share

    def discriminator_step(
        self, optimiser: Optimiser, real: Tensor, fake: Tensor, p: Tensor, h: Tensor, bandwidth_hz: Tensor
    ) -> Figures:
        """One step of D on log-mels real and fake, penalties every so often and in float32.

        Args:
            optimiser: Of D.
            real: (B, n_mels, n_frames).
            fake: Likewise.
            p: Their pitches, (B,).
            h: Features of the queries, (B, h_dim).
            bandwidth_hz: Up to where `real` is known, (B,); D sees neither above it.
        """
        set_trainable(self.discriminator, True)
        real, fake = mask_above(real, bandwidth_hz), mask_above(fake, bandwidth_hz)
        with self.autocast():
            real_logits = self.discriminator(real, p, h)
            fake_logits = self.discriminator(fake, p, h)
        terms = {"relativistic": Term(1.0, relativistic_loss(real_logits, fake_logits))}
        figures = {"d_loss": total(terms).item(), "d_accuracy": float((real_logits > fake_logits).float().mean())}
        self.n_steps += 1
        if self.n_steps % self.config.penalty_every == 0:
            half = slice(self.part.rank * real.shape[0] % 2, None, 2)  # every other example of the whole batch

            def judged(x: Tensor) -> Tensor:
                return self.discriminator(mask_above(x, bandwidth_hz[half]), p[half], h[half])

            r1, r2 = gradient_penalty(judged, real[half]), gradient_penalty(judged, fake[half])
            terms["penalty"] = Term(self.config.penalty * self.config.penalty_every, r1 + r2)
            figures |= {"r1": r1.item(), "r2": r2.item()}
        figures["d_gradient"] = optimiser.step(total(terms))
        set_trainable(self.discriminator, False)
        return figures

    def fooling_loss(self, fake: Tensor, real: Tensor, p: Tensor, h: Tensor) -> Tensor:
        """How far D takes log-mels for less real than the real ones; arguments as `discriminator_step`."""
        with self.autocast():
            fake_logits = self.discriminator(fake, p, h)
            with torch.no_grad():
                real_logits = self.discriminator(real, p, h)
        return relativistic_loss(fake_logits, real_logits)


class Gan(Adversarial):
    """G against D with instance conditioning; f frozen, reconstruction kept."""

    name = "gan"
    learns = ("generator",)
    config: GanConfig

    def prepare(self) -> None:
        """D, and the nearest neighbours of all notes in f."""
        super().prepare()
        self._notes = self.sampler.pitched_notes()
        shard = self.table.shard_of[self._notes]
        weight = 1.0 / np.bincount(shard)[shard]  # an instrument counts as every other, however many notes it has
        self.likelihood = weight / weight.sum()
        self._features = self._all_features()
        timbre = self._features[:, : self.model.config.feature_extractor.timbre_dim]
        self._neighbours = nearest_neighbours(timbre, self.config.n_neighbours)

    @torch.no_grad()
    def _all_features(self) -> Tensor:
        """h of every pitched note, (N, h_dim)."""
        found = []
        for start in range(0, len(self._notes), 128):
            x, _ = self.sampler.notes(self._notes[start : start + 128].tolist())
            with self.autocast():
                found.append(self.model.extract(x.to(self.device)).float().cpu())
        return torch.cat(found)

    def trained(self) -> dict[str, nn.Module]:
        """G and D."""
        return {"generator": self.model.generator, "discriminator": self.discriminator}

    def _instances(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Features of queries, and log-mel, pitch and bandwidth of one neighbour of each."""
        rng, size = self.sampler.rng, self.loop.batch_size
        mine = self.part.of(size)
        queries = rng.choice(len(self._notes), size, p=self.likelihood)[mine]
        picks = rng.integers(0, self._neighbours.shape[1], size)[mine]
        chosen = self._neighbours[torch.from_numpy(queries), torch.from_numpy(picks)]
        neighbours = self._notes[chosen.numpy()].tolist()
        real, p = self.sampler.notes(neighbours)
        h, bandwidth_hz = self._features[torch.from_numpy(queries)], self.sampler.bandwidths_hz(neighbours)
        return h.to(self.device), real.to(self.device), p.to(self.device), bandwidth_hz.to(self.device)

    def _generate(self, h: Tensor, p: Tensor) -> Tensor:
        """Log-mels of G(h, z, p) with random noise texture, (B, n_mels, n_frames)."""
        size = h.shape[0]
        z = self.draw_normal(size, self.model.config.generator.z_dim).float()
        with self.autocast():
            envelopes = self.model.envelopes(h, p, z=z.to(self.device) * self.config.z_scale)
        with torch.autocast(self.device.type, enabled=False):
            return self.model.generator.compose(envelopes, p, self.draw_texture(size))

    def step(self, optimisers: dict[str, Optimiser]) -> Figures:
        """D on neighbours, then G on neighbours and pairs."""
        config, model = self.config, self.model.train()
        h, real, p, bandwidth_hz = self._instances()
        with torch.no_grad():
            fake = self._generate(h, p)
        figures = self.discriminator_step(optimisers["discriminator"], real, fake, p, h, bandwidth_hz)
        if self.discriminator_alone:
            return figures
        h, real, p, bandwidth_hz = self._instances()
        fake = mask_above(self._generate(h, p), bandwidth_hz)
        fooling = self.fooling_loss(fake, real, p, h)
        batch = self.draw()
        with self.autocast():
            with torch.no_grad():
                h_pair = model.extract(batch.x).repeat_interleave(batch.targets, 0)
            envelopes = model.envelopes(h_pair, batch.q)
        terms = {
            "adversarial": Term(config.adversarial, fooling),
            **near_terms(model.generator, envelopes, batch, config),
            "smoothness": Term(config.smoothness, smoothness_loss(envelopes)),
        }
        return figures | optimisers["generator"].descend(terms)


def nearest_neighbours(features: Tensor, count: int) -> Tensor:
    """Indices of the nearest features of every feature, itself left out.

    Args:
        features: L2-normalised, (N, D).
        count: How many.

    Returns:
        (N, count).

    Source: IC-GAN, instance conditioning.
    """
    found = []
    for start in range(0, features.shape[0], 1024):
        likeness = features[start : start + 1024] @ features.T
        rows = torch.arange(likeness.shape[0])
        likeness[rows, rows + start] = -2.0
        found.append(likeness.topk(min(count, features.shape[0] - 1), dim=1).indices)
    return torch.cat(found)
