"""Several processes train as one does: the same batches, shared out, and the same networks in the end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT, few_of

from hgs_cli.errors import TrainingError
from hgs_cli.models.hyperganstrument import tiny_config
from hgs_cli.models.weights import build_model, save_bundle
from hgs_cli.training import loop
from hgs_cli.training.batches import PairSampler
from hgs_cli.training.checkpoint import Checkpoint, initial_model, load_checkpoint
from hgs_cli.training.config import DataConfig
from hgs_cli.training.notes import NoteTable
from hgs_cli.training.processes import Part
from hgs_cli.training.stages import STAGES

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch trains in one process only")

TRAINED = [*STAGES, "detail", "pitch-gan"]
QUICK = ["warmup"]
OTHER_KINDS = ["hyper", "detail"]  # without an adversarial D; those with one take minutes
LONGER = [stage for stage in TRAINED if stage not in (*QUICK, *OTHER_KINDS)]
STEPS = 3
MOST_APART = 0.2  # of the way that the networks have come: Adam makes whole steps of what differs by rounding
SETTINGS = {
    "gan": "penalty_every = 2\ndiscriminator_share = 0.3\n",
    "hyper-gan": "penalty_every = 2\ndiscriminator_share = 0.3\n",
    "pitch-gan": "penalty_every = 2\n",
}
LOOP = "[loop]\nbatch_size = {size}\nwarmup_steps = 1\nvalidation_batches = 2\nlearning_rate = 0.001\n"

TRAIN = f"""
import os, shutil, sys
from pathlib import Path
import torch
from hgs_cli.training import loop
torch.set_num_threads(1)
if int(os.environ.get("WORLD_SIZE", "1")) > 1:  # one group for all stages: torchrun is meant for one run
    torch.distributed.init_process_group("gloo")
    end_group = torch.distributed.destroy_process_group  # without it, a process now and then dies as it ends
    torch.distributed.init_process_group = torch.distributed.destroy_process_group = lambda *given: None
stages = sys.argv[1]
data, init, out, configs = (Path(text) for text in sys.argv[2:])
for stage in stages.split(","):
    start = dict(data=data, init=init, config=configs / f"{{stage}}.toml", device="cpu")
    loop.run_stage(stage, loop.RunOptions(out=out / stage, steps={STEPS}, **start))
if (out / "warmup").exists():
    if not (out / "resumed").exists():
        shutil.copytree(out / "warmup", out / "resumed")
    start = dict(data=data, init=init, config=configs / "warmup.toml", device="cpu", resume=True)
    loop.run_stage("warmup", loop.RunOptions(out=out / "resumed", steps={STEPS + 2}, **start))
if int(os.environ.get("WORLD_SIZE", "1")) > 1:
    end_group()
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle to start from, whose hypernetwork says something."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.safetensors"
    model = build_model(tiny_config())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.hypernetwork.named_parameters():
            if "outputs" in name:
                parameter.copy_(0.05 * torch.randn(parameter.shape, generator=generator))
    save_bundle(path, model, "0")
    return path


@pytest.fixture(scope="module")
def configs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("configs")
    for stage in TRAINED:
        size = 24 if stage in ("hyper", "hyper-gan", "detail") else 8
        data = "[data]\nfold = 0\nset_aside = 0\n" if stage == "detail" else ""
        text = SETTINGS.get(stage, "") + LOOP.format(size=size) + data
        (folder / f"{stage}.toml").write_text(text)
    return folder


def train(processes: int, stages: list[str], dataset: Path, tiny: Path, configs: Path, out: Path) -> None:
    """Stages, one after the other, as torchrun or a plain call would train them."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [*(launcher if processes > 1 else []), str(out.parent / "train.py")]
    (out.parent / "train.py").write_text(TRAIN)
    done = subprocess.run(
        [sys.executable, *command, ",".join(stages), *map(str, (dataset, tiny, out, configs))],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def runs(dataset: Path, tiny: Path, configs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Folders of runs, by the number of processes."""
    folders: dict[int, Path] = {}
    for processes in (1, 2):
        out = tmp_path_factory.mktemp("runs") / str(processes)
        if processes > 1:  # they go on from what one process has trained
            shutil.copytree(folders[1] / "warmup", out / "resumed")
        train(processes, QUICK, dataset, tiny, configs, out)
        folders[processes] = out
    return folders


@pytest.fixture(scope="module")
def other_runs(dataset: Path, tiny: Path, configs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Folders of runs of stages of the other kinds, by the number of processes."""
    folders = {processes: tmp_path_factory.mktemp("other") / str(processes) for processes in (1, 2)}
    for processes, out in folders.items():
        train(processes, OTHER_KINDS, dataset, tiny, configs, out)
    return folders


@pytest.fixture(scope="module")
def longer_runs(dataset: Path, tiny: Path, configs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Folders of runs of the other stages, by the number of processes."""
    folders = {processes: tmp_path_factory.mktemp("longer") / str(processes) for processes in (1, 2)}
    for processes, out in folders.items():
        train(processes, LONGER, dataset, tiny, configs, out)
    return folders


def learned(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """All that a run changes, by name."""
    states = {"model": checkpoint.model, "averaged": checkpoint.averaged, **checkpoint.networks}
    return {f"{part}.{key}": value.double() for part, state in states.items() for key, value in state.items()}


def difference(one: Checkpoint, other: Checkpoint, start: dict[str, torch.Tensor]) -> float:
    """How far two runs are apart, as a part of how far the first has come from the start."""
    apart = moved = 0.0
    first, second = learned(one), learned(other)
    for name, value in first.items():
        part, key = name.split(".", 1)
        if part in ("model", "averaged"):
            apart += float((second[name] - value).square().sum())
            moved += float((value - start[key].double()).square().sum())
    return float((apart / moved) ** 0.5)


def assert_alike(one: Path, two: Path, tiny: Path) -> None:
    """Two runs are: every figure of the last line, and where the networks have come to."""
    start = initial_model(tiny, 0)[0].state_dict()
    checkpoints = [load_checkpoint(path) for path in (one, two)]
    assert checkpoints[0].step == checkpoints[1].step
    assert difference(checkpoints[0], checkpoints[1], start) < MOST_APART
    ours, theirs = (json.loads((path / loop.LOG_NAME).read_text().splitlines()[-1]) for path in (one, two))
    assert ours.keys() == theirs.keys()
    for name in ours.keys() - {"stage", "elapsed_s", "examples_per_s", "pitch_accuracy", "instrument_accuracy"}:
        assert theirs[name] == pytest.approx(ours[name], rel=0.01, abs=2e-4), name


@pytest.mark.thorough
@pytest.mark.parametrize("stage", QUICK)
def test_two_processes_come_to_what_one_comes_to(runs: dict[int, Path], tiny: Path, stage: str) -> None:
    """Losses, penalties and gradients within 1 %, what is left being bf16's rounding."""
    assert_alike(runs[1] / stage, runs[2] / stage, tiny)


@pytest.mark.thorough
@pytest.mark.parametrize("stage", OTHER_KINDS)
def test_two_processes_come_to_what_one_comes_to_in_other_kinds_of_stages(
    other_runs: dict[int, Path], tiny: Path, stage: str
) -> None:
    assert_alike(other_runs[1] / stage, other_runs[2] / stage, tiny)


@pytest.mark.slow
@pytest.mark.parametrize("stage", LONGER)
def test_two_processes_come_to_what_one_comes_to_in_the_longer_stages(
    longer_runs: dict[int, Path], tiny: Path, stage: str
) -> None:
    assert_alike(longer_runs[1] / stage, longer_runs[2] / stage, tiny)


@pytest.mark.thorough
def test_two_processes_go_on_where_one_stopped(runs: dict[int, Path], tiny: Path) -> None:
    assert load_checkpoint(runs[2] / "resumed").step == STEPS + 2
    assert_alike(runs[1] / "resumed", runs[2] / "resumed", tiny)


@pytest.mark.thorough
def test_the_adversary_remembers_what_all_processes_heard(runs: dict[int, Path]) -> None:
    one, two = (load_checkpoint(runs[count] / "warmup").networks["adversary"] for count in (1, 2))
    assert torch.equal(one["keys"], two["keys"])
    assert torch.allclose(one["bank"], two["bank"], atol=0.01)


@pytest.mark.thorough
def test_one_process_alone_writes_the_log(runs: dict[int, Path]) -> None:
    for stage in QUICK:
        assert len((runs[2] / stage / loop.LOG_NAME).read_text().splitlines()) == 1
    assert not list(runs[2].rglob(".hgs-*"))


@pytest.mark.parametrize("processes", few_of([2, 3, 4], 3))
@pytest.mark.parametrize("targets", few_of([1, 3], 3))
def test_the_parts_of_a_batch_are_the_batch(dataset: Path, processes: int, targets: int) -> None:
    table = NoteTable(dataset, validation=False)
    config = DataConfig(
        targets=targets,
        mixture_probability=0.5,
        between_share=0.5,
        shift_probability=0.5,
        stretch_probability=0.5,
        harmonic_probability=0.5,
        unpitched_share=0.3,
    )
    whole_sampler = PairSampler(table, config, seed=5)
    samplers = [PairSampler(table, config, seed=5) for _ in range(processes)]
    for _ in range(3):
        whole = whole_sampler.draw(12 * targets)
        parts = [one.draw(12 * targets, Part(rank, processes)) for rank, one in enumerate(samplers)]
        for name, value in vars(whole).items():
            together = torch.cat([getattr(part, name) for part in parts])
            assert torch.allclose(together.double(), value.double(), atol=1e-6), name
    states = [str(sampler.state()) for sampler in (whole_sampler, *samplers)]
    assert len(set(states)) == 1


def test_a_batch_that_cannot_be_shared_evenly_is_refused(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "5")
    for stage, said in (("warmup", "48 examples a step for 5 processes"), ("judge", "by one process")):
        with pytest.raises(TrainingError, match=said):
            loop.run_stage(stage, loop.RunOptions(dataset, tmp_path / "run", steps=1))
