"""Free space on the store's disk. Below a reserve, events are rejected, so that the disk does not run full."""

import shutil
from pathlib import Path

from ovx_lite.domain.errors import ApiError, unavailable
from ovx_lite.storage.sqlite import STORE_FILE

MIB = 1 << 20
RETRY_AFTER_S = 60


class DiskSpace:
    """How much of the store's disk is free, and whether that is too little to accept events.

    `update` sets both, once a second (`scheduler.JOBS`); everyone else only reads them. `free_bytes` is `None` before
    the first measurement.
    """

    def __init__(self, data_dir: Path, reserve_mib: int) -> None:
        """If `reserve_mib` is 0, there is no reserve."""
        self.data_dir = data_dir
        self.reserve_mib = reserve_mib
        self.free_bytes: int | None = None
        self.is_low = False

    def update(self, free_bytes: int | None) -> None:
        """Set the measured free space. `None` means that the measurement failed; it changes nothing."""
        if free_bytes is not None:
            self.free_bytes = free_bytes
            self.is_low = is_low(free_bytes, self.reserve_mib * MIB, self.is_low)

    @property
    def reason(self) -> str:
        """Explain to the operator why events are rejected: a sentence without its full stop."""
        free_mib = max(self.free_bytes or 0, 0) // MIB
        return (
            f"the disk that holds {self.data_dir} has {free_mib:,} MiB free, and disk_reserve is {self.reserve_mib:,} "
            "MiB. Free up space, or lower disk_reserve"
        )

    @property
    def low_space_error(self) -> ApiError:
        """Return the error for clients that send events."""
        return unavailable("The server's disk is nearly full", RETRY_AFTER_S)


def is_low(free_bytes: int, reserve_bytes: int, was_low: bool) -> bool:
    """Return whether too little space is free. If it was low, an eighth more than the reserve must be free again.

    The write-ahead log grows and shrinks by about 4 MiB all the time. That alone must not switch the state.
    """
    needed_bytes = reserve_bytes + (reserve_bytes // 8 if was_low else 0)
    return reserve_bytes > 0 and free_bytes < needed_bytes


def measure(data_dir: Path) -> int | None:
    """Return how many bytes are free for new data; `None` if they cannot be measured. It may block if the disk does.

    The write-ahead log counts twice, because its content needs the same space again when it is moved into the file.
    So the result can be negative.
    """
    try:
        free_bytes = shutil.disk_usage(data_dir).free
    except OSError:  # the folder is gone: the store itself reports that
        return None
    try:
        return free_bytes - (data_dir / f"{STORE_FILE}-wal").stat().st_size
    except OSError:  # there is no log
        return free_bytes
