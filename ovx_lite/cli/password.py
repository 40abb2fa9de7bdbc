"""`ovx-lite password`: what opens the pages for people."""

import secrets
import sys
from pathlib import Path

import click

from ovx_lite.auth import passwords
from ovx_lite.cli.common import as_json, data_dir, judged, print_json, store
from ovx_lite.storage import accounts


@click.group()
def password() -> None:
    """Set the password of the pages."""


@password.command("set")
@data_dir
@as_json
def set_(data_dir: Path, as_json: bool) -> None:
    """Set the password; asks for it, or reads a line from stdin if that is no terminal. Everybody is logged out."""
    if sys.stdin.isatty():
        told = click.prompt("New password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        told = sys.stdin.readline().rstrip("\r\n")
    judged("password", passwords.validate_password, told)
    accounts.set_password(store(data_dir, create=True), passwords.hash_password(told, secrets.token_bytes(16)))
    if as_json:
        print_json({"changed": True})
    else:
        click.echo("The password is set.")
