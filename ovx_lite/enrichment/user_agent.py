"""What a user agent string tells of the browser, the operating system, the device, and whether it is a bot."""

import re
from collections.abc import Callable
from functools import cache, lru_cache
from threading import Lock
from typing import TYPE_CHECKING

from ovx_lite.domain.models import UserAgent

if TYPE_CHECKING:
    from ua_parser import Domain
    from ua_parser.regex import Resolver

_MAX_USER_AGENT_LENGTH = 512
_MAX_BROWSER_NAME_LENGTH = 40

# ua-parser's name -> the name that people say. A browser that is not listed keeps ua-parser's name.
_BROWSERS = {
    "AOL Desktop Gold Browser": "AOL",
    "Android": "Android Browser",
    # ua-parser guesses Apple Mail from any Mac web view that does not name itself, and nearly all are other programs.
    "Apple Mail": "",
    "BlackBerry WebKit": "BlackBerry",
    "Chrome Frame": "Internet Explorer",
    "Chrome Mobile": "Chrome",
    "Chrome Mobile WebView": "Chrome",
    "Chrome Mobile iOS": "Chrome",
    "Coc Coc": "Cốc Cốc",
    "DuckDuckGo Mobile": "DuckDuckGo",
    "Ecosia Android": "Ecosia",
    "Ecosia iOS": "Ecosia",
    "Edge Mobile": "Edge",
    "Firefox Alpha": "Firefox",
    "Firefox Beta": "Firefox",
    "Firefox Mobile": "Firefox",
    "Firefox iOS": "Firefox",
    "Google": "Google app",
    "HeadlessChrome": "Headless Chrome",
    "IE": "Internet Explorer",
    "IE Large Screen": "Internet Explorer",
    "IE Mobile": "Internet Explorer",
    "MiuiBrowser": "Mi Browser",
    "Mobile Safari": "Safari",
    "Mobile Safari UI/WKWebView": "Safari",
    "MobileSafari": "Safari",
    "MullvadBrowser": "Mullvad Browser",
    "Opera Mobile": "Opera",
    "Opera Tablet": "Opera",
    "Opera Touch": "Opera",
    "Other": "",
    "PaleMoon": "Pale Moon",
    "QQ Browser Mini": "QQ Browser",
    "QQ Browser Mobile": "QQ Browser",
    "VivoBrowser": "Vivo Browser",
    "WebKit Nightly": "Safari",
}

_LINUXES = (
    "Arch Linux",
    "BackTrack",
    "CentOS",
    "Chromecast Linux",
    "Debian",
    "Fedora",
    "Gentoo",
    "Kubuntu",
    "Linux",
    "Linux Mint",
    "Lubuntu",
    "Mageia",
    "Mandriva",
    "PCLinuxOS",
    "Puppy",
    "Red Hat",
    "SUSE",
    "Slackware",
    "Ubuntu",
    "openSUSE",
)

# ua-parser's name -> ours. An operating system that is not listed is unknown, as ua-parser would also
# take a television's maker for one.
_SYSTEMS = dict.fromkeys(_LINUXES, "Linux") | {
    "ATV OS X": "tvOS",
    "Android": "Android",
    "BSD": "BSD",
    "Bada": "Bada",
    "BlackBerry OS": "BlackBerry",
    "BlackBerry Tablet OS": "BlackBerry",
    "Chrome OS": "ChromeOS",
    "Chromecast Android": "Android",
    "Firefox OS": "Firefox OS",
    "FreeBSD": "FreeBSD",
    "GoogleTV": "Android",
    "HarmonyOS": "HarmonyOS",
    "KaiOS": "KaiOS",
    "Kindle": "Kindle",
    "Mac OS": "macOS",
    "Mac OS X": "macOS",
    "Maemo": "Maemo",
    "MeeGo": "MeeGo",
    "NetBSD": "NetBSD",
    "OpenBSD": "OpenBSD",
    "Roku": "Roku",
    "Sailfish": "Sailfish",
    "Solaris": "Solaris",
    "Symbian OS": "Symbian",
    "Symbian^3": "Symbian",
    "Symbian^3 Anna": "Symbian",
    "Symbian^3 Belle": "Symbian",
    "Tizen": "Tizen",
    "WatchOS": "watchOS",
    "Web0S": "webOS",
    "Windows": "Windows",
    "Windows Mobile": "Windows Phone",
    "Windows Phone": "Windows Phone",
    "iOS": "iOS",
    "tvOS": "tvOS",
    "webOS": "webOS",
}

_DESKTOPS = {"Windows", "macOS", "Linux", "ChromeOS", "FreeBSD", "OpenBSD", "NetBSD", "BSD", "Solaris"}

# AFT is Amazon's Fire TV. A games console that is wired to a television shows the page on a television.
_TV = re.compile(
    r"\bTV\b|(?i:smart-?tv)|AppleTV|GoogleTV|HbbTV|MiTV|NetCast|BRAVIA|VIERA|Web0S|Roku|CrKey|Chromecast"
    r"|\bAFT[A-Z]|(?i:playstation) [345]|\bXbox\b|Nintendo Wii"
)
# Every Internet Explorer on a Windows with ink support says "Tablet PC", also on a desktop computer.
_TABLET = re.compile(r"iPad|Tablet(?! PC)|Kindle|\bSilk\b|PlayBook|TouchPad")
_MOBILE = re.compile(r"Mobi|iPhone|iPod|Opera Mini|J2ME|MIDP|Windows Phone|BlackBerry|\bBB10\b|Symbian|KAIOS")
# Cubot makes telephones, and is_crawler takes any word that ends with "bot" for a bot.
_NOT_A_BOT = re.compile(r"\bcubot\b", re.IGNORECASE)

_CRAWLER = re.compile(r"bot\b|spider|crawler|externalhit", re.IGNORECASE)

_load_lock = Lock()


def is_browser(user_agent: str) -> bool:
    """Whether a user agent is a browser's, or a crawler's, which looks at pages, too; else it is a library's."""
    return user_agent.startswith(("Mozilla/", "Opera/")) or bool(_CRAWLER.search(user_agent))


def parse_user_agent(user_agent: str) -> UserAgent:
    """Take a `User-Agent` header, `""` for none; return what it tells. It may be called from any thread."""
    if not user_agent:
        return UserAgent("", "", "", bot=False)
    return _parse(user_agent[:_MAX_USER_AGENT_LENGTH])


def warm_up() -> None:
    """Load the parsers, which takes some 0.2 s, so that the first `describe` does not have to."""
    _parsers()


@lru_cache(maxsize=4096)
def _parse(user_agent: str) -> UserAgent:
    # The Rust core takes UTF-8, which has no half of a surrogate pair; a text that was read from a log may have one.
    text = user_agent.encode("utf-8", "replace").decode()
    resolver, domains, is_crawler = _parsers()
    result = resolver(text, domains)
    family = result.user_agent.family if result.user_agent else ""
    # Some of ua-parser's patterns take whatever stands before a slash for a name.
    browser = _BROWSERS.get(family, family if len(family) <= _MAX_BROWSER_NAME_LENGTH else "")
    system = _SYSTEMS.get(result.os.family, "") if result.os else ""
    return UserAgent(browser, system, _device(text, system), bot=is_crawler(_NOT_A_BOT.sub("phone", text)))


def _device(text: str, system: str) -> str:
    if _TV.search(text):
        return "tv"
    # An iPad's user agent says "Mobile", too.
    if _TABLET.search(text):
        return "tablet"
    if _MOBILE.search(text):
        return "mobile"
    # Android says "Mobile" on telephones alone.
    if system == "Android":
        return "tablet"
    return "desktop" if system in _DESKTOPS else ""


def _parsers() -> "tuple[Resolver, Domain, Callable[[str], bool]]":
    # Without the lock, threads that come at the same time would each load the parsers.
    with _load_lock:
        return _load()


@cache
def _load() -> "tuple[Resolver, Domain, Callable[[str], bool]]":
    from is_crawler import is_crawler
    from ua_parser import Domain
    from ua_parser.loaders import load_lazy_builtins
    from ua_parser.regex import Resolver

    # ua-parser's device patterns are the most costly of the three to build, and are not used here.
    browsers, systems, _ = load_lazy_builtins()
    return Resolver((browsers, systems, [])), Domain.USER_AGENT | Domain.OS, is_crawler
