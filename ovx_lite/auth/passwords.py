"""The administrator's password: validation, hash and verification. Pure, and slow on purpose: not for the event loop.

The stored hash includes its parameters, so that they can be made slower later. scrypt with the parameters below takes
16 MiB and the work that OWASP recommends.
"""

import hmac
from base64 import b64decode, b64encode
from hashlib import scrypt
from unicodedata import normalize

from ovx_lite.domain.errors import ApiError

MIN_LENGTH, MAX_LENGTH = 10, 1000
"""The least and the most characters of a password."""

_N, _R, _P = 1 << 14, 8, 5


def validate_password(password: str) -> str:
    """Return a new password if its length is allowed and it is valid text. Raises `ApiError` (field `password`)."""
    try:
        password.encode()
    except UnicodeEncodeError:
        raise ApiError("invalid_request", "The password is not valid UTF-8: enter it in UTF-8.", "password") from None
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise ApiError(
            "invalid_request", f"Use {MIN_LENGTH} to {MAX_LENGTH:,} characters, for example a few words.", "password"
        )
    return password


def hash_password(password: str, salt: bytes) -> str:
    """Return the text to store for a password: algorithm, parameters, salt and hash. `salt` is 16 random bytes."""
    derived = _scrypt(password, salt, _N, _R, _P)
    return f"scrypt {_N} {_R} {_P} {b64encode(salt).decode()} {b64encode(derived).decode()}"


def verify_password(password: str, stored_hash: str) -> bool:
    """Return whether the stored hash is that of this password."""
    _, n, r, p, salt, expected = stored_hash.split(" ")
    return hmac.compare_digest(_scrypt(password, b64decode(salt), int(n), int(r), int(p)), b64decode(expected))


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    # Keyboards send é as one character or as two; NFKC makes them equal.
    encoded = normalize("NFKC", password).encode("utf-8", "surrogatepass")
    return scrypt(encoded, salt=salt, n=n, r=r, p=p, dklen=32)
