"""Nodes that could not be asked."""

from __future__ import annotations

from collections.abc import Iterator

from pgfleet.core.diagnosis.finding import Finding, Severity, Step
from pgfleet.core.diagnosis.fleet import Fleet
from pgfleet.core.diagnosis.obstacle import Obstacle
from pgfleet.core.diagnosis.snapshot import NodeSeen
from pgfleet.core.diagnosis.steps import APPLICATION, WHAT_IS_SET, WHO_CONNECTS
from pgfleet.core.words import identifier, literal, shell


def unreachable(fleet: Fleet) -> Iterator[Finding]:
    """One finding for each node that could not be asked: the step that failed."""
    for node in fleet.blocked:
        assert node.blocked
        detail = f": {node.blocked.detail}" if node.blocked.detail else ""
        yield Finding(
            str(node.blocked.obstacle),
            Severity.WARNING if node.draining else Severity.CRITICAL,
            node.name,
            f"{node.address}{detail}",
            _fix(node, node.blocked.obstacle),
        )


def _hba_line(database: str, role: str) -> str:
    return f'hostssl "{database}" "{role}" <our address>/32 scram-sha-256'


def _fix(node: NodeSeen, obstacle: Obstacle) -> tuple[Step, ...]:
    host, port = node.hosts[0] if node.hosts else ("", 5432)
    role, name = node.user or "", node.name
    database = node.address.rpartition("/")[2]
    ready = Step(f"pg_isready -h {shell(host)} -p {port}", APPLICATION)
    service = Step("systemctl status postgresql", name)
    steps: dict[Obstacle, tuple[Step, ...]] = {
        Obstacle.DNS: (
            Step(f"getent hosts {shell(host)}", APPLICATION),
            Step("cat /etc/resolv.conf", APPLICATION, "if the name is right"),
            WHAT_IS_SET,
        ),
        Obstacle.SOCKET_MISSING: (service, Step(f"ls -la {shell(host)}", APPLICATION)),
        Obstacle.REFUSED: (
            service,
            Step("systemctl start postgresql", name, "if it does not run"),
            Step("ss -ltnp | grep postgres", name, f"if it runs: does it listen on port {port}?"),
            Step(
                "alter system set listen_addresses = '*'; -- then restart",
                name,
                "if it listens on 127.0.0.1 alone",
            ),
        ),
        Obstacle.NO_ROUTE: (Step(f"ip route get {shell(host)}", APPLICATION),),
        Obstacle.TCP_TIMEOUT: (
            Step(f"nc -vz -w 3 {shell(host)} {port}", APPLICATION),
            Step("nft list ruleset", name, "does a rule, or a security group, let us in?"),
        ),
        Obstacle.SILENT: (
            Step(
                "ps -eo pid,stat,wchan:20,args | grep '[p]ostgres'", name, "T: stopped, D: waits for its disk"
            ),
            Step('kill -CONT $(head -1 "$PGDATA/postmaster.pid")', name, "if it was stopped"),
            Step("systemctl restart postgresql", name, "if it does not come back by itself"),
        ),
        Obstacle.NOT_POSTGRESQL: (Step(f"ss -ltnp 'sport = :{port}'", name), WHAT_IS_SET),
        Obstacle.TLS_REFUSED: (
            Step("alter system set ssl = on; -- with ssl_cert_file and ssl_key_file", name),
            Step("select pg_reload_conf();", name),
        ),
        Obstacle.CERTIFICATE: (
            Step(
                f"openssl s_client -starttls postgres -connect {shell(host)}:{port} </dev/null"
                " | openssl x509 -noout -issuer -subject -dates -ext subjectAltName",
                APPLICATION,
                "to see what it shows",
            ),
            Step("ls -l ~/.postgresql/root.crt", APPLICATION, "is that, or sslrootcert, its authority?"),
        ),
        Obstacle.TLS_FAILED: (
            Step(
                f"openssl s_client -starttls postgres -connect {shell(host)}:{port} </dev/null", APPLICATION
            ),
        ),
        Obstacle.STARTING: (
            Step("journalctl -u 'postgresql*' -n 50", name, "what does its log say of recovery?"),
            ready,
        ),
        Obstacle.FULL: (
            Step(
                WHO_CONNECTS,
                name,
                "as a superuser, for whom some are reserved",
            ),
            Step(
                "alter system set max_connections = 200; -- then restart", name, "if all of them are needed"
            ),
        ),
        Obstacle.LOGIN_REFUSED: (
            Step("select * from pg_hba_file_rules;", name, "which line should match?"),
            Step(
                f"echo {shell(_hba_line(database, role))} >> \"$(psql -Atc 'show hba_file')\"",
                name,
                "if none does",
            ),
            Step("select pg_reload_conf();", name),
        ),
        Obstacle.PASSWORD_WRONG: (
            WHAT_IS_SET,
            Step(
                f"select rolname, rolcanlogin, rolvaliduntil from pg_authid where rolname = {literal(role)};",
                name,
            ),
            Step(f"\\password {identifier(role)}", "the primary", "to give it a new one"),
        ),
        Obstacle.PASSWORD_MISSING: (WHAT_IS_SET,),
        Obstacle.DATABASE_MISSING: (Step("select datname from pg_database;", name), WHAT_IS_SET),
        Obstacle.CONNECT_DENIED: (
            Step(f"grant connect on database {identifier(database)} to {identifier(role)};", "the primary"),
        ),
        Obstacle.FAILED: (ready, WHAT_IS_SET),
    }
    return steps[obstacle]
