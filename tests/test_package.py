"""The wheel and the source distribution, which people install instead of the source tree."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from ovx_lite import __version__
from tests.conftest import Start, Store

TOP = Path(__file__).parents[1]
TABLES = ("traffic_sources.toml", "user_agents.toml")
DATA_FILES = {"ovx_lite/py.typed", *(f"ovx_lite/enrichment/data/{name}" for name in TABLES)}


def build(target: str, folder: Path) -> Path:
    """Build a distribution and return its file."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    subprocess.run(command, check=True, capture_output=True, cwd=TOP)
    (file,) = folder.iterdir()
    return file


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel and unpack it."""
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(build("wheel", tmp_path_factory.mktemp("wheel"))) as archive:
        archive.extractall(folder)
    return folder


def test_a_server_from_the_wheel_serves_pages_and_static_files(
    installed: Path, store: Store, start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(installed))
    monkeypatch.chdir(tmp_path)  # so that the source tree is not imported by accident
    server = start(store)
    assert b"ovx-lite is running" in server.send("/", method="GET").body
    assert server.send("/static/ui.css", method="GET").status == 200


def test_the_wheel_contains_only_the_package(installed: Path) -> None:
    assert sorted(path.name for path in installed.iterdir()) == ["ovx_lite", f"ovx_lite-{__version__}.dist-info"]
    for name in ("static", "templates"):
        shipped = {path.name for path in (installed / "ovx_lite" / name).iterdir()}
        assert shipped == {path.name for path in (TOP / name).iterdir()}


def test_data_files_are_in_the_wheel_and_in_the_source_distribution(installed: Path, tmp_path: Path) -> None:
    assert [path for path in DATA_FILES if not (installed / path).is_file()] == []
    with tarfile.open(build("sdist", tmp_path)) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    assert {*DATA_FILES, "pyproject.toml", "LICENSE", "README.md", "Makefile", ".ci/run"} <= names
