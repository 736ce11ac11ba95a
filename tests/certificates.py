"""Certificates for servers that speak TLS."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pgfleet.local.account import Account


@dataclass(frozen=True)
class Certificates:
    """A certificate authority, the certificate of a server that it signed, and an authority that signed nothing."""

    directory: Path
    names: str = "DNS:localhost"
    """Those of the server, as `subjectAltName` has them."""

    @property
    def authority(self) -> Path:
        return self.directory / "ca.crt"

    @property
    def stranger(self) -> Path:
        return self.directory / "stranger.crt"

    def settings(self) -> dict[str, str | int | float | bool]:
        """Those of a server that shows its certificate."""
        return {
            "ssl": "on",
            "ssl_cert_file": str(self.directory / "server.crt"),
            "ssl_key_file": str(self.directory / "server.key"),
        }

    def make(self) -> None:
        for name in ("ca", "stranger"):
            self._openssl(
                "req", "-x509", "-days", "2", "-subj", f"/CN={name}", *self._key(name), "-out", f"{name}.crt"
            )
        self._openssl("req", "-subj", "/CN=localhost", *self._key("server"), "-out", "server.csr")
        (self.directory / "names").write_text(f"subjectAltName={self.names}")
        self._openssl(
            "x509", "-req", "-days", "2", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
            "-extfile", "names", "-out", "server.crt",
        )  # fmt: skip

    def _key(self, name: str) -> tuple[str, ...]:
        return ("-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key")

    def _openssl(self, *args: str) -> None:
        subprocess.run(["openssl", *args], cwd=self.directory, check=True, capture_output=True)


@contextmanager
def certificates() -> Iterator[Certificates]:
    """Some, until the block ends; the servers' user may read the key."""
    directory = Path(tempfile.mkdtemp(prefix="pgfleet-tls-"))
    try:
        directory.chmod(0o755)
        made = Certificates(directory)
        made.make()
        Account.choose().give(directory / "server.key")
        yield made
    finally:
        shutil.rmtree(directory)
