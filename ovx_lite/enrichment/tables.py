"""The tables of this package, in `data/*.toml`."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).with_name("data")


def read_table(file_name: str) -> dict[str, Any]:
    """Return the content of a file in `data/`."""
    return tomllib.loads((_FOLDER / file_name).read_text("utf-8"))


def invert(table: Mapping[str, list[str]]) -> dict[str, str]:
    """Return a table that maps each of the listed values to its key."""
    return {value: key for key, values in table.items() for value in values}
