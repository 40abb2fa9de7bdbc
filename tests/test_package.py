"""The wheel, and not the tree, is what people install."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import Start, Store

TOP = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built and unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(folder),
        str(TOP),
    ]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


def test_the_wheel_has_all_that_the_server_shows(
    installed: Path, store: Store, start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(installed))
    monkeypatch.chdir(tmp_path)  # so that the tree is not found by chance
    server = start(store)
    assert b"ovx-lite is running" in server.send("/", method="GET").body
    assert server.send("/static/ui.css", method="GET").status == 200


def test_the_wheel_has_nothing_beside_the_package(installed: Path) -> None:
    assert sorted(path.name.split("-")[0] for path in installed.iterdir()) == ["ovx_lite", "ovx_lite"]
    for name in ("static", "templates"):
        shipped = {path.name for path in (installed / "ovx_lite" / name).iterdir()}
        assert shipped == {path.name for path in (TOP / name).iterdir()}
