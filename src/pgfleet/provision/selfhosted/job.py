"""One replica that is worked on, and what the work needs."""

from __future__ import annotations

from dataclasses import dataclass

from pgfleet.provision.provider import Tell
from pgfleet.provision.selfhosted.catalog import Catalog
from pgfleet.provision.selfhosted.facts import Primary, Replica
from pgfleet.provision.selfhosted.host import Host
from pgfleet.provision.selfhosted.marks import Mark, note
from pgfleet.provision.selfhosted.places import Place, Site


@dataclass(frozen=True, slots=True)
class Job:
    """The replica as it was seen when the work began, and whom to ask and to tell meanwhile."""

    site: Site
    primary: Primary
    catalog: Catalog
    host: Host
    seen: Replica
    tell: Tell

    @property
    def place(self) -> Place:
        """Where it stands."""
        return self.seen.place

    async def note(self, mark: Mark) -> None:
        """Write its mark."""
        await note(self.host, self.site.fleet, self.place, mark)
