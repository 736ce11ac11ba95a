"""TLS as the connection string says, on every face and driver: pools and probes alike."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pgfleet.core.node import Reason
from pgfleet.errors import PrimaryUnavailable
from pgfleet.local import LocalFleet
from pgfleet.local.account import Account
from tests.conftest import INSTALLATIONS
from tests.faces import FACES, Face, environ

pytestmark = pytest.mark.parametrize("face", FACES, ids=str)
ENCRYPTED = "select ssl from pg_stat_ssl where pid = pg_backend_pid()"


@dataclass(frozen=True)
class Certificates:
    """A certificate authority, the certificate of `localhost` that it signed, and an authority that signed nothing."""

    directory: Path

    @property
    def authority(self) -> Path:
        return self.directory / "ca.crt"

    @property
    def stranger(self) -> Path:
        return self.directory / "stranger.crt"

    def make(self) -> None:
        for name in ("ca", "stranger"):
            self._openssl(
                "req", "-x509", "-days", "2", "-subj", f"/CN={name}", *self._key(name), "-out", f"{name}.crt"
            )
        self._openssl("req", "-subj", "/CN=localhost", *self._key("server"), "-out", "server.csr")
        (self.directory / "names").write_text("subjectAltName=DNS:localhost")
        self._openssl(
            "x509", "-req", "-days", "2", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
            "-extfile", "names", "-out", "server.crt",
        )  # fmt: skip

    def _key(self, name: str) -> tuple[str, ...]:
        return ("-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key")

    def _openssl(self, *args: str) -> None:
        subprocess.run(["openssl", *args], cwd=self.directory, check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates() -> Iterator[Certificates]:
    directory = Path(tempfile.mkdtemp(prefix="pgfleet-tls-"))
    directory.chmod(0o755)
    certificates = Certificates(directory)
    certificates.make()
    Account.choose().give(directory / "server.key")
    yield certificates
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def tls_fleet(certificates: Certificates) -> Iterator[LocalFleet]:
    """Debian's PostgreSQL: the wheel's is built without OpenSSL."""
    pg_bin = next(path for path in INSTALLATIONS if path and "postgresql" in path.parts)
    settings: dict[str, str | int | float | bool] = {
        "ssl": "on",
        "ssl_cert_file": str(certificates.directory / "server.crt"),
        "ssl_key_file": str(certificates.directory / "server.key"),
    }
    with LocalFleet.temporary(replicas=1, pg_bin=pg_bin, settings=settings) as fleet:
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
