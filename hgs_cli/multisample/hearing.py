"""Many recordings heard, put in order and told of: which key and which dynamic layer each is.

As in `cli`, nothing heavy is imported before it is needed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hgs_cli.commands import Call, WorkResult, work_on_each
from hgs_cli.console import Advance, Messages
from hgs_cli.multisample.gathering import SetFacts, n_layers
from hgs_cli.multisample.index import Recording
from hgs_cli.multisample.layers import settle_layers
from hgs_cli.multisample.names import SampleFacts
from hgs_cli.multisample.noise import even_noise
from hgs_cli.options import MultisampleOptions
from hgs_cli.pitch import describe_pitch, note_name

if TYPE_CHECKING:
    from hgs_cli.multisample.file import Recorded
    from hgs_cli.pipeline import Inversion
    from hgs_cli.sampler.settings import ListeningOptions


@dataclass(frozen=True)
class SetRules:
    """How recordings are told apart."""

    near: float = 0.6  # semitones within which a pitch that was found is the one that a name says
    # share of the names that are the same octaves off, from which that is what they call middle C
    by_convention: float = 0.8
    # of the share of energy on its harmonics that the found pitch has, what the named one must have; where both are
    # octaves apart, what is missing is the lower one's alone
    believed: float = 0.9
    believed_octaves: float = 0.5
    # cosine between the timbre of a recording and the mean of the others, below which it is said to be another
    # instrument: none of 160 recordings of 32 instruments is, of others' 82 %
    stranger: float = 0.4
    listed: int = 12  # recordings of which each has a line of its own


SETS = SetRules()


def hear_recordings(
    call: Call, gathered: SetFacts, listening: ListeningOptions, options: MultisampleOptions
) -> list[Recorded]:
    """Hear all recordings, and settle pitch and dynamic layer of each.

    Args:
        call: For the model and messages.
        gathered: From `gather_set`.
        listening: How they are heard.
        options: Whether each stays as it is tuned, and counts as the key nearest to its pitch, and as noisy as it is.
    """
    from hgs_cli.multisample.file import Recorded

    facts = gathered.facts
    found = _hear_all(call, facts, listening)
    keep = _without_doubles(call, facts, found)
    facts, found = [facts[index] for index in keep], [found[index] for index in keep]
    found = _settle_pitches(call, facts, found, listening)
    layers, by_colour = settle_layers(facts, found)
    if by_colour:
        call.messages.line("recordings of one key are equally loud: dynamic layers are told by their colour")
    _name_strangers(call, facts, found)
    keys = [_key(*each) if options.keep_tuning else None for each in zip(found, facts, strict=True)]
    recorded = [
        Recorded(Recording(fact.path.stem, layer, key, inversion.stands_at), inversion)
        for fact, inversion, layer, key in zip(facts, found, layers, keys, strict=True)
    ]
    recorded = even_noise(call, recorded, options.keep_noise)
    _tell(call, gathered.name, recorded)
    return recorded


def _hear_all(call: Call, facts: Sequence[SampleFacts], listening: ListeningOptions) -> list[Inversion]:
    found: list[Inversion] = []

    def hear(index: int, _: Advance) -> WorkResult:
        found.append(_hear(call, facts[index].path, listening))
        return WorkResult("heard", [])

    work_on_each([str(fact.path) for fact in facts], hear, Messages(quiet=True))
    return found


def _hear(call: Call, path: Path, listening: ListeningOptions, said: bool = True) -> Inversion:
    from hgs_cli.pipeline import Listening, open_sound

    return open_sound(call.model, path, Listening(**listening), call.messages.warn if said else lambda line: None)


def _without_doubles(call: Call, facts: Sequence[SampleFacts], found: Sequence[Inversion]) -> list[int]:
    """Those that are not the same sound again, which is said."""
    seen: dict[bytes, int] = {}
    keep = []
    for index, inversion in enumerate(found):
        print_ = b"" if inversion.recording is None else inversion.recording.numpy().tobytes()
        first = seen.setdefault(print_, index) if print_ else index
        if first == index:
            keep.append(index)
        else:
            call.messages.warn(f"{facts[index].path} is {facts[first].path} once more, and left out")
    return keep


def _settle_pitches(
    call: Call, facts: Sequence[SampleFacts], found: Sequence[Inversion], listening: ListeningOptions
) -> list[Inversion]:
    """Inversions at the pitches that names say where they say another than was found, unless that cannot be."""
    offsets = [
        None if fact.key is None or inversion.source_pitch is None else inversion.source_pitch - fact.key
        for fact, inversion in zip(facts, found, strict=True)
    ]
    told = [each for each in offsets if each is not None]
    octaves = Counter(round(each / 12.0) for each in told if abs(each - 12.0 * round(each / 12.0)) < SETS.near)
    shift = 0
    if octaves:
        commonest, count = octaves.most_common(1)[0]
        if commonest and count >= SETS.by_convention * len(told):
            shift = commonest
            call.messages.line(f"names call middle C C{call.middle_c - shift}: read so")
    settled = []
    for fact, inversion, off in zip(facts, found, offsets, strict=True):
        key = None if fact.key is None else fact.key + 12.0 * shift
        if key is None or (off is not None and abs(off - 12.0 * shift) < SETS.near):
            settled.append(inversion)
            continue
        heard = "no pitch" if inversion.source_pitch is None else describe_pitch(inversion.source_pitch, call.middle_c)
        named = _hear(call, fact.path, {**listening, "pitch": key}, said=False)
        if inversion.source_pitch is not None and _share(named) < _believed(inversion.source_pitch - key) * _share(
            inversion
        ):
            call.messages.warn(f"{fact.path} is called {note_name(round(key), call.middle_c)} and is {heard}")
            settled.append(inversion)
        else:
            called = note_name(round(key), call.middle_c)
            call.messages.warn(f"{fact.path} sounds like {heard} and is taken for {called}, as it is called")
            settled.append(named)
    return settled


def _believed(away: float) -> float:
    """What the named pitch must have of the found one's share, which is so many semitones above it."""
    octaves = abs(away - 12.0 * round(away / 12.0)) < SETS.near
    return SETS.believed_octaves if octaves else SETS.believed


def _share(inversion: Inversion) -> float:
    """Of its energy on the harmonics of its pitch."""
    return inversion.harmonic_share or 0.0


def _key(inversion: Inversion, fact: SampleFacts) -> float:
    """The key that a recording counts as: the nearest to its pitch, with the cents that are named."""
    return float(round(inversion.stands_at)) if fact.key is None else round(inversion.stands_at - fact.key) + fact.key


def _name_strangers(call: Call, facts: Sequence[SampleFacts], found: Sequence[Inversion]) -> None:
    """Say which recordings are another instrument's, by what f hears."""
    if len(found) < 4:
        return
    import torch

    width = call.model.network.config.feature_extractor.timbre_dim
    timbre = torch.stack([inversion.feature[:width].cpu() for inversion in found])
    others = (timbre.sum(0) - timbre) / (len(found) - 1)
    for fact, alike in zip(facts, torch.nn.functional.cosine_similarity(timbre, others).tolist(), strict=True):
        if alike < SETS.stranger:
            call.messages.warn(f"{fact.path} does not sound like the others: is it of this instrument?")


def _tell(call: Call, name: str, recorded: Sequence[Recorded]) -> None:
    """What there is, in a line, and of a few recordings in one each."""
    pitches = sorted(each.recording.pitch for each in recorded)
    low, high = (note_name(round(pitch), call.middle_c) for pitch in (pitches[0], pitches[-1]))
    layers = n_layers([each.recording for each in recorded])
    call.messages.line(
        f"{name}: {len(recorded)} recording{'s' if len(recorded) > 1 else ''} from {low} to {high}"
        + (f", {layers} dynamic layers" if layers > 1 else "")
    )
    if len(recorded) <= SETS.listed:
        for each in recorded:
            heard = describe_pitch(each.recording.stands_at, call.middle_c)
            layer = f", layer {each.recording.layer + 1}" if layers > 1 else ""
            call.messages.line(f"  {each.recording.name}: {heard}{layer}")
