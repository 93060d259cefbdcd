"""Multisamples: the open format of Bitwig Studio and Studio One, a ZIP archive of WAV files and an XML that maps them.

Source: Bitwig and PreSonus, .multisample, "XML Structure" and "XML Schema" (github.com/bitwig/multisample).
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree import ElementTree

from hgs_cli.export.zones import Sample, Zone, n_layers, n_takes
from hgs_cli.pitch import MIDDLE_C, note_tag, split_cents

MAP_NAME = "multisample.xml"
GROUP_COLOURS = ("5e8fc9", "7fb069", "e6aa68", "ca3c25", "8e6c8a", "4f9d9d", "b8b042", "d9798b")  # of layers, in turn

_NO_TEXT = dict.fromkeys([*range(32), 127, *range(55296, 57344)], " ")  # what XML and UTF-8 have no place for
_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that ZIP knows: the same notes give the same bytes


def write_multisample(
    path: Path, name: str, zones: Sequence[Zone], wave: Callable[[Sample], bytes], middle_c: int = MIDDLE_C
) -> None:
    """Write a .multisample file: sounds are stored as they are, so that players can stream them.

    The format maps keys, velocities, takes and loops, in tune to a hundredth of a cent, and leaves envelopes and the
    velocity curve to the player.

    Args:
        path: Written in place.
        name: Of the instrument.
        zones: From `zones`.
        wave: Gives a sample's WAV file; called once a sample, one after another, so that one is in memory at a time.
        middle_c: Octave number of MIDI 60 in the sounds' names.
    """
    layers, takes = n_layers(zones), n_takes(zones)
    names = {zone.sample: _wave_name(zone.sample, layers, takes, middle_c) for zone in zones}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(MAP_NAME, _DATE), _map(name, zones, names))
        for sample, file in names.items():
            archive.writestr(zipfile.ZipInfo(file, _DATE), wave(sample))


def _wave_name(sample: Sample, layers: int, takes: int, middle_c: int) -> str:
    """A sound's file in the archive: `060_C4_v1_take2.wav`."""
    layer = f"_v{sample.layer + 1}" if layers > 1 else ""
    take = f"_take{sample.take + 1}" if takes > 1 else ""
    return f"{split_cents(sample.pitch)[0]:03d}_{note_tag(sample.pitch, middle_c)}{layer}{take}.wav"


def _map(name: str, zones: Sequence[Zone], files: dict[Sample, str]) -> bytes:
    layers, takes = n_layers(zones), n_takes(zones)
    root = ElementTree.Element("multisample", name=" ".join(name.translate(_NO_TEXT).split()) or "hgs")
    for key, text in (("generator", "hgs"), ("category", ""), ("creator", ""), ("description", "")):
        ElementTree.SubElement(root, key).text = text
    ElementTree.SubElement(root, "keywords")
    for layer in range(layers if layers > 1 else 0):
        ElementTree.SubElement(
            root, "group", name=f"Layer {layer + 1}", color=GROUP_COLOURS[layer % len(GROUP_COLOURS)]
        )
    for zone in zones:
        sample = zone.sample
        told = {
            "file": files[sample],
            "sample-start": "0.000",
            "sample-stop": f"{sample.n_frames}.000",
            "gain": "0.000",
            "group": str(sample.layer if layers > 1 else -1),
            "zone-logic": "round-robin" if takes > 1 else "always-play",
        }
        one = ElementTree.SubElement(root, "sample", told)
        tune = f"{zone.tune_cents / 100.0:.4f}"
        keys = {"low": str(zone.low_key), "high": str(zone.high_key), "low-fade": "0", "high-fade": "0"}
        ElementTree.SubElement(one, "key", {"root": str(zone.root_key), "track": "1.0000", "tune": tune} | keys)
        velocities = {"low": str(zone.low_velocity), "high": str(zone.high_velocity)}
        ElementTree.SubElement(one, "velocity", velocities | {"low-fade": "0", "high-fade": "0"})
        ElementTree.SubElement(one, "select", {"low": "0", "high": "127", "low-fade": "0", "high-fade": "0"})
        start, stop = (0, sample.n_frames) if sample.loop is None else (sample.loop.start, sample.loop.end)
        loop = {"mode": "loop" if sample.loop else "off", "start": f"{start}.000", "stop": f"{stop}.000", "fade": "0.0"}
        ElementTree.SubElement(one, "loop", loop)
    ElementTree.indent(root, "   ")
    text = '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"
    return text.encode()
