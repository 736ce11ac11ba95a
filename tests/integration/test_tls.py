"""TLS as the connection string says, on every face and driver: pools and probes alike."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pgfleet.core.node import Reason
from pgfleet.errors import PrimaryUnavailable
from pgfleet.local import LocalFleet
from tests.certificates import Certificates
from tests.certificates import certificates as made_certificates
from tests.conftest import INSTALLATIONS
from tests.faces import FACES, Face, environ

pytestmark = pytest.mark.parametrize("face", FACES, ids=str)
ENCRYPTED = "select ssl from pg_stat_ssl where pid = pg_backend_pid()"


@pytest.fixture(scope="module")
def certificates() -> Iterator[Certificates]:
    with made_certificates() as certificates:
        yield certificates


@pytest.fixture(scope="module")
def tls_fleet(certificates: Certificates) -> Iterator[LocalFleet]:
    """Debian's PostgreSQL: the wheel's is built without OpenSSL."""
    pg_bin = next(path for path in INSTALLATIONS if path and "postgresql" in path.parts)
    with LocalFleet.temporary(replicas=1, pg_bin=pg_bin, settings=certificates.settings()) as fleet:
        yield fleet


def secured(fleet: LocalFleet, host: str, **parameters: object) -> dict[str, str]:
    """The fleet's environment, with these parameters in each connection string."""
    query = "&".join(f"{name}={value}" for name, value in parameters.items())
    return {
        name: f"{value.replace('127.0.0.1', host)}?{query}" if value.startswith("postgresql://") else value
        for name, value in environ(fleet).items()
    }


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
async def test_reads_and_writes_are_encrypted(
    face: Face, tls_fleet: LocalFleet, certificates: Certificates, mode: str
) -> None:
    env = secured(tls_fleet, "localhost", sslmode=mode, sslrootcert=certificates.authority)
    async with face.open(env) as router:
        assert router.candidates() == ("replica-1", "primary")
        for options in ({}, {"prefer_replica": False}):
            assert await router.value(ENCRYPTED, **options) is True
        async with router.write() as conn:
            assert await conn.value(ENCRYPTED) is True


@pytest.mark.parametrize(
    ("host", "authority"),
    [("localhost", "stranger"), ("127.0.0.1", "authority")],
    ids=["wrong CA", "wrong host name"],
)
async def test_a_certificate_that_does_not_verify_is_one_clear_reason(
    face: Face, tls_fleet: LocalFleet, certificates: Certificates, host: str, authority: str
) -> None:
    env = secured(tls_fleet, host, sslmode="verify-full", sslrootcert=getattr(certificates, authority))
    async with face.open(env) as router:
        assert router.reason("replica-1") == Reason.UNREACHABLE
        with pytest.raises(PrimaryUnavailable, match=r"(?i)certificate"):
            await router.execute("select 1", timeout_s=1.0)


async def test_a_server_without_tls_is_one_clear_reason(face: Face, fleet: LocalFleet) -> None:
    async with face.open(secured(fleet, "127.0.0.1", sslmode="require")) as router:
        with pytest.raises(PrimaryUnavailable, match=r"(?i)ssl"):
            await router.execute("select 1", timeout_s=1.0)
