"""Settings of every training stage; the paper's values are the defaults where it gives any."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hgs_cli.errors import TrainingError


@dataclass(frozen=True)
class LoopConfig:
    """What all stages share."""

    batch_size: int = 48  # examples a step; several processes share them
    learning_rate: float = 8e-4  # of the stage's main optimiser, at its peak
    final_learning_rate: float = 0.03  # where the cosine ends, as a part of the peak
    warmup_steps: int = 200  # steps over which the rate rises
    ema_decay: float = 0.998  # of the averaged weights that are released
    gradient_clip: float = 5.0  # largest norm of a gradient
    # part of Adam's mean gradient that survives a step; with an adversary alone, 0 keeps it from swinging
    beta1: float = 0.9
    tick_s: float = 30.0  # seconds between lines of the log
    checkpoint_s: float = 180.0  # seconds between checkpoints
    validation_batches: int = 6  # batches of the fixed validation set


@dataclass(frozen=True)
class DataConfig:
    """How examples are drawn and augmented."""

    recorded_share: float = 0.4  # part of the examples that comes from recordings, not SoundFonts
    unpitched_share: float = 0.12  # part that has no pitch and is reconstructed only
    self_share: float = 0.2  # part whose target is the input itself, at the same pitch
    # notes that one input has to explain; a multiple makes H cheaper, whose offsets then serve several
    targets: int = 1
    reach: float = 24.0  # largest interval between input and target in semitones
    # 1 or 2: half of the recorded training instruments, and some of the rendered ones, are set aside; 0: none
    fold: int = 0
    # draw from those instead of the others. An f and a G that learnt from the others do not know them
    set_aside: bool = False
    # a rendered target plays another sample of its SoundFont than the input, if there is one. A sample at two pitches
    # is resampled, which no instrument does
    new_sample: bool = False
    # of moving input and targets along frequency together, colour and pitch and all: another instrument, as if recorded
    # at another speed
    shift_probability: float = 0.4
    shift: float = 3.0  # largest such move in semitones
    mixture_probability: float = 0.25  # of a power-domain mixture with a second instrument at the same two pitches
    # part of those mixtures that lie between both instruments instead, level by level: one sound, not two
    between_share: float = 0.0
    # of playing input and targets slower or faster together, pitch unchanged, and by what factor at the most
    stretch_probability: float = 0.0
    stretch: float = 1.6
    # of a random smooth equaliser, and its standard deviation
    equaliser_probability: float = 0.8
    equaliser_db: float = 6.0
    # of an equaliser with detail down to three mel bands, and its standard deviation
    fine_probability: float = 0.3
    fine_db: float = 3.0
    # of an equaliser that moves with the pitch, from harmonic to harmonic, and its standard deviation
    harmonic_probability: float = 0.0
    harmonic_db: float = 5.0
    envelope_probability: float = 0.25  # of a random decay, and of a random end
    noise_probability: float = 0.3  # of a random noise floor


@dataclass(frozen=True)
class StageConfig:
    """Settings that every stage has, beside those of its own."""

    loop: LoopConfig = LoopConfig()
    data: DataConfig = DataConfig()


# G knows its training notes so well that H would have nothing to do: these are sounds that it does not know.
HYPER_DATA = DataConfig(
    self_share=0.5, targets=3, mixture_probability=0.4, equaliser_probability=0.9, fine_probability=0.9, fine_db=5.0
)


@dataclass(frozen=True)
class WarmupConfig(StageConfig):
    """Stage `warmup`: f and G together."""

    # weights of the loss terms
    reconstruction: float = 10.0
    periodicity: float = 0.3
    classification: float = 0.1
    adversary: float = 0.03
    smoothness: float = 0.05
    adversary_ramp: float = 0.1  # part of the budget over which the pitch adversary's weight is turned up
    adversary_steps: int = 2  # steps of the adversary for one of f
    adversary_rate: float = 1e-3  # its learning rate
    feature_noise: float = 0.15  # length of the noise that is added to the timbre part of h, whose length is 1


@dataclass(frozen=True)
class GanConfig(StageConfig):
    """Stage `gan`: G against D, f frozen."""

    loop: LoopConfig = LoopConfig(batch_size=32, learning_rate=2e-4, warmup_steps=100, ema_decay=0.998)
    adversarial: float = 0.03  # weight of G's relativistic loss
    # weights of the terms kept from the warm-up
    reconstruction: float = 10.0
    periodicity: float = 0.3
    smoothness: float = 0.05
    penalty: float = 1.0  # γ of R1 and R2
    penalty_every: int = 8  # steps between penalties (lazy regularisation)
    n_neighbours: int = 10  # neighbours in feature space among which the real sample for h is drawn
    discriminator_share: float = 0.1  # part of the budget in which D alone learns
    discriminator_rate: float = 5e-4  # learning rate of D
    z_scale: float = 1.0  # standard deviation of z


@dataclass(frozen=True)
class HyperConfig(StageConfig):
    """Stage `hyper`: H by timbre and reconstruction loss, f and G frozen."""

    loop: LoopConfig = LoopConfig(batch_size=36, learning_rate=7e-4, warmup_steps=100, ema_decay=0.995)
    data: DataConfig = HYPER_DATA
    # λ of the paper
    timbre: float = 20.0
    reconstruction: float = 200.0
    periodicity: float = 4.0  # weight of the periodicity loss
    max_passes: int = 1  # passes of H are drawn from 1 to this


@dataclass(frozen=True)
class HyperGanConfig(HyperConfig):
    """Stage `hyper-gan`: H and D against each other, f and G frozen."""

    loop: LoopConfig = LoopConfig(batch_size=36, learning_rate=2e-4, warmup_steps=100, ema_decay=0.995)
    adversarial: float = 0.3  # weight of H's relativistic loss
    # γ of R1 and R2, and steps between them
    penalty: float = 5.0
    penalty_every: int = 8
    discriminator_share: float = 0.1  # part of the budget in which D alone learns
    discriminator_rate: float = 2e-4  # learning rate of D
    projection: bool = True  # whether D projects on pitch and timbre; without it, it is a row of the paper's table


@dataclass(frozen=True)
class PitchGanConfig(StageConfig):
    """Stage `pitch-gan`, for the paper's table: G against D from random timbres alone, from scratch."""

    loop: LoopConfig = LoopConfig(batch_size=32, learning_rate=3e-4, warmup_steps=100, beta1=0.0)
    smoothness: float = 0.2  # weight of the envelopes' smoothness
    # γ of R1 and R2, and steps between them
    penalty: float = 5.0
    penalty_every: int = 4
    discriminator_share: float = 0.0  # part of the budget in which D alone learns
    discriminator_rate: float = 3e-4  # learning rate of D


@dataclass(frozen=True)
class EncoderConfig(StageConfig):
    """Stage `encoder`, for the paper's table: an encoder into the frozen G of `pitch-gan`."""

    # weights of the loss terms
    reconstruction: float = 10.0
    periodicity: float = 0.3


@dataclass(frozen=True)
class MelHyperConfig(HyperConfig):
    """Stage `mel-hyper`, for the paper's table: as `hyper`, with an H that reads mel-spectrograms."""


@dataclass(frozen=True)
class JudgeConfig(StageConfig):
    """Stage `judge`: the classifier of pitch and instrument that measures generated notes."""

    loop: LoopConfig = LoopConfig(batch_size=64, learning_rate=2e-3, warmup_steps=100, tick_s=60.0)
    data: DataConfig = DataConfig(
        recorded_share=0.45,
        unpitched_share=0.0,
        self_share=1.0,
        shift_probability=0.0,
        mixture_probability=0.0,
        fine_probability=0.0,
    )
    instrument: float = 0.5  # weight of the instrument's loss beside the pitch's
    # shares of the targets that go to all classes alike
    pitch_smoothing: float = 0.05
    instrument_smoothing: float = 0.1
    reach: float = 2.0  # semitones by which a note is moved along frequency, up or down
    unmoved_share: float = 0.3  # part of the notes that stay where they are
    gain_db: float = 20.0  # largest attenuation


@dataclass(frozen=True)
class DetailConfig(StageConfig):
    """Stage `detail`: the detail transfer, f, G and H frozen."""

    loop: LoopConfig = LoopConfig(
        batch_size=32, learning_rate=6e-4, warmup_steps=30, ema_decay=0.98, tick_s=60.0, gradient_clip=0.2
    )
    data: DataConfig = DataConfig(
        fold=1,
        set_aside=True,
        recorded_share=0.6,
        unpitched_share=0.0,
        self_share=0.0,
        targets=4,
        new_sample=True,
        mixture_probability=0.1,
        equaliser_probability=0.3,
        fine_probability=0.0,
        envelope_probability=0.1,
        noise_probability=0.1,
    )
    distance: float = 1.0  # weight of the distance after the best common gain
    periodicity: float = 0.01  # weight of the periodicity loss
    movement: float = 0.3  # weight of how lively bands are
    level: float = 0.02  # weight of the loudness


STAGE_CONFIGS: dict[str, type[StageConfig]] = {
    "warmup": WarmupConfig,
    "gan": GanConfig,
    "hyper": HyperConfig,
    "hyper-gan": HyperGanConfig,
    "pitch-gan": PitchGanConfig,
    "encoder": EncoderConfig,
    "mel-hyper": MelHyperConfig,
    "judge": JudgeConfig,
    "detail": DetailConfig,
}


def _override(config: Any, values: dict[str, Any], where: str) -> Any:
    known = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    changes: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            raise TrainingError(f"unknown setting {where}{name}", f"known are {', '.join(known)}")
        old = known[name]
        if dataclasses.is_dataclass(old):
            if not isinstance(value, dict):
                raise TrainingError(f"{where}{name} is a table", f"write [{where}{name}] and its settings below it")
            changes[name] = _override(old, value, f"{where}{name}.")
        elif isinstance(old, bool):
            if value not in (0, 1):  # which true and false equal
                raise TrainingError(f"{where}{name} is {value!r}", "give true or false, or 1 or 0")
            changes[name] = bool(value)
        elif isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TrainingError(f"{where}{name} is {value!r}", "give a number")
        elif isinstance(old, int) and not isinstance(value, int):
            raise TrainingError(f"{where}{name} is {value!r}", "give a whole number")
        else:
            changes[name] = type(old)(value)
    return dataclasses.replace(config, **changes)


def stage_config(stage: str, toml: Path | None = None) -> StageConfig:
    """Settings of a stage: the defaults, overridden by the values of a TOML file.

    Raises:
        TrainingError: When the stage or a key is unknown, or the file cannot be read.
    """
    if stage not in STAGE_CONFIGS:
        raise TrainingError(f"unknown stage {stage!r}", f"the stages are {', '.join(STAGE_CONFIGS)}")
    config = STAGE_CONFIGS[stage]()
    if toml is None:
        return config
    try:
        values = tomllib.loads(toml.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(f"{toml} cannot be read: {error}", "give a TOML file with settings of the stage") from error
    result: StageConfig = _override(config, values, "")
    return result
