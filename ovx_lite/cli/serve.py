"""`ovx-lite serve`: the server."""

import asyncio
import ctypes
import gc
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Protocol

import click
import msgspec

from ovx_lite.auth import passwords
from ovx_lite.cli import logs
from ovx_lite.cli.common import data_dir_option, json_option
from ovx_lite.domain import config
from ovx_lite.domain.clock import SystemClock
from ovx_lite.domain.errors import ApiError

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_MMAP_THRESHOLD_BYTES, _TRIM_THRESHOLD_BYTES = 128 << 10, 4 << 20
_SHUTDOWN_TIMEOUT_S = 15
_POLL_INTERVAL_S = 0.002


def setting_options(defaults: Mapping[str, str]) -> Callable[[Any], Any]:
    """Return a decorator that adds an option for each setting; `defaults` replace the settings' own defaults."""

    def add_options(command: Any) -> Any:
        for setting in reversed(config.SETTINGS):
            description = setting.description[0].upper() + setting.description[1:]
            default = defaults.get(setting.name, setting.default)
            source = f"env var: {setting.environment_variable}" + (f"; default: {default}" if default else "")
            help = f"{description}. [{source}]"
            command = click.option(setting.flag, setting.name, help=help)(command)
        return command

    return add_options


@click.command()
@setting_options({})
@click.option(
    "--ready-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write {url, pid} to this file when requests are answered.",
)
@data_dir_option
@json_option
def serve(ready_file: Path | None, data_dir: Path, as_json: bool, **options: str | None) -> None:
    """Run the server until it gets SIGTERM or Ctrl-C.

    It then answers the requests that it has already received.
    """
    settings = config.read(data_dir, options)
    logs.set_up(settings["log_format"])

    async def open_app() -> Application:
        from ovx_lite.app import App  # here, because importing it takes time

        return await App.open(data_dir, settings, SystemClock())

    run(settings, data_dir, ready_file, as_json, open_app)


class Application(Protocol):
    """What `run` serves: the server's `App`, or one that wraps it."""

    @property
    def http_protocol(self) -> type[asyncio.Protocol]:
        """The protocol class for connections."""
        ...

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        ...

    @property
    def setup_path(self) -> str:
        """The path of the page that sets up the server; `""` if there is nothing to set up."""
        ...

    async def set_admin_password(self, password: str) -> None:
        """Set the password that the environment gives."""
        ...

    def start(self) -> None:
        """Start what runs in the background. Called once requests are answered."""
        ...

    def begin_shutdown(self) -> None:
        """End what the server would wait for when it stops."""
        ...

    async def close(self) -> None:
        """Stop, and save everything."""
        ...


def run(
    settings: dict[str, str],
    data_dir: Path,
    ready_file: Path | None,
    as_json: bool,
    open_app: Callable[[], Awaitable[Application]],
) -> None:
    """Serve an application until a signal stops it. Raises `ApiError`."""
    _return_large_blocks()
    shutdown = _Shutdown()
    _handle_signals(shutdown.request)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(settings, data_dir, ready_file, as_json, open_app, shutdown))
    finally:
        _handle_signals(signal.SIG_IGN)  # Python restores the default at its exit: a signal that is late would kill it
        logs.discard_unwritable()


class _Shutdown:
    """Whether a signal has asked the server to stop, and the server, once there is one."""

    def __init__(self) -> None:
        self.is_requested = False
        self.server: Any = None

    def request(self, *_: object) -> None:
        """Have the server stop gracefully, however many signals arrive."""
        self.is_requested = True
        if self.server is not None:
            self.server.should_exit = True


def _return_large_blocks() -> None:
    """Have the C library return large blocks to the system as soon as they are freed.

    By default, glibc raises its threshold for such blocks up to 32 MiB, and each thread that freed one keeps twice as
    much: for request bodies, and for the 16 MiB that hashing a password takes. Other C libraries have no such function.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES)
    mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD_BYTES)


def _loop_factory() -> Any:
    try:
        import uvloop
    except ImportError:  # it does not exist for Windows
        return None
    return uvloop.new_event_loop


async def _serve(
    settings: dict[str, str],
    data_dir: Path,
    ready_file: Path | None,
    as_json: bool,
    open_app: Callable[[], Awaitable[Application]],
    shutdown: _Shutdown,
) -> None:
    import uvicorn

    password = _admin_password()
    if ready_file is not None:
        _write_ready_file(ready_file, data_dir, None)  # a crash may have left one behind
    listener = _listen(settings["host"], int(settings["port"]))
    url = settings["base_url"].rstrip("/") or _url(listener)
    app = await open_app()

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            app.begin_shutdown()
            await super().shutdown(sockets)

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield  # `run` handles signals; uvicorn would raise them again, and cut off responses at the second one

    shutdown.server = server = Server(
        uvicorn.Config(
            app,
            http=app.http_protocol,
            lifespan="off",
            ws="none",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=bool(settings["trusted_proxies"]),
            forwarded_allow_ips=_add_mapped_networks(settings["trusted_proxies"]) or None,
            timeout_graceful_shutdown=_SHUTDOWN_TIMEOUT_S,
        )
    )
    server.should_exit = shutdown.is_requested
    announcing = asyncio.create_task(_announce(server, app, url, data_dir, ready_file, as_json))
    try:
        if password:
            await app.set_admin_password(password)
        await server.serve(sockets=[listener])
        if announcing.done():
            announcing.result()
    finally:
        announcing.cancel()
        await app.close()
        if ready_file is not None:
            ready_file.unlink(missing_ok=True)


def _admin_password() -> str:
    """Return the password in `OVX_ADMIN_PASSWORD`, or `""`. Raises `ApiError` if it is too short."""
    password = os.environ.get("OVX_ADMIN_PASSWORD", "")
    try:
        return password and passwords.validate_password(password)
    except ApiError as exc:
        raise ApiError(exc.code, f"OVX_ADMIN_PASSWORD: {exc.message}") from None


def _add_mapped_networks(networks: str) -> str:
    """Return networks together with their IPv4-mapped IPv6 forms, which an IPv6 socket reports for IPv4 peers."""
    parsed = [ip_network(network.strip()) for network in filter(None, networks.split(","))]
    mapped = [
        f"::ffff:{network.network_address}/{96 + network.prefixlen}" for network in parsed if network.version == 4
    ]
    return ",".join([*map(str, parsed), *mapped])


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
    except (OSError, UnicodeError) as exc:
        raise ApiError(
            "unavailable", f"Cannot listen on {host}, port {port} ({exc}): choose another --host or --port."
        ) from None
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - one of all addresses that clients can call
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _write_ready_file(ready_file: Path, data_dir: Path, content: dict[str, object] | None) -> None:
    """Write the ready file in one step, or remove it if `content` is `None`. Raises `ApiError` if that fails."""
    unfinished = ready_file.with_name(ready_file.name + ".unfinished")
    try:
        if content is None:
            ready_file.unlink(missing_ok=True)
            unfinished.touch()  # fails now rather than when the server is ready
            unfinished.unlink()
        else:
            unfinished.touch(mode=0o600 if ready_file.parent.samefile(data_dir) else 0o666)
            unfinished.write_bytes(msgspec.json.encode(content))
            unfinished.replace(ready_file)
    except OSError as exc:
        raise ApiError(
            "unavailable", f"Cannot write the ready file {ready_file} ({exc}): choose another --ready-file."
        ) from None


async def _announce(
    server: Any, app: Application, url: str, data_dir: Path, ready_file: Path | None, as_json: bool
) -> None:
    """Wait until requests are answered. Then start the jobs, and announce that the server is ready."""
    while not server.started:
        await asyncio.sleep(_POLL_INTERVAL_S)
    app.start()  # the jobs begin at the next `await`, which is after these messages
    ready: dict[str, object] = {"url": url, "pid": os.getpid()}
    logs.notify(f"ovx-lite is running at {url}. The store is in {data_dir}.")
    if app.setup_path:
        logs.notify(f"Set up the server with this link, which works once: {url}{app.setup_path}")
    if ready_file is not None:  # after the messages, so that a program that waits for it can read them
        try:
            _write_ready_file(ready_file, data_dir, ready)
        except ApiError:
            server.should_exit = True
            raise
    if as_json:
        logs.LossyStream(logs.STDOUT).write(msgspec.json.encode(ready).decode() + "\n")
    # What exists by now stays, so the garbage collector need not look at it again. What requests allocate while they
    # wait for the disk is not garbage: with rare collections, the server answers 10 % more of them.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
