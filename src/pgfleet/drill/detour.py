"""The same fleet, reached by way of proxies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pgfleet.settings import Dsn, NodeSettings, Settings
from pgfleet.settings.conninfo import parse_conninfo


def by_way_of(proxies: Mapping[str, int], settings: Settings) -> Settings:
    """The settings, with the ports of proxies on this machine in the place of some of their servers."""
    primary, *replicas = (
        _through(node, proxies[node.name]) if node.name in proxies else node
        for node in (settings.primary, *settings.replicas)
    )
    return replace(settings, primary=primary, replicas=tuple(replicas))


def _through(node: NodeSettings, port: int) -> NodeSettings:
    values = parse_conninfo(node.dsn.reveal())
    values.pop("hostaddr", None)
    values |= {"host": "127.0.0.1", "port": str(port)}
    text = " ".join(f"{keyword}={_quoted(value)}" for keyword, value in values.items())
    return replace(node, dsn=Dsn.parse(text, node.variable or node.name))


def _quoted(value: str) -> str:
    escaped = value.replace("\\", r"\\").replace("'", r"\'")
    return f"'{escaped}'"
