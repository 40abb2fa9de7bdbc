"""Free space on the store's disk: when it falls below a reserve, events are refused before the store suffers."""

import shutil
from pathlib import Path

from ovx_lite.domain.errors import ApiError, unavailable
from ovx_lite.storage.sqlite import STORE_FILE

MIB = 1 << 20
RETRY_AFTER_S = 60


class DiskSpace:
    """How much of the store's disk is free, and whether that is too little to take events.

    `update` sets both, once a second (`upkeep.JOBS`); all others only read them. `free_bytes` is `None` until then.
    """

    def __init__(self, data_dir: Path, reserve_mib: int) -> None:
        """A `reserve_mib` of 0 turns the reserve off."""
        self.data_dir = data_dir
        self.reserve_mib = reserve_mib
        self.free_bytes: int | None = None
        self.is_low = False

    def update(self, free_bytes: int | None) -> None:
        """Take over a measurement; `None`, if there is none, changes nothing."""
        if free_bytes is not None:
            self.free_bytes = free_bytes
            self.is_low = is_low(free_bytes, self.reserve_mib * MIB, self.is_low)

    @property
    def reason(self) -> str:
        """Why events are refused, for whoever runs the server: a sentence without its full stop."""
        free_mib = max(self.free_bytes or 0, 0) // MIB
        return (
            f"the disk that holds {self.data_dir} has {free_mib:,} MiB free, and disk_reserve is {self.reserve_mib:,} "
            "MiB. Free up space, or lower disk_reserve"
        )

    @property
    def low_space_error(self) -> ApiError:
        """The refusal of events, for whoever sends them."""
        return unavailable("The server's disk is nearly full", RETRY_AFTER_S)


def is_low(free_bytes: int, reserve_bytes: int, was_low: bool) -> bool:
    """Return whether too little is free. Once it is, an eighth more than the reserve must be free to end that.

    The write-ahead log grows and shrinks by about 4 MiB all the time. That alone must not end it.
    """
    needed_bytes = reserve_bytes + (reserve_bytes // 8 if was_low else 0)
    return reserve_bytes > 0 and free_bytes < needed_bytes


def measure(data_dir: Path) -> int | None:
    """Return how many bytes are free for new data; `None` if that cannot be told. May block, if the disk does.

    What is in the write-ahead log needs the same room once more when it is moved into the file, so it counts as used.
    The result can be negative.
    """
    try:
        free_bytes = shutil.disk_usage(data_dir).free
    except OSError:  # the folder is gone: the store itself says so
        return None
    try:
        return free_bytes - (data_dir / f"{STORE_FILE}-wal").stat().st_size
    except OSError:  # there is no log
        return free_bytes
