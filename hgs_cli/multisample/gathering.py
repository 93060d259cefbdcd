"""Recordings that are to be one instrument, before any is heard: what is told of them, and which files there are."""

from __future__ import annotations

import io
import os
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hgs_cli.console import Messages
from hgs_cli.errors import UsageError
from hgs_cli.export.naming import ONE_TAKE, PlanOptions
from hgs_cli.export.sources import INVERSION_SUFFIX, LISTENED_SUFFIXES, Source, find_sources
from hgs_cli.multisample.index import MAX_RECORDINGS, Recording, holds_recordings, read_index
from hgs_cli.multisample.maps import facts_of_map, read_map
from hgs_cli.multisample.names import SampleFacts, common_name, read_names
from hgs_cli.options import MultisampleOptions
from hgs_cli.pitch import MAX_LAYERS, MAX_TAKES, MIDDLE_C


@dataclass(frozen=True)
class SetFacts:
    """Recordings that are to be one instrument."""

    name: str  # of the instrument
    facts: Sequence[SampleFacts]  # what names, or a map, say of each

    @property
    def sounds(self) -> list[Path]:
        """The recordings."""
        return [fact.path for fact in self.facts]

    @property
    def told(self) -> dict[str, Any]:
        """What --dry-run --json prints beside each file."""
        return {"inputs": [str(sound) for sound in self.sounds]}

    def planned(self, options: PlanOptions, messages: Messages) -> PlanOptions:
        """Which files there are: of as many layers and takes as are told of, where the call asks for one."""
        # Numbers of files whose keys are not told are no takes.
        takes = max((fact.take for fact in self.facts if fact.key is not None), default=0) + 1
        return _as_recorded(options, n_layers(self.facts), takes, messages)


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


@dataclass(frozen=True)
class MixedSet:
    """One of the instruments of a mix."""

    source: Source  # what it is called, and the folder or file that it comes from
    # its recordings; None for an .hgs file, and for a sound that counts as an instrument of one
    gathered: SetFacts | None

    @property
    def sounds(self) -> list[Path]:
        """The files that it is read from."""
        return [self.source.path] if self.gathered is None else self.gathered.sounds

    def planned(self, options: PlanOptions, messages: Messages) -> PlanOptions:
        """Which files it alone would have."""
        if self.gathered is None:
            return planned_of(self.source.path, options, messages)
        return self.gathered.planned(options, messages)


def gather_mixed(
    sources: Sequence[Source],
    options: MultisampleOptions,
    recursive: bool,
    messages: Messages,
    middle_c: int,
) -> list[MixedSet]:
    """The instruments of a mix if some are of many recordings: folders, with --multisample, and .hgs files of such.

    Raises:
        InputError: A folder holds no sounds.
        UsageError: A folder is there without --multisample, or a map, which is about one instrument.
    """
    folders = [source.path for source in sources if os.path.isdir(source.path)]
    if folders and not options.multisample:
        raise UsageError(
            f"{folders[0]} is a folder", "--multisample makes one instrument of its sounds; else give sounds"
        )
    if options.map_file is not None:
        raise UsageError(
            "--map is about one instrument, and a mix is of several",
            "make it with hgs invert --multisample --map, and mix the .hgs file",
        )
    if not options.multisample and not any(holds_recordings(source.path) for source in sources):
        return []
    mixed = []
    for source in sources:
        if not options.multisample or source.path.suffix.lower() == INVERSION_SUFFIX:
            mixed.append(MixedSet(source, None))
            continue
        recordings = [source]
        if os.path.isdir(source.path):
            recordings, _ = find_sources([source.path], recursive, io.BytesIO(), LISTENED_SUFFIXES)
        gathered, named = gather_set(recordings, options, messages, middle_c)
        mixed.append(MixedSet(replace(source, name=named.name), gathered))
    return mixed


def planned_together(mixed: Sequence[MixedSet], options: PlanOptions, messages: Messages) -> PlanOptions:
    """Which files a mix has: of as many layers and takes as the instrument that has most."""
    alone = [each.planned(options, messages) for each in mixed]
    return replace(options, layers=max(each.layers for each in alone), takes=max(each.takes for each in alone))


def planned_of(path: Path, options: PlanOptions, messages: Messages) -> PlanOptions:
    """Which files an instrument has, of whose .hgs file the recordings may be many."""
    if not holds_recordings(path):
        return options
    recordings = read_index(path)
    # As most keys have: two recordings of one are takes where others have two as well.
    takes = statistics.median_low(Counter((each.layer, round(each.pitch)) for each in recordings).values())
    return _as_recorded(options, n_layers(recordings), takes, messages)


def _as_recorded(options: PlanOptions, layers: int, takes: int, messages: Messages) -> PlanOptions:
    if options.layers == 1:
        options = replace(options, layers=min(layers, MAX_LAYERS))
    if options.takes > 1 or takes == 1:
        return options
    if "sf2" in options.formats:
        messages.line(ONE_TAKE)
    return options if tuple(options.formats) == ("sf2",) else replace(options, takes=min(takes, MAX_TAKES))


def n_layers(facts: Sequence[SampleFacts] | Sequence[Recording]) -> int:
    """Dynamic layers that are told of, at least one."""
    return len({fact.layer for fact in facts if fact.layer is not None}) or 1
