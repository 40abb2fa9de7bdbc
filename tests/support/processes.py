"""The program as a separate process, forked from one that has imported it already.

Python and the program's modules take 0.3 s of CPU to load, and the tests start hundreds of processes. So a helper
process imports everything once, and each process of the program is a fork of it: it has its own PID, memory, file
descriptors, environment and signals, and can be killed, but it did not pass through `exec`. Tests of how the program
itself starts (`python -m ovx_lite`, the installed script) use `subprocess`.
"""

import atexit
import ctypes
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

_PR_SET_CHILD_SUBREAPER = 36
_MAX_REQUEST_BYTES = 1 << 20
_lock = threading.Lock()

WEAK_SCRYPT = 16, 1
"""N and p of scrypt in tests: a full-strength hash takes 0.2 s, which only `test_password.py` uses."""


def program(*args: str) -> list[str]:
    """Return the command line of `ovx-lite ARGS…`."""
    return [sys.executable, "-m", "ovx_lite", *args]


class Process(subprocess.Popen[Any]):
    """A process of a command line from `program`: forked from the helper, but otherwise like any `subprocess.Popen`.

    `constants` replaces constants of the program by their full names, for example to shorten its time-outs.
    """

    def __init__(self, args: list[str], constants: Mapping[str, object] | None = None, **options: Any) -> None:
        assert args[:3] == program(), args
        self._constants = dict(constants or {})
        super().__init__(args, **options)

    if sys.platform == "linux":

        def _execute_child(self, args: list[str], *rest: Any) -> None:
            cwd, env, pipes = rest[4], rest[5], rest[9:15]
            os.umask(umask := os.umask(0o77))
            request = {
                "args": args[3:],
                "cwd": str(cwd or Path.cwd()),
                "env": dict(os.environ if env is None else env),
                "umask": umask,
                "constants": self._constants,
            }
            fds = [fd if fd != -1 else inherited for inherited, fd in enumerate((pipes[0], pipes[3], pipes[5]))]
            with _lock:
                helper = _helper()
                socket.send_fds(helper, [json.dumps(request).encode("utf-8", "surrogateescape")], fds)
                self.pid = int(helper.recv(64))
            self._child_created = True
            self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]


@cache
def _helper() -> socket.socket:
    """Start the helper. The processes that it forks become children of this one."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    test_end, helper_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (test_end, helper_end):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MAX_REQUEST_BYTES)
    with helper_end:
        command = [sys.executable, "-m", "tests.support.processes", str(helper_end.fileno())]
        process = subprocess.Popen(command, pass_fds=[helper_end.fileno()], cwd=Path(__file__).parents[2])
    atexit.register(process.wait)
    atexit.register(test_end.close)  # the helper ends when this is closed
    return test_end


# In the helper and in the processes that it forks:


def _serve(connection: socket.socket) -> list[str]:
    """Fork a process for each request. Returns only in such a process, with the arguments of its command."""
    while True:
        message, fds, _, _ = socket.recv_fds(connection, _MAX_REQUEST_BYTES, 3)
        if not message:
            os._exit(0)
        pid_reader, pid_writer = os.pipe()
        intermediate = os.fork()  # when it has ended, its child becomes a child of the tests' process
        if intermediate == 0:
            pid = os.fork()
            if pid == 0:
                for fd in (connection.detach(), pid_reader, pid_writer):
                    os.close(fd)
                return _become(json.loads(message.decode("utf-8", "surrogateescape")), fds)
            os.write(pid_writer, str(pid).encode())
            os._exit(0)
        os.waitpid(intermediate, 0)
        connection.send(os.read(pid_reader, 64))
        for fd in (pid_reader, pid_writer, *fds):
            os.close(fd)


def _become(request: dict[str, Any], fds: list[int]) -> list[str]:
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
    for fd in fds:
        os.close(fd)
    os.chdir(request["cwd"])
    os.umask(request["umask"])
    os.environ.clear()
    os.environ.update(request["env"])
    for name, value in request["constants"].items():
        module, _, constant = name.rpartition(".")
        assert hasattr(sys.modules[module], constant), name
        setattr(sys.modules[module], constant, value)
    return list(request["args"])


def _load() -> None:
    """Do once what every server would do at its start or for its first page."""
    from importlib import import_module
    from pkgutil import walk_packages

    import ovx_lite
    from ovx_lite.auth import passwords
    from ovx_lite.enrichment import user_agent
    from ovx_lite.web.common.templating import template_environment

    for module in walk_packages(ovx_lite.__path__, "ovx_lite."):
        if module.name not in ("ovx_lite.__main__", "ovx_lite.pytest_plugin"):
            import_module(module.name)
    user_agent.warm_up()
    for name in template_environment().list_templates():
        template_environment().get_template(name)
    passwords._N, passwords._P = WEAK_SCRYPT


if __name__ == "__main__":
    _load()
    args = _serve(socket.socket(fileno=int(sys.argv[1])))
    # From here on, this is a process of the program.
    from ovx_lite.cli import main

    sys.argv = ["ovx-lite", *args]
    main(prog_name="python -m ovx_lite")
