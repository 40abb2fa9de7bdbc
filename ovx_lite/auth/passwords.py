"""The password of whoever looks after the sites. Pure, and slow on purpose: not for the event loop.

How it is hashed stands with the hash, so that it can be made slower one day. scrypt with these numbers takes 16 MiB
and as much work as OWASP asks for.
"""

import hmac
from base64 import b64decode, b64encode
from hashlib import scrypt
from unicodedata import normalize

from ovx_lite.domain.errors import Refused

SHORTEST, LONGEST = 10, 1000
"""Characters of a password."""

_N, _R, _P = 1 << 14, 8, 5


def checked(password: str) -> str:
    """A new password, if it is long enough, and can be typed. Raises `Refused` (field `password`)."""
    try:
        password.encode()
    except UnicodeEncodeError:
        raise Refused("invalid_request", "The password is not valid UTF-8: write it in UTF-8.", "password") from None
    if not SHORTEST <= len(password) <= LONGEST:
        raise Refused("invalid_request", f"Use {SHORTEST} to {LONGEST:,} characters; a few words will do.", "password")
    return password


def hashed(password: str, salt: bytes) -> str:
    """What to keep of a password; `salt` is 16 random bytes."""
    made = _scrypt(password, salt, _N, _R, _P)
    return f"scrypt {_N} {_R} {_P} {b64encode(salt).decode()} {b64encode(made).decode()}"


def is_right(password: str, kept: str) -> bool:
    """Whether it is the password that this was kept of."""
    _, n, r, p, salt, made = kept.split(" ")
    return hmac.compare_digest(_scrypt(password, b64decode(salt), int(n), int(r), int(p)), b64decode(made))


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    # One keyboard writes é as one character, another as two.
    told = normalize("NFKC", password).encode("utf-8", "surrogatepass")
    return scrypt(told, salt=salt, n=n, r=r, p=p, dklen=32)
