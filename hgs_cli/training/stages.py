"""Every stage by its name."""

from __future__ import annotations

from hgs_cli.training.adversarial import Gan
from hgs_cli.training.compare import Encoder, MelHyper, PitchGan
from hgs_cli.training.hyper import Hyper, HyperGan
from hgs_cli.training.judge import Judging
from hgs_cli.training.stage import Stage
from hgs_cli.training.transfer import DetailStage
from hgs_cli.training.warmup import Warmup

STAGES: dict[str, type[Stage]] = {stage.name: stage for stage in (Warmup, Gan, Hyper, HyperGan)}
"""The paper's four, in their order."""

ALL_STAGES: dict[str, type[Stage]] = STAGES | {
    stage.name: stage for stage in (DetailStage, PitchGan, Encoder, MelHyper, Judging)
}
