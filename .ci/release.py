#!/usr/bin/env python3
"""Build what is published: a wheel and a source archive, and prove the wheel in an empty environment.

    .ci/release.py https://forge.example/hgs dist

The address of the repository is said here, once a release: README's links are made absolute with it, so that they lead
somewhere and its picture is seen wherever README is shown, and it is entered into the metadata. Nothing is published.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CARRIED = (
    "hgs_cli/py.typed",
    "hgs_cli/manual/cookbook.md",
    "hgs_cli/export/audition_page/page.js",
    "hgs_cli/training/split.json",
    "hgs_cli/weights_data/hgs.safetensors",
    "hgs_cli/weights_data/ATTRIBUTION.md",
    "hgs_cli/weights_data/recordings.tsv",
    "licenses/LICENSE",
    "licenses/weights/ATTRIBUTION.md",
)
"""Ends of names that a wheel has to hold beside its modules."""
PROOF = (
    ("hgs", "--version"),
    ("hgs", "manual", "python"),
    ("hgs", "render", "snare.wav", "--pitches", "60", "--format", "wav,sfz,sf2,multisample", "--audition", "--plot"),
    ("hgs", "info", "{weights}"),
    ("python", "-c", "import hgs_cli; hgs_cli.load_model(); print(hgs_cli.HgsError)"),
)


def absolute_links(text: str, repository: str, version: str) -> str:
    """README with links and pictures that lead into a repository at the tag of a version."""
    base = repository.rstrip("/")

    def whole(found: re.Match[str]) -> str:
        kind = "raw" if found[1] == "!" else "blob"
        return f"{found[1]}[{found[2]}]({base}/{kind}/v{version}/{found[3]})"

    return re.sub(r"(!?)\[([^\]]*)\]\((?!https?:|#)([^)]+)\)", whole, text)


def with_urls(pyproject: str, repository: str, version: str) -> str:
    """pyproject.toml that knows its repository."""
    base = repository.rstrip("/")
    urls = {
        "Homepage": base,
        "Source": base,
        "Documentation": f"{base}/blob/v{version}/README.md",
        "Changelog": f"{base}/blob/v{version}/CHANGELOG.md",
    }
    head = re.search(r"^\[project\.urls\].*$", pyproject, re.MULTILINE)
    if head is None:
        raise SystemExit("pyproject.toml has no [project.urls]")
    lines = "".join(f'\n{name} = "{url}"' for name, url in urls.items())
    return pyproject[: head.end()] + lines + pyproject[head.end() :]


def released_version(root: Path) -> str:
    """The version, if the changelog tells of it with a date."""
    found = re.search(r'^__version__ = "([^"]+)"', (root / "hgs_cli" / "__init__.py").read_text(), re.MULTILINE)
    if found is None:
        raise SystemExit("hgs_cli/__init__.py has no __version__")
    changelog = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    if not re.search(rf"^## \[{re.escape(found[1])}\] - \d{{4}}-\d\d-\d\d$", changelog, re.MULTILINE):
        raise SystemExit(f"CHANGELOG.md tells of no release {found[1]} with a date")
    return found[1]


def missing_in(wheel: Path) -> list[str]:
    """What a wheel should hold and does not; links of its description that lead nowhere."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        text = archive.read(metadata).decode()
    missing = [end for end in CARRIED if not any(name.endswith(end) for name in names)]
    return missing + re.findall(r"\]\((?!https?:|#)[^)]+\)", text)


def run(*command: str | Path, cwd: Path) -> None:
    """Run a command and show it."""
    sys.stderr.write(f"+ {' '.join(map(str, command))}\n")
    subprocess.run([str(word) for word in command], cwd=cwd, check=True)


def copy_tree(to: Path) -> None:
    """Copy what git tracks or would track."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            (to / name).write_bytes((ROOT / name).read_bytes())


def environment(folder: Path) -> Path:
    """A new environment's programs."""
    run(sys.executable, "-m", "venv", folder, cwd=folder.parent)
    return folder / "bin"


def main() -> None:
    """Build, look at what was built, and prove it."""
    if len(sys.argv) != 3 or not sys.argv[1].startswith("https://"):
        raise SystemExit("usage: .ci/release.py https://the.repository DIST")
    repository, dist = sys.argv[1], Path(sys.argv[2]).resolve()
    version = released_version(ROOT)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        tree, empty = work / "tree", work / "elsewhere"
        for folder in (tree, empty):
            folder.mkdir()
        copy_tree(tree)
        for file, change in (("README.md", absolute_links), ("pyproject.toml", with_urls)):
            text = (tree / file).read_text(encoding="utf-8")
            (tree / file).write_text(change(text, repository, version), encoding="utf-8")
        programs = environment(work / "building")
        run(programs / "pip", "install", "--quiet", "build", cwd=work)
        run(programs / "python", "-m", "build", "--outdir", dist, tree, cwd=work)
        wheel = dist / f"hgs_cli-{version}-py3-none-any.whl"
        missing = missing_in(wheel)
        if missing:
            raise SystemExit(f"{wheel.name} lacks {', '.join(missing)}")
        programs = environment(work / "proof")
        run(programs / "pip", "install", "--quiet", wheel, cwd=work)
        (empty / "snare.wav").write_bytes((ROOT / "tests" / "golden" / "snare.wav").read_bytes())
        (bundle,) = (work / "proof").glob("lib/python3*/site-packages/hgs_cli/weights_data/hgs.safetensors")
        for program, *words in PROOF:
            run(programs / program, *(word.format(weights=bundle) for word in words), cwd=empty)
    sys.stdout.write(f"{wheel}\n")


if __name__ == "__main__":
    main()
