"""`--multisample`: many recordings played as one instrument, and kept in one file.

As in `cli`, nothing heavy is imported before it is needed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hgs_cli.commands import Call, WorkResult, deliver_files, file_lines, read_inputs
from hgs_cli.console import Advance
from hgs_cli.export.naming import InversionPlan, Plan
from hgs_cli.pitch import NoteKey, note_name

if TYPE_CHECKING:
    from hgs_cli.export.plot import KeyMap
    from hgs_cli.multisample.file import Recorded
    from hgs_cli.pipeline import Multisample

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
    inputs = read_inputs([sounds[index] for index in spread(len(sounds), SHOWN)], bool(plan.extras))
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
    from hgs_cli.multisample.file import save_recordings

    with OutputSet(plan.files, call.force) as outputs:
        outputs.write(plan.inversion, lambda aside: save_recordings(aside, recorded))
    told: dict[str, Any] = {"path": str(plan.inversion), "kind": "multisample", "name": name}
    told["recordings"] = [vars(each.recording) for each in recorded]
    return WorkResult(f"{len(recorded)} recordings", [json.dumps(told) if call.as_json else str(plan.inversion)])
