"""Amounts of money: currencies, and conversion between decimals and minor units."""

from collections import Counter
from decimal import Context, Decimal, Inexact, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovx_lite.domain import money
from ovx_lite.domain.errors import ApiError

MAX_MINOR_UNITS = 10**15
NO_MINOR_UNIT = "XXX xxx XAU XAG XPT XPD XDR XTS XSU XUA XBA"
WITHDRAWN = "ANG BGN BYR CUC DEM HRK LTL MRO SLL STD VEF ZMK ZWL"
INVALID_CODES = [
    "",
    "US",
    "USDT",
    "USD ",
    " USD",
    "USD\n",
    "ABC",
    "840",
    "u\u017fd",
    "\u0131SK",
    "\uff35SD",
    "x" * 10_000,
]


def error_message(amount: str, code: str) -> str:
    with pytest.raises(ApiError) as exc_info:
        money.to_minor(Decimal(amount), code, "revenue.amount")
    assert (exc_info.value.code, exc_info.value.field) == ("invalid_request", "revenue.amount")
    return exc_info.value.message


@pytest.mark.parametrize(
    ("decimals", "codes"),
    [
        (0, "CLP ISK JPY KRW UGX UYI VND XAF XOF XPF"),
        (2, "AUD BRL BYN CHF CNY EUR GBP HUF IDR INR MGA MRU SLE STN TWD USD UYU VED VES XCD XCG ZWG"),
        (3, "BHD IQD JOD KWD LYD OMR TND"),
        (4, "CLF UYW"),
    ],
)
def test_each_currency_has_the_right_number_of_decimals(decimals: int, codes: str) -> None:
    assert {money.DECIMALS[code] for code in codes.split()} == {decimals}


def test_the_currency_table_is_well_formed() -> None:
    assert all(len(code) == 3 and code.isascii() and code.isupper() for code in money.DECIMALS)
    assert Counter(money.DECIMALS.values()) == {0: 17, 2: 139, 3: 7, 4: 2}


@pytest.mark.parametrize("code", ["USD", "usd", "Usd"])
def test_a_currency_code_is_case_insensitive(code: str) -> None:
    assert money.parse_currency(code, "currency") == "USD"


@pytest.mark.parametrize(
    "code", [*NO_MINOR_UNIT.split(), *WITHDRAWN.split(), *INVALID_CODES], ids=lambda code: repr(code)[:16]
)
def test_an_unknown_currency_code_is_rejected(code: str) -> None:
    with pytest.raises(ApiError) as exc_info:
        money.parse_currency(code, "revenue.currency")
    assert (exc_info.value.code, exc_info.value.field) == ("invalid_request", "revenue.currency")
    assert exc_info.value.message == (
        "revenue.currency is not a currency in use: send a three-letter ISO 4217 code, for example EUR or USD."
    )


@pytest.mark.parametrize(
    ("amount", "code", "units"),
    [
        ("49.99", "USD", 4999),
        ("49.9900", "USD", 4999),
        ("49.99" + "0" * 100, "USD", 4999),
        ("49.9", "USD", 4990),
        ("49", "USD", 4900),
        ("5E+1", "USD", 5000),
        ("4999E-2", "USD", 4999),
        ("-0.05", "USD", -5),
        ("-0", "USD", 0),
        ("0E-999999999", "USD", 0),
        ("0E+999999999", "USD", 0),
        ("500", "JPY", 500),
        ("500.00", "JPY", 500),
        ("1.234", "KWD", 1234),
        ("1.2345", "CLF", 12345),
        ("1.23", money.UNKNOWN_CURRENCY, 123),
        ("10000000000000", "USD", MAX_MINOR_UNITS),
        ("-9999999999999.99", "USD", 1 - MAX_MINOR_UNITS),
        ("1E+15", "JPY", MAX_MINOR_UNITS),
        ("-1E+11", "UYW", -MAX_MINOR_UNITS),
    ],
)
def test_an_amount_is_converted_to_minor_units(amount: str, code: str, units: int) -> None:
    assert money.to_minor(Decimal(amount), code, "amount") == units


@pytest.mark.parametrize("amount", ["NaN", "-NaN", "sNaN", "Infinity", "-Infinity"])
def test_an_amount_that_is_not_finite_is_rejected(amount: str) -> None:
    assert error_message(amount, "USD") == "revenue.amount is not a finite number: send an amount such as 49.99."


@pytest.mark.parametrize(
    ("amount", "code", "message"),
    [
        ("49.999", "USD", "has too many decimals: round it to 2. USD has 2 decimals."),
        ("-0.001", "USD", "has too many decimals: round it to 2. USD has 2 decimals."),
        ("0.1" + "0" * 100 + "1", "USD", "has too many decimals: round it to 2. USD has 2 decimals."),
        ("9999999999999.989" + "9" * 100, "USD", "has too many decimals: round it to 2. USD has 2 decimals."),
        ("1.2345", "KWD", "has too many decimals: round it to 3. KWD has 3 decimals."),
        ("0.5", "JPY", "has decimals: round it to a whole number. JPY has no decimals."),
        ("0.001", "XXX", "has too many decimals: round it to 2. An amount without a currency has 2 decimals."),
        ("1E-999999", "USD", "has too many decimals: round it to 2. USD has 2 decimals."),
        ("-1E-999999999999", "JPY", "has decimals: round it to a whole number. JPY has no decimals."),
    ],
)
def test_too_many_decimals_for_the_currency_are_rejected(amount: str, code: str, message: str) -> None:
    assert error_message(amount, code) == f"revenue.amount {message}"


@pytest.mark.parametrize(
    ("code", "max_amount"),
    [
        ("USD", "10000000000000.00 USD"),
        ("JPY", "1000000000000000 JPY"),
        ("KWD", "1000000000000.000 KWD"),
        ("XXX", "10000000000000.00"),
    ],
)
@pytest.mark.parametrize("amount", ["1E+30", "-1E+30", "1E+999999", "-1E+999999999999", "1000000000000000.01"])
def test_an_amount_beyond_the_limit_is_rejected(amount: str, code: str, max_amount: str) -> None:
    assert error_message(amount, code) == (
        f"revenue.amount is too large: send an amount from -{max_amount.split()[0]} to {max_amount} "
        "(10^15 minor units)."
    )


@pytest.mark.parametrize("amount", ["10000000000000.01", "-10000000000000.01"])
def test_the_amount_limit_is_exact(amount: str) -> None:
    assert "too large" in error_message(amount, "USD")


def test_an_unvalidated_currency_code_raises_a_key_error() -> None:
    with pytest.raises(KeyError):
        money.to_minor(Decimal(1), "usd", "amount")


def test_the_decimal_context_of_the_thread_does_not_matter() -> None:
    with localcontext(Context(prec=2, Emax=2, Emin=-2, traps=[Inexact])):
        assert money.to_minor(Decimal("9999999999999.99"), "USD", "amount") == MAX_MINOR_UNITS - 1
        assert "too large" in error_message("10000000000000.01", "USD")
        assert "too large" in error_message("1E+30", "USD")
        assert "decimals" in error_message("0.001", "USD")
        assert "finite" in error_message("sNaN", "USD")


@pytest.mark.parametrize(
    ("units", "code", "amount"),
    [
        (4999, "USD", "49.99"),
        (-5, "USD", "-0.05"),
        (-4999, "USD", "-49.99"),
        (0, "USD", "0.00"),
        (500, "JPY", "500"),
        (-500, "JPY", "-500"),
        (1234, "KWD", "1.234"),
        (1, "CLF", "0.0001"),
        (123, money.UNKNOWN_CURRENCY, "1.23"),
        (123, "HRK", "1.23"),
        (10**20 + 1, "USD", "1000000000000000000.01"),  # a sum of many amounts
    ],
)
def test_minor_units_are_formatted_as_an_amount(units: int, code: str, amount: str) -> None:
    assert money.format_amount(units, code) == amount


@given(st.integers(-MAX_MINOR_UNITS, MAX_MINOR_UNITS), st.sampled_from([*money.DECIMALS, money.UNKNOWN_CURRENCY]))
def test_a_formatted_amount_parses_to_the_same_minor_units(units: int, code: str) -> None:
    assert money.to_minor(Decimal(money.format_amount(units, code)), code, "amount") == units


@given(st.decimals(-MAX_MINOR_UNITS // 100, MAX_MINOR_UNITS // 100, places=2))
def test_a_parsed_amount_formats_to_the_same_amount(amount: Decimal) -> None:
    assert Decimal(money.format_amount(money.to_minor(amount, "USD", "amount"), "USD")) == amount
