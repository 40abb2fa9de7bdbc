"""JWTs of a site."""

import hmac
import json
from base64 import urlsafe_b64encode

from ovx_lite.domain.models import Site


def segment(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def token(secret: str, claims: object, header: object = None, digest: str = "sha256") -> str:
    """Build a JWT by hand, so that any part of it can be invalid."""
    signed = ".".join(segment(json.dumps(part).encode()) for part in (header or {"alg": "HS256", "typ": "JWT"}, claims))
    return f"{signed}.{segment(hmac.digest(secret.encode(), signed.encode(), digest))}"


SITE = Site(1, "my-site", "", "", "UTC", "", "", None, None, 0, b"secret")
START_S = 1_763_000_000
