"""`ovx-lite backup` and `ovx-lite restore`: copies of the store."""

from pathlib import Path

import click

from ovx_lite.cli.common import data_dir_option, json_option, print_json
from ovx_lite.domain import config
from ovx_lite.domain.errors import ApiError
from ovx_lite.services import backups
from ovx_lite.storage.copies import copy
from ovx_lite.storage.sqlite import LOCK_FILE, STORE_FILE, open_store


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--overwrite", is_flag=True, help="Replace FILE if it exists.")
@data_dir_option
@json_option
def backup(file: Path, overwrite: bool, data_dir: Path, as_json: bool) -> None:
    """Copy the store to FILE.

    The server may run at the same time. The copy is one compact file, which restore puts back.
    """
    if file.exists() and not overwrite:
        raise ApiError("invalid_request", f"{file} exists: choose another name, or pass --overwrite.")
    target = file.resolve()
    if target.exists() and not target.is_file():
        raise ApiError("invalid_request", f"{file} is not a regular file: choose another name.")
    conn = open_store(data_dir, create=False)
    if target in [
        (data_dir / name).resolve()
        for name in (STORE_FILE, f"{STORE_FILE}-wal", f"{STORE_FILE}-shm", LOCK_FILE, config.FILE_NAME)
    ]:
        raise ApiError("invalid_request", f"{file} belongs to the store itself: choose another name.")
    copy(conn, target)
    size_bytes = file.stat().st_size
    if as_json:
        print_json({"file": str(file), "bytes": size_bytes})
    else:
        click.echo(f"Copied the store to {file} ({size_bytes:,} bytes).")


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--overwrite", is_flag=True, help="Replace an existing store; it is kept beside the new one.")
@data_dir_option
@json_option
def restore(file: Path, overwrite: bool, data_dir: Path, as_json: bool) -> None:
    """Put FILE, a copy of the store, back in place.

    Stop the server first. Nothing changes if the copy is damaged.
    """
    if (data_dir / STORE_FILE).exists() and not overwrite:
        raise ApiError("invalid_request", f"{data_dir} already has a store: pass --overwrite to move it aside.")
    previous = backups.restore(data_dir, file)
    if as_json:
        print_json({"file": str(data_dir / STORE_FILE), "before": None if previous is None else str(previous)})
    else:
        notice = "" if previous is None else f" The previous store is now {previous}."
        click.echo(f"Restored the store from {file}.{notice}")
