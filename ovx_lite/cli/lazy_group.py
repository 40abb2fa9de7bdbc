"""A click group that imports a command's module only when that command runs.

Importing all commands takes 0.2 s of CPU time, which `ovx-lite --version` need not spend.
"""

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module
from typing import NamedTuple

import click


class LazyCommand(NamedTuple):
    """The module of this package that defines a command, the command's name there, and a summary for the group's help.

    The summary is the first paragraph of the command's help text.
    """

    module: str
    attribute: str
    summary: str


class LazyCommands(MutableMapping[str, click.Command]):
    """The commands of a group by name. A command is imported when it is looked up."""

    def __init__(self, commands: Mapping[str, LazyCommand]) -> None:
        self.lazy = commands
        self._loaded: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self._loaded:
            command = self.lazy[name]
            module = import_module(f"{__package__}.{command.module}")
            self._loaded[name] = getattr(module, command.attribute)
        return self._loaded[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        raise TypeError("Add the command to the table of lazy commands.")

    def __delitem__(self, name: str) -> None:
        raise TypeError("Remove the command from the table of lazy commands.")

    def __iter__(self) -> Iterator[str]:
        return iter(self.lazy)

    def __len__(self) -> int:
        return len(self.lazy)


class LazyGroup(click.Group):
    """A group whose help text lists its commands without importing them."""

    commands: LazyCommands

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the name and the summary of each command, shortened to one line as click does."""
        names = self.list_commands(ctx)
        max_length = formatter.width - 6 - max(map(len, names))
        summaries = (click.Command(name, help=self.commands.lazy[name].summary) for name in names)
        with formatter.section("Commands"):
            formatter.write_dl([(str(stub.name), stub.get_short_help_str(max_length)) for stub in summaries])
