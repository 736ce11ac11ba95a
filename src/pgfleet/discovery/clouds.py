"""Instances of a cloud as servers: values in, values out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pgfleet.clouds import cloudsql, rds
from pgfleet.core.membership import Found
from pgfleet.discovery.names import node_name


def of_rds(instances: Iterable[rds.Instance], source: str) -> tuple[Found, ...]:
    """The replicas of a source, an identifier or an ARN, that are made; and the source, which takes no reads.

    One that is changed, restarted or backed up stays: whether it answers, the probes know sooner. With the source in
    it an answer is never empty by mistake, so that a fleet whose last replica was removed knows it.
    """
    return tuple(_of_rds(sorted(instances, key=lambda instance: instance.name), source))


def _of_rds(instances: Iterable[rds.Instance], source: str) -> Iterator[Found]:
    for instance in instances:
        is_source = source in (instance.name, instance.arn)
        is_ours = is_source or _copies(instance, source)
        if instance.endpoint and instance.status in rds.SERVING and is_ours:
            host, port = instance.endpoint
            yield Found(
                node_name(instance.name), host, port, zone=instance.zone or None, takes_reads=not is_source
            )


def _copies(instance: rds.Instance, source: str) -> bool:
    """Whether it is a replica of a source; an identifier is one of the instance's own region."""
    if ":" in source:
        return rds.copies(instance, source.rpartition(":")[2], rds.region_of_arn(source), source)
    return rds.copies(instance, source, instance.region, arn="")


def of_cloud_sql(
    instances: Iterable[cloudsql.Instance], source: str, kind: str, port: int
) -> tuple[Found, ...]:
    """The same of Cloud SQL, which tells addresses of a `kind` and no ports."""
    found = sorted(instances, key=lambda instance: instance.name)
    return tuple(
        Found(
            node_name(instance.name),
            instance.address(kind),
            port,
            zone=instance.zone or None,
            takes_reads=instance.name != source,
        )
        for instance in found
        if source in (instance.name, instance.source) and _is_made(instance) and instance.address(kind)
    )


def _is_made(instance: cloudsql.Instance) -> bool:
    is_kind = not instance.source or instance.facts.get("instanceType") == cloudsql.READ_REPLICA
    return is_kind and instance.status in cloudsql.SERVING and instance.is_started and instance.replicates
