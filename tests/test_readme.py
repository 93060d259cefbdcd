"""README and the manual tell the truth: their commands run, their options exist, and every option is told of."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import soundfile
from conftest import ROOT, SNARE, Run, few_of, run_process, tone
from processes import Order, Processes
from typer.core import TyperGroup
from typer.main import get_command

from hgs_cli.bench.plan import TIMING
from hgs_cli.cli.app import app
from hgs_cli.evaluation import known_truth_result, made_sounds
from hgs_cli.evaluation.leakage import ProbeRules
from hgs_cli.evaluation.paper import PaperRules
from hgs_cli.manual import first_sentence, topics
from hgs_cli.models.pitch_classifier import PitchClassifier, PitchClassifierSizes
from hgs_cli.spectrum import SAMPLE_RATE

README = (ROOT / "README.md").read_text(encoding="utf-8")
CARD = (ROOT / "weights" / "README.md").read_text(encoding="utf-8")
MANUAL = {topic: page.read_text(encoding="utf-8") for topic, page in topics().items()}
PAGES = {"README.md": README} | {f"hgs_cli/manual/{topic}.md": text for topic, text in MANUAL.items()}

WHERE = {
    "render": "options", "mix": "options", "invert": "options", "info": "options", "bench": "speed",
    "manual": "commands", "train data": "training", "train run": "training", "train export": "training",
    "train eval": "quality", "train recordings": "training",
}  # fmt: skip
"""Page that has all options of a command."""

SHELL = re.compile(r"[|&;<>$]")  # what only a shell can run
INSTALLS = ("sudo apt-get install ", "pip install ", "python3 -m venv ", "pipx run ")
"""Commands that fetch and install, which no test does."""


def blocks(text: str, kind: str) -> list[str]:
    """Code blocks of one language."""
    return re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL)


def commands(text: str) -> list[str]:
    """Commands of all sh blocks but those that install, a line each."""
    lines = "".join(blocks(text, "sh")).replace("\\\n", " ").splitlines()
    return [line for line in lines if line and not line.startswith(("#", *INSTALLS))]


RECIPES = ("cookbook", "commands", "machines")
"""Pages whose commands are a user's: they run as they are printed."""
CHAINS = ("speed", "training", "quality")
"""Pages whose commands take long, need what others of the page made, and run one after the other on little."""


# --- what stands in them ----------------------------------------------------------------------------------------------


def test_the_readme_has_160_lines_of_120_columns_at_most_and_eight_recipes() -> None:
    assert len(README.splitlines()) <= 160
    assert all(len(line) <= 120 for text in PAGES.values() for line in text.splitlines())
    assert len(commands(README)) == 8
    assert len(re.findall(r"^\|---", README, re.MULTILINE)) == 1


def test_the_first_screen_has_the_two_commands() -> None:
    first = "\n".join(README.splitlines()[:24])
    assert "hgs render tests/golden/snare.wav --pitches 48-72" in first
    assert "pytest" in first


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_to_a_file(name: str) -> None:
    links = re.findall(r"\]\(([^)]+)\)", PAGES[name])
    here = [link for link in links if not link.startswith("https://")]
    assert [link for link in here if not ((ROOT / name).parent / link).is_file()] == []


def test_the_readme_leads_to_every_topic() -> None:
    assert [topic for topic in MANUAL if f"](hgs_cli/manual/{topic}.md)" not in README] == []


@pytest.mark.parametrize("topic", MANUAL)
def test_a_topic_begins_with_its_title_and_a_sentence_of_what_it_holds(topic: str) -> None:
    assert re.match(r"# .+\n\n\w", MANUAL[topic])
    assert 10 < len(first_sentence(MANUAL[topic])) < 100


def test_every_command_that_is_named_inline_is_one(hgs: Run) -> None:
    for command in set(re.findall(r"`hgs ([a-z]+)[^`]*`", "".join(PAGES.values()))):
        assert command == "train" or hgs(command, "--help").code == 0, command


def options_of(hgs: Run, command: str) -> set[str]:
    """Long options that a command's help lists."""
    return set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", hgs(*command.split(), "--help").out)) - {"--help"}


def test_every_option_named_is_an_option(hgs: Run) -> None:
    known = set().union(*(options_of(hgs, command) for command in (*WHERE, ""))) | {"--help"}
    foreign = {
        "--index-url", "--extra-index-url", "--pipe", "--workdir",
        "--exclude", "--requirement", "--disable-pip", "--no-deps",
        "--standalone", "--nproc-per-node", "--nnodes", "--rdzv-backend", "--rdzv-endpoint",
    }  # fmt: skip
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", "".join(PAGES.values())))
    assert named - foreign - known == set()


@pytest.mark.parametrize("command", WHERE)
def test_the_manual_tells_of_every_option_of_every_command(hgs: Run, command: str) -> None:
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", MANUAL[WHERE[command]]))
    assert options_of(hgs, command) - named == set()


def test_ci_runs_the_very_test_command_of_the_readme() -> None:
    command = next(line for block in blocks(README, "sh") for line in block.splitlines() if "pytest" in line)
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_figures_of_the_manual_are_those_of_the_model_card() -> None:
    rows = [line for line in MANUAL["quality"].splitlines() if line.startswith("| ") and re.search(r"\d\.\d", line)]
    rows = [row for row in rows if "`" not in row]  # but those of options
    assert len(rows) > 30
    assert [row for row in rows if row not in CARD.splitlines()] == []


def test_figures_of_the_readme_are_those_of_the_model_card_and_the_manual() -> None:
    section = README[README.index("## How good it is") : README.index("## Limits")]
    figures = set(re.findall(r"\d+\.\d+", section))
    assert len(figures) > 20
    told = set(re.findall(r"\d+\.\d+", CARD + MANUAL["quality"] + MANUAL["speed"]))
    assert figures - told == set()


def test_the_model_card_has_todays_figures_first_and_the_runs_last() -> None:
    titles = re.findall(r"^## (.+)$", CARD, re.MULTILINE)
    order = ["Figures", "Data", "What to run next", "Runs"]
    assert [title for title in titles if title in order] == order
    assert titles[0] == "Figures"


# --- hgs manual -------------------------------------------------------------------------------------------------------


def test_hgs_manual_lists_every_topic_with_what_it_holds(hgs: Run) -> None:
    listed = hgs("manual")
    assert listed.code == 0
    assert [tuple(line.split("  ", 1)[0:1]) for line in listed.lines] == [(topic,) for topic in MANUAL]
    assert all(line.endswith(first_sentence(MANUAL[line.split()[0]])) for line in listed.lines)


def test_a_pipe_gets_the_very_bytes_of_a_page_whatever_the_locale(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hgs_cli", "manual", "how-it-works"],
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "latin-1"},
        check=True,
    )
    assert done.stdout == topics()["how-it-works"].read_bytes()
    assert done.stderr == b""


@pytest.mark.parametrize("topic", MANUAL)
def test_every_topic_is_printed_as_it_is_by_its_name_or_its_links(hgs: Run, topic: str) -> None:
    assert hgs("manual", topic).out == hgs("manual", f"{topic}.md").out == MANUAL[topic]


@pytest.mark.parametrize(
    ("asked", "near"), [("cokbook", "cookbook"), ("sampler", "samplers"), ("../cli", ""), ("", ""), ("\x1b[2J", "")]
)
def test_an_unknown_topic_is_one_line_that_names_the_nearest(hgs: Run, asked: str, near: str) -> None:
    outcome = hgs("manual", asked)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("hgs: error: the manual has no topic ")
    assert outcome.err.endswith("hgs manual lists them\n")
    assert outcome.err.count("\n") == 1
    assert near in outcome.err
    assert "\x1b" not in outcome.err


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="there are no pseudo-terminals here")
def test_a_terminal_gets_a_page_laid_out(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "hgs_cli", "manual", "machines"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "200"},
        stdout=theirs,
    )
    os.close(theirs)
    seen = b""
    try:
        while block := os.read(ours, 65_536):
            seen += block
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert process.wait(timeout=60) == 0
    assert b"\x1b[" in seen
    assert b"Many machines" in seen
    assert b"```" not in seen


def test_the_manual_loads_nothing_heavy_and_rich_for_a_terminal_only() -> None:
    code = (
        "import sys, hgs_cli, hgs_cli.cli.app\n"
        "for arguments in (['manual'], ['manual', 'cookbook']):\n"
        "    try: hgs_cli.cli.app.app(arguments, prog_name='hgs')\n"
        "    except SystemExit: pass\n"
        "heavy = {'torch', 'torchaudio', 'numpy', 'scipy', 'soundfile', 'pyloudnorm', 'safetensors', 'PIL', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_man_page_is_made_of_the_same_text(hgs: Run) -> None:
    page = hgs("manual", "--man")
    assert (page.code, page.err) == (0, "")
    plain = page.out.replace("\\-", "-")
    for command in WHERE:
        assert f'.SS "hgs {command}"' in plain
        assert {option for option in options_of(hgs, command) if option not in plain} == set()
    for recipe in commands(MANUAL["cookbook"]):
        assert f"\n{recipe.replace(chr(92), chr(92) + 'e')}\n" in plain
    assert re.findall(r"^\\fB(\d+)\\fR$", page.out, re.MULTILINE) == re.findall(
        r"^\| (\d+) \|", MANUAL["files"], re.MULTILINE
    )
    assert all(variable in plain for variable in ("HGS_WEIGHTS", "HGS_DEVICE", "HGS_MIDDLE_C"))
    assert hgs("manual", "cookbook", "--man").code == 2


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_the_man_page_is_set_without_a_complaint(hgs: Run) -> None:
    command = ["groff", "-man", "-Tutf8", "-K", "utf8", "-ww", "-P-cbou"]
    done = subprocess.run(command, input=hgs("manual", "--man").out, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert re.search(r"^NAME\n +hgs - One recorded sound in", done.stdout, re.MULTILINE)
    assert "--pitches" in done.stdout


def test_the_manual_travels_in_the_wheel() -> None:
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    assert "hgs_cli.manual" in setuptools["packages"]
    assert setuptools["package-data"]["hgs_cli.manual"] == ["*.md"]


# --- what they say to run ---------------------------------------------------------------------------------------------


@pytest.fixture
def sounds(tmp_path: Path) -> None:
    """The sounds that the recipes name."""
    for name, f0_hz in (("cello.wav", 110.0), ("flute.wav", 440.0), ("bell.wav", 660.0), ("drums/deep/tom.wav", 55.0)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / name, tone(f0_hz, 0.3), SAMPLE_RATE)
    (tmp_path / "snare.wav").write_bytes(SNARE.read_bytes())
    soundfile.write(tmp_path / "drums" / "snare.wav", tone(180.0, 0.1), SAMPLE_RATE)


def write_programs(folder: Path, hgs: str) -> list[Path]:
    """`hgs`, and stand-ins that run here what `parallel` and `ssh` would run elsewhere."""
    scripts = {
        "hgs": hgs,
        "parallel": 'while [ "$1" != hgs ]; do shift; done\nexec "$@"',
        "ssh": 'shift\nexec sh -c "$*"',
    }
    folder.mkdir()
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return [folder / name for name in scripts]


def shorter(recipe: str) -> str:
    """A command with fewer of what takes long."""
    for many, few in ((r"--steps \d+", "--steps 3"), (r"--takes \d+", "--takes 2"), (r"in 1 2 3 4 5;", "in 1 2;")):
        recipe = re.sub(many, few, recipe)
    return recipe


def test_the_recipes_of_the_readme_are_in_the_cookbook() -> None:
    assert [recipe for recipe in commands(README) if recipe not in commands(MANUAL["cookbook"])] == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")
@pytest.mark.parametrize("started", ["ready", pytest.param("new", marks=pytest.mark.thorough)])
@pytest.mark.parametrize("topic", few_of(RECIPES, "cookbook"))
@pytest.mark.usefixtures("sounds")
def test_every_recipe_of_a_page_runs_from_top_to_bottom_as_printed(
    hgs: Run, processes: Processes, bundle: Path, tmp_path: Path, topic: str, started: str
) -> None:
    """In one folder, one after the other; what needs a shell with copies of a ready process, or with new ones.

    Where processes are ready, steps, takes and seeds are few; where they are new, as many as are printed.
    """
    new = f'exec {shlex.quote(sys.executable)} -m hgs_cli "$@"'
    programs = write_programs(tmp_path / "bin", new if started == "new" else processes.hgs_program())
    environment = {
        **os.environ,
        "HGS_WEIGHTS": str(bundle),
        "PYTHONPATH": str(ROOT),
        "PATH": f"{programs[0].parent}{os.pathsep}{os.environ['PATH']}",
    }
    for printed in commands(MANUAL[topic]):
        recipe = shorter(printed) if started == "ready" else printed
        before = {path for path in tmp_path.rglob("*") if path.is_file()}
        if SHELL.search(recipe):
            command = ["/bin/bash", "-o", "pipefail", "-ec", recipe]
            done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
            assert done.returncode == 0, done.stderr
            assert "hgs: error" not in done.stderr
        else:
            outcome = hgs(*shlex.split(recipe)[1:])
            assert outcome.code == 0, outcome.err
            assert all(Path(line).is_file() for line in outcome.lines)
        assert {path for path in tmp_path.rglob("*") if path.is_file()} > before, recipe


@pytest.mark.parametrize("started", few_of(["ready", "new"], "ready"))
def test_the_first_command_plays_the_snare_at_25_pitches(
    processes: Processes, bundle: Path, tmp_path: Path, started: str
) -> None:
    command = blocks(README, "sh")[0].strip()
    assert command.startswith("python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/hgs ")
    arguments = shlex.split(command.rsplit("/hgs ", 1)[1])
    (tmp_path / "tests" / "golden").mkdir(parents=True)
    (tmp_path / "tests" / "golden" / "snare.wav").write_bytes(SNARE.read_bytes())
    if started == "new":
        done = run_process(arguments, bundle, tmp_path)
    else:
        (done,) = processes.run(tmp_path, Order(arguments))
    assert done.code == 0, done.err
    assert len(done.lines) == 25
    assert all((tmp_path / line).parent == tmp_path / "snare" for line in done.lines)


def test_every_page_with_commands_is_run_by_one_of_these_tests() -> None:
    pages = {topic for topic, text in MANUAL.items() if commands(text)}
    assert pages == {*RECIPES, *CHAINS}


def test_the_python_example_runs(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HGS_WEIGHTS", str(bundle))
    monkeypatch.chdir(tmp_path)
    for name, f0_hz in (("cello", 110.0), ("bell", 660.0)):
        soundfile.write(tmp_path / f"{name}.wav", tone(f0_hz, 0.3), SAMPLE_RATE)
    ((topic, example),) = ((topic, block) for topic, text in MANUAL.items() for block in blocks(text, "python"))
    assert topic == "python"
    assert blocks(README, "python") == []
    exec(compile(example, "python.md", "exec"), {})
    notes = sorted(tmp_path.glob("cello_*.wav"))
    assert [file.name for file in notes] == ["cello_36.wav", "cello_43.wav", "cello_48.5.wav"]
    assert {soundfile.info(file).samplerate for file in notes} == {48_000}
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert {"cello.hgs", "cello-to-bell.html"} <= written
    assert {f"instruments/cello/cello.{kind}" for kind in ("sfz", "sf2", "html")} <= written
    assert capsys.readouterr().out.splitlines()[-1] == "a pitch of 600 — give 0 to 127"


def test_every_public_name_is_in_the_page_about_python() -> None:
    import hgs_cli

    text = re.sub(r"```.*?```", "", MANUAL["python"], flags=re.DOTALL)
    told = set(re.findall(r"\w+", " ".join(re.findall(r"`[^`]+`", text))))
    errors = {"TrainingError"}  # of no function that is public
    assert set(hgs_cli.__all__) - told - errors - {"__version__", "Playable", "SourceHint"} == set()


QUICK = "[loop]\nbatch_size = 4\nwarmup_steps = 1\nvalidation_batches = 2\n"


def shortened(arguments: list[str], bundle: Path) -> list[str]:
    """A command that takes seconds where the manual's takes minutes to hours: one step, few notes, tiny networks."""
    if arguments[0] == "bench":
        return (
            [*arguments, "--runs", "1"] if shutil.which("rubberband") else [arguments[0], arguments[1], "--runs", "1"]
        )
    command = arguments[1]
    if command == "data":
        if "--soundfont" in arguments:  # recordings stand in for its notes
            at = arguments.index("--soundfont")
            arguments = [*arguments[:at], "--no-soundfonts", "--real", "recordings", *arguments[at + 2 :]]
        return [*arguments, "--workers", "1"]
    if command == "run":
        at = arguments.index("--budget")
        arguments = [*arguments[:at], "--steps", "1", *arguments[at + 2 :]]
        if "--init" not in arguments:
            arguments = [*arguments, "--init", str(bundle)]
        if "--config" in arguments:
            config = Path(arguments[arguments.index("--config") + 1])
            config.write_text(config.read_text() + QUICK)
            return arguments
        Path("quick.toml").write_text(QUICK)
        return [*arguments, "--config", "quick.toml"]
    if command == "eval":
        if "--train-missing" in arguments:
            at = arguments.index("--train-missing")
            arguments = [*arguments[: at + 1], "1s", *arguments[at + 2 :]]
        return [*arguments, "--quick", "--workers", "1"]
    return arguments


@pytest.fixture
def little(bundle: Path, recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the manual has to hand: few recordings, notes of NSynth and made sounds; a judge; no SoundFont."""
    from test_nsynth import write_nsynth

    from hgs_cli.training.judge import JUDGE_NAME, save_judge

    shutil.copytree(recordings, tmp_path / "recordings")
    for part, instrument in (
        ("train", "keyboard_acoustic_000"),
        ("valid", "reed_acoustic_002"),
        ("test", "reed_acoustic_003"),
    ):
        write_nsynth(tmp_path / f"nsynth-{part}", {instrument: ("acoustic", 0.6)}, (48,))
    (tmp_path / "snare.wav").write_bytes(SNARE.read_bytes())
    judge = PitchClassifier(PitchClassifierSizes(channels=(4, 4, 4, 4), narrow=2, feature_dim=8), ["dull", "bright"])
    judge.accuracy = {"held_out": 0.5, "validation": 0.25}
    save_judge(bundle.parent / "train" / JUDGE_NAME, judge)
    monkeypatch.setattr("hgs_cli.training.data.DEBIAN_SOUNDFONTS", ())
    monkeypatch.setattr("hgs_cli.evaluation.rendered.DEBIAN_SOUNDFONTS", ())
    monkeypatch.setattr("hgs_cli.evaluation.paper.PAPER", PaperRules(n_quick=16))
    monkeypatch.setattr("hgs_cli.evaluation.leakage.PROBED", ProbeRules(n_folds=2))
    monkeypatch.setattr("hgs_cli.evaluation.missing_runs.COMMON_SETTINGS", QUICK)
    odd = dict(list(made_sounds.made_sounds().items())[:2])
    monkeypatch.setattr("hgs_cli.evaluation.odd_sounds.made_sounds", lambda: odd)
    timing = replace(TIMING, cold_runs=1, peak_runs=1)
    fewer = {"OCTAVES": (48.0, 60.0), "BATCHES": (2,), "LENGTHS_S": (0.5,), "TIMING": timing}
    for name, value in fewer.items():
        monkeypatch.setattr(f"hgs_cli.bench.plan.{name}", value)
    made = partial(known_truth_result.measure_known_truth, families=("chord",))
    monkeypatch.setattr("hgs_cli.evaluation.measure.measure_known_truth", made)
    return bundle


@pytest.mark.parametrize("topic", [*RECIPES, *CHAINS])
def test_every_command_of_a_page_is_understood(topic: str) -> None:
    """By the command line, which does not run it."""
    assert commands(MANUAL[topic])
    for command in commands(MANUAL[topic]):
        words = shlex.split(command)
        words = words[words.index("hgs_cli" if words[0] == "torchrun" else words[0]) + 1 :]
        if command.startswith(("hgs", "torchrun")) and not SHELL.search(command):
            parsed = get_command(app)
            while isinstance(parsed, TyperGroup):
                parsed = parsed.commands[words.pop(0)]
            parsed.make_context(command, words)


@pytest.mark.thorough
@pytest.mark.parametrize("topic", CHAINS)
def test_every_command_of_a_page_runs_one_after_the_other(hgs: Run, little: Path, topic: str) -> None:
    listed = commands(MANUAL[topic])
    assert listed
    if topic == "quality":  # the page says last how its data sets are built
        listed.sort(key=lambda command: "train data" not in command)
    for command in listed:
        words = shlex.split(command)
        if words[0] == "torchrun":  # it starts what stands behind `-m hgs_cli` once a GPU
            words = ["hgs", *words[words.index("hgs_cli") + 1 :]]
            words[words.index("--out") + 1] += str(len(words) + len(command))  # a run is never written over
        if words[0] != "hgs":
            subprocess.run(["/bin/sh", "-ec", command], check=True)
            continue
        outcome = hgs(*shortened(words[1:], little))
        assert outcome.code == 0, f"{command}: {outcome.err}"
