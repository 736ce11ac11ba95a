"""What is there, in the words of the wishes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pgfleet.core.changes import Existing, Resource
from pgfleet.local.scram import is_password_of
from pgfleet.provision.selfhosted.facts import Data, Primary, Replica, Role
from pgfleet.provision.selfhosted.hba import block_of
from pgfleet.provision.selfhosted.marks import passfile_path
from pgfleet.provision.selfhosted.places import Place, Site, identifier, written
from pgfleet.provision.selfhosted.settings import LIMITS, megabytes, words_of
from pgfleet.provision.selfhosted.wishes import (
    ACCESS,
    ACCESS_NAME,
    AS_PRIMARY,
    LIMITED,
    OF_PRIMARY,
    REPLICA,
    ROLE,
    SETTINGS,
    SLOT,
    floors,
    followed,
    listens,
    shown,
    wanted_replica,
)


@dataclass(frozen=True, slots=True)
class View:
    """Everything that was seen, for one fleet."""

    site: Site
    primary: Primary
    replicas: Mapping[str, Replica]
    """By name, those whose host could be asked; also those that the file no longer names."""

    def existing(self) -> list[Existing]:
        """What is there, in the order of the wishes."""
        return [
            Existing(Resource(SETTINGS, OF_PRIMARY.name, self.settings()), stays=True),
            *self._roles(),
            *self._access(),
            *self._slots(),
            *self._replicas(),
        ]

    def settings(self) -> dict[str, str]:
        """The primary's, and what is enough as it is wanted."""
        seen = {name: shown(name, self.primary.settings.get(name, "")) for name in floors(self.site)}
        return seen | {
            name: floor for name, floor in floors(self.site).items() if self._is_enough(name, floor)
        }

    def lacking(self) -> dict[str, str]:
        """The primary's settings that are not yet enough, and what is wanted of each."""
        seen = self.settings()
        return {name: floor for name, floor in floors(self.site).items() if seen[name] != floor}

    def _is_enough(self, name: str, floor: str) -> bool:
        value = self.primary.settings.get(name, "")
        if name == "wal_level":
            return value != "minimal"
        if name == "listen_addresses":
            return listens(value, self.site.primary.address) or self._all_reach()
        if floor == LIMITED:
            return value != "-1"
        if name == "max_slot_wal_keep_size":
            return value == str(megabytes(floor))
        return int(value) >= (megabytes(floor) if name.endswith("_size") else int(floor))

    def _all_reach(self) -> bool:
        return bool(self.replicas) and all(seen.reaches_primary for seen in self.replicas.values())

    def _roles(self) -> Iterator[Existing]:
        for role in self.primary.roles:
            yield Existing(Resource(ROLE, role.name), is_ready=self._is_whole(role))
        names = {identifier(self.site.fleet, place.name) for place in self.site.replicas}
        for name in sorted(names & self.primary.strangers):
            yield Existing(
                Resource(ROLE, name),
                is_ours=False,
                trouble="is there and bears not the mark of this fleet; drop it, or rename the replica",
            )

    def _is_whole(self, role: Role) -> bool:
        """It can log in by the password that its replica holds, and says where that is."""
        seen = self.replicas.get(role.place.name)
        if seen is None:
            return True
        place = self.place(role.place.name)
        is_told = place is None or written(role.place) == written(place)
        return role.is_as_wanted and is_told and is_password_of(seen.password, role.verifier)

    def place(self, name: str) -> Place | None:
        """Where the file wants a replica."""
        return next((place for place in self.site.replicas if place.name == name), None)

    def _access(self) -> Iterator[Existing]:
        if block := block_of(self.primary.hba, self.site.fleet):
            attributes = {"rules": "; ".join(block.rules)}
            yield Existing(Resource(ACCESS, ACCESS_NAME, attributes), is_ready=block.is_first)

    def _slots(self) -> Iterator[Existing]:
        """Ours are those whose role bears our mark. Another of that name serves too, and is not ours to drop."""
        ours = {role.name for role in self.primary.roles}
        names = {identifier(self.site.fleet, place.name) for place in self.site.replicas} | ours
        for slot in self.primary.slots:
            if slot.name in names:
                attributes = {"type": "physical" if slot.is_physical else "logical"}
                yield Existing(
                    Resource(SLOT, slot.name, attributes),
                    is_ours=slot.name in ours,
                    is_ready=not slot.is_lost,
                    trouble="is in use by another" if slot.is_active and slot.name not in ours else "",
                )

    def _replicas(self) -> Iterator[Existing]:
        registered = {role.place.name: role.place for role in self.primary.roles}
        for name, place in registered.items():
            if name not in self.replicas:
                wish = self.place(name)
                attributes = (
                    wanted_replica(self.site, wish).attributes if wish else {"host": str(place.login)}
                )
                yield Existing(Resource(REPLICA, name, attributes), is_ready=False)
        for name, seen in self.replicas.items():
            if seen.data is not Data.NOTHING:
                yield self._seen(name, seen)

    def _seen(self, name: str, seen: Replica) -> Existing:
        trouble = self._trouble(seen)
        return Existing(
            Resource(REPLICA, name, self.attributes(seen)),
            is_ours=not trouble,
            is_ready=self._streams(seen),
            trouble=trouble,
        )

    def _trouble(self, seen: Replica) -> str:
        where = f"{seen.place.data_directory} on {seen.place.login}"
        if seen.data is Data.FOREIGN:
            remedy = "name another as data_directory, or empty it yourself, if nobody needs what is in it"
            if seen.manager and seen.manager.kind == "pg_ctlcluster":
                remedy += (
                    f" (pg_dropcluster {seen.manager.major} {seen.place.cluster}), or name another cluster"
                )
            return f"{where} is not empty and was not made by this file; {remedy}"
        if seen.data is Data.HALF:
            return ""
        if not seen.is_standby:
            return f"{where} is no standby's any more: it was promoted; make it the primary, or take it away by hand"
        if seen.system_id != self.primary.system_id:
            return f"{where} belongs to another primary; write that one, or take the replica away by hand"
        return ""

    def attributes(self, seen: Replica) -> dict[str, str]:
        """As they are there; of a half copy, as they will be."""
        there = {"host": str(seen.place.login), "data_directory": seen.place.data_directory}
        if seen.data is Data.HALF and (place := self.place(seen.place.name)):
            return {**wanted_replica(self.site, place).attributes, **there}
        low = [
            f"{name} {seen.limits[name]}"
            for name in LIMITS
            if name in seen.limits and seen.limits[name] < int(self.primary.settings[name])
        ]
        return there | {
            "port": seen.values.get("port", ""),
            "follows": followed(words_of(seen.values.get("primary_conninfo", ""))),
            "limits": ", ".join(low) or AS_PRIMARY,
        }

    def is_whole(self, name: str) -> bool:
        """Whether a replica's copy is there, and of use."""
        slot, seen = self.primary.slot(identifier(self.site.fleet, name)), self.replicas.get(name)
        return seen is not None and seen.data is Data.OURS and not (slot and slot.is_lost)

    def is_ready(self, name: str) -> bool:
        """Whether a replica serves."""
        seen = self.replicas.get(name)
        return seen is not None and not self._trouble(seen) and self._streams(seen)

    def _streams(self, seen: Replica) -> bool:
        """Whether it is all that it should be."""
        name = seen.place.name
        words = words_of(seen.values.get("primary_conninfo", ""))
        return (
            seen.data is Data.OURS
            and seen.is_running
            and seen.mark is not None
            and seen.mark.is_settled
            and "password" not in words
            and words.get("passfile") == passfile_path(seen.place, self.site.fleet)
            and seen.values.get("primary_slot_name") == identifier(self.site.fleet, name)
            and (name, identifier(self.site.fleet, name)) in self.primary.streaming
        )
