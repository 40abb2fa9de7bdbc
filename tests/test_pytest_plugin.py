"""The pytest plugin, as used by a project that calls one of the APIs."""

import subprocess
import sys
from pathlib import Path

import pytest

CHECKS = Path(__file__).parent / "client" / "checks.py"


@pytest.mark.parametrize("workers", ["0", "2"])
def test_the_tests_of_a_small_project_pass(workers: str) -> None:
    unneeded = [f"-pno:{name}" for name in ("cacheprovider", "schemathesis", "hypothesispytest", "playwright")]
    command = [sys.executable, "-m", "pytest", "-q", "-n", workers, *unneeded, str(CHECKS)]
    result = subprocess.run(command, cwd=CHECKS.parents[2], capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "." * 11 in result.stdout
