"""How DATABASE_URL and DATABASE_CA_FILE become a connection."""

from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from activity_indexer.settings import DatabaseSettings


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    path = tmp_path / "ca & co.pem"
    path.touch()
    return path


def options(url: str, authority: Path | None) -> dict[str, list[str]]:
    return parse_qs(urlsplit(DatabaseSettings(url=url, ca_file=authority).address.url).query)


def test_without_a_ca_file_the_url_is_taken_as_it_is() -> None:
    url = "postgresql://a:p%40ss@host:1/db?sslmode=require&target_session_attrs=primary"
    assert DatabaseSettings(url=url).address.url == url


@pytest.mark.parametrize("mode", ["", "?sslmode=disable", "?sslmode=prefer", "?sslmode=verify-full"])
def test_a_ca_file_checks_certificate_and_name(authority: Path, mode: str) -> None:
    found = options(f"postgresql://a:b@host/db{mode}", authority)
    assert found == {"sslmode": ["verify-full"], "sslrootcert": [str(authority)]}


def test_the_name_is_not_checked_where_the_url_says_so(authority: Path) -> None:
    assert options("postgresql://a:b@host/db?sslmode=verify-ca", authority)["sslmode"] == ["verify-ca"]


def test_other_options_stay(authority: Path) -> None:
    url = f"postgresql://a:b@host/db?options=-csearch_path%3Daudit&sslcert={quote(str(authority))}"
    assert options(url, authority)["sslcert"] == [str(authority)]
    assert DatabaseSettings(url=url, ca_file=authority).address.server_settings == {"search_path": "audit"}


def test_the_password_is_left_as_it_is(authority: Path) -> None:
    address = DatabaseSettings(url="postgresql://a:p%3Fs@host/db", ca_file=authority).address
    assert address.url.startswith("postgresql://a:p%3Fs@host/db?")
