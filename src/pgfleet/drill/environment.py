"""Drills against the fleet of the environment: none of its servers is touched, and nothing is written to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from math import inf
from time import monotonic
from typing import Any, cast

from pgfleet.drill.calls import Answer, Event, Group, Kind, Look, Record
from pgfleet.drill.clients import Client, Reading, Router
from pgfleet.drill.hand import Address, Hand, on_proxies
from pgfleet.drill.load import load
from pgfleet.drill.promises import WATCHED, judge
from pgfleet.drill.run import Drill, Options, opener_of
from pgfleet.drill.scenarios import Scenario
from pgfleet.drill.stage import Plan, Tell, looking, perform
from pgfleet.errors import ConfigurationError
from pgfleet.settings import Settings

IDENTITY = "select inet_server_addr()::text, inet_server_port()"
"""Tells one server from another, however it was reached."""

SOMEBODY = "somebody"
LISTEN_EVERY_S = 0.1


async def watch(settings: Settings, options: Options, sql: str | None, tell: Tell) -> Drill:
    """Read for so long, or until this task is cancelled, while somebody else breaks things, and report."""
    groups = _readers(options)
    async with _opener(settings, options, sql, groups)({}) as client:
        looks, events, began_s = list[Look](), list[Event](), monotonic()
        async with load(client.asks, groups) as under_way, looking(client, looks):
            await _listen(client, _names(settings), began_s + (options.seconds or inf), events, tell)
        now_s = monotonic()
    record = Record(
        nodes=_names(settings),
        victims=(),
        groups=groups,
        began_s=began_s,
        broken_s=began_s,
        struck_s=began_s,
        mended_s=now_s,
        ended_s=now_s,
        calls=tuple(under_way.calls),
        looks=tuple(looks),
        events=tuple(events),
        bound_s=settings.max_lag_s,
    )
    verdicts = tuple(judge(WATCHED, record))
    return Drill("watch", "the fleet of the environment, whatever befalls it", options, record, verdicts)


async def run_against(
    scenario: Scenario, options: Options, settings: Settings, hand: Hand, tell: Tell
) -> Drill:
    """Break the network between this process and the replicas, and nothing else. Raises ConfigurationError."""
    groups, addresses = _readers(options), _addresses(settings)
    plan = Plan(
        play=scenario.play,
        nodes=_names(settings),
        primary=settings.primary.name,
        opener=_opener(settings, options, None, groups),
        groups=groups,
        seconds=scenario.seconds if options.seconds is None else options.seconds,
        bound_s=settings.max_lag_s,
        undo=partial(hand.do, on_proxies, "pass_through", tuple(addresses)),
        proxied=addresses,
    )
    record = await perform(plan, hand, tell)
    verdicts = tuple(judge(scenario.promises, record))
    return Drill(scenario.name, scenario.about, options, record, verdicts)


def _readers(options: Options) -> tuple[Group, ...]:
    return (Group(Kind.FETCH, options.callers, options.rate),)


def _names(settings: Settings) -> tuple[str, ...]:
    return settings.primary.name, *(replica.name for replica in settings.replicas)


def _addresses(settings: Settings) -> dict[str, Address]:
    """Where a proxy must lead."""
    addresses = {replica.name: replica.dsn.hosts for replica in settings.replicas}
    wrong = [
        name for name, hosts in addresses.items() if len(hosts) > 1 or hosts[0][0].startswith(("/", "@"))
    ]
    if wrong or not addresses:
        complaint = f"no single host and port: {', '.join(wrong)}" if wrong else "no replicas are configured"
        raise ConfigurationError((complaint,), "this drill stands between us and each replica; try `watch`")
    return {name: hosts[0] for name, hosts in addresses.items()}


def _opener(settings: Settings, options: Options, sql: str | None, groups: tuple[Group, ...]) -> Any:
    """Opens a client that only reads, and tells the servers apart unless it runs a statement of somebody else's."""
    names: dict[tuple[str, int], str] = {}
    read = partial(_identified, names) if sql is None else _unidentified
    opener = opener_of(Reading(sql or IDENTITY), options, settings, read, groups)
    return partial(_identifying, opener, names, _names(settings))


@asynccontextmanager
async def _identifying(
    opener: Callable[[Mapping[str, int]], Any],
    names: dict[tuple[str, int], str],
    nodes: tuple[str, ...],
    proxies: Mapping[str, int],
) -> AsyncIterator[Client]:
    async with opener(proxies) as client:
        for node in nodes:
            with suppress(Exception):  # a node that is down: it will be shown by its address
                address, port = await cast("Router", client).from_node(node, IDENTITY)
                names[address, port] = node
        yield client


def _identified(names: Mapping[tuple[str, int], str], row: Any) -> Answer:
    address, port = row
    return Answer(names.get((address, port), f"{address}:{port}"))


def _unidentified(_: Any) -> Answer:
    return Answer(SOMEBODY)


async def _listen(
    client: Client, nodes: tuple[str, ...], end_s: float, events: list[Event], tell: Tell
) -> None:
    """Tell who is out of the rotation and who comes back, until the end or Ctrl-C."""
    seen = frozenset(nodes)
    tell("reads are under way: break something now, Ctrl-C ends it")
    try:
        while (now_s := monotonic()) < end_s:
            found = client.candidates() or frozenset()
            changes = [f"{name} is out of the rotation" for name in sorted(seen - found)]
            changes += [f"{name} is in the rotation again" for name in sorted(found - seen)]
            for change in changes:
                events.append(Event(now_s, change))
                tell(change)
            seen = found
            await asyncio.sleep(min(LISTEN_EVERY_S, end_s - now_s))
    except asyncio.CancelledError:  # what Ctrl-C becomes inside asyncio.run
        task = asyncio.current_task()
        assert task is not None
        task.uncancel()
