"""`GET /js/ovx.js`: the browser script, minified, compressed and cacheable."""

import gzip
import hashlib
import re
from functools import cache

from starlette.requests import Request
from starlette.responses import Response

from ovx_lite import __version__
from ovx_lite.web.common.templating import find_folder

_CACHE_FOREVER = "public, max-age=31536000, immutable"
_CACHE_ONE_HOUR = "public, max-age=3600, stale-while-revalidate=31536000"


async def script(request: Request) -> Response:
    """`GET /js/ovx.js`: the script that sends events from a page. With the current `?v=`, it is cached forever."""
    gzipped = _accepts_gzip(",".join(request.headers.getlist("accept-encoding")))
    body, etag = _prepare_script(gzipped)
    headers = {
        "Access-Control-Allow-Origin": "*",
        "Cache-Control": _CACHE_FOREVER if request.query_params.get("v") == __version__ else _CACHE_ONE_HOUR,
        "Cross-Origin-Resource-Policy": "cross-origin",
        "ETag": etag,
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
    }
    if_none_match = ",".join(request.headers.getlist("if-none-match"))
    if if_none_match.strip() == "*" or etag in re.findall(r'"[^"]*"', if_none_match):
        return Response(status_code=304, headers=headers)
    if gzipped:
        headers["Content-Encoding"] = "gzip"
    return Response(body, headers=headers, media_type="text/javascript")


def minify(source: str) -> str:
    """Remove comment lines, indentation, and the spaces beside anything except words, `$` and quotes."""
    lines = [line.strip() for line in source.splitlines()]
    code = "".join(line + "\n" for line in lines if line and not line.startswith("//"))
    return re.sub(r" ?([^\w\s'$]+) ?", r"\1", code)


@cache
def _prepare_script(gzipped: bool) -> tuple[bytes, str]:
    body = minify((find_folder("static") / "ovx.js").read_text("utf-8")).encode()
    if gzipped:
        body = gzip.compress(body, 9, mtime=0)
    return body, f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def _accepts_gzip(accept_encoding: str) -> bool:
    # An entry for gzip takes precedence over one for `*`.
    is_acceptable = {}
    for part in accept_encoding.lower().split(","):
        coding, _, weight = part.replace(" ", "").replace("\t", "").partition(";")
        is_acceptable[coding] = not re.fullmatch(r"q=0(\.0*)?", weight)
    return is_acceptable.get("gzip", is_acceptable.get("*", False))
