"""Patroni's URLs may hold a password, which nobody is shown."""

from __future__ import annotations

import pytest

from pgfleet.errors import ConfigurationError
from pgfleet.settings import Settings

PRIMARY = {"DATABASE_URL": "postgresql://primary/hotel"}


@pytest.mark.parametrize(
    "url",
    [
        "http://ops:s3cr3t@10.0.0.1:8008",
        "https://ops:70000@10.0.0.1",
        "http://10.0.0.1:8008,http://ops:s%2C3@10.0.0.2/rest/",
    ],
)
def test_a_url_with_a_password_is_taken_and_not_shown(url: str) -> None:
    settings = Settings.from_env({**PRIMARY, "PGFLEET_DISCOVERY": f"patroni:{url}"})
    assert settings.discovery == f"patroni:{url}"
    assert "ops" not in repr(settings)


@pytest.mark.parametrize(
    "url", ["http://ops:s3cr3t@10.0.0.1:99999", "http://ops:s3@cr3t@10.0.0.1", "http://ops:s/3@h"]
)
def test_a_wrong_one_is_refused_without_a_word_of_it(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_env({**PRIMARY, "PGFLEET_DISCOVERY": f"patroni:{url}"})
    assert "s3" not in str(caught.value)
    assert "ops" not in str(caught.value)
