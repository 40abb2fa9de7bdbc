"""`ovx-lite dev`: the emulator of the real APIs, to develop and test against."""

import shutil
import tempfile
from ipaddress import ip_address
from pathlib import Path

import click
import msgspec

from ovx_lite.cli import logs
from ovx_lite.cli.common import check_argument, json_option
from ovx_lite.cli.serve import Application, run, setting_options
from ovx_lite.domain import config
from ovx_lite.domain.clock import SystemClock
from ovx_lite.domain.errors import ApiError
from ovx_lite.emulator import credentials
from ovx_lite.emulator.clock import ManualClock, parse_time
from ovx_lite.emulator.fault_rules import FaultRule, parse_rule, parse_rule_text
from ovx_lite.emulator.forwarder import parse_url
from ovx_lite.emulator.options import Options

_LOOPBACK_NETWORKS = "127.0.0.0/8,::1/128"
_MAX_DEMO_DAYS = 400
_DEFAULTS = {"disk_reserve": "0"}  # the file system of temporary files may be small, and the store is deleted anyway


@click.command()
@setting_options(_DEFAULTS)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the store in this directory. [default: delete it at the end]",
)
@click.option("--any-key", is_flag=True, help="Accept every API key, and create each site that a request names.")
@click.option("--clock", metavar="TIME", help="Start at this time, for example 2025-03-15T14:00:00Z.")
@click.option(
    "--fault", "faults", multiple=True, metavar="RULE", help="Inject a fault: '503; rate=0.1', or the rule as JSON."
)
@click.option(
    "--demo", is_flag=False, flag_value="30", metavar="[DAYS]", help="Start with this many days of demo traffic."
)
@click.option(
    "--seed", type=int, default=1, show_default=True, help="The seed of the demo traffic and of random faults."
)
@click.option("--forward", metavar="URL", help="Also send accepted requests to this API, and record its responses.")
@click.option(
    "--ready-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write {url, pid} to this file when requests are answered.",
)
@click.option("--i-know", is_flag=True, help="Allow a --host that other machines can reach.")
@json_option
def dev(
    data_dir: Path | None,
    any_key: bool,
    clock: str | None,
    faults: tuple[str, ...],
    demo: str | None,
    seed: int,
    forward: str | None,
    ready_file: Path | None,
    i_know: bool,
    as_json: bool,
    **options: str | None,
) -> None:
    """Run the emulator: the APIs with the sites and keys of their documentation.

    Its tools for tests are at /_dev. The store is deleted at the end, unless you pass --data-dir. There is no access
    control: anyone who can reach the emulator can read and change everything.
    """
    start_ms = None if clock is None else check_argument("--clock", parse_time, clock, 0, "--clock")
    emulator_options = Options(
        seed=seed,
        any_key=any_key or forward is not None,  # the keys and sites of the real product are not known here
        fault_rules=tuple(check_argument("--fault", _parse_rule, rule) for rule in faults),
        demo_days=0 if demo is None else check_argument("--demo", _parse_days, demo),
        forward_url="" if forward is None else check_argument("--forward", parse_url, forward),
        temporary=data_dir is None,
    )
    store_dir = data_dir or Path(tempfile.mkdtemp(prefix="ovx-lite-dev-"))
    try:
        settings = config.read(store_dir, options, defaults=_DEFAULTS)
        logs.set_up(settings["log_format"])
        _check_host(settings["host"], i_know)
        allowed_networks = filter(None, (settings["webhook_allow_net"], _LOOPBACK_NETWORKS))
        settings["webhook_allow_net"] = ",".join(allowed_networks)
        logs.notify(
            f"The emulator accepts the API key {credentials.KEYS[0]} for the site {credentials.SITES[0]}. The password "
            f"of the web pages is {credentials.PASSWORD}. Its tools are at /_dev: see docs/testing.md."
        )

        async def open_app() -> Application:
            from ovx_lite.emulator.app import EmulatorApp  # here, because importing it takes time

            return await EmulatorApp.open(store_dir, settings, ManualClock(SystemClock(), start_ms), emulator_options)

        run(settings, store_dir, ready_file, as_json, open_app)
    finally:
        if data_dir is None:
            shutil.rmtree(store_dir, ignore_errors=True)


def _parse_days(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text[:9]) <= _MAX_DEMO_DAYS:
        raise ApiError("invalid_request", f"The number of days must be from 1 to {_MAX_DEMO_DAYS}.")
    return int(text)


def _parse_rule(text: str) -> FaultRule:
    if not text.lstrip().startswith("{"):
        return parse_rule_text(text)
    try:
        return parse_rule(msgspec.json.decode(text))
    except msgspec.DecodeError:
        message = 'The rule is not valid JSON. A valid rule is, for example, {"status": 503, "rate": 0.1}.'
        raise ApiError("invalid_request", message) from None


def _check_host(host: str, i_know: bool) -> None:
    """Warn if other machines can reach `host`. Raises `click.UsageError` unless `i_know`."""
    try:
        is_local = ip_address(host).is_loopback
    except ValueError:
        is_local = host == "localhost"
    if is_local:
        return
    risk = f"The emulator has no access control: anyone who can reach {host} can read and change everything"
    if not i_know:
        raise click.UsageError(f"{risk}. Leave out --host, or add --i-know.")
    logs.notify(f"WARNING: {risk}.")
