"""Amounts of money: convert the callers' decimals to whole minor units (cents) and back. Pure."""

import re
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Annotated

import msgspec
from msgspec import Meta, Raw

from ovx_lite.domain.errors import ApiError

UNKNOWN_CURRENCY = "XXX"  # ISO 4217's "no currency", for amounts without one; callers cannot send it
_UNKNOWN_CURRENCY_DECIMALS = 2
_MAX_AMOUNT_MINOR = 10**15  # the sum of nine thousand such amounts still fits into a 64-bit integer of the database

# The active currencies and fund codes of ISO 4217 as of January 2026 (without ANG, BGN, CUC, HRK, SLL and ZWL, which
# are withdrawn), by number of decimals. Gold, test codes and the like have no minor unit and are left out.
_BY_DECIMALS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: """
        AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW
        CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF
        IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK
        MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP
        SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG
        YER ZAR ZMW ZWG
    """,
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
DECIMALS = {code: decimals for decimals, codes in _BY_DECIMALS.items() for code in codes.split()}

_DECIMALS_BY_CODE = DECIMALS | {UNKNOWN_CURRENCY: _UNKNOWN_CURRENCY_DECIMALS}
# By currency: the number of minor units in one unit, and the largest amount that is accepted.
_SCALES = {
    code: (Decimal(10**decimals), Decimal(f"{_MAX_AMOUNT_MINOR}E-{decimals}"))
    for code, decimals in _DECIMALS_BY_CODE.items()
}
# A context of our own, because the thread's can have any settings. 28 digits are more than _MAX_AMOUNT_MINOR needs, and
# rounding away anything but zeros raises Inexact.
_EXACT_CONTEXT = Context(prec=28, traps=[Inexact])
_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?")

Amount = Annotated[
    Raw,
    Meta(
        extra_json_schema={
            "anyOf": [{"type": ["number", "null"]}, {"type": "string", "pattern": f"^{_DECIMAL.pattern}$"}]
        }
    ),
]
"""The type of a field with an amount, left undecoded because a binary float is not exact. Default: an empty `Raw`."""


def parse_currency(code: str, field: str) -> str:
    """Return an ISO 4217 code in upper case. Raises `ApiError` if no active currency has it."""
    if code in DECIMALS:
        return code
    # ASCII only: the upper case of "ſ" and "ı" is S and I.
    if code.isascii() and (upper := code.upper()) in DECIMALS:
        return upper
    raise ApiError(
        "invalid_request",
        f"{field} is not a currency in use: send a three-letter ISO 4217 code, for example EUR or USD.",
        field,
    )


def parse_amount(raw: Raw, field: str) -> Decimal | None:
    """Return the exact amount from an undecoded JSON number or decimal string; None if it is empty or null."""
    text = bytes(raw).decode()
    if not text or text == "null":
        return None
    if text.startswith('"'):
        text = msgspec.json.decode(raw, type=str)
        if not _DECIMAL.fullmatch(text):
            text = ""
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ApiError("invalid_request", f"{field} must be a number, or a string like 49.99.", field) from None


def to_minor(amount: Decimal, code: str, field: str) -> int:
    """Convert an amount to whole minor units, exactly: 49.99 USD → 4999. A negative amount is a refund.

    `code` comes from `parse_currency`, or is `UNKNOWN_CURRENCY`. Raises `ApiError` if the amount is not finite, has
    more decimals than the currency (not counting zeros at the end), or exceeds 10¹⁵ minor units.
    """
    scale, max_amount = _SCALES[code]
    if not amount.is_finite():
        raise ApiError("invalid_request", f"{field} is not a finite number: send an amount such as 49.99.", field)
    if amount.copy_abs() > max_amount:  # before the conversion, so that 1E+999999 never becomes an int
        raise ApiError(
            "invalid_request",
            f"{field} is too large: send an amount from -{max_amount:f} to {max_amount:f}{_currency_suffix(code)} "
            "(10^15 minor units).",
            field,
        )
    try:
        return int(_EXACT_CONTEXT.to_integral_exact(_EXACT_CONTEXT.multiply(amount, scale)))
    except Inexact:
        decimals = _DECIMALS_BY_CODE[code]
        raise ApiError(
            "invalid_request",
            f"{field} has too many decimals: round it to {decimals}. "
            f"{'An amount without a currency' if code == UNKNOWN_CURRENCY else code} has {decimals} decimals."
            if decimals
            else f"{field} has decimals: round it to a whole number. {code} has no decimals.",
            field,
        ) from None


def format_amount(amount_minor: int, code: str) -> str:
    """Format whole minor units as a decimal string: 4999 USD → `49.99`, 500 JPY → `500`.

    A currency that is not in the list, from an older store, gets 2 decimals.
    """
    decimals = _DECIMALS_BY_CODE.get(code, _UNKNOWN_CURRENCY_DECIMALS)
    if not decimals:
        return str(amount_minor)
    whole, rest = divmod(abs(amount_minor), 10**decimals)
    return f"{'-' if amount_minor < 0 else ''}{whole}.{rest:0{decimals}}"


def _currency_suffix(code: str) -> str:
    return "" if code == UNKNOWN_CURRENCY else f" {code}"
