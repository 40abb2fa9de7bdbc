"""`ovx-lite serve`: the server."""

import asyncio
import ctypes
import gc
import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import click
import msgspec

from ovx_lite.auth import passwords
from ovx_lite.cli import logs
from ovx_lite.cli.common import as_json, data_dir
from ovx_lite.domain import config
from ovx_lite.domain.clock import Clock, SystemClock
from ovx_lite.domain.errors import ApiError

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h


def options(defaults: Mapping[str, str]) -> Callable[[Any], Any]:
    """An option for each setting of the server; `defaults` are the command's own."""

    def add_options(command: Any) -> Any:
        for setting in reversed(config.SETTINGS):
            sentence = setting.description[0].upper() + setting.description[1:]
            default = defaults.get(setting.name, setting.default)
            help = f"{sentence} (or {setting.environment_variable}).{f' [default: {default}]' if default else ''}"
            command = click.option(setting.flag, setting.name, help=help)(command)
        return command

    return add_options


@click.command()
@options({})
@click.option(
    "--ready-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write {url, pid} here once requests are answered.",
)
@data_dir
@as_json
def serve(ready_file: Path | None, data_dir: Path, as_json: bool, **flags: str | None) -> None:
    """Run the server until it gets SIGTERM or Ctrl-C, then finish what was begun."""
    values = config.read(data_dir, flags)
    logs.begin(values["log_format"])
    run(values, data_dir, ready_file, as_json)


def run(
    values: dict[str, str],
    data_dir: Path,
    ready_file: Path | None,
    as_json: bool,
    clock: Clock | None = None,
    standin: Any = None,
) -> None:
    """Serve until somebody ends it; as a stand-in, if that is given, by its clock. Raises `ApiError`."""
    _return_large_blocks()
    stop = _Stop()
    _handle_signals(stop.request)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(values, data_dir, ready_file, as_json, clock or SystemClock(), standin, stop))
    finally:
        _handle_signals(signal.SIG_IGN)  # Python's exit restores the default, which kills: a late signal is too late
        logs.end()


class _Stop:
    """Whether a signal has asked the server to stop, and the server, once there is one."""

    def __init__(self) -> None:
        self.requested = False
        self.server: Any = None

    def request(self, *_: object) -> None:
        """Have the server stop in order, however many signals come."""
        self.requested = True
        if self.server is not None:
            self.server.should_exit = True


def _return_large_blocks() -> None:
    """Have the C library return large blocks to the system when they are freed.

    By itself, glibc raises its threshold for these to 32 MiB, and keeps twice as much in each thread that freed one:
    of bodies, and of the 16 MiB that hashing a password takes. Other C libraries have no such function.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_M_MMAP_THRESHOLD, 128 << 10)
    mallopt(_M_TRIM_THRESHOLD, 4 << 20)


def _loop_factory() -> Any:
    try:
        import uvloop
    except ImportError:  # there is none for Windows
        return None
    return uvloop.new_event_loop


async def _serve(
    values: dict[str, str],
    data_dir: Path,
    ready_file: Path | None,
    as_json: bool,
    clock: Clock,
    standin: Any,
    stop: _Stop,
) -> None:
    import uvicorn

    from ovx_lite.app import App
    from ovx_lite.http.protocol import HttpProtocol

    password = _admin_password()
    if ready_file is not None:
        _written(ready_file, data_dir, None)  # one that a crash has left behind says nothing of us
    listener = _listen(values["host"], int(values["port"]))
    url = values["base_url"].rstrip("/") or _url(listener)
    app = await App.open(data_dir, values, clock, standin)

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            app.begin_shutdown()  # who waits for news is answered, too: it would be waited for
            await super().shutdown(sockets)

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield  # `run` handles signals; uvicorn would raise them again at the end, and cut off answers at the second

    stop.server = server = Server(
        uvicorn.Config(
            app,
            http=HttpProtocol if standin is None else standin.protocol,
            lifespan="off",
            ws="none",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=bool(values["trusted_proxies"]),
            forwarded_allow_ips=_with_mapped(values["trusted_proxies"]) or None,
            timeout_graceful_shutdown=15,
        )
    )
    server.should_exit = stop.requested
    announcing = asyncio.create_task(_announce(server, app, url, data_dir, ready_file, as_json))
    try:
        if password:
            await app.preset_password(password)
        await server.serve(sockets=[listener])
        if announcing.done():
            announcing.result()
    finally:
        announcing.cancel()
        await app.close()
        if ready_file is not None:
            ready_file.unlink(missing_ok=True)


def _admin_password() -> str:
    """The password that the environment gives; `""` for none. Raises `ApiError` if it is too short."""
    password = os.environ.get("OVX_ADMIN_PASSWORD", "")
    try:
        return password and passwords.validate_password(password)
    except ApiError as refused:
        raise ApiError(refused.code, f"OVX_ADMIN_PASSWORD: {refused.message}") from None


def _with_mapped(networks: str) -> str:
    """Networks, and those of IPv4 also as IPv6 has them, which is how a peer is told on a socket of both."""
    told = [ip_network(network.strip()) for network in filter(None, networks.split(","))]
    mapped = [f"::ffff:{network.network_address}/{96 + network.prefixlen}" for network in told if network.version == 4]
    return ",".join([*map(str, told), *mapped])


def _handle_signals(handler: Callable[..., object] | signal.Handlers) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except (OSError, UnicodeError) as wrong:
        raise ApiError(
            "unavailable", f"Cannot listen on {host}, port {port} ({wrong}): choose another --host or --port."
        ) from None
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - of all addresses, one that can be called
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _written(ready_file: Path, data_dir: Path, ready: dict[str, object] | None) -> None:
    """Put the ready file there whole, or take it away."""
    unfinished = ready_file.with_name(ready_file.name + ".unfinished")
    try:
        if ready is None:
            ready_file.unlink(missing_ok=True)
            unfinished.touch()
            unfinished.unlink()
        else:
            unfinished.touch(mode=0o600 if ready_file.parent.samefile(data_dir) else 0o666)
            unfinished.write_bytes(msgspec.json.encode(ready))
            unfinished.replace(ready_file)
    except OSError as wrong:
        raise ApiError(
            "unavailable", f"The ready file {ready_file} cannot be written ({wrong}): choose another --ready-file."
        ) from None


async def _announce(server: Any, app: Any, url: str, data_dir: Path, ready_file: Path | None, as_json: bool) -> None:
    """Once requests are answered: start the jobs, which depend on no message, and say that it is ready."""
    while not server.started:
        await asyncio.sleep(0.002)
    app.start()  # they begin at the next `await`, so after these messages
    ready: dict[str, object] = {"url": url, "pid": os.getpid()}
    logs.say(f"ovx-lite answers at {url}, with its store in {data_dir}.")
    if app.setup_path:
        logs.say(f"Set it up, once: {url}{app.setup_path}")
    if ready_file is not None:  # after these: whoever waits for it finds them said
        try:
            _written(ready_file, data_dir, ready)
        except ApiError:
            server.should_exit = True
            raise
    if as_json:
        logs.LossyStream(logs.STDOUT).write(msgspec.json.encode(ready).decode() + "\n")
    # What was made by now stays: the garbage collector need not look at it again. And of what requests make while they
    # wait for the disk, nothing is garbage: looking for it less often makes a tenth more of them.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
