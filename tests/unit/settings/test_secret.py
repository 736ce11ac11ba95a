from __future__ import annotations

import pickle
from dataclasses import asdict, dataclass

from pgfleet.settings import Secret


@dataclass
class Holder:
    secret: Secret


def test_is_never_shown() -> None:
    secret = Secret("Γάτα")
    shown = [repr(secret), str(secret), f"{secret}", repr(Holder(secret)), repr([secret])]
    assert all("Γάτα" not in text and "***" in text for text in shown)


def test_has_no_dict_to_dump() -> None:
    assert not hasattr(Secret("x"), "__dict__")
    assert "Γάτα" not in str(asdict(Holder(Secret("Γάτα"))))


def test_reveals_its_text() -> None:
    assert Secret("Γάτα").reveal() == "Γάτα"


def test_equals_by_text_and_only_a_secret() -> None:
    assert Secret("Γάτα") == Secret("Γάτα")
    assert Secret("Γάτα") != Secret("Γάτος")
    assert Secret("x") != "x"
    assert len({Secret("x"), Secret("x"), Secret("y")}) == 2


def test_compares_bytes_that_are_not_utf8() -> None:
    assert Secret("\udcff") == Secret("\udcff")


def test_survives_pickling() -> None:
    assert pickle.loads(pickle.dumps(Secret("Γάτα"))) == Secret("Γάτα")
