"""One run of the checklist over a fleet: gathers the figures, several at once, and has them judged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from time import monotonic

from pgfleet.errors import ConfigurationError, DriverMissing
from pgfleet.local import LocalFleet
from pgfleet.settings import NodeSettings, Settings
from pgfleet.verify.asking import Site
from pgfleet.verify.breaking import Breaker, CommandBreaker, LocalBreaker, local_replicas
from pgfleet.verify.failover import Undisturbed, Watch, fail_over, stop_all
from pgfleet.verify.fallback import fall_back
from pgfleet.verify.figures import ApiFigures
from pgfleet.verify.gathering import Seen, ask_api, endpoints_of, gather
from pgfleet.verify.items import TITLES, Endpoint, Item, Report, skipped
from pgfleet.verify.judgements.alerts import PATH, alerts_item
from pgfleet.verify.judgements.api import endpoints_item, health_item, pools_item
from pgfleet.verify.judgements.environment import environment_item
from pgfleet.verify.judgements.fleet import lag_item, notices, replicas_item
from pgfleet.verify.judgements.reads import distribution_item, failover_item, fallback_item, own_writes_item
from pgfleet.verify.load import Router
from pgfleet.verify.options import Options

Tell = Callable[[str], None]
Serve = Callable[[Router], AbstractAsyncContextManager[Site]]
"""Serves the monitoring API of a router for as long as the block lasts. Raises DriverMissing."""


@dataclass(frozen=True, slots=True)
class World:
    """What a run is given to work with."""

    environ: Mapping[str, str]
    settings: Callable[[], Settings]
    """Raises ConfigurationError."""
    router_of: Callable[[Settings], Router]
    serve: Serve
    tell: Tell
    undisturbed: Undisturbed = nullcontext
    """Lets no Ctrl-C into the block."""


class Run:
    """One run."""

    def __init__(self, world: World, options: Options) -> None:
        self._world = world
        self._options = options
        self._items: dict[str, Item] = {}
        self._endpoints: tuple[Endpoint, ...] = ()
        self._notices: tuple[str, ...] = ()
        self._known: dict[str, NodeSettings] = {}

    async def report(self) -> Report:
        """Look at everything. Raises PgfleetError when nothing can be looked at."""
        timestamp, began_s = datetime.now(UTC).isoformat(timespec="milliseconds"), monotonic()
        self._put(environment_item(self._world.environ))
        try:
            settings = self._listening(self._world.settings())
        except ConfigurationError:  # the item tells each of its problems
            self._skip_all()
            await self._alerts()
        else:
            await self._look(settings)
        items = tuple(self._items[key] for key in TITLES)
        took_s = round(monotonic() - began_s, 3)
        return Report(timestamp.replace("+00:00", "Z"), took_s, items, self._endpoints, self._notices)

    def _put(self, *items: Item) -> None:
        self._items |= {item.key: item for item in items}

    def _skip_all(self) -> None:
        why, how = "no fleet to look at", "Mend the environment first."
        self._put(*(skipped(key, why, how) for key in TITLES if key not in self._items))

    def _listening(self, settings: Settings) -> Settings:
        """The same, with a note of each node that the fleet file or discovery brings."""
        self._known = {node.name: node for node in (settings.primary, *settings.replicas)}
        adapt = settings.adapt

        def note(node: NodeSettings) -> NodeSettings:
            self._known[node.name] = node
            return adapt(node) if adapt else node

        return replace(settings, adapt=note)

    async def _look(self, settings: Settings) -> None:
        async with self._world.router_of(settings) as router:
            async with self._site(router) as site:
                self._world.tell(f"looking for {self._options.seconds:g} s, under load")
                await asyncio.gather(
                    self._window(router, settings, site), self._alerts(), self._fallback(router, settings)
                )
            await self._drill(router)

    # what is looked at while reads are under way

    async def _window(self, router: Router, settings: Settings, site: Site | DriverMissing) -> None:
        options = self._options
        seen = await gather(router, settings, self._known, options, site)
        self._endpoints = endpoints_of(router, self._known, seen.servers)
        self._notices = notices(seen.servers)
        self._judge(seen)
        if isinstance(site, DriverMissing):
            how = f"{site.hint}, or give --url of a service that runs."
            self._put(*(skipped(key, site.message, how) for key in ("health", "pools", "endpoints")))
        else:
            self._judge_api(await ask_api(site, router, is_own=options.site is None, before=seen.pools), seen)

    def _judge(self, seen: Seen) -> None:
        options = self._options
        self._put(
            replicas_item(seen.replicas, options.replicas, seen.standbys),
            lag_item(seen.lags, options.seconds, writes=seen.writes is not None),
            distribution_item(seen.reads, seen.replicas, options.seconds),
            own_writes_item(seen.writes)
            if seen.writes
            else skipped("own-writes", "nothing is written with --read-only", "Leave out --read-only."),
        )

    def _judge_api(self, api: ApiFigures, seen: Seen) -> None:
        names = [replica.name for replica in seen.replicas]
        self._put(
            health_item(api, len(names)),
            pools_item(api, names, seen.servers),
            endpoints_item(api, self._endpoints),
        )

    @asynccontextmanager
    async def _site(self, router: Router) -> AsyncIterator[Site | DriverMissing]:
        """The API that is asked, or why there is none."""
        if self._options.site:
            yield self._options.site
            return
        try:
            serving = self._world.serve(router)
        except DriverMissing as missing:
            yield missing
            return
        async with serving as site:
            yield site

    async def _alerts(self) -> None:
        site = self._options.prometheus
        if site is None:
            self._put(skipped("alerts", "no Prometheus was named", "Add --prometheus URL."))
        else:
            self._put(alerts_item(str(site), await site.get(f"{PATH}?type=alert")))

    async def _fallback(self, router: Router, settings: Settings) -> None:
        names = [node.name for node in router.topology.replicas]
        self._put(fallback_item(await fall_back(settings, names, self._world.router_of)))

    # what is broken, with consent

    async def _drill(self, router: Router) -> None:
        options = self._options
        local = local_replicas(self._known.values(), options.directory) if options.drill else None
        if options.commands:
            self._world.tell("a replica is stopped by the command of --allow-kill, under load")
            stop, start = options.commands.stop, options.commands.start
            await self._fail_over(router, CommandBreaker(stop, start, options.within_s))
        elif local:
            await self._drill_local(router, *local)
        else:
            self._put(_no_drill(options))

    async def _drill_local(self, router: Router, fleet: LocalFleet, names: Mapping[str, str]) -> None:
        """Only what takes reads now is stopped: what is down already is not ours to start."""
        taking = {name: names[name] for name in router.explain().candidates if name in names}
        self._world.tell("a replica is killed, under load")
        await self._fail_over(router, LocalBreaker(fleet, tuple(taking.values())[:1]))
        if taking:
            self._world.tell("every replica is killed, under load")
            watch = self._watch(router, LocalBreaker(fleet, tuple(taking.values())))
            self._put(fallback_item(await stop_all(watch, tuple(taking))))

    async def _fail_over(self, router: Router, breaker: Breaker) -> None:
        self._put(failover_item(await fail_over(self._watch(router, breaker))))

    def _watch(self, router: Router, breaker: Breaker) -> Watch:
        return Watch(router, breaker, self._options.within_s, self._world.undisturbed)


def _no_drill(options: Options) -> Item:
    commands = '--allow-kill "COMMAND" --undo "COMMAND"'
    if options.drill:
        place = options.directory or "your state directory"
        why = f"the nodes of the environment are none of a local fleet in {place}"
        how = (
            f"If they are local, --directory says where; else add {commands}: what stops one, and starts it."
        )
        return skipped("failover", why, how)
    why = "nothing is stopped without consent"
    return skipped("failover", why, f"Add --drill for a local fleet, {commands} for another one.")


async def verify(world: World, options: Options) -> Report:
    """Run the checklist. Raises PgfleetError when nothing can be looked at."""
    return await Run(world, options).report()
