"""The servers that are measured: ovx-lite, and an empty one for comparison."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

OVX = [sys.executable, "-m", "ovx_lite"]
SITE = "bench"


class ServerProcess(NamedTuple):
    """A server: its process, its port, and how many seconds it took to get ready."""

    pid: int
    port: int
    start_time_s: float

    @property
    def memory_mib(self) -> float:
        """Resident memory in MiB; on Linux."""
        statm = Path(f"/proc/{self.pid}/statm")
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20 if statm.exists() else 0

    @property
    def peak_memory_mib(self) -> float:
        """The most resident memory so far in MiB; on Linux."""
        status = Path(f"/proc/{self.pid}/status")
        sample = re.search(r"^VmHWM:\s*(\d+) kB$", status.read_text(), re.MULTILINE) if status.exists() else None
        return int(sample[1]) / 1024 if sample else 0

    @property
    def open_files(self) -> int:
        """The number of open files and sockets; on Linux."""
        folder = Path(f"/proc/{self.pid}/fd")
        return len(list(folder.iterdir())) if folder.exists() else 0

    @property
    def cpu_time_s(self) -> float:
        """The CPU time in seconds; on Linux."""
        user, system = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def wait_for_projection(self, timeout_s: float = 120) -> float:
        """Wait until the journal is empty, and return the seconds that it took."""
        started_at_s = time.monotonic()
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)) as connection:
            while self._journal_events(connection):
                if time.monotonic() > started_at_s + timeout_s:
                    raise TimeoutError(f"The journal is not empty after {timeout_s} s.")
                time.sleep(0.01)
        return time.monotonic() - started_at_s

    def _journal_events(self, connection: http.client.HTTPConnection) -> int:
        """Return how many events wait in the journal, by `/metrics`; 0 for a server without this metric."""
        connection.request("GET", "/metrics")
        sample = re.search(r"^ovx_journal_events (\S+)$", connection.getresponse().read().decode(), re.MULTILINE)
        return int(float(sample[1])) if sample else 0


def on_core(core: int) -> Callable[[], None]:
    """Return a function that pins the calling process to a core."""

    def pin() -> None:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {core % (os.cpu_count() or 1)})

    return pin


def run_command(data_dir: Path, *args: str) -> dict[str, str]:
    """Run a command of ovx-lite, and return its output."""
    process = subprocess.run([*OVX, *args, "--data-dir", str(data_dir), "--json"], check=True, capture_output=True)
    output: dict[str, str] = json.loads(process.stdout)
    return output


def new_site(data_dir: Path) -> str:
    """Create a store with a site, and return an API key."""
    run_command(data_dir, "site", "add", SITE, "--domain", "example.com", "--hourly-limit", "1000000000")
    return new_key(data_dir)


def new_key(data_dir: Path) -> str:
    """Return a new API key of the site."""
    return run_command(data_dir, "key", "add", SITE)["key"]


@contextmanager
def serving(data_dir: Path, *args: str, env: Mapping[str, str] | None = None) -> Iterator[ServerProcess]:
    """Run `ovx-lite serve` on the first core, with these options and further environment variables."""
    ready_file = data_dir / "ready.json"
    ready_file.unlink(missing_ok=True)
    # Let Python cache its byte code, as on most machines, even if this environment disables it.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    started_at_s = time.monotonic()
    process = subprocess.Popen(
        [*OVX, "serve", "--port", "0", "--data-dir", str(data_dir), "--ready-file", str(ready_file), *args],
        stderr=subprocess.DEVNULL,
        env={**environment, **(env or {})},
        preexec_fn=on_core(0),
    )
    try:
        while not ready_file.exists():
            if process.poll() is not None:
                raise SystemExit("The server did not start: try ovx-lite serve.")
            time.sleep(0.001)
        start_time_s = time.monotonic() - started_at_s
        yield ServerProcess(process.pid, int(json.loads(ready_file.read_text())["url"].rsplit(":", 1)[1]), start_time_s)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


@contextmanager
def empty_server() -> Iterator[ServerProcess]:
    """Run the empty endpoint on the first core as well."""
    args = [sys.executable, "-m", "benchmarks.empty"]
    started_at_s = time.monotonic()
    with subprocess.Popen(args, stdout=subprocess.PIPE, text=True, preexec_fn=on_core(0)) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        try:
            yield ServerProcess(process.pid, port, time.monotonic() - started_at_s)
        finally:
            process.kill()
