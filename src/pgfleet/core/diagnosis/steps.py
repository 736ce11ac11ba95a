"""Steps that several fixes share."""

from __future__ import annotations

from pgfleet.core.diagnosis.finding import Step
from pgfleet.core.diagnosis.fleet import Node
from pgfleet.core.words import literal, shell

APPLICATION = "the application"
"""In the place of a node: where the application runs."""

WHAT_IS_SET = Step(
    "pgfleet doctor --json | jq -r '.nodes[] | [.name, .address, .user] | @tsv'",
    APPLICATION,
    "to see what is set, without the passwords",
)

WHO_CONNECTS = (
    "select usename, application_name, state, count(*) from pg_stat_activity"
    " group by 1, 2, 3 order by 4 desc;"
)
"""Who holds a server's connections."""


def conninfo(primary: Node) -> str:
    """How a standby finds this primary, as libpq's keywords; the password belongs into its password file."""
    host, port = primary.seen.hosts[0]
    return f"host={host} port={port} user={replication_role(primary)}"


def replication_role(primary: Node) -> str:
    """The role that its standbys log in as; a guess, when it has none."""
    roles = (sender.role for sender in primary.facts.last.senders if sender.role)
    return next(roles, "replicator")


def follow(primary: Node | None, node: Node, when: str) -> tuple[Step, ...]:
    """To have a standby follow the primary."""
    if primary is None:
        return ()
    words = f"{conninfo(primary)} application_name={node.name}"
    return (
        Step(f"alter system set primary_conninfo = {literal(words)};", node.name, when),
        Step("select pg_reload_conf(); -- before PostgreSQL 13: restart", node.name),
    )


def copy_anew(primary: Node, name: str, slot: str = "") -> Step:
    """To make the node `name` a copy of the primary."""
    host, port = primary.seen.hosts[0]
    with_slot = f" -S {shell(slot)}" if slot else ""
    return Step(
        f"pg_basebackup -h {shell(host)} -p {port} -U {shell(replication_role(primary))}"
        f" -D <new directory> -X stream{with_slot} -R -P",
        name,
        "to make it a copy of the primary, into an empty directory",
    )
