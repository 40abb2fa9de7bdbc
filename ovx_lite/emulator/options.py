"""What the command line of `ovx-lite dev` can set."""

from typing import NamedTuple

from ovx_lite.emulator.fault_rules import FaultRule


class Options(NamedTuple):
    """How the emulator behaves.

    `seed` makes generated traffic and random failures reproducible. With `any_key`, every key is accepted, and every
    site that a request names is created. `fault_rules` apply at the start and after a reset. `demo_days` is the number
    of days of generated traffic, 0 for none. `forward_url` is the API that accepted events are also sent to, `""` for
    none. A `temporary` store is deleted at the end, so its writes need not be synced to disk.
    """

    seed: int = 1
    any_key: bool = False
    fault_rules: tuple[FaultRule, ...] = ()
    demo_days: int = 0
    forward_url: str = ""
    temporary: bool = False
