"""`ovx-lite dev`: the stand-in for the real APIs, to code and to test against."""

import shutil
import tempfile
from ipaddress import ip_address
from pathlib import Path

import click
import msgspec

from ovx_lite.cli import logs
from ovx_lite.cli.common import as_json, judged
from ovx_lite.cli.serve import Application, options, run
from ovx_lite.domain import config
from ovx_lite.domain.clock import SystemClock
from ovx_lite.domain.errors import Refused
from ovx_lite.emulator import credentials
from ovx_lite.emulator.clock import ManualClock, parse_time
from ovx_lite.emulator.fault_rules import FaultRule, parse_rule, parse_rule_text
from ovx_lite.emulator.forwarder import parse_url
from ovx_lite.emulator.options import Options

_NEAR = "127.0.0.0/8,::1/128"
_MOST_DAYS = 400
_DEFAULTS = {"disk_reserve": "0"}  # the folder for temporary files may be small, and the store is thrown away


@click.command()
@options(_DEFAULTS)
@click.option(
    "--data-dir", type=click.Path(file_okay=False, path_type=Path), help="Keep the store here. [default: none]"
)
@click.option("--any-key", is_flag=True, help="Take every key, and make every site that is named.")
@click.option("--clock", metavar="TIME", help="Begin at this time, like 2025-03-15T14:00:00Z.")
@click.option("--fault", "faults", multiple=True, metavar="RULE", help="Fail like this: '503; rate=0.1', or JSON.")
@click.option("--demo", is_flag=False, flag_value="30", metavar="[DAYS]", help="Begin with so many days of traffic.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the traffic, and of what fails by chance.")
@click.option("--forward", metavar="URL", help="Send what is accepted on to this API, too, and keep both answers.")
@click.option("--ready-file", type=click.Path(dir_okay=False, path_type=Path), help="Write {url, pid} here when ready.")
@click.option("--i-know", is_flag=True, help="Listen on a public address all the same.")
@as_json
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
    **flags: str | None,
) -> None:
    """Run the stand-in: the APIs, with the documents' own sites and keys, and tools to test with at /_dev.

    The store is thrown away at the end, unless --data-dir is given. Everybody who reaches it may do everything.
    """
    start_ms = None if clock is None else judged("--clock", parse_time, clock, 0, "--clock")
    emulator_options = Options(
        seed=seed,
        any_key=any_key or forward is not None,  # the keys and sites are those of the real product
        fault_rules=tuple(judged("--fault", _rule, text) for text in faults),
        demo_days=0 if demo is None else judged("--demo", _days, demo),
        forward_url="" if forward is None else judged("--forward", parse_url, forward),
        temporary=data_dir is None,
    )
    folder = data_dir or Path(tempfile.mkdtemp(prefix="ovx-lite-dev-"))
    try:
        values = config.read(folder, flags, defaults=_DEFAULTS)
        logs.begin(values["log_format"])
        _warn(values["host"], i_know)
        values["webhook_allow_net"] = ",".join(filter(None, (values["webhook_allow_net"], _NEAR)))
        logs.say(
            f"The stand-in: key {credentials.KEYS[0]}, site {credentials.SITES[0]}; password of the pages: "
            f"{credentials.PASSWORD}; its tools are at /_dev, see docs/testing.md."
        )

        async def open_app() -> Application:
            from ovx_lite.emulator.app import EmulatorApp  # here, as it takes a while to load

            return await EmulatorApp.open(folder, values, ManualClock(SystemClock(), start_ms), emulator_options)

        run(values, folder, ready_file, as_json, open_app)
    finally:
        if data_dir is None:
            shutil.rmtree(folder, ignore_errors=True)


def _days(told: str) -> int:
    if not told.isdecimal() or not 1 <= int(told[:9]) <= _MOST_DAYS:
        raise Refused("invalid_request", f"Give a number of days from 1 to {_MOST_DAYS}.")
    return int(told)


def _rule(told: str) -> FaultRule:
    if not told.lstrip().startswith("{"):
        return parse_rule_text(told)
    try:
        return parse_rule(msgspec.json.decode(told))
    except msgspec.DecodeError:
        raise Refused("invalid_request", 'This is no JSON: give a rule like {"status": 503, "rate": 0.1}.') from None


def _warn(host: str, i_know: bool) -> None:
    """Refuse to be reached from everywhere, unless whoever starts it knows."""
    try:
        near = ip_address(host).is_loopback
    except ValueError:
        near = host == "localhost"
    if near:
        return
    words = f"The stand-in has no password: whoever reaches {host} may read and change everything"
    if not i_know:
        raise click.UsageError(f"{words}. Leave --host out, or add --i-know.")
    logs.say(f"WARNING: {words}.")
