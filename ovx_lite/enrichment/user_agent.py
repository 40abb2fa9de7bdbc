"""The browser, operating system and device of a user agent, and whether it is a bot.

The names are in `data/user_agents.toml`. It is read together with the parsers, when the first user agent is described.
"""

import re
from collections.abc import Callable
from functools import cache, lru_cache
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from ovx_lite.domain.models import UserAgent
from ovx_lite.enrichment.tables import invert, read_table

if TYPE_CHECKING:
    from ua_parser import Domain
    from ua_parser.regex import Resolver

_MAX_USER_AGENT_LENGTH = 512
_MAX_BROWSER_LENGTH = 40

# AFT is Amazon's Fire TV. A game console shows its pages on a television.
_TV = re.compile(
    r"\bTV\b|(?i:smart-?tv)|AppleTV|GoogleTV|HbbTV|MiTV|NetCast|BRAVIA|VIERA|Web0S|Roku|CrKey|Chromecast"
    r"|\bAFT[A-Z]|(?i:playstation) [345]|\bXbox\b|Nintendo Wii"
)
# Internet Explorer says "Tablet PC" on each Windows with ink support, also on desktop computers.
_TABLET = re.compile(r"iPad|Tablet(?! PC)|Kindle|\bSilk\b|PlayBook|TouchPad")
_MOBILE = re.compile(r"Mobi|iPhone|iPod|Opera Mini|J2ME|MIDP|Windows Phone|BlackBerry|\bBB10\b|Symbian|KAIOS")
# Cubot makes phones, and is_crawler takes every word that ends in "bot" for a bot.
_NOT_A_BOT = re.compile(r"\bcubot\b", re.IGNORECASE)

_CRAWLER = re.compile(r"bot\b|spider|crawler|externalhit", re.IGNORECASE)

_load_lock = Lock()


class _Parsers(NamedTuple):
    """The parsers of user agents, with the names of `data/user_agents.toml`."""

    resolve: "Resolver"
    domains: "Domain"
    is_crawler: Callable[[str], bool]
    browsers: dict[str, str]
    systems: dict[str, str]
    desktop_systems: set[str]


def is_browser(user_agent: str) -> bool:
    """Return whether a user agent is a browser's or a crawler's, which look at pages, and not a library's."""
    return user_agent.startswith(("Mozilla/", "Opera/")) or bool(_CRAWLER.search(user_agent))


def parse_user_agent(user_agent: str) -> UserAgent:
    """Describe the header `User-Agent` (`""` for none). May be called from any thread."""
    if not user_agent:
        return UserAgent("", "", "", bot=False)
    return _parse(user_agent[:_MAX_USER_AGENT_LENGTH])


def warm_up() -> None:
    """Load the parsers, which takes about 0.2 s, so that the first call of `parse_user_agent` does not have to."""
    _parsers()


@lru_cache(maxsize=4096)
def _parse(user_agent: str) -> UserAgent:
    # The Rust core takes UTF-8, which has no lone surrogates. Text from a log file may have them.
    text = user_agent.encode("utf-8", "replace").decode()
    parsers = _parsers()
    result = parsers.resolve(text, parsers.domains)
    family = result.user_agent.family if result.user_agent else ""
    # Some patterns of ua-parser take any text before a slash for a name.
    browser = parsers.browsers.get(family, family if len(family) <= _MAX_BROWSER_LENGTH else "")
    system = parsers.systems.get(result.os.family, "") if result.os else ""
    device = _device(text, system, parsers.desktop_systems)
    return UserAgent(browser, system, device, bot=parsers.is_crawler(_NOT_A_BOT.sub("phone", text)))


def _device(text: str, system: str, desktop_systems: set[str]) -> str:
    if _TV.search(text):
        return "tv"
    # The user agent of an iPad says "Mobile", too.
    if _TABLET.search(text):
        return "tablet"
    if _MOBILE.search(text):
        return "mobile"
    # Android says "Mobile" on phones only.
    if system == "Android":
        return "tablet"
    return "desktop" if system in desktop_systems else ""


def _parsers() -> _Parsers:
    # Without the lock, threads that arrive at the same time would each load the parsers.
    with _load_lock:
        return _load()


@cache
def _load() -> _Parsers:
    from is_crawler import is_crawler
    from ua_parser import Domain
    from ua_parser.loaders import load_lazy_builtins
    from ua_parser.regex import Resolver

    # ua-parser's device patterns take the longest of the three to build, and are not used here.
    browsers, systems, _ = load_lazy_builtins()
    table = read_table("user_agents.toml")
    return _Parsers(
        resolve=Resolver((browsers, systems, [])),
        domains=Domain.USER_AGENT | Domain.OS,
        is_crawler=is_crawler,
        browsers=invert(table["browsers"]) | dict.fromkeys(table["unknown_browsers"], ""),
        systems=invert(table["systems"]),
        desktop_systems=set(table["desktop_systems"]),
    )
