"""File permissions: only the owner can read the store, its lock and its copies, whatever the umask is."""

import os
from pathlib import Path

_OTHERS = 0o077  # all permissions of the group and of others


def make_folder(folder: Path) -> None:
    """Create a folder that only its owner can open. An existing folder keeps its permissions. Raises `OSError`."""
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)


def make_file(path: Path, exist_ok: bool = True) -> None:
    """Create an empty file that only its owner can read, or restrict an existing one to its owner. Raises `OSError`."""
    path.touch(mode=0o600, exist_ok=exist_ok)
    restrict(path)


def restrict(path: Path) -> None:
    """Remove everybody else's permissions from a file, if it exists and this process owns it. Raises `OSError`."""
    if os.name != "posix":
        return
    try:
        status = path.stat()
    except FileNotFoundError:
        return
    if status.st_mode & _OTHERS and status.st_uid == os.geteuid():
        path.chmod(status.st_mode & 0o777 & ~_OTHERS)
