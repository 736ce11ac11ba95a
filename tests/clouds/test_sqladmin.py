"""The server of the tests refuses what Google's published model refuses."""

from __future__ import annotations

import pytest

from tests.clouds.sqladmin_model import Refused, check


def test_the_server_refuses_what_the_published_model_refuses() -> None:
    """Else nothing above would be worth much."""
    schema = {"$ref": "DatabaseInstance"}
    for body, says in (
        ({"setings": {}}, "Unknown name"),
        ({"settings": {"tier": 5}}, "no string"),
        ({"settings": {"availabilityType": "zonal"}}, "no value 'zonal'"),
        ({"settings": {"settingsVersion": "one"}}, "no int64"),
        ({"settings": {"userLabels": {"a": True}}}, "no string"),
        ({"settings": {"databaseFlags": {"a": "b"}}}, "no array"),
        ({"createTime": "now"}, "output only"),
    ):
        with pytest.raises(Refused) as caught:
            check(body, schema, "body", is_request=True)
        assert says in str(caught.value.body)
