"""What a stage of training is: networks, optimisers, batches and a step; and how every stage is validated."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from hgs_cli.models.hyperganstrument import HyperGANStrument
from hgs_cli.spectrum import DB_PER_UNIT
from hgs_cli.training.bandwidth import known_bands
from hgs_cli.training.batches import NoiseTextureBank, PairSampler
from hgs_cli.training.config import LoopConfig, StageConfig
from hgs_cli.training.losses import Term, logged, nearness, total
from hgs_cli.training.notes import Batch, NoteTable
from hgs_cli.training.precision import autocast
from hgs_cli.training.processes import WHOLE, are_several, mean_over_processes

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
        self.model, self.config, self.device, self.seed = model, config, device, seed
        set_trainable(model, False)
        for name in self.learns:
            set_trainable(model.get_submodule(name), True)
        self.table = NoteTable(folder, validation=False, fold=config.data.fold, set_aside=config.data.set_aside)
        self.sampler = PairSampler(self.table, config.data, seed)
        self.noise_texture = NoiseTextureBank(model.generator.filters)
        self.validation_table = NoteTable(folder, validation=True)
        self._validation: list[Batch] | None = None
        self.part = WHOLE  # of every batch, set by the loop where several processes train
        self.progress = 0.0  # part of the budget that is spent, set by the loop before every step
        self.prepare()

    def prepare(self) -> None:  # noqa: B027 — most stages need nothing
        """Make what a stage needs beside the model and its data."""

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
        """bf16 arithmetic where there is any."""
        return autocast(self.device)

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

    def draw_texture(self, size: int) -> Tensor:
        """Random noise textures, (size, n_mels, n_frames), drawn for the whole batch as all else that is random."""
        whole = size * self.part.size
        return self.noise_texture.draw(whole, self.sampler.rng, self.part.of(whole)).to(self.device)

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
                    reconstruction, periodicity = nearness(model.generator, envelopes, batch)
                    sums.setdefault(f"val_{kind}{suffix}_db", []).append(reconstruction.item() * DB_PER_UNIT)
                    sums.setdefault(f"val_{kind}{suffix}_per", []).append(periodicity.item())
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

    def descend(self, terms: Mapping[str, Term]) -> Figures:
        """Step on the sum of some terms; returns it, each of them and the norm of its gradient."""
        loss = total(terms)
        norm = self.step(loss)
        return {"loss": loss.item(), **logged(terms), "gradient": norm}

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
