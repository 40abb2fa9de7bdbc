"""The code's structure: where I/O and SQL are allowed. Layers are checked by import-linter (see pyproject.toml)."""

import ast
import sqlite3
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ovx_lite.dialects.schema import RawRequest
from ovx_lite.storage.sqlite import schema

PACKAGE = Path(__file__).parents[1] / "ovx_lite"
PURE = ("domain", "enrichment", "stats", "auth", "dialects", "webhooks")
"""Packages whose modules do no I/O, except for those in `EXCEPTIONS`."""

IO = """
aiosqlite asyncio concurrent fcntl glob gzip http httpx io logging maxminddb mmap multiprocessing os pathlib requests
select selectors shutil signal socket socketserver sqlite3 ssl starlette subprocess sys tempfile threading time
urllib.request uvicorn uvloop
"""
# Why a module without I/O may still import one of these.
EXCEPTIONS = {
    ("domain.clock", "asyncio"): "waiting is the clock's, too",
    ("domain.clock", "time"): "the real clock is here, so that it is nowhere else",
    ("domain.config", "os"): "reads the environment",
    ("domain.config", "pathlib"): "reads ovx-lite.toml",
    ("enrichment.user_agent", "threading"): "a lock around tables that are loaded when they are first needed",
    ("enrichment.access_log", "socket"): "inet_pton only parses",
    ("enrichment.geoip", "maxminddb"): "reads the country database",
    ("enrichment.geoip", "pathlib"): "reads the country database",
    ("enrichment.tables", "pathlib"): "reads the tables that belong to the package",
    ("dialects.fields", "socket"): "inet_pton and inet_ntop only parse",
}
CLIENT = ("webhooks.client", "webhooks.response_limits")
"""Modules of webhooks that send requests."""

SQL = ("SELECT ", "INSERT INTO", "DELETE FROM", "UPDATE ")


def files() -> Iterator[tuple[str, Path]]:
    """Yield every module's name within the package, and its file."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


MODULES = dict(files())


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text("utf-8"))


@cache
def imported_names(module: str) -> frozenset[str]:
    """Return everything a module imports, at any depth. `from a import b` gives a and a.b, since b may be a module."""
    names = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}, line {node.lineno}: imports must be absolute"
            names |= {f"{node.module}", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(names)


def test_the_example_dialect_in_the_documentation_works() -> None:
    code = (PACKAGE.parent / "ARCHITECTURE.md").read_text("utf-8").split("```python\n")[1].split("```")[0]
    example: dict[str, Any] = {}
    exec(code, example)  # like a module of its own
    (endpoint,) = example["ENDPOINTS"]
    valid, invalid = (
        endpoint.parse(RawRequest(body, 0)) for body in (b'{"site": "a", "what": "b", "who": "c"}', b'{"site": "a"}')
    )
    assert (valid.site_ref, valid.hits[0].name, valid.hits[0].identity.user_id, valid.problem) == ("a", "b", "c", None)
    assert (invalid.site_ref, invalid.problem.field) == ("a", "what")
    assert msgspec.json.decode(endpoint.build_response(["evt_1"]).body, type=endpoint.response_type).ok


@pytest.mark.parametrize("package", PURE)
def test_pure_packages_do_no_io(package: str) -> None:
    modules = [module for module in MODULES if module.startswith(f"{package}.") and module not in CLIENT]
    assert modules
    for module in modules:
        check_imports_and_calls(module)


def check_imports_and_calls(module: str) -> None:
    touched = {io for io in IO.split() for name in imported_names(module) if name == io or name.startswith(io + ".")}
    assert touched == {io for where, io in EXCEPTIONS if where == module}
    called = {node.func.id for node in calls(module) if isinstance(node.func, ast.Name)}
    assert not called & {"open", "print", "input", "exec", "eval", "__import__"}


def calls(module: str) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree(module)) if isinstance(node, ast.Call))


@pytest.mark.parametrize("module", ["enrichment.access_log", "dialects.fields"])
def test_only_address_parsing_is_used_from_socket(module: str) -> None:
    names = {name.removeprefix("socket.") for name in imported_names(module) if name.startswith("socket.")}
    names |= {
        node.attr
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "socket"
    }
    assert names <= {"AF_INET", "AF_INET6", "inet_ntop", "inet_pton"}


def texts(module: str) -> Iterator[str]:
    """Yield a module's string literals, including the constant parts of f-strings."""
    return (
        node.value for node in ast.walk(tree(module)) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def test_only_the_storage_package_contains_sql() -> None:
    sql_modules = {module for module in MODULES if any(keyword in text for text in texts(module) for keyword in SQL)}
    assert {module for module in sql_modules if not module.startswith("storage.")} == set()
    assert "storage.read.events" in sql_modules


def test_every_table_is_strict() -> None:
    conn = sqlite3.connect(":memory:")
    conn.executescript(schema())
    tables = conn.execute("SELECT name, strict FROM pragma_table_list WHERE schema = 'main'").fetchall()
    conn.close()
    assert {name for name, strict in tables if not strict and not name.startswith("sqlite_")} == set()


def test_test_files_do_not_import_each_other() -> None:
    """Shared code belongs in `tests/support`."""
    for path in (PACKAGE.parent / "tests").rglob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text("utf-8")))
        names = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
        assert not [name for name in names if name.startswith("tests.test_")], path
