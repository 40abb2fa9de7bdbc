"""Where a visitor came from: the name of the source, and its channel.

The names and hosts of sources are in `data/traffic_sources.toml`. It is read when the first source is looked up.
"""

import re
from functools import cache, lru_cache
from typing import NamedTuple

from ovx_lite.domain.models import Campaign, TrafficSource
from ovx_lite.enrichment.tables import read_table


class _SourceTable(NamedTuple):
    """What `data/traffic_sources.toml` says."""

    sources: dict[str, tuple[str, str]]
    """Each name and host, with its source and channel."""

    portals: set[str]
    search_subdomains: set[str]
    national_host: re.Pattern[str]
    """A national source and a country's suffix, and nothing else: no google.evil.com, no notgoogle.com."""


@cache
def _source_table() -> _SourceTable:
    table = read_table("traffic_sources.toml")
    return _SourceTable(
        sources={
            name: (source, channel)
            for channel, sources in table["channels"].items()
            for source, names in sources.items()
            for name in (source, *names)
        },
        portals=set(table["portals"]),
        search_subdomains=set(table["search_subdomains"]),
        national_host=re.compile(
            rf"(?:^|(?<=\.))({'|'.join(table['national'])})\.(?:(?:(?:com?|ne|or)\.)?[a-z]{{2}}|cat)\Z"
        ),
    )


_MAX_CACHED_LENGTH = 512  # longer ones are not cached, so that thousands of them do not fill the memory

# Patterns for a medium or source in which dashes and underscores are replaced by spaces.
_PAID = re.compile(r"\bpaid|\b(?:ads?|banners?|cp[acelmv]|display|ppc|remarketing|retargeting|sem)\b")
_EMAIL = re.compile(r"\be ?mail|\bnewsletter|\Amail(?:ing)?s?\Z")
_SOCIAL = re.compile(r"\bsocial|\Asm\Z")


def classify_source(referrer: str, campaign: Campaign, host: str, domain: str) -> TrafficSource:
    """Return the source and channel of a visit. The campaign takes precedence over the referrer.

    `referrer` is a host and path (`""` for none), `host` is the host of the visited page, `domain` the site's own
    domain (`""` if unknown). The source is a short name in lower case. The channel is direct, search, social, ai,
    email, paid, own, referral or campaign. The result also has the referrer and the campaign, unchanged.
    """
    classify = _classify if len(referrer) + len(host) <= _MAX_CACHED_LENGTH else _classify.__wrapped__
    return classify(referrer, campaign, host, domain)


@lru_cache(maxsize=8192)
def _classify(referrer: str, campaign: Campaign, host: str, domain: str) -> TrafficSource:
    source, channel = _from_referrer(_bare_host(referrer), _bare_host(host), _bare_host(domain))
    if any(campaign):
        source, channel = _apply_campaign(campaign, source, channel)
    return TrafficSource(referrer, source, channel, *campaign)


def _from_referrer(referrer_host: str, host: str, domain: str) -> tuple[str, str]:
    if not referrer_host:
        return "direct", "direct"
    if referrer_host in (host, domain) or (domain and referrer_host.endswith("." + domain)):
        return "own", "own"
    return _by_host(referrer_host) or (referrer_host, "referral")


def _apply_campaign(campaign: Campaign, source: str, channel: str) -> tuple[str, str]:
    """Return the source and channel of a campaign, given those of the referrer."""
    sources = _source_table().sources
    utm_source = campaign.source.strip().lower()
    medium = re.sub("[-_]", " ", campaign.medium.strip().lower())
    compact = re.sub("[-_ ]", "", utm_source)
    # Advertisers write "google-ads" or "fb_ads", and often leave out the medium.
    name = compact if compact in sources else compact.removesuffix("ads")
    is_ad = compact == "adwords" or (name != compact and name in sources)
    if utm_source:
        source, channel = sources.get(name) or _by_host(_bare_host(utm_source)) or (utm_source, "")
    if is_ad or _PAID.search(medium):
        return source, "paid"
    if _EMAIL.search(medium) or _EMAIL.search(re.sub("[-_]", " ", utm_source)):
        return source, "email"
    if _SOCIAL.search(medium):
        return source, "social"
    if medium == "organic":
        return source, "search"
    if channel in ("", "direct", "own") or (channel == "referral" and source not in sources):
        return source, "referral" if medium == "referral" else "campaign"
    return source, channel


def _by_host(host: str) -> tuple[str, str] | None:
    """Return the source and channel of a host or of the domain above it, or `None` if it is not in the table."""
    table = _source_table()
    domain = table.national_host.sub(r"\1.com", host)
    subdomain_labels: set[str] = set()
    while "." in domain:
        if match := table.sources.get(domain):
            is_search = "search" in subdomain_labels or subdomain_labels <= table.search_subdomains
            return match if is_search or match[0] not in table.portals else None
        label, _, domain = domain.partition(".")
        subdomain_labels.add(label)
    # Mastodon and webmail run on anyone's domain, where they commonly have these names.
    first_label = host.partition(".")[0]
    if first_label in ("mastodon", "mstdn"):
        return "mastodon", "social"
    return (host, "email") if first_label == "webmail" else None


def _bare_host(text: str) -> str:
    """Return a host in lower case without its port, path and `www.`."""
    return re.sub(r"\.?(?::\d*)?\Z", "", text.partition("/")[0].lower()).removeprefix("www.")
