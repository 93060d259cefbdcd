"""The only training loop: batches, time, averages, logs, checkpoints."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import time
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from hgs_cli.errors import TrainingError
from hgs_cli.files.atomic import write_whole
from hgs_cli.training.checkpoint import FILE_NAME, Checkpoint, initial_model, load_checkpoint, save_checkpoint
from hgs_cli.training.config import LoopConfig, stage_config
from hgs_cli.training.precision import has_bf16
from hgs_cli.training.processes import Part, are_several, mean_over_processes, under_torchrun
from hgs_cli.training.stage import Figures, Optimiser, Stage
from hgs_cli.training.stages import ALL_STAGES

LOG_NAME = "log.jsonl"
SETTINGS_NAME = "settings.json"

Callback = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class RunOptions:
    """What a run is asked for."""

    data: Path  # the data set
    out: Path  # folder of the run
    budget_s: float | None = None  # seconds to train; the learning rate follows the time
    steps: int | None = None  # steps to train; the learning rate follows the steps. One of the two is given
    device: str = "cpu"  # `cpu` or `cuda`
    seed: int = 0  # of everything random
    resume: bool = False  # go on from the checkpoint in `out`
    init: Path | None = None  # what to start from: a run, a checkpoint, a bundle; fresh networks when None
    config: Path | None = None  # TOML file with settings
    dry_run: bool = False  # say what would be trained, and stop


class Average:
    """Running average of a module's parameters.

    Args:
        module: What is averaged.
        decay: Part of the average that survives a step.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module = deepcopy(module).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Take a step's parameters in; early on the average forgets faster."""
        decay = min(self.decay, (1.0 + step) / (10.0 + step))
        pairs = [
            (mean, new)
            for mean, new in zip(self.module.parameters(), module.parameters(), strict=True)
            if new.requires_grad
        ]
        if pairs:
            torch._foreach_lerp_([mean for mean, _ in pairs], [new.detach() for _, new in pairs], 1.0 - decay)


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


@dataclass
class _Run:
    """Where a run stands."""

    step: int = 0  # steps taken
    elapsed_s: float = 0.0  # seconds of training spent
    figures: Figures = dataclasses.field(default_factory=dict)  # the last validation
    # networks of the run it started from that this stage has no use for: D waits here while H learns alone
    carried: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)


def run_stage(name: str, options: RunOptions, callback: Callback | None = None) -> Figures:
    """Train one stage within its budget and leave its last checkpoint, log and settings in `options.out`.

    Args:
        name: `warmup`, `gan`, `hyper`, `hyper-gan` or `detail`; for the tables `pitch-gan`, `encoder`, `mel-hyper` or
            `judge`.
        options: What is asked for.
        callback: Called with every line of the log, and first with what is about to be trained.

    Returns:
        The last validation's figures.

    Raises:
        TrainingError: When data, settings or checkpoints do not fit, or a loss is not finite.
    """
    if (options.budget_s is None) == (options.steps is None):
        raise TrainingError("a run needs a time budget or a number of steps, one of them", "give --budget or --steps")
    config = stage_config(name, options.config)
    part = under_torchrun()
    distributed = part.size > 1
    if distributed and not ALL_STAGES[name].can_be_shared:
        raise TrainingError(f"stage {name} is trained by one process", "run it without torchrun")
    part.of(max(1, config.loop.batch_size // config.data.targets))
    device = torch.device(options.device)
    if distributed:
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
        if device.type == "cuda":
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(device)
    try:
        return _run(name, options, callback, config, device, part)
    finally:
        if distributed:
            torch.distributed.destroy_process_group()


def _run(
    name: str, options: RunOptions, callback: Callback | None, config: Any, device: torch.device, part: Part
) -> Figures:
    checkpoint_path = options.out / FILE_NAME
    if checkpoint_path.exists() and not options.resume and not options.dry_run:
        raise TrainingError(f"{checkpoint_path} exists", "resume it with --resume, or give another --out")
    model, networks = initial_model(options.init, options.seed)
    model.to(device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed + 1)
        stage = ALL_STAGES[name](model, config, options.data, options.seed * 1000, device)
    stage.part = part
    for extra, network in stage.extra_networks().items():
        if extra in networks:
            network.load_state_dict(networks[extra])
    training = _Training(stage, networks, options, callback if part.rank == 0 else None)
    if options.resume and checkpoint_path.exists():
        training.restore(load_checkpoint(checkpoint_path))

    settings = {
        **describe(stage),
        "seed": options.seed,
        "device": str(device),
        "bf16": has_bf16(device),
        "settings": dataclasses.asdict(config),
    }
    if training.callback is not None:
        training.callback(settings)
    if options.dry_run:
        return {}
    if part.rank == 0:
        options.out.mkdir(parents=True, exist_ok=True)
        text = json.dumps(settings, indent=1)
        write_whole(options.out / SETTINGS_NAME, lambda aside: aside.write_text(text, encoding="utf-8"))
    previous = {
        number: signal.signal(number, lambda got, _: training.stopped.append(got))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        training.train()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if signal.SIGINT in training.stopped:
        raise KeyboardInterrupt
    return training.run.figures


class _Training:
    """A stage and all that its steps change, in one of the processes that train it.

    Args:
        stage: What is trained.
        networks: States of networks beside the model that it starts from, by name.
        options: What is asked for.
        callback: Takes every line of the log; of the first process alone.

    Attributes:
        stopped: Signals that asked to stop.
    """

    def __init__(
        self, stage: Stage, networks: dict[str, dict[str, Any]], options: RunOptions, callback: Callback | None
    ) -> None:
        self.stage, self.options, self.callback = stage, options, callback
        self.average = Average(stage.model, stage.loop.ema_decay)
        self.optimisers = {key: Optimiser(module, stage.loop) for key, module in stage.trained().items()}
        extra = stage.extra_networks()
        self.run = _Run(carried={name: state for name, state in networks.items() if name not in extra})
        self.stopped: list[int] = []
        self._rows: list[Figures] = []  # since the last line of the log
        self._last_tick = self._last_checkpoint = time.monotonic()

    def train(self) -> None:
        """Step until the budget is spent or a signal asks to stop; the last checkpoint is always written."""
        loop, run = self.stage.loop, self.run
        self._last_tick = self._last_checkpoint = time.monotonic()
        while self._progress() < 1.0 and not self.stopped:
            began = time.monotonic()
            self._step()
            now = time.monotonic()
            run.elapsed_s += now - began
            if self._agree(now - self._last_tick > loop.tick_s):
                self._tick(final=False)
            if now - self._last_checkpoint > loop.checkpoint_s:
                self._save()
        self._tick(final=True)
        self._save()

    def _progress(self) -> float:
        if self.options.steps is not None:
            return self.run.step / self.options.steps
        assert self.options.budget_s is not None
        return self.run.elapsed_s / self.options.budget_s

    def _step(self) -> None:
        stage, run = self.stage, self.run
        stage.progress = self._progress()
        for key, optimiser in self.optimisers.items():
            optimiser.set_rate(stage.learning_rate(key) * rate_at(run.step, stage.progress, stage.loop))
        figures = stage.step(self.optimisers)
        bad = [key for key, value in figures.items() if value != value and key not in ("gradient", "d_gradient")]
        if bad:
            raise TrainingError(f"{', '.join(bad)} is not finite at step {run.step}", "lower the learning rate")
        run.step += 1
        self.average.update(stage.model, run.step)
        self._rows.append(figures)

    def _agree(self, due: bool) -> bool:
        """Let all processes see the same time and wishes: one that stopped or validated alone would hang the others.

        Returns:
            Whether a line of the log is due.
        """
        if not are_several():
            return due
        wishes = [self.run.elapsed_s, float(max(self.stopped, default=0)), float(due)]
        shared = torch.tensor(wishes, dtype=torch.float64, device=self.stage.device)
        torch.distributed.all_reduce(shared, op=torch.distributed.ReduceOp.MAX)
        self.run.elapsed_s = float(shared[0])
        if shared[1] and not self.stopped:
            self.stopped.append(int(shared[1]))
        return bool(shared[2])

    def _tick(self, *, final: bool) -> None:
        """Validate the averaged networks and write a line of the log."""
        stage, run = self.stage, self.run
        spent = time.monotonic() - self._last_tick
        means = _everyones(mean_figures(self._rows), stage.device)
        trained, stage.model = stage.model, self.average.module  # type: ignore[assignment]
        try:
            run.figures = stage.validate()
        finally:
            stage.model = trained
        n_examples = len(self._rows) * stage.loop.batch_size
        line: dict[str, Any] = {
            "stage": stage.name,
            "step": run.step,
            "elapsed_s": round(run.elapsed_s, 1),
            "examples_per_s": round(n_examples / max(spent, 1e-9), 1),
            **{key: round(value, 5) for key, value in (means | run.figures).items()},
        }
        if stage.part.rank == 0:
            with (self.options.out / LOG_NAME).open("a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
        if self.callback is not None:
            self.callback({**line, "progress": min(1.0, self._progress()), "final": final})
        self._rows, self._last_tick = [], time.monotonic()

    def _save(self) -> None:
        """Write the checkpoint, in the first process."""
        if self.stage.part.rank == 0:
            save_checkpoint(self.options.out, self._checkpoint())
            self._last_checkpoint = time.monotonic()

    def _checkpoint(self) -> Checkpoint:
        stage, run = self.stage, self.run
        return Checkpoint(
            stage=stage.name,
            step=run.step,
            elapsed_s=run.elapsed_s,
            config=stage.model.config.to_dict(),
            model=stage.model.state_dict(),
            averaged=self.average.module.state_dict(),
            networks=run.carried | {name: network.state_dict() for name, network in stage.extra_networks().items()},
            optimisers={name: optimiser.adam.state_dict() for name, optimiser in self.optimisers.items()},
            random={"sampler": stage.sampler.state(), "torch": torch.get_rng_state(), "stage_steps": run.step},
            settings=dataclasses.asdict(stage.config),
            figures=run.figures,
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint.

        Raises:
            TrainingError: It is of another stage or other settings.
        """
        stage = self.stage
        if checkpoint.stage != stage.name:
            raise TrainingError(
                f"the checkpoint is of stage {checkpoint.stage}, not {stage.name}", "give another --out, or --init it"
            )
        if checkpoint.settings != dataclasses.asdict(stage.config):
            raise TrainingError("the checkpoint was made with other settings", "resume with the same --config")
        stage.model.load_state_dict(checkpoint.model)
        self.average.module.load_state_dict(checkpoint.averaged)
        extra = stage.extra_networks()
        for name, network in extra.items():
            network.load_state_dict(checkpoint.networks[name])
        for name, optimiser in self.optimisers.items():
            optimiser.adam.load_state_dict(checkpoint.optimisers[name])
        stage.sampler.restore(checkpoint.random["sampler"])
        torch.set_rng_state(checkpoint.random["torch"])
        if hasattr(stage, "n_steps"):
            stage.n_steps = checkpoint.random["stage_steps"]
        carried = {name: state for name, state in checkpoint.networks.items() if name not in extra}
        self.run = _Run(checkpoint.step, checkpoint.elapsed_s, dict(checkpoint.figures), carried)


def _everyones(figures: Figures, device: torch.device) -> Figures:
    """Means over all processes, each of which saw its part of the batches."""
    values = torch.tensor(list(figures.values()), dtype=torch.float64, device=device)
    return dict(zip(figures, mean_over_processes(values).tolist(), strict=True))
