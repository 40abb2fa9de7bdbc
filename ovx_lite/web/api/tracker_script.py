"""The browser script, as it is served: small, and kept by browsers."""

import gzip
import hashlib
import re
from functools import cache

from starlette.requests import Request
from starlette.responses import Response

from ovx_lite import __version__
from ovx_lite.web.common.templating import folder

_FOR_EVER = "public, max-age=31536000, immutable"
_FOR_AN_HOUR = "public, max-age=3600, stale-while-revalidate=31536000"


async def script(request: Request) -> Response:
    """`/js/ovx.js`: the script that sends events from a page."""
    zipped = _takes_gzip(",".join(request.headers.getlist("accept-encoding")))
    body, tag = _prepared(zipped)
    headers = {
        "Access-Control-Allow-Origin": "*",
        "Cache-Control": _FOR_EVER if request.query_params.get("v") == __version__ else _FOR_AN_HOUR,
        "Cross-Origin-Resource-Policy": "cross-origin",
        "ETag": tag,
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
    }
    known = ",".join(request.headers.getlist("if-none-match"))
    if known.strip() == "*" or tag in re.findall(r'"[^"]*"', known):
        return Response(status_code=304, headers=headers)
    if zipped:
        headers["Content-Encoding"] = "gzip"
    return Response(body, headers=headers, media_type="text/javascript")


def as_served(source: str) -> str:
    """Take out what only people read: comment lines, indentation, and spaces beside anything but words and quotes."""
    lines = [line.strip() for line in source.splitlines()]
    code = "".join(line + "\n" for line in lines if line and not line.startswith("//"))
    return re.sub(r" ?([^\w\s'$]+) ?", r"\1", code)


@cache
def _prepared(zipped: bool) -> tuple[bytes, str]:
    body = as_served((folder("static") / "ovx.js").read_text("utf-8")).encode()
    if zipped:
        body = gzip.compress(body, 9, mtime=0)
    return body, f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def _takes_gzip(accepted: str) -> bool:
    # What is said of gzip itself goes before what is said of `*`.
    said = {}
    for part in accepted.lower().split(","):
        coding, _, weight = part.replace(" ", "").replace("\t", "").partition(";")
        said[coding] = not re.fullmatch(r"q=0(\.0*)?", weight)
    return said.get("gzip", said.get("*", False))
