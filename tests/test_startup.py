"""The command line imports little before it runs a command, and its help is complete nevertheless."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ovx_lite.cli import COMMANDS, main

SERVER = {"asyncio", "httptools", "httpx2", "jinja2", "jwt", "starlette", "ua_parser", "uvicorn", "uvloop"}

# Prints, as the last line on stderr, the names of all modules that were imported.
PROGRAM = """
import json, sys
from ovx_lite.cli import main
try:
    main(sys.argv[1:])
finally:
    print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


def imported_modules(*arguments: str) -> set[str]:
    """Run `ovx-lite` in its own process, and return the names of the modules that it imported."""
    command = [sys.executable, "-c", PROGRAM, *arguments]
    process = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return set(json.loads(process.stderr.splitlines()[-1]))


@pytest.mark.parametrize("arguments", [["--version"], ["--help"]], ids=" ".join)
def test_the_version_and_the_help_import_no_command(arguments: list[str]) -> None:
    modules = imported_modules(*arguments)
    expected = {"ovx_lite", "ovx_lite.cli", "ovx_lite.cli.lazy_group", "ovx_lite.domain", "ovx_lite.domain.errors"}
    assert {name for name in modules if name.split(".")[0] == "ovx_lite"} == expected
    assert modules.isdisjoint({*SERVER, "msgspec", "platformdirs", "ssl", "zoneinfo"})


def test_a_simple_command_imports_no_server(tmp_path: Path) -> None:
    data_dir = ["--data-dir", str(tmp_path)]
    imported_modules("site", "add", "my-site", *data_dir)
    modules = imported_modules("site", "list", *data_dir)
    assert modules.isdisjoint(SERVER)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_summary_of_a_command_is_the_first_paragraph_of_its_help(name: str) -> None:
    help = main.commands[name].help
    assert help is not None
    assert COMMANDS[name].summary == " ".join(help.split("\n\n")[0].split())


def test_commands_are_in_alphabetical_order() -> None:
    assert list(COMMANDS) == sorted(COMMANDS)
