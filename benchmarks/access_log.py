"""The lines per second of `ovx-lite import access-log`."""

import random
import resource
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path

from benchmarks.load import BROWSERS
from benchmarks.server import OVX, SITE, new_site, on_core
from benchmarks.table import Row

LINES_PER_S = 5
BOTS = (
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
)
ASSETS = ("/static/site.css", "/static/site.js", "/images/logo.svg", "/favicon.ico", "/fonts/text.woff2")


def rows(folder: Path, count: int) -> Iterator[Row]:
    """Import a log of `count` lines into an empty store, on one core; the start of the command is included."""
    new_site(folder)
    log = folder / "access.log"
    with log.open("w") as file:
        file.writelines(_lines(count, random.Random(3)))
    command = [*OVX, "import", "access-log", SITE, str(log), "--data-dir", str(folder)]
    cpu_time_s, started_at_s = _children_cpu_time_s(), time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, preexec_fn=on_core(0))
    elapsed_s = time.monotonic() - started_at_s
    cpu_us = 1e6 * (_children_cpu_time_s() - cpu_time_s) / count
    yield Row(f"import of an access log of {count:,} lines", f"{count / elapsed_s:,.0f} lines/s, {cpu_us:.1f} µs each")


def _children_cpu_time_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _lines(count: int, rng: random.Random) -> Iterator[str]:
    """Yield lines in Combined Log Format up to now, five a second.

    Out of 100 lines, 58 are pageviews of 200 visitors at a time with about four pageviews each. 25 are assets, 10 are
    requests of bots, 3 are errors, 2 are redirects, and 2 have other methods.
    """
    first_s = time.time() - count / LINES_PER_S
    visitors = [_visitor(rng) for _ in range(200)]
    for line_number in range(count):
        second = datetime.fromtimestamp(first_s + line_number / LINES_PER_S, UTC)
        index, roll = rng.randrange(len(visitors)), rng.random()
        address, user_agent, referrer = visitors[index]
        method, status, target = "GET", 200, f"/articles/{int(rng.paretovariate(0.7)) % 2000}"
        if roll < 0.58:
            visitors[index] = _visitor(rng) if rng.random() < 0.25 else (address, user_agent, "https://example.com/")
        elif roll < 0.83:
            target, referrer = rng.choice(ASSETS), f"https://example.com{target}"
        elif roll < 0.93:
            address, user_agent, referrer = "66.249.66.1", rng.choice(BOTS), "-"
        elif roll < 0.96:
            status = rng.choice((404, 404, 403, 500))
        elif roll < 0.98:
            status = 301
        else:
            method = rng.choice(("POST", "HEAD"))
        moment, size_bytes = second.strftime("%d/%b/%Y:%H:%M:%S +0000"), rng.randrange(500, 50_000)
        request = f'"{method} {target} HTTP/1.1" {status} {size_bytes}'
        yield f'{address} - - [{moment}] {request} "{referrer}" "{user_agent}"\n'


def _visitor(rng: random.Random) -> tuple[str, str, str]:
    """Return the address, the user agent and the first referrer of a visitor."""
    referrer = f"https://site-{int(rng.paretovariate(0.7)) % 800}.example/" if rng.random() < 0.6 else "-"
    user_agent = rng.choice(BROWSERS).format(rng.randrange(10, 40))
    return str(IPv4Address(rng.randrange(1 << 24, 224 << 24))), user_agent, referrer
