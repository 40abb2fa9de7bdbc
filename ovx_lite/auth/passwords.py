"""The password of whoever looks after the sites. Pure, and slow on purpose: not for the event loop.

How it is hashed stands with the hash, so that it can be made slower one day. scrypt with these numbers takes 16 MiB
and as much work as OWASP asks for.
"""

import hmac
from base64 import b64decode, b64encode
from hashlib import scrypt
from unicodedata import normalize

from ovx_lite.domain.errors import ApiError

MIN_LENGTH, MAX_LENGTH = 10, 1000
"""Characters of a password."""

_N, _R, _P = 1 << 14, 8, 5


def validate_password(password: str) -> str:
    """A new password, if it is long enough, and can be typed. Raises `ApiError` (field `password`)."""
    try:
        password.encode()
    except UnicodeEncodeError:
        raise ApiError("invalid_request", "The password is not valid UTF-8: write it in UTF-8.", "password") from None
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise ApiError(
            "invalid_request", f"Use {MIN_LENGTH} to {MAX_LENGTH:,} characters; a few words will do.", "password"
        )
    return password


def hash_password(password: str, salt: bytes) -> str:
    """What to keep of a password; `salt` is 16 random bytes."""
    derived = _scrypt(password, salt, _N, _R, _P)
    return f"scrypt {_N} {_R} {_P} {b64encode(salt).decode()} {b64encode(derived).decode()}"


def verify_password(password: str, stored_hash: str) -> bool:
    """Whether it is the password that this was kept of."""
    _, n, r, p, salt, expected = stored_hash.split(" ")
    return hmac.compare_digest(_scrypt(password, b64decode(salt), int(n), int(r), int(p)), b64decode(expected))


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    # One keyboard writes é as one character, another as two.
    encoded = normalize("NFKC", password).encode("utf-8", "surrogatepass")
    return scrypt(encoded, salt=salt, n=n, r=r, p=p, dklen=32)
