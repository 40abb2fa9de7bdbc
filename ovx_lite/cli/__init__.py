"""The commands (contract 1)."""

import sqlite3
import sys
from typing import NoReturn

import click

from ovx_lite import __version__
from ovx_lite.cli import data, deliveries, dev, goals, keys, password, persons, serve, sites, webhooks
from ovx_lite.domain.errors import ApiError


class Commands(click.Group):
    """Turns a refusal into one clear sentence on stderr and exit status 1."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command that was called."""
        try:
            return super().invoke(ctx)
        except ApiError as refused:
            _fail(refused.message)
        except sqlite3.Error as wrong:
            _fail(f"The store cannot be used ({wrong}): see that the disk has room, and what ovx-lite check says.")
        except UnicodeError:
            _fail("An argument, or what came from stdin, is not valid UTF-8: write it in UTF-8.")


def _fail(message: str) -> NoReturn:
    click.echo(f"Error: {message}", err=True)
    sys.exit(1)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
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


for command in (
    *(serve.serve, dev.dev, sites.site, keys.key, goals.goal, webhooks.webhook, deliveries.delivery, persons.person),
    *(
        data.import_,
        data.export,
        data.check,
        data.backup,
        data.restore,
        data.prune,
        password.password,
        deliveries.verify,
    ),
):
    main.add_command(command)
