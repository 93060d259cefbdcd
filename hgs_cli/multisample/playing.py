"""`--multisample`: many recordings played as one instrument, or mixed with others, and kept in one file.

As in `cli`, nothing heavy is imported before it is needed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hgs_cli.commands import Call, WorkResult, deliver_files, file_lines, open_heard, read_inputs, shares_label
from hgs_cli.console import Advance
from hgs_cli.export.naming import InversionPlan, MixPlan, Plan
from hgs_cli.multisample.gathering import MixedSet
from hgs_cli.multisample.hearing import hear_recordings
from hgs_cli.multisample.index import Recording, holds_recordings
from hgs_cli.multisample.noise import noisy_recordings
from hgs_cli.options import MultisampleOptions
from hgs_cli.pitch import MAX_LAYERS, MAX_TAKES, NoteKey, note_name

if TYPE_CHECKING:
    from hgs_cli.export.plot import KeyMap
    from hgs_cli.multisample.file import Recorded
    from hgs_cli.pipeline import Multisample
    from hgs_cli.sampler.playing import ManyRecordings
    from hgs_cli.sampler.settings import ListeningOptions

SHOWN = 5  # recordings beside the notes of a page or a picture


def open_recordings(call: Call, path: Path) -> list[Recorded]:
    """Recordings of an .hgs file, made again where other weights made them."""
    from hgs_cli.multisample.file import load_recordings
    from hgs_cli.pipeline import reinvert

    recorded = load_recordings(path)
    stale = [each.inversion.weights_sha256 != call.model.sha256 for each in recorded]
    if any(stale):
        call.messages.warn(f"{path} was made with other weights; it is inverted again")
    return [
        replace(each, inversion=reinvert(call.model, each.inversion)) if old else each
        for each, old in zip(recorded, stale, strict=True)
    ]


def open_mixed(
    call: Call, mixed: Sequence[MixedSet], listenings: Sequence[ListeningOptions], options: MultisampleOptions
) -> list[Multisample]:
    """The instruments that are mixed; one sound is one of one recording."""
    from hgs_cli.multisample.file import Recorded

    sets = []
    for one, listening in zip(mixed, listenings, strict=True):
        path = one.source.path
        if one.gathered is not None:
            recorded = hear_recordings(call, one.gathered, listening, options)
        elif holds_recordings(path):
            recorded = open_recordings(call, path)
        else:
            inversion = open_heard(call, path, listening)
            recorded = [Recorded(Recording(path.stem, 0, None, inversion.stands_at), inversion)]
        sets.append(make_set(call, recorded))
    return sets


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

    made = make_set(call, recorded)
    facts = (("Notes", str(len(plan.notes) // (plan.layers * plan.takes))), ("Recordings", str(len(recorded))))
    _tell_unplayed(call, made, plan)
    job = Job(made, plan, plan.name, facts, tuple(_key_maps(made, plan, call.middle_c)))
    (notes,) = deliver_files(call, [job], read_inputs(_some(sounds, SHOWN), bool(plan.extras)), advance)
    told: dict[str, Any] = {"inputs": [str(sound) for sound in sounds], "kind": "multisample"}
    told["noisy"] = [each.recorded.recording.name for each in noisy_recordings(recorded)]

    def of_note(key: NoteKey) -> dict[str, Any]:
        return _voicing_facts(made, plan, key)

    return WorkResult(f"{len(notes)} note{'s' if len(notes) > 1 else ''}", file_lines(call, plan, notes, told, of_note))


def mix_sets(
    call: Call, mixed: Sequence[MixedSet], sets: Sequence[Multisample], mixes: Sequence[MixPlan], advance: Advance
) -> WorkResult:
    """Make and write all files of all mixes of instruments, some of many recordings."""
    from hgs_cli.export.delivery import Job
    from hgs_cli.pipeline import mix_multisamples

    _tell_unplayed(call, mix_multisamples(call.model, sets, [1.0] * len(sets)), mixes[0].plan)
    maps = [
        replace(each, title=f"{one.source.name}, {each.title}")
        for one, made in zip(mixed, sets, strict=True)
        for each in _key_maps(made, mixes[0].plan, call.middle_c)
    ]
    jobs = [
        Job(
            mix_multisamples(call.model, sets, mix.shares),
            mix.plan,
            shares_label(mix),
            maps=() if number else tuple(maps),
        )
        for number, mix in enumerate(mixes)
    ]
    shown = [sound for one in mixed for sound in _some(one.sounds, SHOWN // len(mixed) or 1)]
    written = deliver_files(call, jobs, read_inputs(shown, bool(mixes[0].plan.extras)), advance)
    lines: list[str] = []
    for mix, notes in zip(mixes, written, strict=True):
        told: dict[str, Any] = {"inputs": [str(one.source.path) for one in mixed], "kind": "multisample"}
        told["shares"] = [round(share, 6) for share in mix.shares]

        def of_note(key: NoteKey, plan: Plan = mix.plan) -> dict[str, Any]:
            return {"recordings": [_voicing_facts(made, plan, key) for made in sets]}

        own = mix.plan if mix is mixes[-1] else replace(mix.plan, extras={})  # the page of all mixes is printed once
        lines += file_lines(call, own, notes, told, of_note)
    return WorkResult("mixed", lines)


def _tell_unplayed(call: Call, made: ManyRecordings, plan: Plan) -> None:
    """Say what was recorded and is not asked for."""
    for there, planned, most, what, option in (
        (made.n_layers, plan.layers, MAX_LAYERS, "dynamic layers", "velocities"),
        (made.n_takes, plan.takes, MAX_TAKES, "takes", "takes"),
    ):
        soundfont_alone = set(plan.instruments) == {"sf2"} and not any(plan.notes.values())
        if there > planned and not (soundfont_alone and what == "takes"):
            all_ = "plays them all" if there <= most else f"plays {most} of them"
            told = f"--{option} {min(there, most)} {all_}" if planned < most else f"{most} of them are played"
            call.messages.line(f"{there} {what} were heard; {told}")


def _some(sounds: Sequence[Path], n: int) -> list[Path]:
    from hgs_cli.export.plot import spread

    return [sounds[index] for index in spread(len(sounds), n)]


def _voicing_facts(made: Multisample, plan: Plan, key: NoteKey) -> dict[str, Any]:
    """Which recordings a note is made of."""
    played, _ = made.layer(key.layer, plan.layers)
    ((voicing,), regions) = played.voicings(key), played.layers[-1].regions
    other = None if voicing.neighbour is None else regions[voicing.neighbour].name
    told = {"recording": regions[voicing.carrier].name, "beside": other, "share": round(voicing.share, 3)}
    if voicing.dynamic is not None and played.aside is not None:
        told |= {"dynamic": played.aside[0].regions[voicing.dynamic].name, "dynamic_share": voicing.dynamic_share}
    return told


def _key_maps(made: Multisample, plan: Plan, middle_c: int) -> Iterator[KeyMap]:
    """Which recording carries which key, of every dynamic layer."""
    from hgs_cli.export.plot import KeyMap

    keys = range(min(round(key.pitch) for key in plan.notes), max(round(key.pitch) for key in plan.notes) + 1)
    for index, layer in enumerate(made.layers):
        voicings = [layer.voicing(float(key)) for key in keys]
        title = f"{note_name(keys[0], middle_c)} to {note_name(keys[-1], middle_c)}: recordings that carry the keys"
        yield KeyMap(
            title + (f", layer {index + 1}" if len(made.layers) > 1 else ""),
            [layer.regions[voicing.carrier].name for voicing in voicings],
            [voicing.share for voicing in voicings],
        )


def invert_set(call: Call, name: str, recorded: Sequence[Recorded], plan: InversionPlan) -> WorkResult:
    """Write one .hgs file of many recordings."""
    from hgs_cli.files.atomic import OutputSet
    from hgs_cli.multisample.file import save_recordings

    with OutputSet(plan.files, call.force) as outputs:
        outputs.write(plan.inversion, lambda aside: save_recordings(aside, recorded))
    told: dict[str, Any] = {"path": str(plan.inversion), "kind": "multisample", "name": name}
    told["noisy"] = [each.recorded.recording.name for each in noisy_recordings(recorded)]
    told["recordings"] = [vars(each.recording) for each in recorded]
    return WorkResult(f"{len(recorded)} recordings", [json.dumps(told) if call.as_json else str(plan.inversion)])
