"""The command line, `ovx-lite`. Each command is imported when it runs."""

import sqlite3
import sys
from typing import NoReturn

import click

from ovx_lite import __version__
from ovx_lite.cli.lazy_group import LazyCommand, LazyCommands, LazyGroup
from ovx_lite.domain.errors import ApiError

COMMANDS = {
    "backup": LazyCommand("backup", "backup", "Copy the store to FILE."),
    "check": LazyCommand("check", "check", "Verify that the store is intact and that all counts are right."),
    "delivery": LazyCommand("deliveries", "delivery", "Read the delivery log of webhooks, and send messages again."),
    "dev": LazyCommand("dev", "dev", "Run the emulator: the APIs with the sites and keys of their documentation."),
    "export": LazyCommand("import_export", "export", "Write the events of SITE to stdout, oldest first."),
    "goal": LazyCommand("goals", "goal", "Add, list and remove goals."),
    "import": LazyCommand("import_export", "import_", "Import data from other sources."),
    "key": LazyCommand("keys", "key", "Add, list, revoke and rotate API keys."),
    "password": LazyCommand("password", "password", "Set the password of the web pages."),
    "person": LazyCommand("persons", "person", "List, show and erase persons."),
    "prune": LazyCommand("prune", "prune", "Delete events that are older than their site's retention."),
    "restore": LazyCommand("backup", "restore", "Put FILE, a copy of the store, back in place."),
    "serve": LazyCommand("serve", "serve", "Run the server until it gets SIGTERM or Ctrl-C."),
    "site": LazyCommand("sites", "site", "Add, change, list and remove sites."),
    "verify": LazyCommand("deliveries", "verify", "Check the signatures of a saved webhook request."),
    "webhook": LazyCommand("webhooks", "webhook", "Add, list, test, enable, disable and remove webhooks."),
}
"""All commands, each with the first paragraph of its help text."""


class MainGroup(LazyGroup):
    """The group `ovx-lite`. It prints an expected error as one sentence on stderr and exits with status 1."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command that was called."""
        try:
            return super().invoke(ctx)
        except ApiError as exc:
            _fail(exc.message)
        except sqlite3.Error as exc:
            _fail(f"The store cannot be used ({exc}): check that the disk has free space, and run ovx-lite check.")
        except UnicodeError:
            _fail("An argument or stdin is not valid UTF-8: encode it as UTF-8.")


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

    Every command takes --data-dir (or OVX_DATA_DIR), the directory of the store. Most commands take --json, to print
    one JSON value for programs. Exit status: 0 success, 1 failure, 2 wrong call.
    """
