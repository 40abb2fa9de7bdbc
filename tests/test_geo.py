"""The country of an address: from the built-in data or a custom `.mmdb` file."""

from ipaddress import IPv4Network
from pathlib import Path

import pytest

from ovx_lite.domain.errors import ApiError
from ovx_lite.enrichment.geoip import open_country_data
from tests.conftest import Start, Store
from tests.support.geo import write_database


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "own.mmdb"
    write_database(path, IPv4Network("203.0.113.0/24"), {"country": {"iso_code": "FR"}})
    return path


@pytest.mark.parametrize(
    ("address", "country"),
    [("8.8.8.8", "US"), ("2001:4860:4860::8888", "US"), ("192.168.1.1", ""), ("127.0.0.1", ""), ("::1", "")],
)
def test_the_built_in_data_has_countries(address: str, country: str) -> None:
    assert open_country_data(None)(address) == country


@pytest.mark.parametrize(
    ("address", "country"), [("203.0.113.42", "FR"), ("8.8.8.8", ""), ("2001:4860:4860::8888", "")]
)
def test_a_custom_database_replaces_the_built_in_data(database: Path, address: str, country: str) -> None:
    assert open_country_data(database)(address) == country


@pytest.mark.parametrize(
    "record", [{"country": "FR"}, {"country": {"iso_code": (16, 7)}}, {"city": {"name": "Paris"}}, "FR"]
)
def test_a_database_with_other_records_gives_no_country(tmp_path: Path, record: object) -> None:
    write_database(tmp_path / "odd.mmdb", IPv4Network("203.0.113.0/24"), record)
    assert open_country_data(tmp_path / "odd.mmdb")("203.0.113.42") == ""


def test_a_file_that_is_not_a_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "no.mmdb").write_text("no")
    for path in (tmp_path / "no.mmdb", tmp_path / "missing.mmdb"):
        with pytest.raises(ApiError, match="MaxMind DB"):
            open_country_data(path)


def test_the_server_uses_the_configured_database(store: Store, start: Start, database: Path) -> None:
    store.site()
    key = store.key()
    server = start(store, "--country-db", str(database))
    server.pageview(key, ip_address="203.0.113.42")
    server.pageview(key, ip_address="::ffff:203.0.113.42")
    assert [event["country"] for event in store.events()] == ["FR", "FR"]
