"""`ovx-lite password`: the password of the web pages."""

import secrets
import sys
from pathlib import Path

import click

from ovx_lite.auth import passwords
from ovx_lite.cli.common import check_argument, data_dir_option, json_option, print_json
from ovx_lite.storage import accounts
from ovx_lite.storage.sqlite import open_store

_SALT_SIZE_BYTES = 16


@click.group()
def password() -> None:
    """Set the password of the web pages."""


@password.command("set")
@data_dir_option
@json_option
def set_(data_dir: Path, as_json: bool) -> None:
    """Set the password and log everyone out.

    The command asks for the password. If stdin is not a terminal, it reads one line.
    """
    if sys.stdin.isatty():
        new_password = click.prompt("New password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        new_password = sys.stdin.readline().rstrip("\r\n")
    check_argument("password", passwords.validate_password, new_password)
    password_hash = passwords.hash_password(new_password, secrets.token_bytes(_SALT_SIZE_BYTES))
    accounts.set_password(open_store(data_dir, create=True), password_hash)
    if as_json:
        print_json({"changed": True})
    else:
        click.echo("The password is set.")
