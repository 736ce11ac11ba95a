"""Each change as a person reads it before it is done, and the commands that do the same by hand."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from dataclasses import replace

from pgfleet.core.changes import Action, Change, Key
from pgfleet.core.words import size
from pgfleet.provision.provider import Step
from pgfleet.provision.selfhosted.catalog import shown_psql
from pgfleet.provision.selfhosted.copying import backup_argv
from pgfleet.provision.selfhosted.facts import Primary, Replica
from pgfleet.provision.selfhosted.hba import block_lines, rules
from pgfleet.provision.selfhosted.marks import passfile_path
from pgfleet.provision.selfhosted.places import Place, identifier
from pgfleet.provision.selfhosted.primary_steps import alter_system, new_values
from pgfleet.provision.selfhosted.replica_steps import RELOADED, own_values
from pgfleet.provision.selfhosted.settings import with_values
from pgfleet.provision.selfhosted.view import View
from pgfleet.provision.selfhosted.wishes import (
    ACCESS,
    ACCESS_NAME,
    AT_START,
    OF_PRIMARY,
    REPLICA,
    ROLE,
    SETTINGS,
    SLOT,
)

COPY_BYTES_PER_S = 50 << 20
"""What a copy over a network makes, roughly."""
START_S = 3.0
RESTART = "restart"


def step(view: View, change: Change) -> Step:
    """How a change is made."""
    return _STEPS[change.resource.kind](view, change)


def lacking(change: Change) -> dict[str, str]:
    """The settings of the primary that a change raises."""
    return {difference.attribute: difference.wanted for difference in change.differences}


def _settings(view: View, change: Change) -> Step:
    values = new_values(view.primary, view.site.primary.address, lacking(change))
    restarts = bool(AT_START.intersection(values))
    now = view.settings()
    told = ", ".join(f"{name} {now[name]} -> {value}" for name, value in values.items())
    psql = shown_psql(view.site)
    commands = [f"{psql} -c {shlex.quote(statement)}" for statement in alter_system(values)]
    commands.append(
        view.primary.manager.shown("restart", view.site.primary.os_user)
        if restarts
        else f"{psql} -c 'select pg_reload_conf()'"
    )
    return Step(
        change,
        f"change settings of the primary: {told}",
        _on(view.site.primary, commands),
        START_S if restarts else 0.1,
        consent=RESTART if restarts else "",
    )


def _role(view: View, change: Change) -> Step:
    name = change.resource.name
    psql = shown_psql(view.site)
    if change.action is Action.REMOVE:
        commands = _on(view.site.primary, [f"{psql} -c 'drop role {name}'"])
        return Step(
            change, f"remove role {name}", commands, 0.2, frozenset({(SLOT, name), *_replicas(view, name)})
        )
    place = _place(view, name)
    prompt = f"sudo -u {view.site.primary.os_user} createuser {_where(view)}--replication --pwprompt {name}"
    if change.action is not Action.CREATE:
        prompt = f"{psql} -c '\\password {name}'"
    file = passfile_path(_found(view, place), view.site.fleet)
    owner = place.os_user
    line = f"*:*:*:{name}:$REPLICATION_PASSWORD"
    there = [
        f"sudo -u {owner} install -D -m 600 /dev/null {shlex.quote(file)}",
        f'printf "%s\\n" "{line}" | sudo -u {owner} tee {shlex.quote(file)} >/dev/null',
    ]
    return Step(
        change,
        f"{change.action} role {name}, its password in a passfile on {place.login}",
        (*_on(view.site.primary, [prompt]), *_on(place, there)),
        0.5,
        frozenset({OF_PRIMARY.key}),
    )


def _where(view: View) -> str:
    return f"-p {view.site.primary.port} " if view.site.primary.port != 5432 else ""


def _access(view: View, change: Change) -> Step:
    site = view.site
    file = view.primary.settings["hba_file"]
    edit = f"sudo -u {site.primary.os_user} sed -i"
    clear = f"{edit} '/^# pgfleet {site.fleet}: begin/,/^# pgfleet {site.fleet}: end/d' {shlex.quote(file)}"
    commands = [] if change.action is Action.CREATE else [clear]
    if change.action is not Action.REMOVE:
        lines = "\\n".join(block_lines(site.fleet, rules(site.fleet, site.replicas)))
        commands.append(f"{edit} '1i {lines}' {shlex.quote(file)}")
    commands.append(f"{shown_psql(site)} -c 'select pg_reload_conf()'")
    who = ", ".join(place.client for place in site.replicas) or "nobody"
    title = f"remove the fleet's lines from {ACCESS_NAME}" if change.action is Action.REMOVE else (
        f"{change.action} the lines of {ACCESS_NAME} that let in {who}"
    )  # fmt: skip
    return Step(change, title, _on(site.primary, commands), 0.2, frozenset({OF_PRIMARY.key}))


def _slot(view: View, change: Change) -> Step:
    name = change.resource.name
    psql = shown_psql(view.site)
    drop = f"{psql} -c \"select pg_drop_replication_slot('{name}')\""
    make = f"{psql} -c \"select pg_create_physical_replication_slot('{name}', true)\""
    if change.action is Action.REMOVE:
        commands, title, needs = [drop], f"remove slot {name}", _replicas(view, name)
    else:
        commands = [make] if change.action is Action.CREATE else [drop, make]
        title = f"{change.action} slot {name}"
        if change.action is Action.FINISH:
            title += ", which has lost its WAL: its replica is copied anew"
        needs = {(ROLE, name), OF_PRIMARY.key}
    return Step(change, title, _on(view.site.primary, commands), 0.2, frozenset(needs))


def _replica(view: View, change: Change) -> Step:
    name = change.resource.name
    if change.action is Action.REMOVE:
        return _removal(view, change)
    place = _place(view, identifier(view.site.fleet, name))
    copies = not view.is_whole(name)
    slot = identifier(view.site.fleet, name)
    what = f", {size(view.primary.size_bytes)} to copy" if copies else ""
    return Step(
        change,
        f"{change.action} {name} on {place.login}, port {place.port}{what}",
        _on(place, [*_by_hand(view, name, copies)]),
        START_S + (view.primary.size_bytes / COPY_BYTES_PER_S if copies else 0),
        frozenset({(ROLE, slot), (SLOT, slot), (ACCESS, ACCESS_NAME), OF_PRIMARY.key}),
    )


def _by_hand(view: View, name: str, copies: bool) -> Iterator[str]:
    seen = view.replicas.get(name)
    if seen is None or seen.manager is None:
        return
    place, manager = seen.place, seen.manager
    if copies:
        yield f"sudo -u {place.os_user} {shlex.join(backup_argv(view.site, seen))}"
    lines = with_values("", own_values(view.site, _to_be(view), seen))
    auto = shlex.quote(f"{place.data_directory}/postgresql.auto.conf")
    yield f"sudo -u {place.os_user} tee -a {auto} >/dev/null <<'END'\n{lines}END"
    if manager.kind == "pg_ctlcluster" and not seen.has_cluster:
        yield (
            f"sudo pg_createcluster {manager.major} {place.cluster} -d {shlex.quote(place.data_directory)}"
            f" -p {place.port} -u {place.os_user}"
        )
    yield manager.shown("start" if copies or not seen.is_running else _action(view, seen), place.os_user)


def _to_be(view: View) -> Primary:
    """The primary once its settings are changed: the replica is held to these."""
    changed = new_values(view.primary, view.site.primary.address, view.lacking())
    return replace(view.primary, settings={**view.primary.settings, **changed})


def _action(view: View, seen: Replica) -> str:
    """What a standby that runs needs for what it is told."""
    values = own_values(view.site, _to_be(view), seen)
    changed = {name for name, value in values.items() if seen.values.get(name) != value}
    return "reload" if changed and changed <= RELOADED else "restart"


def _removal(view: View, change: Change) -> Step:
    name = change.resource.name
    seen = view.replicas.get(name)
    if seen is None or seen.manager is None:
        return Step(change, f"forget {name}, whose host cannot be asked: its data stay there")
    place, manager = seen.place, seen.manager
    commands = [manager.shown("stop", place.os_user)]
    if seen.has_cluster:
        commands.append(f"sudo pg_dropcluster {manager.major} {place.cluster}")
    commands.append(f"sudo rm -rf {shlex.quote(place.data_directory)}")
    commands.append(f"sudo rm -f {shlex.quote(passfile_path(place, view.site.fleet))}")
    return Step(
        change, f"remove {name} and its data on {place.login}: {place.data_directory}", _on(place, commands), START_S
    )  # fmt: skip


def _on(place: Place, commands: list[str]) -> tuple[str, ...]:
    """Commands, and where they are typed."""
    return (f"# on {place.login}", *commands)


def _place(view: View, identified: str) -> Place:
    """Where the replica of a role or slot stands."""
    return next(
        place for place in view.site.replicas if identifier(view.site.fleet, place.name) == identified
    )


def _found(view: View, place: Place) -> Place:
    seen = view.replicas.get(place.name)
    return seen.place if seen else place


def _replicas(view: View, identified: str) -> set[Key]:
    """The replicas that use a slot or a role."""
    names = {role.place.name for role in view.primary.roles if role.name == identified}
    return {(REPLICA, name) for name in names}


_STEPS: dict[str, Callable[[View, Change], Step]] = {
    SETTINGS: _settings,
    ROLE: _role,
    ACCESS: _access,
    SLOT: _slot,
    REPLICA: _replica,
}
