"""How user agents are parsed into browser, operating system and device."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from ovx_lite.domain.models import UserAgent
from ovx_lite.enrichment import user_agent
from ovx_lite.enrichment.tables import read_table
from ovx_lite.enrichment.user_agent import parse_user_agent, warm_up

GECKO = "(KHTML, like Gecko)"
WINDOWS = f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 {GECKO}"
MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)"
CHROMEBOOK = f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 {GECKO}"
LUMIA = f"Mozilla/5.0 (Windows Phone 10.0; Android 6.0.1; Microsoft; Lumia 950) AppleWebKit/537.36 {GECKO}"
PLAYBOOK = f"Mozilla/5.0 (PlayBook; U; RIM Tablet OS 2.1.0; en-US) AppleWebKit/536.2+ {GECKO}"
PLAYSTATION = f"Mozilla/5.0 (PlayStation; PlayStation 5/9.40) AppleWebKit/605.1.15 {GECKO}"
SAMSUNG_TV = f"Mozilla/5.0 (SMART-TV; Linux; Tizen 5.0) AppleWebKit/537.36 {GECKO}"
LG_TV = f"Mozilla/5.0 (Web0S; Linux/SmartTV) AppleWebKit/537.36 {GECKO}"
IE_9 = "Mozilla/5.0 (compatible; MSIE 9.0; Windows NT 6.1; Trident/5.0; chromeframe/19.0.1084.52)"
IE_11 = "Mozilla/5.0 (Windows NT 6.3; Trident/7.0; Touch; .NET4.0E; Tablet PC 2.0; rv:11.0) like Gecko"
GALAXY = "SamsungBrowser/25.0 Chrome/121.0.0.0 Mobile Safari/537.36"
LINUX = f"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 {GECKO}"
IPHONE = f"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5_1 like Mac OS X) AppleWebKit/605.1.15 {GECKO}"
IPAD = f"Mozilla/5.0 (iPad; CPU OS 17_5_1 like Mac OS X) AppleWebKit/605.1.15 {GECKO}"


def android(model: str, browser: str) -> str:
    return f"Mozilla/5.0 (Linux; Android 10; {model}) AppleWebKit/537.36 {GECKO} {browser}"


@pytest.mark.parametrize(
    ("user_agent", "name", "system", "device"),
    [
        # Desktops
        (f"{WINDOWS} Chrome/126.0.0.0 Safari/537.36", "Chrome", "Windows", "desktop"),
        (f"{WINDOWS} Chrome/126.0.0.0 Safari/537.36 Edg/126.0.0.0", "Edge", "Windows", "desktop"),
        (f"{WINDOWS} Chrome/64.0.3282.140 Safari/537.36 Edge/17.17134", "Edge", "Windows", "desktop"),
        (f"{WINDOWS} Chrome/126.0.0.0 Safari/537.36 OPR/111.0.0.0", "Opera", "Windows", "desktop"),
        (f"{WINDOWS} Chrome/126.0.0.0 Safari/537.36 Vivaldi/6.8.3381.46", "Vivaldi", "Windows", "desktop"),
        (f"{WINDOWS} Chrome/124.0.0.0 YaBrowser/24.6.0.0 Safari/537.36", "Yandex Browser", "Windows", "desktop"),
        ("Mozilla/5.0 (Windows NT 6.1; rv:27.0) Gecko/20100101 Firefox/27.0", "Firefox", "Windows", "desktop"),
        (IE_9, "Internet Explorer", "Windows", "desktop"),
        (IE_11, "Internet Explorer", "Windows", "desktop"),
        (f"{MAC} AppleWebKit/605.1.15 {GECKO} Version/17.5 Safari/605.1.15", "Safari", "macOS", "desktop"),
        (f"{MAC} AppleWebKit/605.1.15 {GECKO}", "", "macOS", "desktop"),
        (f"{MAC} AppleWebKit/537.36", "", "macOS", "desktop"),
        (f"{CHROMEBOOK} Chrome/126.0.0.0 Safari/537.36", "Chrome", "ChromeOS", "desktop"),
        (f"{LINUX} Ubuntu Chromium/32.0 Chrome/32.0 Safari/537.36", "Chromium", "Linux", "desktop"),
        ("Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:27.0) Gecko/20100101 Firefox/27.0", "Firefox", "Linux", "desktop"),
        (
            "Mozilla/5.0 (X11; Fedora; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0",
            "Firefox",
            "Linux",
            "desktop",
        ),
        ("Mozilla/5.0 (X11; OpenBSD amd64; rv:127.0) Gecko/20100101 Firefox/127.0", "Firefox", "OpenBSD", "desktop"),
        (
            "Mozilla/5.0 (X11; Linux x86_64; rv:102.0) Gecko/20100101 Mobotix Firefox/102.0",
            "Firefox",
            "Linux",
            "desktop",
        ),
        # Phones
        (f"{IPHONE} Version/17.5 Mobile/15E148 Safari/604.1", "Safari", "iOS", "mobile"),
        (f"{IPHONE} Mobile/15E148", "Safari", "iOS", "mobile"),
        (f"{IPHONE} CriOS/126.0.6478.54 Mobile/15E148 Safari/604.1", "Chrome", "iOS", "mobile"),
        (f"{IPHONE} FxiOS/127.0 Mobile/15E148 Safari/605.1.15", "Firefox", "iOS", "mobile"),
        (f"{IPHONE} Version/17.0 EdgiOS/125.0.2535.96 Mobile/15E148 Safari/605.1.15", "Edge", "iOS", "mobile"),
        (f"{IPHONE} GSA/322.0.643803333 Mobile/15E148 Safari/604.1", "Google app", "iOS", "mobile"),
        (f"{IPHONE} Mobile/21F90 [FBAN/FBIOS;FBAV/468.0.0.37.102;FBDV/iPhone15,3]", "Facebook", "iOS", "mobile"),
        (android("K", "Chrome/126.0.0.0 Mobile Safari/537.36"), "Chrome", "Android", "mobile"),
        (
            android("Pixel 8; wv", "Version/4.0 Chrome/126.0.6478.71 Mobile Safari/537.36"),
            "Chrome",
            "Android",
            "mobile",
        ),
        (android("SAMSUNG SM-S918B", GALAXY), "Samsung Internet", "Android", "mobile"),
        (android("K", "Chrome/126.0.0.0 Mobile Safari/537.36 EdgA/126.0.0.0"), "Edge", "Android", "mobile"),
        (android("K", "Chrome/124.0.0.0 Mobile Safari/537.36 OPR/82.0.0.0"), "Opera", "Android", "mobile"),
        ("Mozilla/5.0 (Android 14; Mobile; rv:127.0) Gecko/127.0 Firefox/127.0", "Firefox", "Android", "mobile"),
        ("Opera/9.80 (J2ME/MIDP; Opera Mini/7.1/191.308; U; en) Presto/2.12 Version/12.16", "Opera Mini", "", "mobile"),
        (
            "Opera/9.80 (Android; Opera Mini/36.2/119; U; id) Presto/2.12 Version/12.16",
            "Opera Mini",
            "Android",
            "mobile",
        ),
        (f"{LUMIA} Chrome/52.0.2743.116 Mobile Safari/537.36 Edge/15.15254", "Edge", "Windows Phone", "mobile"),
        (android("CUBOT X19", "Chrome/126.0.0.0 Mobile Safari/537.36"), "Chrome", "Android", "mobile"),
        (android("Aftermath 3", "Chrome/126.0.0.0 Mobile Safari/537.36"), "Chrome", "Android", "mobile"),
        # Tablets
        (f"{IPAD} Version/17.5 Mobile/15E148 Safari/604.1", "Safari", "iOS", "tablet"),
        (f"{IPAD} CriOS/126.0.6478.54 Mobile/15E148 Safari/604.1", "Chrome", "iOS", "tablet"),
        (android("SM-X910", "Chrome/126.0.0.0 Safari/537.36"), "Chrome", "Android", "tablet"),
        ("Mozilla/5.0 (Android 14; Tablet; rv:127.0) Gecko/127.0 Firefox/127.0", "Firefox", "Android", "tablet"),
        (android("KFMAWI", "Silk/126.1.1 like Chrome/126.0.6478.60 Safari/537.36"), "Amazon Silk", "Android", "tablet"),
        (f"{PLAYBOOK} Version/7.2.1.0 Safari/536.2+", "BlackBerry", "BlackBerry", "tablet"),
        # TVs
        (f"{SAMSUNG_TV} SamsungBrowser/2.2 TV Safari/537.36", "Samsung Internet", "Tizen", "tv"),
        (f"{LG_TV} Chrome/94.0.4606.128 Safari/537.36", "Chrome", "webOS", "tv"),
        (android("BRAVIA 4K VH2; wv", "Version/4.0 Chrome/126.0.6478.71 Safari/537.36"), "Chrome", "Android", "tv"),
        (android("AFTKA", "Silk/126.1.1 like Chrome/126.0.6478.60 Safari/537.36"), "Amazon Silk", "Android", "tv"),
        (android("SHIELD Android TV", "Chrome/126.0.0.0 Safari/537.36"), "Chrome", "Android", "tv"),
        (f"{PLAYSTATION} Version/15.4 Safari/605.1.15", "Safari", "", "tv"),
        # Incomplete user agents
        ("Mozilla/4.0", "", "", ""),
        ("Lynx/2.8.7rel.2 libwww-FM/2.14 SSL-MM/1.4.1 OpenSSL/1.0.1f", "Lynx", "", ""),
    ],
)
def test_browsers_are_parsed(user_agent: str, name: str, system: str, device: str) -> None:
    assert parse_user_agent(user_agent) == UserAgent(name, system, device, bot=False)


@pytest.mark.parametrize(
    "user_agent",
    [
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        f"{IPHONE} Version/6.0 Mobile/10A5376e Safari/8536.25 (compatible; Googlebot/2.1; +http://google.com/bot.html)",
        f"Mozilla/5.0 AppleWebKit/537.36 {GECKO}; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
        f"{WINDOWS} HeadlessChrome/126.0.0.0 Safari/537.36",
        "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
        "UniversalFeedParser/4.2-pre-314-svn +http://feedparser.org/",
        "curl/8.5.0",
        "python-requests/2.32.3",
        "-",
    ],
)
def test_bots_are_detected(user_agent: str) -> None:
    assert parse_user_agent(user_agent).bot


def test_an_empty_user_agent_loads_no_parser() -> None:
    program = (
        "import sys; from ovx_lite.enrichment.user_agent import parse_user_agent; print(*parse_user_agent('')); "
        "print([name for name in sys.modules if name.startswith(('ua_parser', 'is_crawler'))])"
    )
    completed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert completed.stdout == "   False\n[]\n"


def test_only_the_first_512_characters_are_parsed() -> None:
    start = f"{WINDOWS} Chrome/126.0.0.0 Safari/537.36 ".ljust(512, "x")
    before = user_agent._parse.cache_info().currsize
    assert (
        parse_user_agent(start + "Googlebot/2.1 " * 10_000)
        == parse_user_agent(start)
        == UserAgent("Chrome", "Windows", "desktop", bot=False)
    )
    assert user_agent._parse.cache_info().currsize <= before + 1


def test_an_email_address_is_not_a_browser_name() -> None:
    agent = parse_user_agent(f"Mozilla/5.0 {'somebody@example.com ' * 5}/1.0 CFNetwork/1408.0.4 Darwin/22.5.0")
    assert agent.browser == ""


def test_a_user_agent_with_a_lone_surrogate_is_parsed() -> None:
    assert parse_user_agent("Mozilla/5.0 (Windows NT 10.0; \udcff) Gecko/20100101 Firefox/127.0").browser == "Firefox"


def test_concurrent_threads_load_the_parsers_once() -> None:
    user_agent._load.cache_clear()
    user_agent._parse.cache_clear()
    thread_count = 8
    barrier = Barrier(thread_count)

    def run_thread(number: int) -> UserAgent | None:
        barrier.wait()
        if number == 0:
            warm_up()
            return None
        return parse_user_agent(f"{WINDOWS} Chrome/{100 + number}.0.0.0 Safari/537.36")

    with ThreadPoolExecutor(thread_count) as pool:
        agents = list(pool.map(run_thread, range(thread_count)))
    assert agents == [None] + [UserAgent("Chrome", "Windows", "desktop", bot=False)] * (thread_count - 1)
    assert user_agent._load.cache_info().misses == 1, "the parsers were loaded more than once"


def test_the_table_lists_each_name_once() -> None:
    table = read_table("user_agents.toml")
    for names in ([*table["browsers"].values(), table["unknown_browsers"]], table["systems"].values()):
        listed = [name for group in names for name in group]
        assert len(listed) == len(set(listed))
    assert set(table["desktop_systems"]) <= set(table["systems"])
