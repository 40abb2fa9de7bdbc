"""The parts of a URL that are stored: scheme, host, path and campaign (docs/privacy.md, What is never stored). Pure."""

import re
from functools import lru_cache
from urllib.parse import parse_qsl, urlsplit

from ovx_lite.domain.models import Campaign, PageUrl

_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\x00-\x1f\x7f]*")
_HOST = re.compile(r"[^\x00-\x20\"<>\\^`{|}%,;]*")
_CAMPAIGN = re.compile(r"(?:^|[&;])(?:utm_|ref=|source=)")
_MAX_CAMPAIGN_VALUE_LENGTH = 256
_MAX_CACHED_LENGTH = 512  # thousands of longer URLs, perhaps of rejected events, would take up memory


def parse_url(url: str) -> tuple[PageUrl, Campaign]:
    """Return the page and the campaign of an absolute URL of any scheme.

    User names, ports, fragments and the rest of the query are dropped. If `utm_source` is missing, `source` and then
    `ref` take its place. Raises ValueError if the URL is not absolute or has no valid host.
    """
    return _parse(url) if len(url) <= _MAX_CACHED_LENGTH else _parse.__wrapped__(url)


@lru_cache(maxsize=8192)
def _parse(url: str) -> tuple[PageUrl, Campaign]:
    if not _ABSOLUTE.fullmatch(url):
        raise ValueError("not an absolute URL")
    parts = urlsplit(url)
    if "\\" in parts.netloc:
        raise ValueError("browsers treat a backslash as a slash, so the host is ambiguous")
    scheme, host = parts.scheme.lower(), (parts.hostname or "").rstrip(".")
    _ = parts.port  # raises ValueError unless it is a number up to 65535
    if not _HOST.fullmatch(host) or (not host and scheme in ("http", "https")):
        raise ValueError("no host")
    path = parts.path.replace(" ", "%20") or "/"
    return PageUrl(scheme, host, path), _campaign(parts.query)


def parse_referrer(url: str) -> str:
    """Return `host/path` of a referring URL; `""` for an empty or `about:` URL. Raises ValueError if it is relative."""
    if not url or url.startswith("about:"):
        return ""
    page_url, _ = parse_url(url)
    return page_url.host + page_url.path


def _campaign(query: str) -> Campaign:
    if not _CAMPAIGN.search(query):
        return Campaign()
    # If a parameter occurs twice, the first one counts, as in the browser's URLSearchParams.get.
    params: dict[str, str] = {}
    for name, value in parse_qsl(query):
        params.setdefault(name, value[:_MAX_CAMPAIGN_VALUE_LENGTH])
    return Campaign(
        params.get("utm_source") or params.get("source") or params.get("ref") or "",
        params.get("utm_medium", ""),
        params.get("utm_campaign", ""),
        params.get("utm_content", ""),
        params.get("utm_term", ""),
    )
