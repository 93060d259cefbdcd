"""The paper's four stages: what one step of each is, and how it is validated."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hgs_cli.models.discriminator import N_PITCHES, Adversary, Discriminator, InstrumentClassifier
from hgs_cli.models.hyperganstrument import HyperGANStrument
from hgs_cli.spectrum import DB_PER_UNIT
from hgs_cli.training.bandwidth import known_bands, mask_above
from hgs_cli.training.batches import Batch, NoteTable, PairSampler, SpeckleBank, nearest_neighbours
from hgs_cli.training.config import (
    GanConfig,
    HyperConfig,
    HyperGanConfig,
    LoopConfig,
    PitchGanConfig,
    StageConfig,
    WarmupConfig,
)
from hgs_cli.training.losses import (
    TINY,
    audible_powers,
    confusion_loss,
    gradient_penalty,
    periodicity_loss,
    reconstruction_loss,
    relativistic_loss,
    smoothness_loss,
    timbre_loss,
)
from hgs_cli.training.processes import WHOLE, are_several, gathered, mean_over_processes

Figures = dict[str, float]


class Stage(ABC):
    """One stage: networks, optimisers and a step; the loop owns time, averages, logs and files.

    Args:
        model: All of f, G and H; the stage decides what of it learns.
        config: Settings.
        folder: The data set.
        seed: Of the draws.
        device: Where the networks are.
    """

    name: str
    learns: tuple[str, ...]  # modules of the model, by name; the others are frozen
    can_be_shared = True  # by several processes

    def __init__(
        self, model: HyperGANStrument, config: StageConfig, folder: Path, seed: int, device: torch.device
    ) -> None:
        self.model, self.config, self.device = model, config, device
        set_trainable(model, False)
        for name in self.learns:
            set_trainable(model.get_submodule(name), True)
        self.table = NoteTable(folder, validation=False, fold=config.data.fold, set_aside=bool(config.data.set_aside))
        self.sampler = PairSampler(self.table, config.data, seed)
        self.speckle = SpeckleBank(model.generator.filters)
        self.validation_table = NoteTable(folder, validation=True)
        self._validation: list[Batch] | None = None
        self.part = WHOLE  # of every batch, set by the loop where several processes train
        self.progress = 0.0  # part of the budget that is spent, set by the loop before every step

    @property
    def loop(self) -> LoopConfig:
        """Settings that all stages share."""
        return self.config.loop

    @abstractmethod
    def trained(self) -> dict[str, nn.Module]:
        """Modules that learn, by optimiser: one optimiser each."""

    def extra_networks(self) -> dict[str, nn.Module]:
        """Networks beside the model that a checkpoint has to hold."""
        return {}

    def learning_rate(self, optimiser: str) -> float:
        """Peak rate of an optimiser."""
        return self.loop.learning_rate

    @abstractmethod
    def step(self, optimisers: dict[str, Optimiser]) -> Figures:
        """Draw a batch and take one step with it; returns the value of every loss term."""

    def autocast(self) -> torch.autocast:
        """bf16 arithmetic."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def draw(self) -> Batch:
        """The next batch on the device."""
        with torch.autocast("cpu", enabled=False):  # levels and powers want single precision, wherever this is called
            return self.sampler.draw(self.loop.batch_size, self.part).to(self.device)

    def extract(self, x: Tensor) -> Tensor:
        """h of log-mels x (B, n_mels, n_frames), (B, h_dim)."""
        return self.model.extract(x)

    def refine(self, batch: Batch, h: Tensor, passes: int) -> dict[str, Tensor]:
        """Offsets Δ for the inputs of a batch with features h (N, h_dim)."""
        return self.model.refine(h, batch.p, passes, known_bands(batch.input_bandwidth_hz))

    def draw_speckle(self, size: int) -> Tensor:
        """Random noise textures, (size, n_mels, n_frames), drawn for the whole batch as all else that is random."""
        whole = size * self.part.size
        return self.speckle.draw(whole, self.sampler.rng, self.part.of(whole)).to(self.device)

    def draw_normal(self, size: int, width: int) -> Tensor:
        """Normal numbers, (size, width), likewise."""
        whole = size * self.part.size
        return torch.from_numpy(self.sampler.rng.standard_normal((whole, width))[self.part.of(whole)])

    def validation_batches(self) -> list[Batch]:
        """Fixed pairs of the validation instruments: half at the source pitch, half across pitches, never augmented."""
        if self._validation is None:
            self._validation = []
            for part, share in ((0, 1.0), (1, 0.0)):
                config = replace(self.config.data, self_share=share, targets=1, unpitched_share=0.1, recorded_share=1.0)
                sampler = PairSampler(self.validation_table, config, seed=1000 + part, augment=False)
                for _ in range(max(1, self.loop.validation_batches // 2)):
                    self._validation.append(sampler.draw(32))
        return self._validation

    @torch.no_grad()
    def validate(self) -> Figures:
        """Distances of unseen instruments in dB: source pitch and across pitches, H off and on."""
        model = self.model.eval()
        sums: dict[str, list[float]] = {}
        rows = {"": 0} if model.hypernetwork.untrained() else {"": 0, "_h1": 1, "_h2": 2}
        for batch in self.validation_batches():
            batch = batch.to(self.device)
            kind = "self" if torch.equal(batch.p, batch.q) else "cross"
            with self.autocast():
                h = self.extract(batch.x)
                for suffix, passes in rows.items():
                    offsets = self.refine(batch, h, passes)
                    envelopes = model.envelopes(h, batch.q, offsets)
                    powers = audible_powers(model.generator, envelopes, batch.q)
                    loss = reconstruction_loss(*powers, batch.y, batch.bandwidth_hz)
                    sums.setdefault(f"val_{kind}{suffix}_db", []).append(loss.item() * DB_PER_UNIT)
                    pitched = batch.pitched.repeat_interleave(batch.targets)
                    per = periodicity_loss(*powers, batch.periodicity, pitched, batch.bandwidth_hz)
                    sums.setdefault(f"val_{kind}{suffix}_per", []).append(per.item())
        return {name: float(np.mean(values)) for name, values in sums.items()}


class Optimiser:
    """Adam on one module, with its gradients averaged over processes and clipped.

    Args:
        module: What learns.
        loop: Its largest norm of a gradient, and Adam's β1.
    """

    def __init__(self, module: nn.Module, loop: LoopConfig) -> None:
        self.parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        betas = (loop.beta1, 0.99)
        self.adam = torch.optim.Adam(self.parameters, lr=0.0, betas=betas, eps=1e-8, fused=False, foreach=True)
        self.clip = loop.gradient_clip

    def set_rate(self, rate: float) -> None:
        """Use this learning rate from now on."""
        for group in self.adam.param_groups:
            group["lr"] = rate

    def step(self, loss: Tensor) -> float:
        """Descend on a loss; returns the norm of its gradient."""
        self.adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        if are_several():
            flat = mean_over_processes(torch.cat([gradient.flatten() for gradient in gradients]))
            start = 0
            for gradient in gradients:
                gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
                start += gradient.numel()
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.clip)
        if bool(torch.isfinite(norm)):
            self.adam.step()
        return float(norm)


def set_trainable(module: nn.Module, trainable: bool) -> None:
    """Freeze or free all parameters of a module."""
    for parameter in module.parameters():
        parameter.requires_grad_(trainable)


def _cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """Cross entropy of logits (B, C), 0 for the small batch in which nothing has a label."""
    return F.cross_entropy(logits.float(), label, reduction="sum") / _count(label)


def _accuracy(logits: Tensor, label: Tensor) -> float:
    return float((logits.argmax(1) == label).sum() / _count(label))


def _count(label: Tensor) -> Tensor:
    """How many examples have a label, as a mean over processes."""
    return mean_over_processes(torch.tensor(float(label.shape[0]), device=label.device)).clamp_min(TINY)


class _FandG(nn.Module):
    """What the warm-up trains beside its adversary."""

    def __init__(self, model: HyperGANStrument, classifier: InstrumentClassifier) -> None:
        super().__init__()
        self.feature_extractor, self.generator = model.feature_extractor, model.generator
        self.classifier = classifier


class Warmup(Stage):
    """f and G together: cross-pitch reconstruction, classification, pitch adversary.

    The adversary has an optimiser of its own and takes several steps for one of f, on features that it remembers: one
    that learnt at f's pace was fooled by noise in single directions, and a fresh probe found what it had missed.
    """

    name = "warmup"
    learns = ("feature_extractor.trunk", "feature_extractor.timbre", "generator")
    config: WarmupConfig

    def __init__(
        self, model: HyperGANStrument, config: StageConfig, folder: Path, seed: int, device: torch.device
    ) -> None:
        super().__init__(model, config, folder, seed, device)
        sizes = model.config.feature_extractor
        self.classifier = InstrumentClassifier(sizes.timbre_dim, self.table.n_instruments).to(device)
        self.adversary = Adversary(sizes.timbre_dim).to(device)
        self.prior = torch.from_numpy(self.table.key_prior(N_PITCHES)).to(device)
        self._all = _FandG(model, self.classifier)

    def trained(self) -> dict[str, nn.Module]:
        """f, G and the classifier; the adversary."""
        return {"main": self._all, "adversary": self.adversary}

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
            powers = audible_powers(model.generator, envelopes, batch.q)
            known = batch.label >= 0
            instrument_logits = self.classifier(h[known])
        key = batch.p.round().long().clamp(0, N_PITCHES - 1)
        everyones = gathered(batch.pitched.long()) > 0
        self.adversary.remember(gathered(h.float())[everyones], gathered(key)[everyones])
        key = key[batch.pitched]
        pitch_logits = self.adversary(h[batch.pitched])
        label = batch.label[known]
        classification = _cross_entropy(instrument_logits, label)
        confusion = confusion_loss(pitch_logits, self.prior[batch.label[batch.pitched]])
        reconstruction = reconstruction_loss(*powers, batch.y, batch.bandwidth_hz)
        pitched = batch.pitched.repeat_interleave(batch.targets)
        periodicity = periodicity_loss(*powers, batch.periodicity, pitched, batch.bandwidth_hz)
        smoothness = smoothness_loss(envelopes)
        loss = (
            config.reconstruction * reconstruction
            + config.periodicity * periodicity
            + config.classification * classification
            + config.adversary * min(1.0, self.progress / config.adversary_ramp) * confusion
            + config.smoothness * smoothness
        )
        norm = optimisers["main"].step(loss)
        self._teach_adversary(optimisers["adversary"])
        return {
            "loss": loss.item(),
            "reconstruction_db": reconstruction.item() * DB_PER_UNIT,
            "periodicity": periodicity.item(),
            "instrument_accuracy": _accuracy(instrument_logits, label),
            "pitch_accuracy": _accuracy(pitch_logits, key),
            "adversary": confusion.item(),
            "smoothness": smoothness.item(),
            "gradient": norm,
        }


class Adversarial(Stage):
    """What the stages with a discriminator share."""

    config: GanConfig | HyperGanConfig | PitchGanConfig

    def __init__(
        self, model: HyperGANStrument, config: StageConfig, folder: Path, seed: int, device: torch.device
    ) -> None:
        super().__init__(model, config, folder, seed, device)
        self.discriminator = self.build_discriminator().to(device)
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
        loss = relativistic_loss(real_logits, fake_logits)
        figures = {"d_loss": loss.item(), "d_accuracy": float((real_logits > fake_logits).float().mean())}
        self.n_steps += 1
        if self.n_steps % self.config.penalty_every == 0:
            half = slice(self.part.rank * real.shape[0] % 2, None, 2)  # every other example of the whole batch

            def judged(x: Tensor) -> Tensor:
                return self.discriminator(mask_above(x, bandwidth_hz[half]), p[half], h[half])

            r1, r2 = gradient_penalty(judged, real[half]), gradient_penalty(judged, fake[half])
            loss = loss + self.config.penalty * self.config.penalty_every * (r1 + r2)
            figures |= {"r1": r1.item(), "r2": r2.item()}
        figures["d_gradient"] = optimiser.step(loss)
        set_trainable(self.discriminator, False)
        return figures


class Gan(Adversarial):
    """G against D with instance conditioning; f frozen, reconstruction kept."""

    name = "gan"
    learns = ("generator",)
    config: GanConfig

    def __init__(
        self, model: HyperGANStrument, config: StageConfig, folder: Path, seed: int, device: torch.device
    ) -> None:
        super().__init__(model, config, folder, seed, device)
        self._notes = self.sampler.pitched_notes()
        shard = self.table.shard_of[self._notes]
        weight = 1.0 / np.bincount(shard)[shard]  # an instrument counts as every other, however many notes it has
        self.likelihood = weight / weight.sum()
        self._features = self._all_features()
        timbre = self._features[:, : model.config.feature_extractor.timbre_dim]
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
            return self.model.generator.compose(envelopes, p, self.draw_speckle(size))

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
        with self.autocast():
            fake_logits = self.discriminator(fake, p, h)
            with torch.no_grad():
                real_logits = self.discriminator(real, p, h)
            batch = self.draw()
            with torch.no_grad():
                h_pair = model.extract(batch.x).repeat_interleave(batch.targets, 0)
            envelopes = model.envelopes(h_pair, batch.q)
        powers = audible_powers(model.generator, envelopes, batch.q)
        adversarial = relativistic_loss(fake_logits, real_logits)
        reconstruction = reconstruction_loss(*powers, batch.y, batch.bandwidth_hz)
        pitched = batch.pitched.repeat_interleave(batch.targets)
        periodicity = periodicity_loss(*powers, batch.periodicity, pitched, batch.bandwidth_hz)
        loss = (
            config.adversarial * adversarial
            + config.reconstruction * reconstruction
            + config.periodicity * periodicity
            + config.smoothness * smoothness_loss(envelopes)
        )
        figures["gradient"] = optimisers["generator"].step(loss)
        return figures | {
            "loss": loss.item(),
            "adversarial": adversarial.item(),
            "reconstruction_db": reconstruction.item() * DB_PER_UNIT,
            "periodicity": periodicity.item(),
        }


@dataclass(frozen=True)
class _HyperTrial:
    """What H made of one batch.

    Attributes:
        loss: Timbre, reconstruction and periodicity terms, weighted and summed.
        figures: Each of them.
        batch: The batch.
        h: Features of its inputs, a row for every target, (B, h_dim).
        x_hat: Log-mels at the targets' pitches with random noise texture, nothing above the targets' bandwidth,
            (B, n_mels, n_frames).
    """

    loss: Tensor
    figures: Figures
    batch: Batch
    h: Tensor
    x_hat: Tensor


def _with_map(model: HyperGANStrument) -> nn.Module:
    """H and the part of f that it alone reads."""
    return nn.ModuleList([model.hypernetwork, model.feature_extractor.map])


def _try_hypernetwork(stage: Stage, config: HyperConfig | HyperGanConfig) -> _HyperTrial:
    """Draw a batch and let H refine G for its inputs, in one to several passes."""
    model = stage.model.train()
    batch = stage.draw()
    n_passes = int(stage.sampler.rng.integers(1, config.max_passes + 1))
    with stage.autocast():
        h = stage.extract(batch.x)  # its map learns with H
        offsets = stage.refine(batch, h, n_passes)
        h = h.detach().repeat_interleave(batch.targets, 0)
        envelopes = model.envelopes(h, batch.q, offsets)
    powers = audible_powers(model.generator, envelopes, batch.q)
    reconstruction = reconstruction_loss(*powers, batch.y, batch.bandwidth_hz)
    pitched = batch.pitched.repeat_interleave(batch.targets)
    periodicity = periodicity_loss(*powers, batch.periodicity, pitched, batch.bandwidth_hz)
    # f knows the speckle of real noise: without it every reconstruction would seem to differ in timbre.
    with torch.autocast(stage.device.type, enabled=False):
        x_hat = model.generator.compose(envelopes, batch.q, stage.draw_speckle(batch.q.shape[0]))
        x_hat = mask_above(x_hat, batch.bandwidth_hz)
    with stage.autocast():
        width = (
            model.config.feature_extractor.timbre_dim
        )  # the map learns too: it could please this term by saying nothing
        timbre = timbre_loss(h[:, :width], stage.extract(x_hat)[:, :width])
    loss = config.timbre * timbre + config.reconstruction * reconstruction + config.periodicity * periodicity
    figures = {
        "reconstruction_db": reconstruction.item() * DB_PER_UNIT,
        "timbre": timbre.item(),
        "periodicity": periodicity.item(),
        "timbre_share": (config.timbre * timbre / loss).item(),
        "reconstruction_share": (config.reconstruction * reconstruction / loss).item(),
    }
    return _HyperTrial(loss, figures, batch, h, x_hat)


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
        norm = optimisers["hypernetwork"].step(trial.loss)
        return trial.figures | {"loss": trial.loss.item(), "gradient": norm}


class HyperGan(Adversarial):
    """H, with its map, and D against each other; what conditions G, and G, are frozen."""

    name = "hyper-gan"
    learns = ("hypernetwork", "feature_extractor.map")
    config: HyperGanConfig

    def build_discriminator(self) -> Discriminator:
        """A fresh D, as wide as f, with or without projection."""
        sizes = self.model.config.feature_extractor
        return Discriminator(sizes.timbre_dim, sizes.channels, projection=bool(self.config.projection))

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
            with self.autocast():
                fake_logits = self.discriminator(trial.x_hat, q, h)
                with torch.no_grad():
                    real_logits = self.discriminator(real, q, h)
            adversarial = relativistic_loss(fake_logits, real_logits)
            loss = trial.loss + self.config.adversarial * adversarial
            figures["gradient"] = optimisers["hypernetwork"].step(loss)
            figures |= {"loss": loss.item(), "adversarial": adversarial.item()}
        fake = trial.x_hat.detach()
        return figures | self.discriminator_step(optimisers["discriminator"], real, fake, q, h, bandwidth_hz)


STAGES: dict[str, type[Stage]] = {stage.name: stage for stage in (Warmup, Gan, Hyper, HyperGan)}


def rate_at(step: int, progress: float, loop: LoopConfig) -> float:
    """Factor of the learning rate: a linear rise over the first steps, then a cosine to its final value.

    Args:
        step: Steps taken.
        progress: Part of the budget spent, 0 to 1.
        loop: Settings.
    """
    rise = min(1.0, (step + 1) / max(1, loop.warmup_steps))
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
    return rise * (loop.final_learning_rate + (1.0 - loop.final_learning_rate) * cosine)


def mean_figures(rows: Iterable[Figures]) -> Figures:
    """Average of every figure over the rows that have it."""
    sums: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            sums.setdefault(name, []).append(value)
    return {name: float(np.mean(values)) for name, values in sums.items()}


def describe(stage: Stage) -> dict[str, Any]:
    """What a run is about to train: parameters by optimiser, notes and instruments."""
    return {
        "stage": stage.name,
        "trainable": {
            name: sum(p.numel() for p in module.parameters() if p.requires_grad)
            for name, module in stage.trained().items()
        },
        "notes": len(stage.table.pitch),
        "instruments": stage.table.n_instruments,
        "validation_notes": len(stage.validation_table.pitch),
    }
