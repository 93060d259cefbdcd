"""DecentSampler presets: XML that tells the sampler which sound file sounds on which keys, and draws its knobs.

Source: DecentSampler Developers Guide, "The groups element", "The ui element" and appendix B on bindings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from xml.etree import ElementTree

from hgs_cli.export.zones import Zone, n_layers, n_takes, relative_path, velocity_gain

MAX_ATTACK_S = 2.0
MAX_RELEASE_S = 10.0
MID_VELOCITY = 64  # where the player's straight line meets our curve

_SIZE = {"width": "812", "height": "375"}  # what the guide recommends
_KNOB = {"y": "120", "width": "110", "textSize": "16", "valueType": "float", "minValue": "0"}
_LIGHT, _DARK = "FFEEEEEE", "FF202428"  # alpha, red, green, blue


def dspreset_text(zones: Sequence[Zone], folder: Path, name: str, release_s: float) -> str:
    """Text of a .dspreset file, with knobs for attack, release and reverb.

    Tuning is in semitones with their fraction, so notes are exactly in tune. A loop goes on while the sound fades: the
    format knows no other. Several takes are played in turn (`seqMode`).

    Args:
        zones: From `zones`.
        folder: In which the file will stand; sound files are named relative to it.
        name: Of the instrument.
        release_s: How long a note fades after its key; infinite for sounds without a loop that always ring out, which
            have no envelope and no knobs for it.

    Raises:
        OutputError: A file name cannot be written.
    """
    rings_out, takes = not math.isfinite(release_s), n_takes(zones)
    root = ElementTree.Element("DecentSampler", minVersion="1.0.0")
    _add_ui(root, name, None if rings_out else release_s)
    envelope = {} if rings_out else {"attack": "0", "release": _number(release_s)}
    groups = ElementTree.SubElement(root, "groups", envelope)
    for (low, high), layer in groupby(zones, lambda zone: (zone.low_velocity, zone.high_velocity)):
        group = ElementTree.SubElement(groups, "group", ampVelTrack=_number(_tracking(n_layers(zones))))
        for zone in layer:
            assert zone.sample.loop is None or not rings_out, "a looped note would never end"
            attributes = {
                "path": relative_path(zone.sample.path, folder),
                "rootNote": str(zone.root_key),
                "loNote": str(zone.low_key),
                "hiNote": str(zone.high_key),
                "loVel": str(low),
                "hiVel": str(high),
                "tuning": _number(zone.tune_cents / 100.0),
                "loopEnabled": "true" if zone.sample.loop else "false",
            }
            if zone.sample.loop:
                # The last sample is played as well: without a loopEnd it is the file's last.
                start, last = zone.sample.loop.start, zone.sample.loop.end - 1
                attributes |= {"loopStart": str(start), "loopEnd": str(last)}
            if rings_out:
                attributes["ampEnvEnabled"] = "false"
            if takes > 1:
                turn = {"seqPosition": str(zone.sample.take + 1), "seqLength": str(takes)}
                attributes |= {"seqMode": "round_robin"} | turn
            ElementTree.SubElement(group, "sample", attributes)
    effects = ElementTree.SubElement(root, "effects")
    ElementTree.SubElement(effects, "effect", type="reverb", roomSize="0.7", damping="0.3", wetLevel="0")
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _tracking(layers: int) -> float:
    """How far velocity sets the gain, 0 … 1: a player multiplies by 1 - t + t * velocity / 127."""
    return min(1.0, (1.0 - velocity_gain(MID_VELOCITY, layers)) / (1.0 - MID_VELOCITY / 127.0))


def _add_ui(root: ElementTree.Element, name: str, release_s: float | None) -> None:
    ui = ElementTree.SubElement(root, "ui", _SIZE | {"bgColor": _DARK})
    tab = ElementTree.SubElement(ui, "tab", name="main")
    label = {"x": "40", "y": "30", "width": "732", "height": "40", "textSize": "28", "textColor": _LIGHT}
    ElementTree.SubElement(tab, "label", label | {"text": " ".join(name.split())})
    knobs = []
    if release_s is not None:
        knobs.append(("Attack", 0.0, MAX_ATTACK_S, {"type": "amp", "parameter": "ENV_ATTACK"}))
        longest_s = max(MAX_RELEASE_S, release_s)
        knobs.append(("Release", release_s, longest_s, {"type": "amp", "parameter": "ENV_RELEASE"}))
    knobs.append(("Reverb", 0.0, 1.0, {"type": "effect", "parameter": "FX_REVERB_WET_LEVEL"}))
    for index, (text, value, most, binding) in enumerate(knobs):
        place = {"x": str(40 + 130 * index), "label": text, "maxValue": _number(most), "value": _number(value)}
        colors = {"textColor": _LIGHT, "trackForegroundColor": _LIGHT, "trackBackgroundColor": "66999999"}
        knob = ElementTree.SubElement(tab, "labeled-knob", _KNOB | place | colors)
        ElementTree.SubElement(knob, "binding", {"level": "instrument", "position": "0"} | binding)


def _number(value: float) -> str:
    return f"{round(value, 6):g}"
