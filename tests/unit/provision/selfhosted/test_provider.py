"""What the provider makes of its looks, whatever these find."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pgfleet.core.changes import Action, Change, Resource
from pgfleet.provision.selfhosted import provider
from pgfleet.provision.selfhosted.facts import Replica, Role
from pgfleet.provision.selfhosted.host import Hosts
from pgfleet.provision.selfhosted.places import Place
from pgfleet.provision.selfhosted.provider import SelfHosted
from pgfleet.provision.selfhosted.shell import Unreachable
from tests.unit.provision.selfhosted.test_problems import EMPTY, PLACE, PRIMARY, SITE

GONE = replace(PLACE, name="replica-9")


class Looks:
    """What each host answers; an error: it does not."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: dict[str, Replica | Exception] = {
            place.name: replace(EMPTY, place=place) for place in (PLACE, GONE)
        }
        primary = replace(PRIMARY, roles=(Role("inn_replica_9", GONE, True),))

        async def of(hosts: Hosts, place: Place) -> Place:
            return place

        async def look_primary(catalog: object) -> object:
            return primary

        async def look_replica(place: Place, *rest: object) -> Replica:
            answer = self.answers[place.name]
            if isinstance(answer, Exception):
                raise answer
            return answer

        async def catalog(made: SelfHosted) -> None:
            return None

        monkeypatch.setattr(Hosts, "of", of)
        monkeypatch.setattr(SelfHosted, "_catalog", catalog)
        monkeypatch.setattr(provider, "look_primary", look_primary)
        monkeypatch.setattr(provider, "look_replica", look_replica)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    return Looks(monkeypatch)


async def test_a_host_that_is_wanted_and_cannot_be_asked_is_a_problem(looks: Looks) -> None:
    looks.answers = dict.fromkeys(looks.answers, Unreachable("no answer", "see to it"))
    assert (await SelfHosted(SITE).look()).problems == ("no answer; see to it",)


@pytest.mark.parametrize("name", ["replica-1", "replica-9"])
async def test_a_mistake_of_ours_is_no_host_that_cannot_be_asked(looks: Looks, name: str) -> None:
    """Else a replica that the file forgot would be forgotten with its data."""
    looks.answers[name] = KeyError("ours")
    with pytest.raises(KeyError, match="ours"):
        await SelfHosted(SITE).look()


async def test_to_ask_for_the_endpoints_takes_nothing_from_the_steps_under_way(looks: Looks) -> None:
    made = SelfHosted(SITE)
    await made.look()
    replica = Change(Action.CREATE, Resource("replica", "replica-1"))
    planned = made.step(replica)
    looks.answers["replica-1"] = Unreachable("no answer")
    await made.endpoints()
    assert made.step(replica) == planned
