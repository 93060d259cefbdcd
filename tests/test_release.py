"""What is published: metadata, what travels in the wheel, links that lead somewhere, a version that has a date."""

from __future__ import annotations

import importlib.util
import re
import sys
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
from conftest import ROOT

import hgs_cli

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
ADDRESS = "https://repository.example/hgs"


@pytest.fixture(scope="module")
def release() -> ModuleType:
    spec = importlib.util.spec_from_file_location("release", ROOT / ".ci" / "release.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["release"] = module
    spec.loader.exec_module(module)
    return module


def test_the_metadata_names_authors_as_the_licence_does() -> None:
    project = PYPROJECT["project"]
    holder = re.search(r"Copyright \(c\) \d+ (.+)", (ROOT / "LICENSE").read_text())
    assert holder is not None
    assert project["authors"] == [{"name": holder[1]}]
    assert project["license"] == "MIT"
    assert len(project["keywords"]) > 5
    assert {"Typing :: Typed", "Environment :: Console"} <= set(project["classifiers"])
    assert all(url.startswith("https://") for url in project["urls"].values())


def test_attributions_and_recordings_travel_in_the_wheel() -> None:
    assert "weights/ATTRIBUTION.md" in PYPROJECT["project"]["license-files"]
    carried = PYPROJECT["tool"]["setuptools"]["package-data"]["hgs_cli.weights_data"]
    assert all((ROOT / "weights" / name).is_file() for name in carried)
    assert {"ATTRIBUTION.md", "recordings.tsv"} <= set(carried)


def test_every_package_of_the_code_is_in_the_wheel() -> None:
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "hgs_cli").rglob("__init__.py")}
    packages = set(PYPROJECT["tool"]["setuptools"]["packages"]) - {"hgs_cli.weights_data"}
    assert packages == {".".join(folder.parts) for folder in folders}


def test_readme_of_a_release_has_no_link_that_leads_nowhere_and_shows_its_picture(release: ModuleType) -> None:
    text = release.absolute_links((ROOT / "README.md").read_text(encoding="utf-8"), ADDRESS + "/", "0.3.0")
    targets = re.findall(r"\]\(([^)]+)\)", text)
    assert len(targets) > 10
    assert [target for target in targets if not target.startswith("https://")] == []
    assert f"]({ADDRESS}/raw/v0.3.0/.images/snare.png)" in text
    assert f"]({ADDRESS}/blob/v0.3.0/CHANGELOG.md)" in text


def test_a_release_knows_its_repository(release: ModuleType) -> None:
    text = release.with_urls((ROOT / "pyproject.toml").read_text(encoding="utf-8"), ADDRESS, "0.3.0")
    urls = tomllib.loads(text)["project"]["urls"]
    assert urls["Source"] == ADDRESS
    assert urls["Changelog"] == f"{ADDRESS}/blob/v0.3.0/CHANGELOG.md"
    assert "https://arxiv.org/abs/2401.04558" in urls.values()


def test_the_version_is_a_release_that_the_changelog_dates(release: ModuleType) -> None:
    assert release.released_version(ROOT) == hgs_cli.__version__
    titles = re.findall(r"^## \[([^\]]+)\]", CHANGELOG, re.MULTILINE)
    assert titles[:2] == ["Unreleased", hgs_cli.__version__]


def test_a_version_that_the_changelog_does_not_date_is_refused(release: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "hgs_cli").mkdir()
    (tmp_path / "hgs_cli" / "__init__.py").write_text('__version__ = "9.9.9"\n')
    (tmp_path / "CHANGELOG.md").write_text("## [Unreleased]\n")
    with pytest.raises(SystemExit, match=r"no release 9\.9\.9"):
        release.released_version(tmp_path)


def test_a_wheel_that_lacks_something_is_told(release: ModuleType, tmp_path: Path) -> None:
    wheel = tmp_path / "hgs_cli-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in release.CARRIED[1:]:
            archive.writestr(name if name.startswith("hgs_cli/") else f"hgs_cli-1.dist-info/{name}", "")
        archive.writestr("hgs_cli-1.dist-info/METADATA", "Name: hgs-cli\n\n[x](here.md) [y](https://there)")
    assert release.missing_in(wheel) == ["hgs_cli/py.typed", "](here.md)"]


def test_ci_builds_what_is_published_and_proves_it() -> None:
    assert '/.ci/release.py" https://' in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_every_instrument_of_the_recordings_is_attributed() -> None:
    told = (ROOT / "weights" / "ATTRIBUTION.md").read_text(encoding="utf-8")
    lines = (ROOT / "weights" / "recordings.tsv").read_text(encoding="utf-8").splitlines()
    instruments = {line.split("\t")[3] for line in lines if line.startswith("instrument\t")}
    assert len(instruments) > 200
    assert [name for name in instruments if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", told)] == []
