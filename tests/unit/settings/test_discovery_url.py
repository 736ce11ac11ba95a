"""What a discovery may be called. Patroni's URLs may hold a password, which nobody is shown."""

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


@pytest.mark.parametrize(
    "place",
    [
        "rds:hotel-primary",
        "rds:hotel?region=eu-west-1",
        "rds:arn:aws:rds:eu-west-1:123456789012:db:hotel?region=us-gov-west-1",
        "rds:arn:aws-us-gov:rds:us-gov-west-1:123456789012:db:hotel",
        "cloudsql:my-project/hotel",
        "cloudsql:example.com:my-project/hotel?ip=private",
        "cloudsql:my-project/hotel?ip=public&port=6432",
        "cloudsql:my-project/hotel?port=6432",
    ],
)
def test_an_instance_of_a_cloud_is_taken(place: str) -> None:
    assert Settings.from_env({**PRIMARY, "PGFLEET_DISCOVERY": place}).discovery == place


@pytest.mark.parametrize(
    "place",
    [
        "rds:",
        "rds:Hotel.example",
        "rds:hotel?zone=a",
        "rds:hotel?region=eu_west",
        "rds:arn:aws:rds:eu-west-1:12:db:hotel",
        "cloudsql:hotel",
        "cloudsql:my-project/hotel?ip=both",
        "cloudsql:my-project/hotel?port=99999",
        "cloudsql:my-project/hotel?port=0",
        "cloudsql:my-project/a/b",
    ],
)
def test_what_is_no_instance_of_a_cloud_is_refused(place: str) -> None:
    with pytest.raises(ConfigurationError, match=r"PGFLEET_DISCOVERY.*rds:instance.region=name or cloudsql:"):
        Settings.from_env({**PRIMARY, "PGFLEET_DISCOVERY": place})
