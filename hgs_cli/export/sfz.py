"""SFZ: a text that tells a sampler which sound file sounds on which keys.

Source: Cakewalk, The sfz Format (version 1 opcodes, which every player reads).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from hgs_cli.errors import OutputError
from hgs_cli.export.zones import MAX_VELOCITY, Zone, n_layers, n_takes, relative_path, velocity_gain

CURVE_VELOCITIES = (1, 4, 8, 16, 32, 64, 96, MAX_VELOCITY)  # players draw lines between them

# SFZ knows no quotes and no escapes: $ begins a variable, < a header, "word=" an opcode, // and /* a comment, * one of
# the player's own waves, and a \ is read as a /.
_UNWRITABLE = re.compile(r'[$<>="\\*]|//|^\s|\s$')


def check_sfz_path(path: str) -> None:
    """Refuse a file name that SFZ cannot hold.

    Args:
        path: Relative to the SFZ file's folder, with forward slashes.

    Raises:
        OutputError: It holds what SFZ would read as something else.
    """
    found = _UNWRITABLE.search(path)
    if found:
        raise OutputError(
            f"{path!r} holds {found[0]!r}, which no SFZ file can name",
            'choose a name without $, <, >, =, ", \\, * and spaces at its ends',
        )


def sfz_text(zones: Sequence[Zone], folder: Path, name: str, release_s: float) -> str:
    """Text of an SFZ file, in which a key sounds until it is let go of and fades away then.

    `tune` is whole cents in SFZ 1, and some players take nothing else, so notes are in tune to half a cent. Loops go
    on while the sound fades (`loop_continuous`): what a file holds after its loop need not follow from it. A sound
    without one ends where its file ends (`no_loop`: the sound file's own loop, if it tells of one, is not played).

    Several takes are played in turn (`seq_position`).

    Args:
        zones: From `zones`.
        folder: In which the file will stand; sound files are named relative to it.
        name: Of the instrument.
        release_s: How long a note fades after its key; infinite for sounds without a loop that always ring out.

    Raises:
        OutputError: A file name holds what SFZ would read as something else.
    """
    layers, takes = n_layers(zones), n_takes(zones)
    lines = [f"// {' '.join(name.split())}", "", "<global>"]
    if math.isfinite(release_s):
        lines.append(f"ampeg_release={release_s:.3f}")
    if layers > 1:
        lines += [f"amp_velcurve_{v}={velocity_gain(v, layers):.4f}" for v in CURVE_VELOCITIES]
    for (low, high), layer in groupby(zones, lambda zone: (zone.low_velocity, zone.high_velocity)):
        lines += ["", "<group>", f"lovel={low} hivel={high}"]
        for zone in layer:
            path = relative_path(zone.sample.path, folder)
            check_sfz_path(path)
            keys = f"lokey={zone.low_key} hikey={zone.high_key} pitch_keycenter={zone.root_key}"
            turn = f" seq_length={takes} seq_position={zone.sample.take + 1}" if takes > 1 else ""
            lines.append(f"<region> {keys} tune={round(zone.tune_cents)} {_loop(zone, release_s)}{turn}")
            lines.append(f"sample={path}")  # up to the end of its line: names may hold spaces
    return "\n".join(lines) + "\n"


def _loop(zone: Zone, release_s: float) -> str:
    loop = zone.sample.loop
    if loop is None:
        return "loop_mode=no_loop" if math.isfinite(release_s) else "loop_mode=one_shot"
    assert math.isfinite(release_s), "a looped note would never end"
    return f"loop_mode=loop_continuous loop_start={loop.start} loop_end={loop.end - 1}"  # the end is played as well
