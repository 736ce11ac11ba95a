from __future__ import annotations

import pickle

import pytest

from pgfleet import errors
from pgfleet.core.explain import Explanation, NodeExplanation
from pgfleet.core.node import Role
from pgfleet.errors import ConfigurationError, NoReplica, PgfleetError

BUILTINS = {
    "ConfigurationError": ValueError,
    "PrimaryUnavailable": ConnectionError,
    "SplitBrain": ConnectionError,
    "OutcomeUnknown": ConnectionError,
    "LeaseTimeout": TimeoutError,
    "ReadTimeout": TimeoutError,
    "Overloaded": ConnectionError,
    "RouterClosed": RuntimeError,
    "LocalFleetError": RuntimeError,
    "ProvisionError": RuntimeError,
    "DriverMissing": ImportError,
    "DiscoveryError": ConnectionError,
    "UnknownNode": KeyError,
    "DrainRefused": ValueError,
    "DrainTimeout": TimeoutError,
    "NoReplica": ConnectionError,
    "WritesLost": ConnectionError,
    "TokenError": ValueError,
}
MESSAGE, HINT = "no primary takes connections", "look at pgfleet status"
LATE = NodeExplanation("replica-1", Role.REPLICA, False, "is too stale", None, 12.5, 12.0)
EXPLANATION = Explanation(("primary",), (LATE,))

PUBLIC = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, PgfleetError)]


def examples(kind: type[PgfleetError]) -> list[PgfleetError]:
    """An error of this kind with a hint, and one without."""
    if issubclass(kind, ConfigurationError):
        problems = ("DB_MAX_CONNECTIONS: 0 is below 1", "DB_MAX_IDLE_TIME: 'soon' is no duration")
        return [kind(problems, HINT), kind(problems)]
    if issubclass(kind, NoReplica):
        return [kind(MESSAGE, HINT, EXPLANATION), kind(MESSAGE)]
    return [kind(MESSAGE, HINT), kind(MESSAGE)]


ERRORS = [error for kind in PUBLIC for error in examples(kind)]


def test_each_error_of_the_page_is_told_which_builtin_it_is() -> None:
    assert {kind.__name__ for kind in PUBLIC} - {"PgfleetError"} == set(BUILTINS)


@pytest.mark.parametrize("kind", PUBLIC)
def test_it_is_caught_as_the_builtin_that_fits(kind: type[PgfleetError]) -> None:
    assert issubclass(kind, BUILTINS.get(kind.__name__, Exception))


@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_survives_pickling(error: PgfleetError, protocol: int) -> None:
    copy = pickle.loads(pickle.dumps(error, protocol))
    assert type(copy) is type(error)
    assert vars(copy) == vars(error)
    assert (str(copy), copy.args) == (str(error), error.args)


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_the_hint_stands_on_a_line_of_its_own_if_there_is_one(error: PgfleetError) -> None:
    *message, last = str(error).splitlines()
    if error.hint:
        assert last == f"hint: {error.hint}"
        assert "\n".join(message) == error.message
    else:
        assert str(error) == error.message


def test_a_configuration_error_tells_every_problem_on_a_line_of_its_own() -> None:
    error = ConfigurationError(("A: too low", "B: not a number"), HINT)
    assert str(error).splitlines() == ["A: too low", "B: not a number", f"hint: {HINT}"]
    assert error.problems == ("A: too low", "B: not a number")
