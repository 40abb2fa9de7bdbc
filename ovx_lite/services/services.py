"""`Services`: the parts of a running server, as one value that jobs and pages receive."""

from pathlib import Path

import msgspec

from ovx_lite.auth.rate_limit import RateLimiter
from ovx_lite.domain.clock import Clock
from ovx_lite.enrichment.geoip import CountryLookup
from ovx_lite.services.disk_space import DiskSpace
from ovx_lite.services.group_commit import GroupCommitWriter
from ovx_lite.services.notifier import Notifier
from ovx_lite.services.projector import Projector
from ovx_lite.services.rejected import RejectedEvents
from ovx_lite.services.site_cache import SiteCache
from ovx_lite.services.webhook_sender import WebhookSender
from ovx_lite.storage.connections import Database
from ovx_lite.storage.engine import EventUpkeep


class Services(msgspec.Struct, frozen=True):
    """The parts of a running server. `backup_dir` is the folder of the daily copies, `None` for none."""

    data_dir: Path
    backup_dir: Path | None
    database: Database
    sites: SiteCache
    writer: GroupCommitWriter
    projector: Projector
    upkeep: EventUpkeep
    rate_limiter: RateLimiter
    sender: WebhookSender
    clock: Clock
    disk: DiskSpace
    notifier: Notifier
    rejected: RejectedEvents
    country_of: CountryLookup
