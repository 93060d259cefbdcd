"""Stage `warmup`: f and G together."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hgs_cli.models.instrument_classifier import InstrumentClassifier
from hgs_cli.models.pitch_adversary import Adversary
from hgs_cli.models.pitch_classifier import N_PITCHES
from hgs_cli.training.config import WarmupConfig
from hgs_cli.training.losses import LOSSES, Term, confusion_loss, near_terms, smoothness_loss
from hgs_cli.training.processes import gathered, mean_over_processes
from hgs_cli.training.stage import Figures, Optimiser, Stage


class Warmup(Stage):
    """f and G together: cross-pitch reconstruction, classification, pitch adversary.

    The adversary has an optimiser of its own and takes several steps for one of f, on features that it remembers: one
    that learnt at f's pace was fooled by noise in single directions, and a fresh probe found what it had missed.
    """

    name = "warmup"
    learns = ("feature_extractor.trunk", "feature_extractor.timbre", "generator")
    config: WarmupConfig

    def prepare(self) -> None:
        """The classifier, the adversary and what could be known of pitch without the sound."""
        timbre_dim = self.model.config.feature_extractor.timbre_dim
        self.classifier = InstrumentClassifier(timbre_dim, self.table.n_instruments).to(self.device)
        self.adversary = Adversary(timbre_dim).to(self.device)
        self.prior = torch.from_numpy(self.table.key_prior(N_PITCHES)).to(self.device)
        self._learning = nn.ModuleDict(
            {
                "feature_extractor": self.model.feature_extractor,
                "generator": self.model.generator,
                "classifier": self.classifier,
            }
        )

    def trained(self) -> dict[str, nn.Module]:
        """f, G and the classifier; the adversary."""
        return {"main": self._learning, "adversary": self.adversary}

    def learning_rate(self, optimiser: str) -> float:
        """Peak rate of an optimiser."""
        return self.config.adversary_rate if optimiser == "adversary" else self.loop.learning_rate

    def extra_networks(self) -> dict[str, nn.Module]:
        """The classifier and the adversary."""
        return {"classifier": self.classifier, "adversary": self.adversary}

    def _teach_adversary(self, optimiser: Optimiser) -> None:
        """Let the adversary learn from features of this batch and of earlier ones."""
        adversary = self.adversary
        known = torch.nonzero(adversary.keys >= 0)[:, 0]
        for _ in range(self.config.adversary_steps if len(known) else 0):
            drawn = self.sampler.rng.integers(len(known), size=4 * self.loop.batch_size)
            chosen = known[torch.from_numpy(drawn).to(known.device)]
            optimiser.step(F.cross_entropy(adversary(adversary.bank[chosen], self.sampler.rng), adversary.keys[chosen]))

    def _blurred(self, h: Tensor) -> Tensor:
        """Features (B, h_dim) with a little noise on the timbre part, still of unit length.

        G is to draw about the same note for a region of timbres and not to keep a note for every point that it saw.
        """
        width = self.model.config.feature_extractor.timbre_dim
        noise = self.draw_normal(h.shape[0], width).to(h) / math.sqrt(width)
        timbre = F.normalize(h[:, :width] + self.config.feature_noise * noise, dim=1)
        return torch.cat([timbre, h[:, width:]], dim=1)

    def step(self, optimisers: dict[str, Optimiser]) -> Figures:
        """One batch of pairs."""
        config, model = self.config, self.model.train()
        batch = self.draw()
        with self.autocast():
            h = model.extract(batch.x)
            blurred = self._blurred(h).repeat_interleave(batch.targets, 0)
            envelopes = model.envelopes(blurred, batch.q)
            known = batch.label >= 0
            instrument_logits = self.classifier(h[known])
        terms = near_terms(model.generator, envelopes, batch, config)
        key = batch.p.round().long().clamp(0, N_PITCHES - 1)
        everyones = gathered(batch.pitched.long()) > 0
        self.adversary.remember(gathered(h.float())[everyones], gathered(key)[everyones])
        key = key[batch.pitched]
        pitch_logits = self.adversary(h[batch.pitched])
        label = batch.label[known]
        classification = _cross_entropy(instrument_logits, label)
        confusion = confusion_loss(pitch_logits, self.prior[batch.label[batch.pitched]])
        ramp = min(1.0, self.progress / config.adversary_ramp)
        terms |= {
            "classification": Term(config.classification, classification),
            "adversary": Term(config.adversary * ramp, confusion),
            "smoothness": Term(config.smoothness, smoothness_loss(envelopes)),
        }
        figures = optimisers["main"].descend(terms)
        self._teach_adversary(optimisers["adversary"])
        figures["instrument_accuracy"] = _accuracy(instrument_logits, label)
        figures["pitch_accuracy"] = _accuracy(pitch_logits, key)
        return figures


def _cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """Cross entropy of logits (B, C), 0 for the small batch in which nothing has a label."""
    return F.cross_entropy(logits.float(), label, reduction="sum") / _count(label)


def _accuracy(logits: Tensor, label: Tensor) -> float:
    return float((logits.argmax(1) == label).sum() / _count(label))


def _count(label: Tensor) -> Tensor:
    """How many examples have a label, as a mean over processes."""
    return mean_over_processes(torch.tensor(float(label.shape[0]), device=label.device)).clamp_min(LOSSES.tiny)
