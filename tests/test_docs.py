"""What exists is documented, and what is documented exists."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from ovx_lite.cli import main
from ovx_lite.dialects import ENDPOINTS
from ovx_lite.exports import COLUMNS
from ovx_lite.settings import SETTINGS
from ovx_lite.webhooks import headers, new_secret

TOP = Path(__file__).parents[1]
README = (TOP / "README.md").read_text("utf-8")


def test_every_setting_is_in_the_readme_as_it_is() -> None:
    rows = re.findall(r"^\| `(--[a-z-]+)` \| `(OVX_[A-Z_]+)` \| (\S*) ?\| (.+) \|$", README, re.MULTILINE)
    assert rows == [(setting.flag, setting.variable, setting.default, setting.sentence) for setting in SETTINGS]


@pytest.mark.parametrize("name", sorted(main.commands))
def test_every_command_is_in_the_readme(name: str) -> None:
    assert re.search(rf"^\| `{name}\b", README, re.MULTILINE)


@pytest.mark.parametrize("name", sorted(main.commands))
def test_every_command_and_option_has_a_help_text(name: str) -> None:
    command = main.commands[name]
    for leaf in command.commands.values() if isinstance(command, click.Group) else [command]:
        assert leaf.help
        assert all(option.help for option in leaf.params if isinstance(option, click.Option))


def test_every_column_of_the_export_is_in_the_readme() -> None:
    table = README.split("## What is kept")[1]
    named = table.replace("`utm_source` … `utm_term`", " ".join(f"`{c}`" for c in COLUMNS if c.startswith("utm_")))
    assert [column for column in COLUMNS if f"`{column}`" not in named] == []


def test_every_endpoint_is_in_the_readme() -> None:
    assert [endpoint.path for endpoint in ENDPOINTS if endpoint.path not in README] == []


SECRET, BODY = new_secret(bytes(32)), '{"event":"é"}'
SENT = headers("msg_1", "goal.completed", BODY.encode(), ["whsec_", SECRET], 0)
TOLD = {name.lower(): value for name, value in SENT.items()}


def test_the_readmes_python_knows_our_messages() -> None:
    example: dict[str, Any] = {}
    exec(_snippet("python", "is_ours"), example)
    assert [example["is_ours"](SECRET, TOLD, body.encode()) for body in (BODY, BODY + " ")] == [True, False]


@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")
def test_the_readmes_javascript_knows_our_messages() -> None:
    calls = [(SECRET, TOLD, body) for body in (BODY, BODY + " ")]
    ask = (
        f"for (const [secret, told, body] of {json.dumps(calls)}) console.log(isOurs(secret, told, Buffer.from(body)))"
    )
    script = _snippet("js", "isOurs") + ask
    ran = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["true", "false"]


@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")
def test_the_readmes_node_test_passes(tmp_path: Path) -> None:
    sign_up = """
const signUp = ({ api, key, site }) => fetch(`${api}/api/v1/events/custom`, {
  method: 'POST', headers: { Authorization: `Bearer ${key}` },
  body: JSON.stringify({ site_id: site, event_name: 'signup', url: 'https://shop.example/pricing' }) })
"""
    (tmp_path / "recipe.test.mjs").write_text(_snippet("js", "node:test") + sign_up)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = ["node", "--test", "recipe.test.mjs"]
    env = os.environ | {"PATH": path}
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path, env=env)
    assert ran.returncode == 0, ran.stdout


def test_ci_runs_the_readmes_test_command() -> None:
    command = README.split("## Work on it")[1].split("```sh\n")[1].split("\n")[0]
    assert command in (TOP / ".ci" / "run").read_text("utf-8").splitlines()


def _snippet(language: str, word: str) -> str:
    """The README's code in a language that has this word."""
    parts = [part.split("```")[0] for part in README.split(f"```{language}\n")[1:]]
    (found,) = [part for part in parts if word in part]
    return found


def test_the_readmes_test_passes(tmp_path: Path) -> None:
    before = "from tests.client.client import Client\n\n\ndef my_client(*told):\n    return Client(*told, print)\n\n\n"
    (tmp_path / "test_recipe.py").write_text(before + _snippet("python", "def test_sign_up"))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        str(tmp_path),
    ]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=TOP)
    assert ran.returncode == 0, ran.stdout


def test_every_proof_that_is_named_exists() -> None:
    file, missing = "", []
    for name, test in re.findall(r"`(tests/\w+\.py)?::(\w+)`", (TOP / "SECURITY.md").read_text("utf-8") + README):
        file = name or file
        if not re.search(rf"^(async )?def {test}\(", (TOP / file).read_text("utf-8"), re.MULTILINE):
            missing.append(f"{file}::{test}")
    assert missing == []
