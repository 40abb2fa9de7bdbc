"""The country of an IP address, from an `.mmdb` file of the user or from the data of the package `iptocc`."""

from collections.abc import Callable
from pathlib import Path

from ovx_lite.domain.errors import ApiError

CountryLookup = Callable[[str], str]


def open_country_data(database: Path | None) -> CountryLookup:
    """Return a function from an IP address to its ISO 3166-1 alpha-2 code, or to `""` if the country is unknown.

    `database` is a MaxMind DB (GeoLite2-Country, DB-IP, …). Raises `ApiError` if it cannot be read. Without it, the
    package `iptocc` provides the data; on platforms without its wheel, every country is unknown.
    """
    if database is not None:
        return _from_database(database)
    try:
        from iptocc import country_code
    except ImportError:
        return lambda address: ""
    return lambda address: country_code(address) or ""


def _from_database(database: Path) -> CountryLookup:
    import maxminddb

    try:
        reader = maxminddb.open_database(database)
    except (OSError, maxminddb.InvalidDatabaseError):
        raise ApiError(
            "invalid_request", f"{database} cannot be read as a MaxMind DB: give the path of a country .mmdb file."
        ) from None

    only_ipv4 = reader.metadata().ip_version == 4  # such a database raises an error for IPv6 addresses

    def country_of(address: str) -> str:
        if only_ipv4 and ":" in address:
            return ""
        record = reader.get(address)
        country = record.get("country") if isinstance(record, dict) else None
        code = country.get("iso_code") if isinstance(country, dict) else None
        return code if isinstance(code, str) else ""

    return country_of
