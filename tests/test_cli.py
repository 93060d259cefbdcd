"""What a user of the command line is promised: files, lines, exit codes; nothing written when something is wrong."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyloudnorm
import pytest
import soundfile
import torch
from conftest import RELEASED, ROOT, SNARE, Outcome, Run, few_of, tone
from PIL import Image
from processes import Order, Processes
from sounds import brightness_hz
from typer.testing import CliRunner

from hgs_cli import __version__
from hgs_cli.bench.plan import TIMING, plan_bench
from hgs_cli.bench.run import count_steps, run_bench
from hgs_cli.cli.app import app
from hgs_cli.pipeline import Model, invert
from hgs_cli.spectrum import SAMPLE_RATE

WHAT_TO_DO = (
    "--force makes them anew, -o DIR puts them elsewhere, --skip-existing leaves out sounds that have all theirs"
)


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# --- help and start -------------------------------------------------------------------------------------------------


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, hgs_cli, hgs_cli.cli.app\n"
        "try: hgs_cli.cli.app.app(['--help'], prog_name='hgs')\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'torchaudio', 'numpy', 'scipy', 'soundfile', 'pyloudnorm', 'safetensors', 'PIL', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert "Commands" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", [[], ["invert"], ["render"], ["mix"], ["info"], ["bench"], ["manual"], ["train"]])
def test_every_command_explains_itself(hgs: Run, command: list[str]) -> None:
    outcome = hgs(*command, "--help")
    assert outcome.code == 0
    assert "Usage" in outcome.out
    if command and command != ["train"]:
        assert "Example: hgs" in outcome.out


@pytest.mark.parametrize("command", ["render", "mix", "invert", "info", "bench", "manual", "train", "train run", ""])
def test_help_says_what_options_take_and_names_no_types(hgs: Run, command: str) -> None:
    text = hgs(*command.split(), "--help").out
    assert re.findall(r"<[a-z][^>]*>|<=x|list\[|TEXT", text) == []
    if command == "render":
        assert "Usage: hgs render [OPTIONS] SOUND|INVERSION|DIR|-...\n" in re.sub(" +\n", "\n", text)
        assert re.search(r"--detail +0\.\.1 ", text)
        assert re.search(r"--vibrato +keep\|flat ", text)
        assert re.search(r"--force +-f +Overwrite", text)
        assert text.index("--pitches") < text.index("--out") < text.index("--loop") < text.index("--threads")


def test_commands_and_options_of_every_day_come_first(hgs: Run) -> None:
    text = hgs("--help").out
    places = [text.index(f"\n  {name}  ") for name in ("render", "mix", "invert", "info", "manual", "bench", "train")]
    assert places == sorted(places)
    assert places[-1] < text.index("--install-completion")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("tone.wav", "tone.wav is no command — did you mean hgs render tone.wav?"),
        ("gone.FLAC -p 60", "gone.FLAC is no command — did you mean hgs render gone.FLAC -p 60?"),
        ("cello.hgs", "cello.hgs is no command — did you mean hgs render cello.hgs?"),
        (".", ". is no command — did you mean hgs render .?"),
        ("rendr tone.wav", "there is no command 'rendr'. Did you mean 'render'? — see hgs --help"),
        ("-p 60 tone.wav", "there is no option -p — a command comes first, as in hgs render snare.wav -p 60; "
                           "see hgs --help"),
        ("train", "a command is missing — see hgs train --help"),
        ("render", "SOUND is missing — as in hgs render snare.wav --pitches C3-C5 --format wav,sfz"),
        ("render tone.wav -p", "-p needs a value behind it — such as -p NOTES; see hgs render --help"),
        ("render tone.wav --turbo", "there is no option --turbo — did you mean --stereo or --tune or --trim? "
                                    "see hgs render --help"),
        ("render tone.wav --force=yes", "--force takes no value — write --force alone"),
        ("render tone.wav --detail 1.5", "--detail 1.5 — give a number from 0 to 1"),
        ("render tone.wav --seed -1", "--seed -1 — give a whole number from 0 on"),
        ("render tone.wav --vibrato no", "--vibrato no — give keep or flat"),
        ("render tone.wav --velocities \x1b[2J", "--velocities  [2J — give a whole number from 1 to 8"),
        ("bench tone.wav --compare rubberband,sox",
         "--compare sox — give rubberband, signalsmith or several of them with commas between"),
        ("manual one two", "too much: two — see hgs manual --help"),
    ],
)  # fmt: skip
def test_mistakes_are_told_in_plain_words(hgs: Run, sound: Path, words: str, said: str) -> None:
    outcome = hgs(*words.split(" "))
    assert (outcome.code, outcome.out, outcome.err) == (2, "", f"hgs: error: {said}\n")


def test_the_help_lists_the_exit_codes_and_the_version_is_one(hgs: Run) -> None:
    assert "3 unusable input" in hgs("--help").out
    assert hgs("--version").out == f"hgs {__version__}\n"


def test_no_command_shows_help_and_is_a_usage_error(hgs: Run) -> None:
    outcome = hgs()
    assert outcome.code == 2
    assert "Usage" in outcome.out + outcome.err


# --- render ---------------------------------------------------------------------------------------------------------


def test_render_writes_one_file_a_note_into_a_folder_of_the_sounds_name(hgs: Run, sound: Path) -> None:
    outcome = hgs("render", sound, "--pitches", "C4,60.5,F#3")
    assert (outcome.code, outcome.err) == (0, "tone.wav: heard as A3, dying away\n")
    names = ["tone/tone_060_C4.wav", "tone/tone_060_C4p50.wav", "tone/tone_054_Fs3.wav"]
    assert outcome.lines == names
    for name in names:
        info = soundfile.info(name)
        assert (info.samplerate, info.channels, info.subtype, info.frames) == (SAMPLE_RATE, 1, "PCM_24", tone().size)


@pytest.mark.parametrize(
    ("words", "notes"),
    [
        (["-p", "C3", "E3", "tone.wav"], ["048_C3", "052_E3"]),
        (["tone.wav", "-p", "60", "-", "62"], ["060_C4", "061_Cs4", "062_D4"]),
        (["tone.wav", "-p", "C3,", "E3..F3", "-q"], ["048_C3", "052_E3", "053_F3"]),
        (["tone.wav", "-p", "60", "-p", "62"], ["060_C4", "062_D4"]),
        (["-qp", "62-60", "tone.wav"], ["062_D4", "061_Cs4", "060_C4"]),
        (["tone.wav", "--pitches=60", "c5", "--middle-c", "C5"], ["060_C5"]),
        (["tone.wav", "-p", "432Hz", "--a4", "432"], ["069_A4"]),
        (["tone.wav", "-p", "C4+50"], ["060_C4p50"]),
    ],
    ids=" ".join,
)  # fmt: skip
def test_notes_are_asked_for_as_musicians_type_them(hgs: Run, sound: Path, words: list[str], notes: list[str]) -> None:
    assert hgs("render", *words, "--dry-run").lines == [f"tone/tone_{note}.wav" for note in notes]


def test_a_file_that_is_called_as_a_note_is_a_sound_and_a_dash_stays_stdin(hgs: Run, sound: Path) -> None:
    shutil.copy(sound, "C3")
    assert hgs("render", "-p", "60", "C3", "-o", "out", "--dry-run").lines == ["out/C3_060_C4.wav"]
    assert hgs("render", "-p", "60", "-", "--dry-run", stdin="tone.wav\n").lines == ["tone/tone_060_C4.wav"]


def test_who_calls_middle_c_c3_reads_and_writes_it_so(hgs: Run, sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["render", sound, "-p", "C3", "--format", "wav,sf2", "--audition", "--plot", "--json"]
    told = hgs(*command, "--middle-c", "C3", "--source-note", "A2")
    fact = json.loads(told.lines[0])
    assert (fact["path"], fact["midi"], fact["note"]) == ("tone/tone_060_C3.wav", 60, "C3")
    assert fact["heard"] == "heard as A2, dying away"
    assert told.err == "tone.wav: heard as A2, dying away\n"
    assert '"middleC": 3' in Path("tone/tone.html").read_text()
    assert b"001 C3 " in Path("tone/tone.sf2").read_bytes()
    monkeypatch.setenv("HGS_MIDDLE_C", "C3")
    inverted = hgs("invert", sound, "--json")
    assert json.loads(inverted.out)["note"] == "A2"
    assert "A2" in inverted.err
    assert "pitch\tA2" in hgs("info", "tone.hgs").out
    assert "pitch\tA3" in hgs("info", "tone.hgs", "--middle-c", "C4").out
    against = hgs("render", sound, "-p", "C3", "-o", "x", "--source-note", "C5").err
    assert "tone.wav is told to be at C5, and heard as A2" in against


def test_the_sounds_own_note_is_not_taken_for_what_to_play(hgs: Run, sound: Path) -> None:
    several = hgs("render", sound, "--pitch", "48-72")
    assert several.err.endswith("and 48-72 is several — what to play is --pitches 48-72\n")
    alone = hgs("render", sound, "--pitch", "60")
    assert "give --pitches 60 to play that, or --source-note 60 if the sound has it" in alone.err
    assert "what to play is --pitches" in hgs("render", sound, "--pitch").err
    for said in (["--source-note", "A3"], ["--pitch", "auto"], ["--pitch", "A3", "-p", "60"]):
        assert hgs("render", sound, *said, "--dry-run").code == 0
    assert hgs("invert", sound, "--pitch", "A3", "--dry-run").code == 0


def test_render_writes_into_the_folder_asked_for(hgs: Run, sound: Path, burst: Path, tmp_path: Path) -> None:
    assert hgs("render", sound, "-p", "60", "-o", "one").lines == ["one/tone_060_C4.wav"]
    several = hgs("render", sound, burst, "-p", "60", "-o", "two")
    assert several.lines == ["two/tone/tone_060_C4.wav", "two/burst/burst_060_C4.wav"]


def test_rendering_an_inversion_gives_the_bytes_of_rendering_the_sound(hgs: Run, sound: Path) -> None:
    hgs("render", sound, "-p", "48-50", "-o", "direct")
    hgs("invert", sound)
    hgs("render", "tone.hgs", "-p", "48-50", "-o", "stored")
    for path in Path("direct").iterdir():
        assert path.read_bytes() == (Path("stored") / path.name).read_bytes()


def test_an_inversion_keeps_its_own_pitch_and_says_so(hgs: Run, sound: Path) -> None:
    hgs("invert", sound)
    outcome = hgs("render", "tone.hgs", "-p", "60", "--pitch", "C3")
    assert outcome.complaints == ["hgs: warning: tone.hgs keeps the pitch and the passes that it was inverted with"]


def test_nothing_is_overwritten_and_nothing_written_unless_forced(hgs: Run, sound: Path) -> None:
    Path("tone").mkdir()
    Path("tone/tone_061_Cs4.wav").write_text("mine")
    refused = hgs("render", sound, "-p", "60-62")
    assert refused.code == 5
    assert refused.err == f"hgs: error: tone/tone_061_Cs4.wav already exists — {WHAT_TO_DO}\n"
    assert tree(Path("tone")) == ["tone_061_Cs4.wav"]
    assert Path("tone/tone_061_Cs4.wav").read_text() == "mine"
    assert hgs("render", sound, "-p", "60-62", "--force").code == 0
    assert soundfile.info("tone/tone_061_Cs4.wav").frames > 0


def test_the_same_call_a_second_time_says_what_to_do_and_it_does(hgs: Run, sound: Path) -> None:
    for command in (["render", sound, "-p", "60,61"], ["invert", sound], ["mix", sound, sound, "-p", "60"]):
        first = hgs(*command).lines
        again = hgs(*command)
        more = f" and {len(first) - 1} more already exist" if len(first) > 1 else " already exists"
        assert (again.code, again.out) == (5, "")
        assert again.err == f"hgs: error: {first[0]}{more} — {WHAT_TO_DO}\n"
        assert hgs(*command, "--force").lines == first
        assert len(hgs(*command, "-o", f"{command[0]}-elsewhere").lines) == len(first)
        skipped = hgs(*command, "--skip-existing")
        assert (skipped.code, skipped.out, skipped.err) == (0, "", "1 of 1 are there already\n")


def test_json_has_one_object_a_file(hgs: Run, sound: Path) -> None:
    outcome = hgs("render", sound, "-p", "60.25,61", "--json")
    first, second = (json.loads(line) for line in outcome.lines)
    assert first["path"] == "tone/tone_060_C4p25.wav"
    assert (first["input"], first["midi"], first["note"], first["cents"]) == (str(sound), 60, "C4", 25)
    assert first["seconds"] == pytest.approx(0.5)
    assert (first["format"], first["layer"], first["velocities"], first["loop"]) == ("wav", 1, [1, 127], None)
    assert (first["sample_rate"], first["channels"], first["seed"]) == (SAMPLE_RATE, 1, 0)
    assert first["lowered"] == 0
    assert first["gain"] == second["gain"]
    samples = soundfile.read(first["path"])[0]
    assert first["peak"] == pytest.approx(20 * np.log10(np.abs(samples).max()), abs=0.01)
    assert first["lufs"] == pytest.approx(pyloudnorm.Meter(SAMPLE_RATE).integrated_loudness(samples), abs=0.01)


def test_notes_that_would_clip_are_lowered_together_and_said(hgs: Run, tmp_path: Path) -> None:
    # At its own level the sound peaks beyond full scale, which a float file may.
    soundfile.write(tmp_path / "hot.wav", 20.0 * tone(), SAMPLE_RATE, subtype="FLOAT")
    outcome = hgs("render", "hot.wav", "-p", "45,57", "--normalize", "none", "--json")
    assert outcome.code == 0
    assert "lowered by" in outcome.err
    facts = [json.loads(line) for line in outcome.lines]
    assert facts[0]["lowered"] == facts[1]["lowered"] > 0
    assert max(fact["peak"] for fact in facts) == pytest.approx(-0.1, abs=0.01)


def test_lowered_notes_are_made_once_while_they_are_few_and_sound_alike_when_they_are_many(
    hgs: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hgs_cli import pipeline
    from hgs_cli.export import delivery

    # At its own level the sound peaks beyond full scale.
    soundfile.write(tmp_path / "tone.wav", 20.0 * tone(220.0, 0.3), SAMPLE_RATE, subtype="FLOAT")
    made: list[int] = []

    def counted(*arguments: Any) -> Iterator[Any]:
        for note in pipeline.make_notes(*arguments):
            made.append(1)
            yield note

    monkeypatch.setattr(delivery, "make_notes", counted)
    for folder, kept_bytes, times in (("few", delivery.DELIVERY.kept_bytes, 1), ("many", 0, 2)):
        made.clear()
        monkeypatch.setattr(delivery, "DELIVERY", delivery.DeliveryRules(kept_bytes=kept_bytes))
        assert "lowered by" in hgs("render", "tone.wav", "-p", "57-60", "--normalize", "none", "-o", folder).err
        assert len(made) == 4 * times
    assert [path.read_bytes() for path in sorted(Path("few").iterdir())] == [
        path.read_bytes() for path in sorted(Path("many").iterdir())
    ]


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_the_sample_format_is_the_one_asked_for(hgs: Run, sound: Path, subtype: str) -> None:
    assert soundfile.info(hgs("render", sound, "-p", "60", "--subtype", subtype).lines[0]).subtype == subtype


def test_the_same_call_gives_the_same_bytes_and_another_seed_others(hgs: Run, burst: Path) -> None:
    for folder, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert hgs("render", burst, "-p", "60", "-o", folder, "--seed", seed, "--subtype", "PCM_16").code == 0
    one, same, other = (Path(folder, "burst_060_C4.wav").read_bytes() for folder in "abc")
    assert one == same != other


@pytest.mark.parametrize(
    "options",
    few_of(
        [["--detail", "0"], ["--tonal", "0"], ["--tonal", "1"], ["--variation", "1"],
         ["--source-note", "C3"], ["--normalize", "none"], ["--lufs", "-30"], ["--seed", "5"]],
        ["--detail", "0"], ["--source-note", "C3"], ["--lufs", "-30"], ["--seed", "5"],
    ),
    ids=" ".join,
)  # fmt: skip
def test_no_option_is_dead(hgs: Run, burst: Path, options: list[str]) -> None:
    hgs("render", burst, "-p", "60", "-o", "plain")
    assert hgs("render", burst, "-p", "60", "-o", "changed", *options).code == 0
    assert Path("plain/burst_060_C4.wav").read_bytes() != Path("changed/burst_060_C4.wav").read_bytes()


def test_passes_change_what_the_networks_say(hgs: Run, sound: Path) -> None:
    for passes in ("0", "2"):
        assert hgs("render", sound, "-p", "60", "-o", passes, "--detail", "0", "--passes", passes).code == 0
    assert Path("0/tone_060_C4.wav").read_bytes() != Path("2/tone_060_C4.wav").read_bytes()


def test_flat_vibrato_changes_a_wobbling_sound(hgs: Run, tmp_path: Path) -> None:
    time_s = np.arange(40_000) / SAMPLE_RATE
    phase = 2 * np.pi * np.cumsum(220 * 2 ** (0.4 / 12 * np.sin(2 * np.pi * 6 * time_s))) / SAMPLE_RATE
    samples = 0.2 * sum(np.sin(k * phase) / k for k in range(1, 8))
    soundfile.write(tmp_path / "vibrato.wav", samples, SAMPLE_RATE)
    for mode in ("keep", "flat"):
        assert hgs("render", "vibrato.wav", "-p", "57", "-o", mode, "--vibrato", mode).code == 0
    assert Path("keep/vibrato_057_A3.wav").read_bytes() != Path("flat/vibrato_057_A3.wav").read_bytes()


def test_unusual_pitches_are_warned_of_unless_quiet(hgs: Run, sound: Path) -> None:
    loud = hgs("render", sound, "-p", "20,60", "-o", "a")
    assert "outside a piano's range (21-108) less of the sound is left: 20\n" in loud.err
    quiet = hgs("render", sound, "-p", "20,60", "-o", "b", "--quiet")
    assert (quiet.code, quiet.err, len(quiet.lines)) == (0, "", 2)


def test_names_with_spaces_umlauts_and_dots_survive(hgs: Run, sound: Path) -> None:
    shutil.copy(sound, "mein Ton.v2 ü.wav")
    assert hgs("render", "mein Ton.v2 ü.wav", "-p", "60").lines == ["mein Ton.v2 ü/mein Ton.v2 ü_060_C4.wav"]


# --- several inputs -------------------------------------------------------------------------------------------------


def test_one_broken_file_among_several_spoils_only_itself(hgs: Run, sound: Path, burst: Path) -> None:
    Path("broken.wav").write_text("no sound")
    outcome = hgs("render", "missing.wav", sound, "broken.wav", burst, "-p", "60")
    assert outcome.code == 3
    assert outcome.lines == ["tone/tone_060_C4.wav", "burst/burst_060_C4.wav"]
    assert [line.split(" — ")[0] for line in outcome.complaints] == [
        "[1/4] missing.wav: failed",
        f"[2/4] {sound}: 1 note",
        "[3/4] broken.wav: failed",
        f"[4/4] {burst}: 1 note",
        "hgs: error: missing.wav does not exist",
        "hgs: error: broken.wav cannot be read as sound",
        "2 of 4 done, 2 failed",
    ]
    assert not Path("missing").exists()


def test_two_sounds_of_one_name_never_collide(hgs: Run, sound: Path, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    shutil.copy(sound, tmp_path / "sub" / "tone.wav")
    outcome = hgs("render", sound, "sub/tone.wav", "-p", "60")
    assert outcome.code == 0
    assert outcome.lines[1] == "sub-tone/sub-tone_060_C4.wav"
    assert len(set(outcome.lines)) == 2


def test_a_folder_is_rendered_as_it_is_laid_out(hgs: Run, sound: Path, burst: Path, tmp_path: Path) -> None:
    (tmp_path / "in" / "drums").mkdir(parents=True)
    shutil.copy(sound, "in/tone.wav")
    shutil.copy(burst, "in/drums/hit.wav")
    Path("in/read me.txt").write_text("no sound")
    assert hgs("render", "in", "-p", "60", "-o", "flat").lines == ["flat/tone/tone_060_C4.wav"]
    assert hgs("render", "in", "--recursive", "-p", "60", "-o", "out").lines == [
        "out/tone/tone_060_C4.wav",
        "out/drums/hit/hit_060_C4.wav",
    ]
    assert hgs("invert", "in", "-r", "-o", "made").lines == ["made/tone.hgs", "made/drums/hit.hgs"]


def test_paths_come_from_stdin(hgs: Run, sound: Path, burst: Path) -> None:
    outcome = hgs("render", "-", "-p", "60", "-o", "out", stdin=f"{sound}\n{burst}\n")
    assert outcome.lines == ["out/tone/tone_060_C4.wav", "out/burst/burst_060_C4.wav"]


def test_what_is_there_is_skipped_and_what_lacks_is_made(hgs: Run, sound: Path, burst: Path) -> None:
    hgs("render", sound, "-p", "60", "-o", "out/tone")
    before = Path("out/tone/tone_060_C4.wav").stat().st_mtime_ns
    outcome = hgs("render", sound, burst, "-p", "60", "-o", "out", "--skip-existing")
    assert (outcome.code, outcome.lines) == (0, ["out/burst/burst_060_C4.wav"])
    assert "1 of 2 are there already" in outcome.err
    assert Path("out/tone/tone_060_C4.wav").stat().st_mtime_ns == before
    again = hgs("render", sound, burst, "-p", "60", "-o", "out", "--skip-existing")
    assert (again.code, again.out) == (0, "")


@pytest.mark.parametrize("command", [["invert", "tone.wav"], ["mix", "tone.wav", "burst.wav", "-p", "60"]], ids=str)
def test_instruments_and_mixes_that_are_there_are_skipped(
    hgs: Run, sound: Path, burst: Path, command: list[str]
) -> None:
    made = hgs(*command)
    before = [Path(line).stat().st_mtime_ns for line in made.lines]
    assert before
    again = hgs(*command, "--skip-existing")
    assert (again.code, again.out) == (0, "")
    assert [Path(line).stat().st_mtime_ns for line in made.lines] == before


def test_a_folder_is_searched_for_instruments_too(hgs: Run, sound: Path) -> None:
    hgs("invert", sound, "-o", "kept/tone.hgs")
    assert hgs("render", "kept", "-p", "60", "-o", "out").lines == ["out/tone/tone_060_C4.wav"]


def test_a_name_that_is_the_same_for_two_mixes_is_refused(hgs: Run, sound: Path, burst: Path) -> None:
    outcome = hgs("mix", sound, burst, "-p", "60", "--steps", "3", "--name", "{midi}")
    assert (outcome.code, outcome.out) == (2, "")
    assert "is the same for two mixes — add {stem}" in outcome.err


def test_a_dry_run_prints_what_a_run_would_and_writes_nothing(hgs: Run, sound: Path, burst: Path) -> None:
    for command in (
        ["render", sound, burst, "-p", "60,61", "--format", "flac,sfz", "--audition", "--velocities", "2"],
        ["mix", sound, burst, "-p", "60", "--steps", "3", "--audition"],
        ["invert", sound, "--plot"],
    ):
        planned = hgs(*command, "--dry-run")
        assert planned.code == 0
        assert not any(Path(line).exists() for line in planned.lines)
        assert hgs(*command, "-q").lines == planned.lines
        assert all(Path(line).exists() for line in planned.lines)


def test_a_dry_run_loads_no_torch(sound: Path) -> None:
    code = (
        "import sys, hgs_cli.cli.app\n"
        f"try: hgs_cli.cli.app.app(['render', {str(sound)!r}, '--dry-run'], prog_name='hgs')\n"
        "except SystemExit: pass\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_a_sound_is_never_written_over(hgs: Run, sound: Path) -> None:
    before = sound.read_bytes()
    outcome = hgs("render", sound, "-p", "60", "-o", ".", "--name", "{stem}", "--force")
    assert outcome.code == 2
    assert "written over" in outcome.err
    assert sound.read_bytes() == before


def test_a_template_names_the_files(hgs: Run, sound: Path) -> None:
    outcome = hgs("render", sound, "-p", "C4,61", "--name", "{note}/{stem} {midi}", "-o", "out")
    assert outcome.lines == ["out/C4/tone 60.wav", "out/Cs4/tone 61.wav"]
    for template in ("{stem}", "../{midi}", "{voice}"):
        assert hgs("render", sound, "-p", "60,61", "--name", template, "-o", "out").code == 2


# --- formats, lengths, tuning ---------------------------------------------------------------------------------------


def test_every_format_of_a_note_holds_the_same_sound(hgs: Run, sound: Path) -> None:
    lines = hgs("render", sound, "-p", "60", "--format", "wav,flac,aiff").lines
    assert [Path(line).suffix for line in lines] == [".wav", ".flac", ".aiff"]
    one, *others = (soundfile.read(line)[0] for line in lines)
    assert all(np.array_equal(one, other) for other in others)
    assert hgs("render", sound, "-p", "61", "--format", "flac", "--subtype", "FLOAT").code == 2


def test_a_whole_instrument_comes_out(hgs: Run, sound: Path) -> None:
    outcome = hgs(
        "render", sound, "-p", "57,60", "--format", "sfz,dspreset,sf2", "--audition", "--plot", "--velocities", "2",
        "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    facts = [json.loads(line) for line in outcome.lines]
    assert [fact["format"] for fact in facts] == ["wav"] * 4 + ["sfz", "dspreset", "sf2", "audition", "plot"]
    assert [fact.get("velocities") for fact in facts[:4]] == [[1, 64], [1, 64], [65, 127], [65, 127]]
    assert all(Path(fact["path"]).stat().st_size > 500 for fact in facts)
    assert tree(Path("tone")) == sorted(Path(fact["path"]).name for fact in facts)
    soft, loud = (torch.from_numpy(soundfile.read(facts[index]["path"])[0]) for index in (0, 2))
    assert brightness_hz(soft) < brightness_hz(loud)


def test_an_instrument_without_sound_files_is_one_file(hgs: Run, sound: Path) -> None:
    assert hgs("render", sound, "-p", "57", "--format", "sf2").lines == ["tone/tone.sf2"]
    assert tree(Path("tone")) == ["tone.sf2"]


def test_notes_are_tuned_to_another_concert_pitch(hgs: Run, sound: Path) -> None:
    files = [
        hgs("render", sound, "-p", "69", "-o", folder, *options).lines[0]
        for folder, options in (
            ("a", ["--a4", "442"]),
            ("b", ["--tune", f"{1200 * np.log2(442 / 440):.6f}"]),
            ("c", []),
        )
    ]
    one, same, other = (soundfile.read(file)[0] for file in files)
    assert np.allclose(one, same, atol=1e-4)
    assert not np.allclose(one, other, atol=1e-2)


def test_files_have_the_sample_rate_and_the_length_asked_for(hgs: Run, sound: Path) -> None:
    info = soundfile.info(hgs("render", sound, "-p", "60", "--sample-rate", "48000", "--duration", "0.25").lines[0])
    assert (info.samplerate, info.frames) == (48_000, 12_000)
    faded = soundfile.read(hgs("render", sound, "-p", "61", "--fade", "0.3").lines[0])[0]
    plain = soundfile.read(hgs("render", sound, "-p", "61", "-o", "plain").lines[0])[0]
    assert np.array_equal(faded[: len(faded) // 4], plain[: len(plain) // 4])
    assert np.abs(faded[-2000:]).max() < 0.1 * np.abs(plain[-2000:]).max()
    assert soundfile.info(hgs("render", sound, "-p", "62", "--sample-rate", "22.05k").lines[0]).samplerate == 22_050
    for options in (
        ["--sample-rate", "100"],
        ["--sample-rate", "48000.5"],
        ["--duration", "0"],
        ["--duration", "nan"],
        ["--fade", "-1"],
    ):
        assert hgs("render", sound, "-p", "60", "-o", "x", *options).code == 2


def test_silence_is_trimmed_off(hgs: Run, tmp_path: Path) -> None:
    quiet = np.zeros(SAMPLE_RATE // 2)
    soundfile.write(tmp_path / "late.wav", np.concatenate([quiet, tone(), quiet]), SAMPLE_RATE)
    whole, trimmed = (
        soundfile.info(hgs("render", "late.wav", "-p", "57", "-o", folder, *options).lines[0]).frames
        for folder, options in (("a", []), ("b", ["--trim"]))
    )
    assert trimmed < whole - SAMPLE_RATE // 4


# --- stereo ---------------------------------------------------------------------------------------------------------


def test_stereo_is_kept_and_its_middle_is_the_mono_render(hgs: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    wide = tone()[:, None] + 0.05 * rng.standard_normal((tone().size, 2))
    soundfile.write(tmp_path / "wide.wav", wide, SAMPLE_RATE)
    mono = soundfile.read(hgs("render", "wide.wav", "-p", "57", "-o", "mono").lines[0])[0]
    both = soundfile.read(hgs("render", "wide.wav", "-p", "57", "-o", "both", "--stereo").lines[0])[0]
    assert both.shape == (*mono.shape, 2)
    assert np.abs(both.mean(1) - mono).max() < 1e-3 * np.abs(mono).max()  # regions are those of both channels together
    assert 0.01 < np.abs(both[:, 0] - both[:, 1]).max()


def test_stereo_of_a_mono_sound_is_the_same_twice(hgs: Run, sound: Path) -> None:
    both = soundfile.read(hgs("render", sound, "-p", "60", "--stereo").lines[0])[0]
    assert both.shape[1] == 2
    assert np.array_equal(both[:, 0], both[:, 1])


# --- invert ---------------------------------------------------------------------------------------------------------


def test_invert_tells_pitch_distances_and_time(hgs: Run, sound: Path) -> None:
    outcome = hgs("invert", sound)
    assert (outcome.code, outcome.lines) == (0, ["tone.hgs"])
    assert "A3" in outcome.err
    assert "cents" in outcome.err
    assert outcome.err.count(" dB") == 3
    assert "time" in outcome.err
    facts = json.loads(hgs("invert", sound, "-o", "again.hgs", "--json", "--quiet").out)
    assert (facts["path"], facts["midi"], facts["note"], facts["pitched"]) == ("again.hgs", 57, "A3", True)
    assert facts["detailed_db"] < facts["refined_db"]


def test_invert_writes_reconstruction_and_picture(hgs: Run, burst: Path) -> None:
    outcome = hgs("invert", burst, "--audio", "--plot")
    assert outcome.lines == ["burst.hgs", "burst_heard.wav", "burst.png"]
    assert "none" in outcome.err  # its pitch
    assert soundfile.info("burst_heard.wav").frames == soundfile.info(str(burst)).frames
    from PIL import Image

    with Image.open("burst.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > picture.height > 300
        colours = picture.convert("RGB").getcolors(1 << 20)
        assert colours is not None
        assert len(colours) > 50


def test_invert_writes_all_of_its_files_or_none(hgs: Run, sound: Path) -> None:
    Path("tone.png").write_text("mine")
    assert hgs("invert", sound, "--plot").code == 5
    assert not Path("tone.hgs").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{sound}", "{burst}", "-o", "a.hgs"], "give a folder"),
        (["a.hgs"], "is an inversion already"),
    ],
)
def test_invert_refuses_what_makes_no_sense(
    hgs: Run, sound: Path, burst: Path, arguments: list[str], said: str
) -> None:
    outcome = hgs("invert", *(text.format(sound=sound, burst=burst) for text in arguments))
    assert outcome.code == 2
    assert said in outcome.err


def test_invert_takes_a_folder(hgs: Run, sound: Path, burst: Path) -> None:
    assert hgs("invert", sound, burst, "-o", "made").lines == ["made/tone.hgs", "made/burst.hgs"]


# --- mix ------------------------------------------------------------------------------------------------------------


def test_mix_names_files_for_the_share_of_the_second_sound(hgs: Run, sound: Path, burst: Path) -> None:
    outcome = hgs("mix", sound, burst, "-p", "60", "--ratio", "0.7,0.3")
    assert outcome.lines == ["tone+burst/tone+burst_030_060_C4.wav"]
    assert hgs("mix", sound, burst, "-p", "61").lines == ["tone+burst/tone+burst_050_061_Cs4.wav"]


def test_the_ends_of_a_series_of_mixes_are_the_plain_renders(hgs: Run, sound: Path, burst: Path) -> None:
    outcome = hgs("mix", sound, burst, "-p", "60", "--steps", "3", "-o", "mixed")
    assert outcome.lines == [f"mixed/tone+burst_{percent}_060_C4.wav" for percent in ("000", "050", "100")]
    plain = [Path(line) for line in hgs("render", sound, burst, "-p", "60").lines]
    assert Path(outcome.lines[0]).read_bytes() == plain[0].read_bytes()
    assert Path(outcome.lines[2]).read_bytes() == plain[1].read_bytes()


def test_more_than_two_sounds_mix_and_inversions_too(hgs: Run, sound: Path, burst: Path) -> None:
    hgs("invert", sound)
    outcome = hgs("mix", "tone.hgs", burst, SNARE, "-p", "60", "--ratio", "2,1,1", "--json")
    facts = json.loads(outcome.out)
    assert facts["shares"] == [0.5, 0.25, 0.25]
    assert facts["path"].endswith("tone+burst+snare_025-025_060_C4.wav")


@pytest.mark.parametrize(
    "arguments",
    [["{a}"], ["{a}", "{b}", "--ratio", "1"], ["{a}", "{b}", "--ratio", "1,x"], ["{a}", "{b}", "--ratio", "0,0"],
     ["{a}", "{b}", "--ratio", "-1,2"], ["{a}", "{b}", "--ratio", "nan,1"], ["{a}", "{b}", "--steps", "1"],
     ["{a}", "{b}", "--steps", "3", "--ratio", "1,1"], ["{a}", "{b}", "{a}", "--steps", "3"],
     ["{a}", "{b}", "--pitch", "60,60,60"]],
)  # fmt: skip
def test_mixes_that_make_no_sense_are_usage_errors(hgs: Run, sound: Path, burst: Path, arguments: list[str]) -> None:
    outcome = hgs("mix", "-p", "60", *(text.format(a=sound, b=burst) for text in arguments))
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1


# --- errors ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def half_an_inversion(model: Model, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("half") / "a.hgs"
    invert(model, torch.from_numpy(tone()), SAMPLE_RATE).save(path)
    return path.read_bytes()[: path.stat().st_size // 2]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["render", "missing.wav"], 3),
        (["render", "text.wav"], 3),
        (["render", "empty.wav"], 3),
        (["render", "silent.wav"], 3),
        (["render", "nan.wav"], 3),
        (["render", "folder"], 3),
        (["render", "broken.hgs"], 3),
        (["render", "text.hgs"], 3),
        (["invert", "missing.wav"], 3),
        (["invert", "silent.wav"], 3),
        (["mix", "tone.wav", "missing.wav"], 3),
        (["bench", "missing.wav"], 3),
        (["render", "tone.wav", "--weights", "missing.safetensors"], 4),
        (["render", "tone.wav", "--weights", "text.wav"], 4),
        (["render", "tone.wav", "--weights", "broken.hgs"], 4),
        (["render", "tone.wav", "-p", "H4"], 2),
        (["render", "tone.wav", "-p", "60-"], 2),
        (["render", "tone.wav", "--source-note", "48-72"], 2),
        (["render", "tone.wav", "--pitch", "60"], 2),
        (["render", "tone.wav", "--middle-c", "C2"], 2),
        (["render", "tone.wav", "--sample-rate", "48kk", "--dry-run"], 2),
        (["render", "tone.wav", "-p", ""], 2),
        (["render", "tone.wav", "--pitch", "loud"], 2),
        (["render", "tone.wav", "--tonal", "2"], 2),
        (["render", "tone.wav", "--tonal", "some"], 2),
        (["render", "tone.wav", "--detail", "1.5"], 2),
        (["render", "tone.wav", "--detail", "nan"], 2),
        (["render", "tone.wav", "--lufs", "nan"], 2),
        (["render", "tone.wav", "--lufs", "3"], 2),
        (["render", "tone.wav", "--seed", "-1"], 2),
        (["render", "tone.wav", "--device", "abacus"], 2),
        (["render", "tone.wav", "--subtype", "MP3"], 2),
        (["render", "tone.wav", "--turbo"], 2),
        (["render"], 2),
        (["sing"], 2),
        (["--loud"], 2),
        (["render", "tone.wav", "-o", "text.wav"], 5),
        (["render", "tone.wav", "-o", "/proc/nowhere"], 5),
        (["invert", "tone.wav", "-o", "/proc/nowhere/a.hgs"], 5),
        (["train", "run", "warmup", "--data", "x", "--out", "y"], 2),
        (["train", "run", "warmup", "--data", "x", "--out", "y", "--budget", "soon"], 2),
        (["train", "run", "yodel", "--data", "x", "--out", "y", "--budget", "1m"], 2),
        (["train", "run", "warmup", "--data", "missing", "--out", "y", "--budget", "1m"], 6),
        (["train", "export", "missing", "a.safetensors", "--version", "1"], 6),
        (["train", "eval", "--real", "missing"], 3),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_every_mistake_is_one_line_and_its_exit_code_and_writes_nothing(
    hgs: Run, sound: Path, half_an_inversion: bytes, tmp_path: Path, arguments: list[str], code: int
) -> None:
    (tmp_path / "text.wav").write_text("not a sound\n")
    (tmp_path / "text.hgs").write_text("not an inversion\n")
    (tmp_path / "folder").mkdir()
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), SAMPLE_RATE)
    soundfile.write(tmp_path / "silent.wav", np.zeros(9000), SAMPLE_RATE)
    soundfile.write(tmp_path / "nan.wav", np.full(9000, np.nan), SAMPLE_RATE, subtype="FLOAT")
    (tmp_path / "broken.hgs").write_bytes(half_an_inversion)
    before = tree(tmp_path)

    outcome = hgs(*arguments)
    assert outcome.code == code, outcome.err
    lines = outcome.complaints
    assert len(lines) == 1, outcome.err
    assert lines[0].startswith("hgs: error: ")
    assert " — " in lines[0]
    assert outcome.out == ""
    assert tree(tmp_path) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_an_absent_device_is_a_usage_error(hgs: Run, sound: Path) -> None:
    outcome = hgs("render", sound, "--device", "cuda")
    assert (outcome.code, outcome.err.splitlines()) == (
        2, ["hgs: error: no CUDA device is available — use --device cpu or auto"],
    )  # fmt: skip


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_the_device_comes_from_the_environment_and_an_option_wins(
    hgs: Run, sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HGS_DEVICE", "cuda")
    assert "no CUDA device" in hgs("render", sound, "-p", "60").err
    assert hgs("render", sound, "-p", "60", "--device", "cpu").code == 0
    monkeypatch.setenv("HGS_DEVICE", "abacus")
    refused = hgs("render", sound, "-p", "61")
    assert (refused.code, refused.err) == (2, "hgs: error: HGS_DEVICE abacus — give auto, cpu or cuda\n")


def test_given_weights_win_over_those_of_the_environment(
    hgs: Run, sound: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HGS_WEIGHTS", "missing.safetensors")
    assert hgs("render", sound, "-p", "60").code == 4
    assert hgs("render", sound, "-p", "60", "--weights", bundle).code == 0


def test_a_bug_is_not_dressed_up_as_a_mistake(
    bundle: Path, sound: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HGS_WEIGHTS", str(bundle))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("hgs_cli.export.delivery.deliver", lambda *arguments: 1 / 0)
    result = CliRunner().invoke(app, ["render", str(sound), "-p", "60"])
    assert result.exit_code == 1
    assert isinstance(result.exception, ZeroDivisionError)
    assert tree(tmp_path) == ["tone.wav"]


def test_a_shell_sees_the_same_code_and_line(processes: Processes, tmp_path: Path) -> None:
    command = ["/bin/sh", "-c", processes.hgs_program(), "hgs", "render", "missing.wav"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "hgs: error: missing.wav does not exist — check the path\n"


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="there are no pseudo-terminals here")
def test_on_a_terminal_bars_go_to_stderr_and_results_to_stdout(
    processes: Processes, bundle: Path, sound: Path, tmp_path: Path
) -> None:
    shutil.copy(sound, tmp_path / "\x1b[2J[red]other.wav")
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        ["/bin/sh", "-c", processes.hgs_program(), "hgs", "render", "tone.wav", "\x1b[2J[red]other.wav", "-p", "60"],
        cwd=tmp_path,
        env={**os.environ, "HGS_WEIGHTS": str(bundle), "PYTHONPATH": str(ROOT), "TERM": "xterm"},
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    out, _ = process.communicate(timeout=120)
    seen = b""
    with contextlib.suppress(OSError):  # the other end is closed
        while block := os.read(ours, 65_536):
            seen += block
    os.close(ours)
    other = "\x1b[2J[red]other"  # for a pipe the very name, for people one that cannot steer their terminal
    assert out.decode().splitlines() == ["tone/tone_060_C4.wav", f"{other}/{other}_060_C4.wav"]
    assert b" [2J[red]other" in seen
    assert b"\x1b[2J" not in seen
    assert b"files" in seen
    assert b"tone_060" not in seen


@pytest.mark.thorough
def test_an_interrupt_exits_130_and_leaves_nothing(bundle: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "tone.wav", tone(), SAMPLE_RATE)
    process = subprocess.Popen(
        [sys.executable, "-m", "hgs_cli", "render", "tone.wav", "-p", "0-127:0.1"],
        cwd=tmp_path,
        env={**os.environ, "HGS_WEIGHTS": str(bundle), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("tone/.hgs-*/*.wav")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert tree(tmp_path) == ["tone.wav"]


# --- info -----------------------------------------------------------------------------------------------------------


def test_info_tells_of_instruments_and_weights(hgs: Run, sound: Path, bundle: Path) -> None:
    hgs("invert", sound)
    told = hgs("info", "tone.hgs")
    assert told.lines[0] == "# tone.hgs"
    assert any(line.startswith("pitch\tA3") for line in told.lines)
    instrument, weights = (json.loads(line) for line in hgs("info", "tone.hgs", bundle, "--json").lines)
    assert (instrument["kind"], instrument["seconds"], instrument["stereo"]) == ("instrument", 0.5, False)
    assert (weights["kind"], weights["version"]) == ("weights", "tiny")
    assert weights["sha256"] == instrument["weights_sha256"]
    assert hgs("info", sound).code == 3
    if RELEASED.is_file():
        assert json.loads(hgs("info", RELEASED, "--json").out)["training"]["stage"] == "hyper"
    assert hgs("info", "missing.hgs").code == 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_results_that_cannot_be_printed_are_one_line_and_the_files_are_there(
    processes: Processes, sound: Path, tmp_path: Path, options: list[str]
) -> None:
    command = ["render", str(sound), "-p", "60", "-o", "full", "-q", *options]
    done = processes.run(tmp_path, Order(command, printed="/dev/full"))[0]
    assert (done.code, len(done.err.splitlines())) == (5, 1)
    assert "the results cannot be printed: no space left on device" in done.err
    assert tree(tmp_path / "full") == ["tone_060_C4.wav"]


# --- bench ----------------------------------------------------------------------------------------------------------


def bench_little(patch: pytest.MonkeyPatch) -> None:
    """Two notes instead of two octaves, one length, and no care for noise."""
    for name, value in {"OCTAVES": (60.0, 67.0), "BATCHES": (1, 2), "LENGTHS_S": (0.5,)}.items():
        patch.setattr(f"hgs_cli.bench.plan.{name}", value)
    patch.setattr("hgs_cli.bench.plan.TIMING", replace(TIMING, peak_runs=1))


@pytest.fixture(scope="module")
def benched(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> tuple[Outcome, Path]:
    """A bench of a short sound in few batches and lengths, with a picture."""
    folder = tmp_path_factory.mktemp("bench")
    soundfile.write(folder / "tone.wav", tone(220.0, 0.3), SAMPLE_RATE)
    with pytest.MonkeyPatch.context() as patch:
        bench_little(patch)
        patch.setenv("HGS_WEIGHTS", str(bundle))
        patch.chdir(folder)
        command = ["bench", "tone.wav", "--runs", "2", "--json", "--threads", "1", "--plot", "bench.png"]
        result = CliRunner().invoke(app, command, prog_name="hgs")
    return Outcome(result.exit_code, result.stdout, result.stderr), folder / "bench.png"


def test_bench_measures_every_stage_and_names_its_circumstances(benched: tuple[Outcome, Path]) -> None:
    report = json.loads(benched[0].out)
    names: dict[str, list[str]] = {section: [] for section in ("stages", "batches", "threads", "lengths")}
    for timing in report["timings"]:
        assert 0 < timing["median_ms"] <= timing["p95_ms"]
        assert timing["runs"] == 2
        names[timing["section"]].append(timing["name"])
        if timing["notes"]:
            assert timing["notes_per_s"] == pytest.approx(1e3 * timing["notes"] / timing["median_ms"])
            assert timing["real_time_factor"] > 0
    assert {
        "read",
        "resample from 48 kHz",
        "log-mel",
        "f",
        "H, one pass",
        "G",
        "move the recording",
        "tone and noise",
    } <= set(names["stages"])
    assert names["batches"] == ["1 note", "2 notes"]
    assert names["threads"] == ["1"]
    assert names["lengths"] == ["0.5 s"]
    assert report["peak_memory_mib"] > 50
    assert {"hgs", "weights", "device", "threads", "torch", "python", "sound"} <= set(report["environment"])


def test_bench_says_how_near_the_generator_comes_to_the_machine(benched: tuple[Outcome, Path]) -> None:
    bound = json.loads(benched[0].out)["bound"]
    assert bound["notes"] == 2
    needed_ms = max(
        1e3 * bound["operations"] / bound["operations_per_s"], 1e3 * bound["n_bytes"] / bound["bytes_per_s"]
    )
    assert bound["bound_ms"] == pytest.approx(needed_ms)
    assert bound["median_ms"] > 0.5 * bound["bound_ms"]  # nothing is faster than the machine, but for noise


def test_bench_draws_its_timings(benched: tuple[Outcome, Path]) -> None:
    with Image.open(benched[1]) as picture:
        assert picture.format == "PNG"
        assert len(picture.convert("RGB").getcolors(2**16) or []) > 2


@pytest.mark.thorough
def test_bench_times_batches_of_up_to_88_notes_and_counts_its_steps(model: Model) -> None:
    steps: list[int] = []
    plan = plan_bench(None, 1)
    report = run_bench(plan, model.path, "cpu", steps.append)
    assert sum(steps) == count_steps(plan)
    timed = [(timing.section, timing.name) for timing in report.timings]
    assert [name for section, name in timed if section == "batches"][-1] == "88 notes"
    assert [name for section, name in timed if section == "lengths"] == ["0.5 s", "1 s", "2 s", "4 s"]


@pytest.mark.slow
def test_bench_compares_by_cores_notes_and_start_in_one_run(
    hgs: Run, sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("python_stretch")
    if shutil.which("rubberband") is None:
        pytest.skip("rubberband is not installed")
    bench_little(monkeypatch)
    options = ["--runs", "1", "--cold", "--threads", "2", "--compare", "signalsmith,rubberband", "--json"]
    report = json.loads(hgs("bench", sound, *options).out.splitlines()[-1])
    assert set(report["ratios"]) == {"hgs render, 1 note, cold / import torch"}
    points = {(each["program"], each["threads"], each["notes"], each["cold"]) for each in report["compared"]}
    both, warm = ("hgs", "Signalsmith Stretch"), [("Rubber Band R3", True)]
    assert points == {
        (name, threads, notes, cold)
        for name, cold in [*((name, cold) for name in both for cold in (False, True)), *warm]
        for threads in (1, 2)
        for notes in (1, 2)
    }
    assert all(each["median_ms"] > 0 for each in report["compared"])
    assert report["missing"] == {}


def test_bench_says_what_it_has_nothing_to_compare_with(hgs: Run, sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    outcome = hgs("bench", sound, "--compare", "rubberband")
    assert outcome.code == 2
    assert "rubberband is not installed" in outcome.err


def test_bench_tells_in_one_line_what_is_absent_and_compares_with_the_rest(
    hgs: Run, sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("python_stretch")
    bench_little(monkeypatch)
    monkeypatch.setenv("PATH", "")
    outcome = hgs("bench", sound, "--runs", "1", "--threads", "1", "--compare", "rubberband,signalsmith")
    assert outcome.code == 0
    told = [line for line in outcome.err.splitlines() if line.startswith("hgs: warning:")]
    assert told == ["hgs: warning: not compared: Rubber Band R3 — the program rubberband is not installed"]
    rows = outcome.lines[outcome.lines.index("# Compared") + 1 :]
    assert rows[0].split("\t") == ["sound", "cores", "notes", "start", "hgs, ms a note", "Signalsmith Stretch", "/ hgs"]
    assert [row.split("\t")[1:4] for row in rows[1:3]] == [["1", "1", "warm"], ["1", "2", "warm"]]


def test_bench_profiles_a_note_alone_and_many(hgs: Run, sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench_little(monkeypatch)
    report = json.loads(hgs("bench", sound, "--runs", "1", "--profile", "--json").out.splitlines()[-1])
    assert [profile["notes"] for profile in report["profiles"]] == [1, 2]
    for profile in report["profiles"]:
        stages = {stage["name"]: stage for stage in profile["stages"]}
        assert {"G", "detail transfer", "recording: moved", "levels", "tone and noise"} <= set(stages)
        whole = profile["whole"]
        for counted in ("operations", "n_bytes", "calls"):  # nothing is counted twice, nothing left out
            assert sum(stage[counted] for stage in stages.values()) == whole[counted] > 0
        assert all(value > 0 for value in profile["peak"].values())


def test_another_program_that_fails_is_one_line(
    hgs: Run, sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench_little(monkeypatch)
    program = tmp_path / "bin" / "rubberband"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\ncase "$1" in --version) echo 3.1.2;; *) echo no luck >&2; exit 7;; esac\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    outcome = hgs("bench", sound, "--runs", "1", "--compare", "rubberband")
    assert outcome.code == 3
    assert "rubberband failed: no luck" in outcome.err


@pytest.mark.thorough
def test_bench_prints_tables_without_a_sound_of_ones_own(hgs: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    bench_little(monkeypatch)
    outcome = hgs("bench", "--runs", "1")
    assert outcome.code == 0
    assert outcome.lines[0] == "# Stages"
    assert outcome.lines[1].split("\t") == ["stages", "median ms", "p95 ms", "ms a note", "notes/s", "real time"]
    assert "# What the machine can do" in outcome.lines
    assert "weights\ttiny" in outcome.lines
