"""What the house is built like: who may import whom, who may touch the world, and how long a file may be."""

import ast
import sqlite3
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ovx_lite.store.db import steps
from ovx_lite.wire import Call

PACKAGE = Path(__file__).parents[1] / "ovx_lite"

# Level by level, from the nouns to the wires. A module imports only modules that stand before it, so within a level
# the order counts, too. A new module gets its place here first.
LEVELS = (
    ("", "model", "days", "errors", "clock", "settings"),
    (
        *(
            "urls",
            "sources",
            "agents",
            "demo",
            "enrich",
            "access",
            "rate_limit",
            "logfile",
            "accesslog",
            "fields",
            "money",
        ),
        *("faults", "wire", "props", "metrics"),
        *(*sorted(f"dialects.{path.stem}" for path in PACKAGE.glob("dialects/[!_]*.py")), "dialects"),
        *("targets", "goals", "triggers", "webhooks", "passwords", "tries", "rules", "new"),
        *("periods", "filters", "queries", "results", "chart", "views", "countries"),
        *("diagnosis", "verdicts", "missing", "hosts"),
    ),
    (
        *("geo", "store", "store.file_modes", "store.copies", "store.schema_objects", "store.lock_wait"),
        *("store.cancellation", "store.db", "store.priority", "store.query_queue", "store.database"),
        *("store.health", "store.usage", "store.answers"),
        *("store.changes", "store.goals", "store.dimensions", "store.sums", "store.kept_values"),
        *("store.rollups", "store.guests"),
        *("store.visits", "store.persons", "store.salts", "store.events", "store.people", "store.log"),
        *(
            "store.registry",
            "store.retention",
            "store.recounts",
            "store.goal_counts",
            "store.settling",
            "store.row_checks",
            "store.check",
            "store.admin",
        ),
        *("store.matching", "store.selection", "store.counted", "store.stats", "store.revenue", "store.engagement"),
        *(
            "store.queries",
            "store.visitor_totals",
            "store.heap",
            "store.sift",
            "store.properties",
            "store.reports",
            "store.annotations",
        ),
        *("store.shares", "store.webhooks", "store.watch", "store.books", "store.boards", "store.outbox"),
        *("store.deliveries", "store.outlook", "store.reset", "store.fill", "response_limits"),
        "outgoing",
    ),
    ("disk_space", "exports", "news", "ingest", "sites", "imports", "delivery", "backups", "upkeep"),
    (
        *(
            "web",
            "web.request_ids",
            "web.answers",
            "web.body",
            "web.cors",
            "web.incoming",
            "web.repeats",
            "web.hang_up",
            "web.exchange",
            "web.framing",
            "web.request_buffer",
            "web.protocol",
            "web.live_visitors",
            "web.desk",
            "web.sessions",
            "web.html",
        ),
        *(
            "web.errors",
            "web.paths",
            "web.script",
            "web.openapi_stats",
            "web.openapi",
            "web.health",
            "web.api",
            "web.metrics",
            "web.guard",
            "web.forms",
            "web.login",
        ),
        *("web.sites", "web.setup", "web.start", "web.keys", "web.goals", "web.webhooks", "web.deliveries"),
        *("web.persons", "web.stats", "web.shown", "web.panels", "web.figures", "web.tables", "web.dashboard"),
        *("web.sharing", "web.badge", "web.missed"),
    ),
    (
        *("standin", "standin.credentials", "standin.clock", "standin.faults", "standin.hooks", "standin.entries"),
        *("standin.journal", "standin.relay"),
        *(
            "standin.protocol",
            "standin.host_check",
            "standin.stage",
            "standin.astray",
            "standin.failing",
            "standin.doors",
            "standin.hook_doors",
            "standin.live",
        ),
    ),
    ("app",),
    (
        *("cli.common", "cli.keys", "cli.persons", "cli.sites", "cli.goals", "cli.webhooks", "cli.deliveries"),
        *("cli.data", "cli.password", "cli.logs", "cli.serve", "cli.dev", "cli", "__main__", "pytest_plugin"),
    ),
)
ORDER = [module for level in LEVELS for module in level]
WORLDLESS = LEVELS[0] + LEVELS[1]

IO = """
aiosqlite asyncio concurrent fcntl glob gzip http httpx io logging maxminddb mmap multiprocessing os pathlib requests
select selectors shutil signal socket socketserver sqlite3 ssl starlette subprocess sys tempfile threading time
urllib.request uvicorn uvloop
"""
# Reasons why a module without I/O may import one of these all the same.
EXCEPTIONS = {
    ("clock", "asyncio"): "waiting is the clock's, too",
    ("clock", "time"): "the real clock is here, so that it is nowhere else",
    ("settings", "os"): "reads the environment",
    ("settings", "pathlib"): "reads ovx-lite.toml",
    ("agents", "threading"): "a lock around tables that are loaded when they are first needed",
    ("accesslog", "socket"): "inet_pton only parses",
    ("fields", "socket"): "inet_pton and inet_ntop only parse",
}
SQL = ("SELECT ", "INSERT INTO", "DELETE FROM", "UPDATE ")


def files() -> Iterator[tuple[str, Path]]:
    """Every module's name within the package, and its file."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


MODULES = dict(files())


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text("utf-8"))


@cache
def imported(module: str) -> frozenset[str]:
    """All that a module imports, wherever in it; of `from a import b` both a and a.b, since b may be a module."""
    found = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}, line {node.lineno}: imports are absolute here"
            found |= {f"{node.module}", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(found)


def imported_of_ours(module: str) -> set[str]:
    inside = {name.partition(".")[2] for name in imported(module) if name.partition(".")[0] == "ovx_lite"}
    found = {name for name in inside if name in MODULES}
    return found - {name.rpartition(".")[0] for name in found}  # of ovx_lite.store.db: not ovx_lite.store as well


def test_the_example_of_a_dialect_is_one() -> None:
    code = (PACKAGE.parent / "ARCHITECTURE.md").read_text("utf-8").split("```python\n")[1].split("```")[0]
    example: dict[str, Any] = {}
    exec(code, example)  # as a module of its own would be
    (endpoint,) = example["ENDPOINTS"]
    right, wrong = (
        endpoint.read(Call(body, 0)) for body in (b'{"site": "a", "what": "b", "who": "c"}', b'{"site": "a"}')
    )
    assert (right.site, right.hits[0].name, right.hits[0].person.id, right.problem) == ("a", "b", "c", None)
    assert (wrong.site, wrong.problem.field) == ("a", "what")
    assert msgspec.json.decode(endpoint.reply(["evt_1"]).body, type=endpoint.gives).ok


def test_every_module_has_its_level() -> None:
    assert sorted(ORDER) == sorted(MODULES)


@pytest.mark.parametrize("module", ORDER)
def test_a_module_imports_only_what_stands_before_it(module: str) -> None:
    assert imported_of_ours(module) <= set(ORDER[: ORDER.index(module)])


def test_imports_make_no_circle() -> None:
    TopologicalSorter({module: imported_of_ours(module) for module in MODULES}).prepare()


@pytest.mark.parametrize("module", WORLDLESS)
def test_the_lower_two_levels_touch_nothing_of_the_world(module: str) -> None:
    touched = {io for io in IO.split() for name in imported(module) if name == io or name.startswith(io + ".")}
    assert touched == {io for where, io in EXCEPTIONS if where == module}
    called = {node.func.id for node in calls(module) if isinstance(node.func, ast.Name)}
    assert not called & {"open", "print", "input", "exec", "eval", "__import__"}


def calls(module: str) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree(module)) if isinstance(node, ast.Call))


@pytest.mark.parametrize("module", ["accesslog", "fields"])
def test_of_sockets_only_what_parses_an_address_is_used(module: str) -> None:
    names = {name.removeprefix("socket.") for name in imported(module) if name.startswith("socket.")}
    names |= {
        node.attr
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "socket"
    }
    assert names <= {"AF_INET", "AF_INET6", "inet_ntop", "inet_pton"}


def texts(module: str) -> Iterator[str]:
    """The string literals of a module, the fixed parts of f-strings too."""
    return (n.value for n in ast.walk(tree(module)) if isinstance(n, ast.Constant) and isinstance(n.value, str))


@pytest.mark.parametrize("module", MODULES)
def test_only_the_store_speaks_sql(module: str) -> None:
    spoken = [text for text in texts(module) if any(word in text for word in SQL)]
    assert not spoken or module.startswith("store.")


def test_every_table_is_strict() -> None:
    conn = sqlite3.connect(":memory:")
    conn.executescript("".join(steps()))
    tables = conn.execute("SELECT name, strict FROM pragma_table_list WHERE schema = 'main'").fetchall()
    conn.close()
    assert {name for name, strict in tables if not strict and not name.startswith("sqlite_")} == set()


def test_what_these_tests_look_for_is_there() -> None:
    """The tests above would pass on nothing: see that each sees something."""
    assert any(SQL[0] in text for text in texts("store.events"))
    assert "store.sums" in imported_of_ours("store.events")
    assert "store" not in imported_of_ours("store.events")
    assert len(MODULES) > 30
