"""Lines of access logs."""

from datetime import UTC, datetime

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0"
BEGIN_S = 1_431_864_000  # 2015-05-17 12:00:00 UTC, in seconds


def line(
    path: str = "/",
    second: float = 0,
    address: str = "203.0.113.9",
    status: int = 200,
    user_agent: str = FIREFOX,
    method: str = "GET",
    referrer: str = "-",
) -> str:
    """Return a line in nginx's Combined Log Format."""
    time_text = datetime.fromtimestamp(BEGIN_S + second, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")
    return f'{address} - - [{time_text}] "{method} {path} HTTP/1.1" {status} 123 "{referrer}" "{user_agent}"'
