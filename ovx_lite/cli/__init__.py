"""The command line, `ovx-lite`. Each command is imported when it runs."""

import sqlite3
import sys
from typing import NoReturn

import click

from ovx_lite import __version__
from ovx_lite.cli.lazy_group import LazyCommand, LazyCommands, LazyGroup
from ovx_lite.domain.errors import Refused

COMMANDS = {
    "backup": LazyCommand(
        "ovx_lite.cli.data",
        "backup",
        "Copy the store to FILE, whole and compact, while the server runs; `restore` puts it back.",
    ),
    "check": LazyCommand("ovx_lite.cli.data", "check", "Check that the store is whole, and counted right."),
    "delivery": LazyCommand("ovx_lite.cli.deliveries", "delivery", "See what was sent to webhooks, and send it again."),
    "dev": LazyCommand(
        "ovx_lite.cli.dev",
        "dev",
        "Run the stand-in: the APIs, with the documents' own sites and keys, and tools to test with at /_dev.",
    ),
    "export": LazyCommand("ovx_lite.cli.data", "export", "Write the events of SITE to stdout, oldest first."),
    "goal": LazyCommand("ovx_lite.cli.goals", "goal", "Add, list and remove goals."),
    "import": LazyCommand("ovx_lite.cli.data", "import_", "Bring in what was counted elsewhere."),
    "key": LazyCommand("ovx_lite.cli.keys", "key", "Add, list, revoke and rotate API keys."),
    "password": LazyCommand("ovx_lite.cli.password", "password", "Set the password of the pages."),
    "person": LazyCommand("ovx_lite.cli.persons", "person", "List, show and erase persons: those whom events named."),
    "prune": LazyCommand(
        "ovx_lite.cli.data", "prune", "Delete what is past its site's retention, now; the server does it every hour."
    ),
    "restore": LazyCommand(
        "ovx_lite.cli.data", "restore", "Put back FILE, a copy that backup has made, after looking whether it is whole."
    ),
    "serve": LazyCommand(
        "ovx_lite.cli.serve", "serve", "Run the server until it gets SIGTERM or Ctrl-C, then finish what was begun."
    ),
    "site": LazyCommand("ovx_lite.cli.sites", "site", "Add, change, list and remove sites."),
    "verify": LazyCommand(
        "ovx_lite.cli.deliveries",
        "verify",
        "Check the signatures of a saved webhook REQUEST: headers, an empty line, and the body; - for stdin.",
    ),
    "webhook": LazyCommand("ovx_lite.cli.webhooks", "webhook", "Add, list, test, enable, disable and remove webhooks."),
}
"""Every command, with the first sentence of its help text."""


class MainGroup(LazyGroup):
    """The group `ovx-lite`. It prints an expected error as one sentence on stderr and exits with status 1."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command that was called."""
        try:
            return super().invoke(ctx)
        except Refused as exc:
            _fail(exc.message)
        except sqlite3.Error as exc:
            _fail(f"The store cannot be used ({exc}): see that the disk has room, and what ovx-lite check says.")
        except UnicodeError:
            _fail("An argument, or what came from stdin, is not valid UTF-8: write it in UTF-8.")


def _fail(message: str) -> NoReturn:
    click.echo(f"Error: {message}", err=True)
    sys.exit(1)


@click.group(
    cls=MainGroup,
    commands=LazyCommands(COMMANDS),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="ovx-lite", message="%(prog)s %(version)s")
def main() -> None:
    """Self-hosted web analytics in one process.

    Start with:

    \b
      ovx-lite site add my-site --domain example.com
      ovx-lite key add my-site
      ovx-lite serve

    Every command takes --data-dir (or OVX_DATA_DIR), the folder with the store, and most take --json, to print one
    JSON value for programs. Exit status: 0, 1 for a failure, 2 for a wrong call.
    """
