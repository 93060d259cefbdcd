"""Where the time of notes goes, by stage, beside what this machine can do in the same run, on one core."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from hgs_cli.bench.clock import Clock, limited_threads
from hgs_cli.bench.plan import ALONE, BenchPlan, TimingRules
from hgs_cli.bench.report import Peak, Profile, Stage
from hgs_cli.models.generator import Generator
from hgs_cli.pipeline import Model, Settings, play
from hgs_cli.sampler.instrument import Instrument
from hgs_cli.sampler.notes import ENDS, drawn_voices, synthesize
from hgs_cli.sampler.voices import MovedHead, ask_networks, move_carriers, note_voices, read_carriers
from hgs_cli.sampler.wanted import carry_detail
from hgs_cli.spectrum import N_FRAMES

N_PROFILED = 18  # stages of both numbers of notes


class _Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts calls of operators that read or write, and the bytes of what they are given and give."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls, self.n_bytes = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.calls += 1
            tensors = {id(each): each for each in tree_leaves((args, kwargs, made)) if isinstance(each, Tensor)}
            self.n_bytes += sum(each.numel() * each.element_size() for each in tensors.values())
        return made


def profile_notes(clock: Clock, plan: BenchPlan, model: Model, instrument: Instrument) -> tuple[Profile, ...]:
    """A note alone and many, each on one core."""
    with limited_threads(1), torch.inference_mode():
        peak = measure_peak(clock, model.network.generator, plan.rules, len(plan.pitches))
        return tuple(_profile(clock, plan.runs, model, instrument, each, peak) for each in ([ALONE], plan.pitches))


def _profile(
    clock: Clock, runs: int, model: Model, instrument: Instrument, pitches: Sequence[float], peak: Peak
) -> Profile:
    settings, q = Settings(), torch.tensor(list(pitches), device=model.device)
    pieces = [slice(start, start + ENDS.piece_notes) for start in range(0, len(q), ENDS.piece_notes)]
    carriers = read_carriers(instrument, max(pitches), settings)
    asked = ask_networks(model, instrument, q, settings, carriers[0] is not None)
    notes = [[each.piece(piece) for each in asked] for piece in pieces]

    def moved() -> list[list[MovedHead | None]]:
        return [move_carriers(carriers, pitches[piece], settings) for piece in pieces]

    heads = moved()

    def heard() -> None:
        for each in heads:
            for head in each:
                if head is not None:
                    vars(head).pop("own", None)
                    assert head.own.ndim

    def levels() -> list[Any]:
        return [note_voices(one, each) for one, each in zip(notes, heads, strict=True)]

    def details() -> None:
        for one, *_ in notes:
            if one.drawn is not None:
                carry_detail(one, one.drawn)

    voices = levels()
    is_heard = any("own" in vars(head) for each in heads for head in each if head is not None)

    def drawn() -> None:
        for (one, *_), made in zip(notes, voices, strict=True):
            drawn_voices(model, instrument, one.q, settings, made)

    def sounded() -> None:
        for each, made in zip(heads, voices, strict=True):
            lead = each[instrument.lead]
            if lead is not None and made.gain is not None:
                for index, gain in enumerate(made.gain.cpu()):
                    lead.sound(index, gain, instrument.length_samples, settings.seed)

    work: dict[str, Callable[[], Any]] = {
        "G": lambda: ask_networks(model, instrument, q, settings, carriers[0] is not None),
        "detail transfer": details,
        "recording: moved": moved,
        "recording: its level": heard if is_heard else lambda: None,
        "levels": levels,
        "tone and noise": drawn,
        "recording: as sound": sounded,
        "ends and the rest": lambda: synthesize(model, instrument, pitches, settings),
        "loudness, gain": lambda: play(model, instrument, pitches, settings),
    }
    told = {name: _stage(clock, runs, name, one) for name, one in work.items()}  # then without what is told beside it
    told["levels"] = _less(told["levels"], [told["detail transfer"]])
    of_others = [each for name, each in told.items() if name not in ("ends and the rest", "loudness, gain")]
    whole, synthesized = told["loudness, gain"], told["ends and the rest"]
    told |= {"loudness, gain": _less(whole, [synthesized]), "ends and the rest": _less(synthesized, of_others)}
    return Profile(len(q), replace(whole, name="all"), tuple(told.values()), peak)


def _stage(clock: Clock, runs: int, name: str, work: Callable[[], Any]) -> Stage:
    _, spent = clock.measure(work, runs)
    with ExitStack() as modes:
        operators = modes.enter_context(_Operators())
        products = modes.enter_context(count_products())
        work()
    return Stage(
        name, statistics.median(spent) * 1e3, products.get_total_flops() // 2, operators.n_bytes, operators.calls
    )


def count_products() -> FlopCounterMode:
    """Counts what products and convolutions do, those that oneDNN is asked for among them."""
    return FlopCounterMode(display=False, custom_mapping={torch.ops.mkldnn._convolution_pointwise: _packed_flops})


def _packed_flops(x: Sequence[int], weight: Sequence[int], *_: Any, out_shape: Sequence[int], **__: Any) -> int:
    """Of a convolution with shapes (B, in, 1, T) and (out, in, 1, kernel)."""
    return 2 * math.prod(out_shape) * math.prod(weight[1:])


def _less(stage: Stage, others: Sequence[Stage]) -> Stage:
    """A stage without what others in it take; at least nothing."""
    return Stage(
        stage.name,
        max(0.0, stage.median_ms - sum(each.median_ms for each in others)),
        max(0, stage.operations - sum(each.operations for each in others)),
        max(0, stage.n_bytes - sum(each.n_bytes for each in others)),
        max(0, stage.calls - sum(each.calls for each in others)),
    )


def measure_peak(clock: Clock, generator: Generator, rules: TimingRules, n_notes: int) -> Peak:
    """The highest speeds that are seen here, with as many threads as torch may use now."""

    def fastest_s(work: Callable[[], Any]) -> float:
        work()
        return min(clock.seconds(work) for _ in range(rules.peak_runs))

    # The shape that is fastest here: G's widest layer, with channels last, for as many notes.
    device, last = generator.filters.device, torch.channels_last
    width, steps = generator.config.channels[-1], N_FRAMES // 4
    x = torch.randn(n_notes, width, 1, steps, device=device).contiguous(memory_format=last)
    weight = torch.randn(width, width, 1, 3, device=device).contiguous(memory_format=last)
    square = torch.randn(1024, 1024, device=device)
    operations_per_s = max(
        x.numel() * width * 3 / fastest_s(lambda: torch.nn.functional.conv2d(x, weight, padding=(0, 1))),
        square.shape[0] ** 3 / fastest_s(lambda: square @ square),
    )
    memory = torch.zeros(rules.copied_bytes, dtype=torch.uint8, device=device)
    other, one = torch.empty_like(memory), torch.zeros(1, device=device)
    bytes_per_s = 2.0 * rules.copied_bytes / fastest_s(lambda: other.copy_(memory))
    call_s = fastest_s(lambda: [one.add_(1.0) for _ in range(100)]) / 100.0
    return Peak(operations_per_s, bytes_per_s, call_s)
