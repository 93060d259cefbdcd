"""`--multisample`: many recordings put in order, told of, kept in one file, and played as one instrument.

As in `cli`, nothing heavy is imported before it is needed.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hgs_cli.commands import Call, WorkResult, deliver_files, file_lines, read_inputs, work_on_each
from hgs_cli.console import Advance, Messages
from hgs_cli.errors import UsageError
from hgs_cli.export.naming import InversionPlan, Plan, PlanOptions
from hgs_cli.export.sources import Source
from hgs_cli.options import MultisampleOptions
from hgs_cli.pitch import MAX_LAYERS, MAX_TAKES, MIDDLE_C, NoteKey, describe_pitch, note_name
from hgs_cli.recordings_index import MAX_RECORDINGS, Recording, holds_recordings, read_index
from hgs_cli.sample_map import facts_of_map, read_map
from hgs_cli.sample_names import SampleFacts, common_name, read_names

if TYPE_CHECKING:
    from hgs_cli.export.plot import KeyMap
    from hgs_cli.pipeline import Inversion
    from hgs_cli.recordings_file import Recorded
    from hgs_cli.sampler.multisample import Multisample
    from hgs_cli.sampler.settings import ListeningOptions


@dataclass(frozen=True)
class SetRules:
    """How recordings are told apart.

    Attributes:
        near: Semitones within which a pitch that was found is the one that a name says.
        by_convention: Share of the names that are the same octaves off, from which that is what they call middle C.
        believed, believed_octaves: Of the share of energy on its harmonics that the found pitch has, what the named
            one must have; where both are octaves apart, what is missing is the lower one's alone.
        layer_db: Between recordings of one key: two dynamics, no takes.
        stranger: Cosine between the timbre of a recording and the mean of the others, below which it is said to be
            another instrument: none of 160 recordings of 32 instruments is, of others' 82 %.
        listed: Recordings of which each has a line of its own.
        shown: Recordings beside the notes of a page or a picture.
    """

    near: float = 0.6
    by_convention: float = 0.8
    believed: float = 0.9
    believed_octaves: float = 0.5
    layer_db: float = 3.0
    stranger: float = 0.4
    listed: int = 12
    shown: int = 5


SETS = SetRules()


# --- before anything is heard ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SetFacts:
    """Recordings that are to be one instrument.

    Attributes:
        name: Of the instrument.
        facts: What names, or a map, say of each.
    """

    name: str
    facts: Sequence[SampleFacts]

    @property
    def sounds(self) -> list[Path]:
        """The recordings."""
        return [fact.path for fact in self.facts]

    @property
    def told(self) -> dict[str, Any]:
        """What --dry-run --json prints beside each file."""
        return {"inputs": [str(sound) for sound in self.sounds]}

    def planned(self, options: PlanOptions) -> PlanOptions:
        """Which files there are: of as many layers and takes as are told of, where the call asks for one."""
        # Numbers of files whose keys are not told are no takes.
        takes = max((fact.take for fact in self.facts if fact.key is not None), default=0) + 1
        return _as_recorded(options, n_layers(self.facts), takes)


def gather_set(
    sources: Sequence[Source], options: MultisampleOptions, messages: Messages, middle_c: int = MIDDLE_C
) -> tuple[SetFacts, Source]:
    """Put recordings together as one instrument, and name it, as a source of its own.

    Raises:
        InputError: The map cannot be read.
        UsageError: There is too much to put together, or the map says nothing of what is given.
    """
    sounds = [source.path for source in sources]
    if len(sounds) > MAX_RECORDINGS:
        raise UsageError(f"{len(sounds)} recordings in one instrument", f"give at most {MAX_RECORDINGS}")
    if options.map_file is None:
        facts = read_names(sounds, middle_c)
    else:
        by_path = {os.path.realpath(sound): sound for sound in sounds}
        mapped = facts_of_map(read_map(options.map_file, middle_c=middle_c))
        told = [(by_path.get(os.path.realpath(fact.path)), fact) for fact in mapped]
        facts = [replace(fact, path=path) for path, fact in told if path is not None]
        if not facts:
            raise UsageError(f"{options.map_file} says nothing of {sounds[0]}", "give the folder that it is about")
        if len(facts) < len(sounds):
            messages.line(f"{len(sounds) - len(facts)} of {len(sounds)} sounds are not in {options.map_file}")
    name = common_name([fact.path for fact in facts]) or "multisample"
    return SetFacts(name, facts), Source(sounds[0], Path(), name)


def planned_of(path: Path, options: PlanOptions) -> PlanOptions:
    """Which files an instrument has, of whose .hgs file the recordings may be many."""
    return _as_recorded(options, n_layers(read_index(path)), 1) if holds_recordings(path) else options


def _as_recorded(options: PlanOptions, layers: int, takes: int) -> PlanOptions:
    layers = min(layers, MAX_LAYERS) if options.layers == 1 else options.layers
    return replace(options, layers=layers, takes=min(takes, MAX_TAKES) if options.takes == 1 else options.takes)


def n_layers(facts: Sequence[SampleFacts] | Sequence[Recording]) -> int:
    """Dynamic layers that are told of, at least one."""
    return len({fact.layer for fact in facts if fact.layer is not None}) or 1


# --- hearing --------------------------------------------------------------------------------------------------------


def hear_recordings(call: Call, gathered: SetFacts, listening: ListeningOptions, keep_tuning: bool) -> list[Recorded]:
    """Hear all recordings, and settle pitch and dynamic layer of each.

    Args:
        call: For the model and messages.
        gathered: From `gather_set`.
        listening: How they are heard.
        keep_tuning: Whether each stays as it is tuned, and counts as the key nearest to its pitch.
    """
    from hgs_cli.recordings_file import Recorded

    facts = gathered.facts
    found = _hear_all(call, facts, listening)
    keep = _without_doubles(call, facts, found)
    facts, found = [facts[index] for index in keep], [found[index] for index in keep]
    found = _settle_pitches(call, facts, found, listening)
    layers = _settle_layers(facts, found)
    _name_strangers(call, facts, found)
    recorded = [
        Recorded(
            Recording(fact.path.stem, layer, _key(inversion, fact) if keep_tuning else None, inversion.stands_at),
            inversion,
        )
        for fact, inversion, layer in zip(facts, found, layers, strict=True)
    ]
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


def _settle_layers(facts: Sequence[SampleFacts], found: Sequence[Inversion]) -> list[int]:
    """Dynamic layers: as names say, or by loudness where a key has several recordings that differ."""
    if any(fact.layer is not None for fact in facts):
        loudest = max(fact.layer or 0 for fact in facts)
        return [loudest if fact.layer is None else fact.layer for fact in facts]
    by_key: dict[int, list[int]] = {}
    for index, inversion in enumerate(found):
        by_key.setdefault(round(inversion.stands_at), []).append(index)
    ranked: list[list[list[int]]] = []  # of every key, groups of recordings from soft to loud
    for alike in by_key.values():
        groups: list[list[int]] = []
        for index in sorted(alike, key=lambda index: _level_db(found[index])):
            if groups and _level_db(found[index]) - _level_db(found[groups[-1][-1]]) < SETS.layer_db:
                groups[-1].append(index)
            else:
                groups.append([index])
        ranked.append(groups)
    most = max(len(groups) for groups in ranked)
    layers = [0] * len(found)
    for groups in ranked:
        for rank, group in enumerate(groups):
            for index in group:
                layers[index] = most - len(groups) + rank  # a single one is a loud one
    return layers


def _level_db(inversion: Inversion) -> float:
    return inversion.reference_lufs - inversion.input_gain_db


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


def open_recordings(call: Call, path: Path) -> list[Recorded]:
    """Recordings of an .hgs file, made again where other weights made them."""
    from hgs_cli.pipeline import reinvert
    from hgs_cli.recordings_file import load_recordings

    recorded = load_recordings(path)
    stale = [each.inversion.weights_sha256 != call.model.sha256 for each in recorded]
    if any(stale):
        call.messages.warn(f"{path} was made with other weights; it is inverted again")
    return [
        replace(each, inversion=reinvert(call.model, each.inversion)) if old else each
        for each, old in zip(recorded, stale, strict=True)
    ]


# --- playing and keeping --------------------------------------------------------------------------------------------


def make_set(call: Call, recorded: Sequence[Recorded]) -> Multisample:
    """The instrument that recordings are."""
    from hgs_cli.pipeline import make_multisample

    return make_multisample(
        call.model,
        [each.inversion for each in recorded],
        [each.recording.name for each in recorded],
        [each.recording.layer for each in recorded],
        [each.recording.key for each in recorded],
    )


def render_set(
    call: Call, sounds: Sequence[Path], recorded: Sequence[Recorded], plan: Plan, advance: Advance
) -> WorkResult:
    """Make and write all files of an instrument of many recordings."""
    from hgs_cli.export.delivery import Job
    from hgs_cli.export.plot import spread

    made = make_set(call, recorded)
    facts = (("Notes", str(len(plan.notes) // (plan.layers * plan.takes))), ("Recordings", str(len(recorded))))
    for there, planned, what, option in (
        (len(made.layers), plan.layers, "dynamic layers", "velocities"), (made.n_takes, plan.takes, "takes", "takes")
    ):  # fmt: skip
        if there > planned:
            call.messages.line(f"{there} {what} were heard; --{option} {there} plays them all")
    inputs = read_inputs([sounds[index] for index in spread(len(sounds), SETS.shown)], bool(plan.extras))
    job = Job(made, plan, plan.name, facts, _key_maps(made, plan, call.middle_c))
    (notes,) = deliver_files(call, [job], inputs, advance)
    told: dict[str, Any] = {"inputs": [str(sound) for sound in sounds], "kind": "multisample"}

    def of_note(key: NoteKey) -> dict[str, Any]:
        played = made.layer(key.layer, plan.layers)[0].layers[-1]
        voicing = played.voicing(key.pitch, key.take)
        other = None if voicing.neighbour is None else played.regions[voicing.neighbour].name
        return {"recording": played.regions[voicing.carrier].name, "beside": other, "share": round(voicing.share, 3)}

    return WorkResult(f"{len(notes)} note{'s' if len(notes) > 1 else ''}", file_lines(call, plan, notes, told, of_note))


def _key_maps(made: Multisample, plan: Plan, middle_c: int) -> tuple[KeyMap, ...]:
    """Which recording carries which key, of every dynamic layer."""
    from hgs_cli.export.plot import KeyMap

    keys = range(min(round(key.pitch) for key in plan.notes), max(round(key.pitch) for key in plan.notes) + 1)
    maps = []
    for index, layer in enumerate(made.layers):
        voicings = [layer.voicing(float(key)) for key in keys]
        title = f"{note_name(keys[0], middle_c)} to {note_name(keys[-1], middle_c)}: recordings that carry the keys"
        maps.append(
            KeyMap(
                title + (f", layer {index + 1}" if len(made.layers) > 1 else ""),
                [layer.regions[voicing.carrier].name for voicing in voicings],
                [voicing.share for voicing in voicings],
            )
        )
    return tuple(maps)


def invert_set(call: Call, name: str, recorded: Sequence[Recorded], plan: InversionPlan) -> WorkResult:
    """Write one .hgs file of many recordings."""
    from hgs_cli.atomic_files import OutputSet
    from hgs_cli.recordings_file import save_recordings

    with OutputSet(plan.files, call.force) as outputs:
        outputs.write(plan.inversion, lambda aside: save_recordings(aside, recorded))
    told: dict[str, Any] = {"path": str(plan.inversion), "kind": "multisample", "name": name}
    told["recordings"] = [vars(each.recording) for each in recorded]
    return WorkResult(f"{len(recorded)} recordings", [json.dumps(told) if call.as_json else str(plan.inversion)])
