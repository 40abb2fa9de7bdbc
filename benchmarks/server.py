"""The servers that are measured: ours, and an empty one beside it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

OVX = [sys.executable, "-m", "ovx_lite"]
SITE = "bench"


class Running(NamedTuple):
    """A server: its process, its port, and how many seconds it took to get ready."""

    pid: int
    port: int
    start: float

    @property
    def memory(self) -> float:
        """Resident memory in MiB; on Linux."""
        statm = Path(f"/proc/{self.pid}/statm")
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20 if statm.exists() else 0

    @property
    def files(self) -> int:
        """How many files and sockets are open; on Linux."""
        folder = Path(f"/proc/{self.pid}/fd")
        return len(list(folder.iterdir())) if folder.exists() else 0

    @property
    def seconds(self) -> float:
        """How long it has had a core; on Linux."""
        user, system = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def on_core(core: int) -> Callable[[], None]:
    """What makes this process, or one to begin, stay on a core."""

    def pin() -> None:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {core % (os.cpu_count() or 1)})

    return pin


def command(data_dir: Path, *words: str) -> dict[str, str]:
    """Run one of ours; returns what it tells."""
    done = subprocess.run([*OVX, *words, "--data-dir", str(data_dir), "--json"], check=True, capture_output=True)
    told: dict[str, str] = json.loads(done.stdout)
    return told


def new_site(data_dir: Path) -> str:
    """A new store with a site; returns a key of it."""
    command(data_dir, "site", "add", SITE, "--domain", "example.com", "--hourly-limit", "1000000000")
    return command(data_dir, "key", "add", SITE)["key"]


@contextmanager
def serving(data_dir: Path, *words: str) -> Iterator[Running]:
    """`ovx-lite serve` on the first core."""
    ready = data_dir / "ready.json"
    ready.unlink(missing_ok=True)
    # As on most machines, Python keeps what it compiled; some say in the environment that it is not to.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    begin = time.monotonic()
    process = subprocess.Popen(
        [*OVX, "serve", "--port", "0", "--data-dir", str(data_dir), "--ready-file", str(ready), *words],
        stderr=subprocess.DEVNULL,
        env=environment,
        preexec_fn=on_core(0),
    )
    try:
        while not ready.exists():
            if process.poll() is not None:
                raise SystemExit("The server did not start: try ovx-lite serve.")
            time.sleep(0.001)
        start = time.monotonic() - begin
        yield Running(process.pid, int(json.loads(ready.read_text())["url"].rsplit(":", 1)[1]), start)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


@contextmanager
def empty() -> Iterator[int]:
    """An endpoint that does nothing, on the first core, too; yields its port."""
    words = [sys.executable, "-m", "benchmarks.empty"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, preexec_fn=on_core(0)) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.kill()
