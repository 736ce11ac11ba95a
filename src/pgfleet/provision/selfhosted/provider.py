"""One's own servers as a platform: looks at every host, and makes one change at a time."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import replace

from pgfleet.core.changes import Action, Change, Resource
from pgfleet.errors import ProvisionError
from pgfleet.local.scram import is_password_of
from pgfleet.provision.provider import Endpoint, Sight, Step, Tell
from pgfleet.provision.selfhosted import primary_steps
from pgfleet.provision.selfhosted.catalog import Catalog
from pgfleet.provision.selfhosted.facts import Data, Replica
from pgfleet.provision.selfhosted.hba import rules
from pgfleet.provision.selfhosted.host import Hosts
from pgfleet.provision.selfhosted.look_primary import look_primary
from pgfleet.provision.selfhosted.look_replica import look_replica
from pgfleet.provision.selfhosted.marks import note, passfile_path, passfile_text
from pgfleet.provision.selfhosted.places import Place, Site, identifier
from pgfleet.provision.selfhosted.problems import problems
from pgfleet.provision.selfhosted.replica_steps import Making, remove
from pgfleet.provision.selfhosted.shell import Unreachable
from pgfleet.provision.selfhosted.steps import lacking, step
from pgfleet.provision.selfhosted.view import View
from pgfleet.provision.selfhosted.wishes import ACCESS, REPLICA, ROLE, SETTINGS, SLOT, wanted


class SelfHosted:
    """The provider of one fleet."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._hosts = Hosts()
        self._seen: View | None = None

    def wanted(self) -> Sequence[Resource]:
        """See Provider."""
        return wanted(self._site)

    async def look(self) -> Sight:
        """See Provider."""
        self._seen, unasked = await self._look()
        return Sight(tuple(self._seen.existing()), (*unasked, *problems(self._seen)))

    async def _look(self) -> tuple[View, list[str]]:
        """What is there, and why hosts that the file names cannot be asked."""
        view = View(self._site, await look_primary(await self._catalog()), {})
        places = [*self._site.replicas, *_forgotten(view)]
        looks = await asyncio.gather(
            *(self._look_at(view, place) for place in places), return_exceptions=True
        )
        seen = {one.place.name: one for one in looks if isinstance(one, Replica)}
        whys = {
            place.name: _told(one)
            for place, one in zip(places, looks, strict=True)
            if not isinstance(one, Replica)
        }
        return replace(view, replicas=seen), [why for name, why in whys.items() if view.place(name)]

    async def _look_at(self, view: View, place: Place) -> Replica:
        """Where it is now: a host that the file changed is a difference, and is told as one."""
        role = view.primary.role(place.name)
        moved = role is not None and role.place.login.host != place.login.host
        host = await self._hosts.of(role.place if role and moved else place)
        return await look_replica(host, self._site.fleet, view.primary, self._site.primary)

    def step(self, change: Change) -> Step:
        """See Provider."""
        return step(self._view, change)

    async def carry_out(self, change: Change, tell: Tell) -> None:
        """See Provider."""
        kinds = {
            SETTINGS: self._do_settings,
            ROLE: self._do_role,
            ACCESS: self._do_access,
            SLOT: self._do_slot,
            REPLICA: self._do_replica,
        }
        await kinds[change.resource.kind](change, tell)

    async def _do_settings(self, change: Change, tell: Tell) -> None:
        values = primary_steps.new_values(self._view.primary, self._site.primary.address, lacking(change))
        catalog = await self._catalog()
        await primary_steps.change_settings(catalog, self._view.primary, values, tell)
        self._seen = replace(self._view, primary=await look_primary(catalog))  # the replicas are held to it

    async def _do_role(self, change: Change, tell: Tell) -> None:
        catalog = await self._catalog()
        if change.action is Action.REMOVE:
            return await primary_steps.drop_role(catalog, change.resource.name)
        place = self._place(change.resource.name)
        seen, role = self._replica(place.name), self._view.primary.role(place.name)
        holds = role is not None and is_password_of(seen.password, role.verifier)
        password = seen.password if holds else secrets.token_urlsafe(32)
        host = await self._hosts.of(place)
        # The role comes first: its comment says where there is something of ours to be found and taken away.
        await primary_steps.make_role(catalog, self._site.fleet, place, password)
        text = passfile_text(self._site.fleet, place.name, password)
        await host.write_secret(passfile_path(seen.place, self._site.fleet), text)
        tell(f"{place.name}: its password is in {passfile_path(seen.place, self._site.fleet)}")
        return None

    async def _do_access(self, change: Change, tell: Tell) -> None:
        is_gone = change.action is Action.REMOVE
        lines = () if is_gone else rules(self._site.fleet, self._site.replicas)
        path = self._view.primary.settings["hba_file"]
        await primary_steps.let_in(await self._catalog(), path, lines)

    async def _do_slot(self, change: Change, tell: Tell) -> None:
        catalog = await self._catalog()
        name = change.resource.name
        if change.action is Action.REMOVE:
            return await primary_steps.drop_slot(catalog, name)
        if change.action is Action.FINISH:
            await self._set_back(self._place(name))
            await primary_steps.drop_slot(catalog, name)
        return await primary_steps.make_slot(catalog, name)

    async def _set_back(self, place: Place) -> None:
        """Before its lost slot goes, for then nothing says any more that the copy is of no use."""
        seen = self._replica(place.name)
        if seen.mark:
            mark = replace(seen.mark, is_whole=False, is_settled=False)
            await note(await self._hosts.of(place), self._site.fleet, seen.place, mark)

    async def _do_replica(self, change: Change, tell: Tell) -> None:
        name = change.resource.name
        if change.action is Action.REMOVE:
            return await self._remove(name, tell)
        view = self._view
        place = self._place(identifier(self._site.fleet, name))
        host = await self._hosts.of(place)
        seen = await look_replica(host, self._site.fleet, view.primary, self._site.primary)
        _refuse_foreign(seen)
        await Making(self._site, view.primary, await self._catalog(), host, seen, tell).make()
        return None

    async def _remove(self, name: str, tell: Tell) -> None:
        places = [*self._site.replicas, *_forgotten(self._view)]
        place = next(place for place in places if place.name == name)
        try:
            host = await self._hosts.of(place)
            seen = await look_replica(host, self._site.fleet, self._view.primary, self._site.primary)
        except Unreachable as error:
            tell(
                f"{name}: stays on {place.login}, which cannot be asked; it can log in no more. {error.message}"
            )
            return
        _refuse_foreign(seen)
        await remove(host, self._site.fleet, seen)

    async def endpoints(self) -> Sequence[Endpoint]:
        """See Provider. What a step goes by stays as it was planned: others may be under way."""
        view, _ = await self._look()
        places = [place for place in self._site.replicas if view.is_ready(place.name)]
        return [Endpoint(place.name, place.address, place.port) for place in (self._site.primary, *places)]

    async def close(self) -> None:
        """See Provider."""
        await self._hosts.close()

    @property
    def _view(self) -> View:
        assert self._seen is not None, "look first"
        return self._seen

    def _place(self, identified: str) -> Place:
        fleet = self._site.fleet
        return next(place for place in self._site.replicas if identifier(fleet, place.name) == identified)

    def _replica(self, name: str) -> Replica:
        return self._view.replicas[name]

    async def _catalog(self) -> Catalog:
        return await Catalog.open(await self._hosts.of(self._site.primary), self._site)


def _forgotten(view: View) -> list[Place]:
    """The replicas that the file no longer names, where their roles say that they stand."""
    names = {place.name for place in view.site.replicas}
    return [role.place for role in view.primary.roles if role.place.name not in names]


def _told(error: object) -> str:
    """A line of what is wrong with a host. What is no ProvisionError is a mistake of ours."""
    if not isinstance(error, ProvisionError):
        assert isinstance(error, BaseException)
        raise error
    return f"{error.message}; {error.hint}" if error.hint else error.message


def _refuse_foreign(seen: Replica) -> None:
    """Once more, at the last moment: somebody may have filled the directory since the plan, or promoted the replica."""
    promoted = seen.data is Data.OURS and not seen.is_standby
    if seen.data is Data.FOREIGN or promoted:
        raise ProvisionError(
            f"{seen.place}: {seen.place.data_directory} is not ours to touch"
            + (": it was promoted" if promoted else ": it is not empty, and does not bear our mark"),
            "plan again, and do what it says",
        )
