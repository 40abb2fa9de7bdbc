"""Amounts of money: from decimals as callers write them to whole minor units (cents) and back. Pure."""

import re
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Annotated

import msgspec
from msgspec import Meta, Raw

from ovx_lite.domain.errors import ApiError

UNKNOWN_CURRENCY = "XXX"  # ISO 4217's "no currency": of an amount whose currency nobody told; never taken from a caller
_UNKNOWN_CURRENCY_DECIMALS = 2
_MAX_AMOUNT_MINOR = (
    10**15
)  # minor units; nine thousand such amounts still add up within the 64 bits of a database's integer

# The active currencies and fund codes of ISO 4217 as of January 2026 (without ANG, BGN, CUC, HRK, SLL and ZWL, which
# are withdrawn), by how many decimals they have. Gold, test codes and the like have no minor unit and are left out.
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
# Per currency, how many minor units make one, and the most of it that is taken.
_SCALES = {
    code: (Decimal(10**decimals), Decimal(f"{_MAX_AMOUNT_MINOR}E-{decimals}"))
    for code, decimals in _DECIMALS_BY_CODE.items()
}
# Our own context, as the thread's may be anything. Its precision holds _MOST with room to spare, and whatever it
# would have to round away (zeros are not) raises Inexact.
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
"""A field of an amount, left as it came, since a binary float would not be exact. Its default is an empty `Raw`."""


def parse_currency(code: str, field: str) -> str:
    """An ISO 4217 code in upper or lower case → in upper case. Raises `ApiError` if it is no active currency's."""
    if code in DECIMALS:
        return code
    # Only of ASCII: "ſ" and "ı" have S and I as their upper case.
    if code.isascii() and (upper := code.upper()) in DECIMALS:
        return upper
    raise ApiError(
        "invalid_request",
        f"{field} is not a currency in use: send its three-letter code of ISO 4217, such as EUR or USD.",
        field,
    )


def parse_amount(raw: Raw, field: str) -> Decimal | None:
    """A JSON number or decimal string as it came → the amount, exactly; nothing or null → None. Raises `ApiError`."""
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
    """An amount of a currency → its whole minor units, exactly: 49.99 USD → 4999. Negative is a refund.

    `code` is what `currency` returned, or `UNTOLD`; KeyError for any other. Raises `ApiError` for what is no finite
    number, for more decimals than the currency has (zeros at the end do not count), and beyond 10¹⁵ minor units.
    """
    scale, max_amount = _SCALES[code]
    if not amount.is_finite():
        raise ApiError("invalid_request", f"{field} is not a finite number: send an amount such as 49.99.", field)
    if amount.copy_abs() > max_amount:  # first of all, so that 1E+999999 never becomes an int
        raise ApiError(
            "invalid_request",
            f"{field} is too large: send at most {max_amount:f}{_currency_suffix(code)} (10^15 minor units), or as much below zero.",
            field,
        )
    try:
        return int(_EXACT_CONTEXT.to_integral_exact(_EXACT_CONTEXT.multiply(amount, scale)))
    except Inexact:
        decimals = _DECIMALS_BY_CODE[code]
        raise ApiError(
            "invalid_request",
            f"{field} has too many decimals: round it to {decimals}, as many as "
            f"{'an amount without a currency' if code == UNKNOWN_CURRENCY else code} has."
            if decimals
            else f"{field} has decimals: round it to a whole number, as {code} has 0 decimals.",
            field,
        ) from None


def format_amount(amount_minor: int, code: str) -> str:
    """Whole minor units of a currency → the amount as a decimal string: 4999 USD → `49.99`, 500 JPY → `500`.

    A code unknown here, from an older store, is written with 2 decimals.
    """
    decimals = _DECIMALS_BY_CODE.get(code, _UNKNOWN_CURRENCY_DECIMALS)
    if not decimals:
        return str(amount_minor)
    whole, rest = divmod(abs(amount_minor), 10**decimals)
    return f"{'-' if amount_minor < 0 else ''}{whole}.{rest:0{decimals}}"


def _currency_suffix(code: str) -> str:
    return "" if code == UNKNOWN_CURRENCY else f" {code}"
