"""The documentation is complete and correct: commands, settings, fields, links, examples and test names."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import msgspec
import pytest

from ovx_lite import __version__
from ovx_lite.cli import main
from ovx_lite.dialects import ENDPOINTS
from ovx_lite.dialects.schema import Endpoint
from ovx_lite.dialects.validation import struct_of
from ovx_lite.domain.config import SETTINGS
from ovx_lite.domain.errors import STATUS_BY_CODE
from ovx_lite.emulator import routes, webhook_receiver_routes
from ovx_lite.services.exporter import COLUMNS
from ovx_lite.stats import date_ranges, filters, query
from ovx_lite.webhooks.message import build_headers, new_secret
from tests.conftest import Start, Store
from tests.support.emulator import EmulatorProcess, run_emulator

TOP = Path(__file__).parents[1]
PAGES = {
    str(path.relative_to(TOP)): path.read_text("utf-8")
    for path in sorted([*TOP.glob("*.md"), *(TOP / "docs").rglob("*.md")])
}
README, CONTRIBUTING, REFERENCE = PAGES["README.md"], PAGES["CONTRIBUTING.md"], PAGES["docs/reference.md"]
WRITTEN = {name: text for name, text in PAGES.items() if name != "ARCHITECTURE.md"}
IMAGES = sorted((TOP / "docs" / "images").glob("*.png"))
ADDRESS = "http://127.0.0.1:8321"
MAX_README_LINES, MAX_MAKEFILE_LINES, MAX_IMAGE_BYTES = 150, 40, 150 * 1024


class Block(NamedTuple):
    """A code block of a page: its language and its text."""

    page: str
    language: str
    text: str


def blocks(language: str, *pages: str) -> list[Block]:
    """Return the code blocks in a language, from the given pages, or from all pages if none is given."""
    all_blocks = [
        Block(name, language, part)
        for name, text in PAGES.items()
        for part in re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    ]
    return [block for block in all_blocks if not pages or block.page in pages]


def snippet(page: str, language: str, substring: str) -> str:
    """Return the only code block of a page that contains a text."""
    (block,) = [block for block in blocks(language, page) if substring in block.text]
    return block.text


# Length


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= MAX_README_LINES


def test_the_makefile_is_short_and_has_the_documented_targets() -> None:
    makefile = (TOP / "Makefile").read_text("utf-8")
    assert len(makefile.splitlines()) <= MAX_MAKEFILE_LINES
    targets = re.findall(r"^(\w+):", makefile, re.MULTILINE)
    assert re.findall(r"^\| `make (\w+)`", CONTRIBUTING, re.MULTILINE) == targets


# Links and names


def slug(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
    return re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")


def prose(text: str) -> str:
    """Return a page without its code blocks, where `#` starts a comment."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """Return the anchors of a page."""
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)}


@pytest.mark.parametrize("document", PAGES)
def test_links_between_documents_resolve(document: str) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(PAGES[document])):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = ((TOP / document).parent / path).resolve() if path else TOP / document
        exists = target.exists() and target.is_relative_to(TOP)
        if not exists or (anchor and anchor not in anchors(target.read_text("utf-8"))):
            broken.append(link)
    assert broken == []


def test_every_page_is_in_the_index() -> None:
    index = PAGES["docs/README.md"]
    pages = [name.removeprefix("docs/") for name in PAGES if name.startswith("docs/") and name != "docs/README.md"]
    assert [page for page in pages if f"]({page})" not in index] == []


def test_every_image_is_small_and_shown() -> None:
    all_text = "".join(PAGES.values())
    assert IMAGES
    assert [image.name for image in IMAGES if f"images/{image.name})" not in all_text] == []
    assert [image.name for image in IMAGES if image.stat().st_size > MAX_IMAGE_BYTES] == []


@pytest.mark.parametrize("document", WRITTEN)
def test_paths_in_the_documentation_exist(document: str) -> None:
    folders = "ovx_lite|tests|docs|templates|static|benchmarks|.ci"
    paths = re.findall(rf"`((?:{folders})/[\w./-]*)(?:::\w+)?`", PAGES[document])
    assert [path for path in paths if not (TOP / path).exists()] == []


@pytest.mark.parametrize("document", ["docs/proofs.md", "SECURITY.md"])
def test_every_test_named_as_a_proof_exists(document: str) -> None:
    file, missing = "", []
    proofs = re.findall(r"(?:`|pytest )(tests/\w+\.py)?::(\w+)", PAGES[document])
    assert proofs
    for name, test in proofs:
        file = name or file
        if not re.search(rf"^(async )?def {test}\(", (TOP / file).read_text("utf-8"), re.MULTILINE):
            missing.append(f"{file}::{test}")
    assert missing == []


def test_the_changelog_has_versions_and_dates() -> None:
    titles = re.findall(r"^## (.+)$", PAGES["CHANGELOG.md"], re.MULTILINE)
    assert all(re.fullmatch(r"\d+\.\d+\.\d+ - \d{4}-\d\d-\d\d", title) for title in titles)
    assert titles[0].split(" ")[0] == __version__


def test_json_examples_are_valid_json() -> None:
    assert all(json.loads(block.text) for block in blocks("json"))


def test_the_compose_example_is_valid_yaml() -> None:
    yaml = pytest.importorskip("yaml")
    services = yaml.safe_load(snippet("docs/testing.md", "yaml", "services"))["services"]
    assert services["app"]["depends_on"] == {"ovx": {"condition": "service_healthy"}}


# Commands and settings


def leaves() -> Iterator[tuple[str, click.Command]]:
    """Yield all commands with their full names, such as `site add`."""
    for name, command in main.commands.items():
        if isinstance(command, click.Group):
            yield from ((f"{name} {leaf}", command.commands[leaf]) for leaf in command.commands)
        else:
            yield name, command


def options(command: click.Command) -> list[str]:
    """Return the long options of a command."""
    return [
        name
        for option in command.params
        if isinstance(option, click.Option)
        for name in option.opts
        if name.startswith("--")
    ]


def test_every_setting_is_in_the_reference_as_the_help_describes_it() -> None:
    rows = re.findall(r"^\| `(--[a-z-]+)` \| `(OVX_[A-Z_]+)` \| (\S*) ?\| (.+) \|$", REFERENCE, re.MULTILINE)
    documented = [(*row[:3], re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", row[3]).replace("`", "")) for row in rows]
    assert documented == [
        (setting.flag, setting.environment_variable, setting.default, setting.description) for setting in SETTINGS
    ]


@pytest.mark.parametrize(("name", "command"), list(leaves()), ids=lambda value: value if isinstance(value, str) else "")
def test_every_command_and_option_is_in_the_reference_and_has_a_help_text(name: str, command: click.Command) -> None:
    group, _, leaf = name.partition(" ")
    assert re.search(rf"^\| `{group}\b.*{leaf}\b", REFERENCE, re.MULTILINE)
    page = REFERENCE + PAGES["docs/testing.md"]
    assert [option for option in options(command) if f"`{option}" not in page] == []
    assert command.help
    assert all(option.help for option in command.params if isinstance(option, click.Option))


def documented_commands() -> list[tuple[str, str]]:
    """Return each call of `ovx-lite` in a shell block or a sentence, with its page."""
    calls = []
    for block in blocks("sh"):
        text = re.sub(r" +#.*$", "", block.text.replace("\\\n", " "), flags=re.MULTILINE)
        calls += [(block.page, call) for call in re.findall(r"(?:^|[ /])ovx-lite ([a-z][^;&\n]*)", text, re.MULTILINE)]
    for name, text in WRITTEN.items():
        calls += [(name, call) for call in re.findall(r"`ovx-lite ([a-z][^`]*)`", prose(text))]
    return calls


@pytest.mark.parametrize(("document", "call"), documented_commands())
def test_documented_commands_exist(document: str, call: str) -> None:
    args = shlex.split(call)
    command: click.Command = main
    while isinstance(command, click.Group):
        command = command.commands[args.pop(0)]
    option_names = {name for option in command.params for name in option.opts}
    assert [arg for arg in args if arg.startswith("--") and arg not in option_names] == []
    if not any(call in block.text for block in blocks("sh", document)):
        return  # a sentence may name a command without its arguments
    try:
        command.make_context(call, args)
    except click.BadParameter as exc:
        if exc.param is None or not isinstance(exc.param.type, click.Path):
            raise  # otherwise, only the example's file does not exist


def test_the_run_command_is_the_same_everywhere() -> None:
    command = "python3 -m venv .venv && .venv/bin/pip install -q . && .venv/bin/ovx-lite serve\n"
    assert [command in text for text in (README, PAGES["docs/install.md"])] == [True, True]


def test_the_test_command_is_the_same_everywhere() -> None:
    command = snippet("CONTRIBUTING.md", "sh", "pytest -n auto").strip()
    assert command == snippet("README.md", "sh", "pytest -n auto").strip()
    assert command in (TOP / ".ci" / "run").read_text("utf-8").splitlines()


# APIs


def test_every_column_of_the_export_is_in_the_reference() -> None:
    table = REFERENCE.split("## Export columns")[1].split("\n## ")[0]
    assert [column for column in COLUMNS if f"`{column}`" not in table] == []


def fields_of(body_type: Any, within: str = "") -> Iterator[str]:
    """Yield the names of all fields that a body may have, including those of nested objects."""
    struct = struct_of(body_type)
    for field in msgspec.structs.fields(struct) if struct else ():
        yield field.encode_name
        yield from fields_of(field.type)


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.path)
def test_every_endpoint_and_field_is_documented(endpoint: Endpoint) -> None:
    page = PAGES[f"docs/api/{endpoint.api}.md"]
    assert f"`POST {endpoint.path}`" in page
    assert f"`POST {endpoint.path}`" in PAGES["docs/api/README.md"]
    assert f"| Success | {endpoint.status} |" in page
    names = {name for body_type in endpoint.request_types for name in fields_of(body_type)}
    assert names or not any(struct_of(body_type) for body_type in endpoint.request_types)
    assert [name for name in names if not re.search(rf"^\| `(\w+\[\]\.)?{name}` ", page, re.MULTILINE)] == []


def test_every_error_is_documented_with_its_status() -> None:
    rows = re.findall(r"^\| (\d{3}) \| `(\w+)` ", PAGES["docs/api/README.md"], re.MULTILINE)
    assert {code: int(status) for status, code in rows} == STATUS_BY_CODE


def test_every_value_the_stats_api_accepts_is_documented() -> None:
    page = PAGES["docs/stats-api.md"]
    names = (
        *query.METRICS,
        *filters.EVENT_DIMENSIONS,
        *filters.VISIT_DIMENSIONS,
        *filters.TIME_DIMENSIONS,
        *filters.OPERATORS,
    )
    assert [name for name in (*names, *date_ranges.RANGE_NAMES) if f"`{name}`" not in page] == []


def test_every_endpoint_of_the_emulator_is_documented() -> None:
    table = PAGES["docs/testing.md"].split("## Endpoints of the emulator")[1]
    paths = [
        (method, path)
        for method, path, _ in (*routes.ROUTES, *webhook_receiver_routes.ROUTES)
        if path != "/_dev/hook/{name}"
    ]
    assert [path for path in paths if f"`{' '.join(path)}`" not in table] == []
    assert "`/_dev/hook/{name}`" in table


# Examples


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    with run_emulator(tmp_path_factory.mktemp("docs"), "--any-key") as running:
        yield running


def bash(script: str, **env: str) -> str:
    """Run a script as a reader would, with `ovx-lite` on the path, and return its output."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    completed = subprocess.run(
        ["bash", "-euc", script],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PATH": path, **env},
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    return completed.stdout


CURL = r"""curl() { command curl -sS -w '\n%{http_code}\n' "$@"; }
"""
EXAMPLES = [block for block in blocks("sh") if "curl" in block.text and block.page != "README.md"]


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
@pytest.mark.parametrize("block", EXAMPLES, ids=lambda block: f"{block.page} {block.text.split()[1]}")
def test_curl_examples_of_the_apis_succeed(emulator: EmulatorProcess, block: Block) -> None:
    assert emulator.call("POST", "/api/v1/events/pageview", {"site_id": "my-site", "url": "https://e.example/"}, KEY)
    printed = bash(CURL + block.text.replace(ADDRESS, emulator.url))
    statuses = re.findall(r"^(\d{3})$", printed, re.MULTILINE)
    assert len(statuses) == block.text.count("curl ")
    assert all(status == "429" if "X-Ovx-Fault: 429" in block.text else status[0] == "2" for status in statuses)
    following = PAGES[block.page].split(block.text)[1].split("```\n", 1)[1]
    if len(statuses) == 1 and following.lstrip().startswith("```json\n"):
        documented = json.loads(following.split("```json\n")[1].split("```")[0])
        assert json.loads(printed.splitlines()[0]).keys() == documented.keys()


KEY = {"Authorization": "Bearer YOUR_API_KEY"}


def test_every_metric_is_documented(emulator: EmulatorProcess) -> None:
    text = emulator.call("GET", "/metrics").body.decode()
    names = re.findall(r"^# TYPE (\w+)", text, re.MULTILINE)
    assert names
    assert [name for name in names if f"`{name}`" not in PAGES["docs/operations.md"]] == []


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_the_readmes_first_event_arrives(store: Store, start: Start) -> None:
    server = start(store)
    script = snippet("README.md", "sh", "key add").replace(ADDRESS, server.url)
    first, rest = script.split("curl ", 1)
    commands = "".join(line + "\n" for line in first.splitlines() if "activate" not in line)
    env = {"OVX_DATA_DIR": str(store.path)}
    (key,) = re.findall(r"\bovx_[\w-]{20,}", bash(commands, **env))
    assert ",/pricing," in bash("curl -sSf " + rest.replace("YOUR_API_KEY", key), **env)


SECRET, BODY = new_secret(bytes(32)), '{"event":"é"}'
SENT = build_headers("msg_1", "goal.completed", BODY.encode(), ["whsec_", SECRET], 0)
LOWER_CASE = {name.lower(): value for name, value in SENT.items()}
WEBHOOKS = "docs/webhooks.md"


def test_python_signature_check_accepts_our_messages() -> None:
    example: dict[str, Any] = {}
    exec(snippet(WEBHOOKS, "python", "is_authentic"), example)
    bodies = (BODY, BODY + " ")
    assert [example["is_authentic"](SECRET, LOWER_CASE, body.encode()) for body in bodies] == [True, False]


@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")
def test_node_signature_check_accepts_our_messages() -> None:
    calls = [(SECRET, LOWER_CASE, body) for body in (BODY, BODY + " ")]
    loop = f"for (const [secret, headers, body] of {json.dumps(calls)})"
    script = (
        snippet(WEBHOOKS, "js", "isAuthentic") + f"{loop} console.log(isAuthentic(secret, headers, Buffer.from(body)))"
    )
    completed = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True)
    assert completed.stdout.split() == ["true", "false"]


@pytest.mark.skipif(not shutil.which("php"), reason="php is not installed")
def test_php_signature_check_accepts_our_messages() -> None:
    calls = json.dumps([[SECRET, LOWER_CASE, body] for body in (BODY, BODY + " ")], ensure_ascii=False)
    loop = f"foreach (json_decode('{calls}', true) as $call) echo is_authentic(...$call) ? 'true ' : 'false ';"
    script = snippet(WEBHOOKS, "php", "is_authentic") + loop
    completed = subprocess.run(["php", "-r", script], capture_output=True, text=True, check=True)
    assert completed.stdout.split() == ["true", "false"]


@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")
def test_node_recipe_passes(tmp_path: Path) -> None:
    sign_up = """
const signUp = ({ api, key, site }) => fetch(`${api}/api/v1/events/custom`, {
  method: 'POST', headers: { Authorization: `Bearer ${key}` },
  body: JSON.stringify({ site_id: site, event_name: 'signup', url: 'https://shop.example/pricing' }) })
"""
    (tmp_path / "recipe.test.mjs").write_text(snippet("docs/testing.md", "js", "node:test") + sign_up)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = ["node", "--test", "recipe.test.mjs"]
    env = os.environ | {"PATH": path}
    completed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path, env=env)
    assert completed.returncode == 0, completed.stdout


def test_pytest_recipe_passes(tmp_path: Path) -> None:
    preamble = (
        "from tests.client.client import Client\n\n\ndef my_client(*args):\n    return Client(*args, print)\n\n\n"
    )
    (tmp_path / "test_recipe.py").write_text(preamble + snippet("docs/testing.md", "python", "def test_sign_up"))
    unneeded = [f"-pno:{name}" for name in ("cacheprovider", "schemathesis", "hypothesispytest", "playwright")]
    command = [sys.executable, "-m", "pytest", "-q", *unneeded, "--rootdir", str(tmp_path), str(tmp_path)]
    completed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=TOP)
    assert completed.returncode == 0, completed.stdout


@pytest.mark.parametrize(("tests", "status"), [("true", 0), ("false", 1)])
def test_ci_recipe_ends_with_the_status_of_the_tests(tmp_path: Path, tests: str, status: int) -> None:
    (tmp_path / "npm").write_text(f"#!/bin/sh\ntest -s ready.json && {tests}\n")
    (tmp_path / "npm").chmod(0o755)
    script = snippet("docs/testing.md", "sh", "npm test").replace("/tmp/ovx.json", "ready.json")
    script = script.replace("--port 8321", "--port 0")
    path = os.pathsep.join([str(tmp_path), str(Path(sys.executable).parent), os.environ["PATH"]])
    completed = subprocess.run(
        ["sh", "-c", script],
        check=False,
        cwd=tmp_path,
        env=os.environ | {"PATH": path},
        capture_output=True,
        timeout=60,
    )
    assert completed.returncode == status, completed.stderr


@pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not installed")
def test_nginx_accepts_the_example(tmp_path: Path) -> None:
    example = snippet("docs/install.md", "nginx", "upstream")
    example = example.replace("listen 80;", f"listen unix:{tmp_path}/socket;")
    config = tmp_path / "nginx.conf"
    paths = "".join(f"{kind}_temp_path {tmp_path}; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    config.write_text(f"pid {tmp_path}/pid; error_log stderr; events {{}} http {{ {paths} {example} }}")
    completed = subprocess.run(["nginx", "-t", "-c", str(config)], capture_output=True, text=True, check=False)
    assert "syntax is ok" in completed.stderr, completed.stderr


@pytest.mark.skipif(not shutil.which("caddy"), reason="caddy is not installed")
def test_caddy_accepts_the_example(tmp_path: Path) -> None:
    config = tmp_path / "Caddyfile"
    config.write_text(snippet("docs/install.md", "caddy", "reverse_proxy"))
    command = ["caddy", "adapt", "--adapter", "caddyfile", "--config", str(config)]
    completed = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"HOME": str(tmp_path)}
    )
    assert completed.returncode == 0, completed.stderr
