"""What is changed on the primary: settings, roles, slots, `pg_hba.conf`."""

from __future__ import annotations

from collections.abc import Mapping

from pgfleet.core.words import literal
from pgfleet.errors import ProvisionError
from pgfleet.local.scram import scram_verifier
from pgfleet.provision.pace import Pace
from pgfleet.provision.provider import Tell
from pgfleet.provision.selfhosted.catalog import Catalog
from pgfleet.provision.selfhosted.facts import Primary
from pgfleet.provision.selfhosted.hba import with_block
from pgfleet.provision.selfhosted.look_primary import MARK, wait_ready
from pgfleet.provision.selfhosted.places import Place, identifier, written
from pgfleet.provision.selfhosted.settings import shown_size
from pgfleet.provision.selfhosted.wishes import AT_START, LIMITED, REACHABLE

HELD_TIMEOUT_S = 5.0
SLOT_FREE_TIMEOUT_S = 20.0
PAUSE_S = 0.1


def new_values(primary: Primary, address: str, lacking: Mapping[str, str]) -> dict[str, str]:
    """What the settings are changed to, which are not enough as they are."""
    return {name: _new_value(primary, address, name, floor) for name, floor in lacking.items()}


def _new_value(primary: Primary, address: str, name: str, floor: str) -> str:
    if floor == LIMITED:
        return shown_size(half_of(primary.free_bytes))
    if floor == REACHABLE:
        now = primary.settings["listen_addresses"]
        return f"{now},{address}".lstrip(",") if address in primary.machine.addresses else "*"
    return floor


def half_of(free_bytes: int) -> int:
    """Half of the free disk in MB, by whole GB where there are some: one dead replica must not fill it."""
    half_mb = max(free_bytes >> 21, 64)
    return half_mb // 1024 * 1024 if half_mb > 1024 else half_mb


def alter_system(values: Mapping[str, str]) -> list[str]:
    """The statements that change settings. A list of addresses is a list in SQL too."""
    return [f"alter system set {name} = {_in_sql(name, value)};" for name, value in values.items()]


def _in_sql(name: str, value: str) -> str:
    if name == "listen_addresses":
        return ", ".join(literal(word.strip()) for word in value.split(","))
    return literal(value)


async def change_settings(catalog: Catalog, primary: Primary, values: Mapping[str, str], tell: Tell) -> None:
    """Change them for good, and restart or reload; return when they hold."""
    await catalog.run("\n".join(alter_system(values)))
    if AT_START.intersection(values):
        tell("the primary restarts")
        await primary.manager.do(catalog.host, "restart")
        await wait_ready(catalog)
    else:
        await catalog.run("select pg_reload_conf();")
    await _wait_held(catalog, values)


async def _wait_held(catalog: Catalog, values: Mapping[str, str]) -> None:
    """A reload takes effect in its own time; a value that something overrides never does."""
    async for _ in Pace(PAUSE_S, HELD_TIMEOUT_S).looks():
        shown = await catalog.ask(_SHOW, names=",".join(values))
        wrong = [name for name, value in values.items() if not _is_same(shown[name], value)]
        if not wrong:
            return
    raise ProvisionError(
        f"{catalog.site.primary}: {', '.join(wrong)} was changed by ALTER SYSTEM, and something overrides it",
        "look for it in pg_settings.source and pg_file_settings",
    )


def _is_same(shown: str, value: str) -> bool:
    return shown.replace(" ", "") == value.replace(" ", "")


async def make_role(catalog: Catalog, fleet: str, place: Place, password: str) -> None:
    """The role of one replica, with this password, whatever was there of it. Only the verifier is sent."""
    name, comment = identifier(fleet, place.name), f"{MARK}{fleet} {written(place)}"
    await catalog.run(_MAKE_ROLE, name=name, verifier=scram_verifier(password), comment=comment)


async def drop_role(catalog: Catalog, name: str) -> None:
    """Drop it; it owns nothing."""
    await catalog.run('drop role if exists :"name";', name=name)


async def make_slot(catalog: Catalog, name: str) -> None:
    """A slot that keeps WAL from now on."""
    await catalog.run(_MAKE_SLOT, name=name)


async def drop_slot(catalog: Catalog, name: str) -> None:
    """Drop it, once nobody uses it."""
    await free_slot(catalog, name)
    await catalog.run(_DROP_SLOT, name=name)


async def free_slot(catalog: Catalog, name: str) -> None:
    """End the walsender of our own role that uses it: what a lost connection left behind holds it for a minute."""
    async for _ in Pace(PAUSE_S, SLOT_FREE_TIMEOUT_S).looks():
        used = await catalog.run(_FREE_SLOT, name=name)
        if not used:
            return
    raise ProvisionError(
        f"{catalog.site.primary}: slot {name} is in use by another ({used})",
        "see pg_replication_slots.active_pid and pg_stat_activity, and end what uses it",
    )


async def let_in(catalog: Catalog, path: str, rules: tuple[str, ...]) -> None:
    """Write our lines of `pg_hba.conf`, or with none take them away, and let the server read it."""
    before = await catalog.host.read(path)
    wanted = with_block(before, catalog.site.fleet, rules)
    if wanted != before:
        await catalog.host.write(path, wanted)
    if wrong := (await catalog.run(_RELOAD_IF_RIGHT)).strip("t\n"):
        await catalog.host.write(path, before)
        raise ProvisionError(
            f"{catalog.site.primary}: PostgreSQL does not take {path}: {wrong}; it is as it was before",
            "mend the line that it names",
        )


async def walsender(catalog: Catalog, replica: str) -> str:
    """The process that a replica streams from, by its own role; empty: it does not stream."""
    return await catalog.run(_STREAMS, name=replica, role=identifier(catalog.site.fleet, replica))


_SHOW = """
select json_object_agg(name, current_setting(name)) from pg_settings where name = any(string_to_array(:'names', ','));
"""

_MAKE_ROLE = r"""
begin;
set local log_statement = 'none';
set local log_min_duration_statement = -1;
set local log_min_error_statement = 'panic';
select format('create role %I', :'name') where not exists (select from pg_roles where rolname = :'name') \gexec
alter role :"name" with login replication password :'verifier';
comment on role :"name" is :'comment';
commit;
"""

_RELOAD_IF_RIGHT = """
select format('line %s: %s', line_number, error) from pg_hba_file_rules where error is not null;
select pg_reload_conf() where not exists (select from pg_hba_file_rules where error is not null);
"""

_MAKE_SLOT = """
select from pg_create_physical_replication_slot(:'name', true)
where not exists (select from pg_replication_slots where slot_name = :'name');
"""

_DROP_SLOT = """
select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = :'name';
"""

_FREE_SLOT = """
select active_pid, pg_terminate_backend(pid) from pg_replication_slots
left join pg_stat_replication on pid = active_pid and usename = :'name'
where slot_name = :'name' and active;
"""

_STREAMS = """
select pid from pg_stat_replication where application_name = :'name' and usename = :'role' and state = 'streaming';
"""
