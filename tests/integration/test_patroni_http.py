"""How Patroni's REST API is asked: over TLS, with a password, and without going anywhere else."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import tempfile
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from pgfleet.discovery.patroni import Patroni
from pgfleet.errors import DiscoveryError
from pgfleet.runtimes import TaskRuntime
from tests.certificates import Certificates

SECRET = "s3cr3t@/"
BODY = json.dumps({"members": [{"name": "a", "host": "10.0.0.1", "port": 5432}]}).encode()


class Rest(BaseHTTPRequestHandler):
    """Tells the members to whom has the password, under the one path."""

    answers: ClassVar[dict[str, int]] = {"/cluster": 200, "/api/cluster": 200, "/moved/cluster": 302}

    def do_GET(self) -> None:
        allowed = self.headers["Authorization"] == "Basic " + b64encode(f"ops:{SECRET}".encode()).decode()
        self.send_response(self.answers.get(self.path, 404) if allowed else 401)
        self.send_header("Location", "/cluster")
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[int]:
    """Its port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Rest) as server:
        if context:
            server.socket = context.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


async def names(url: str) -> list[str]:
    return [found.name for found in await Patroni(url, TaskRuntime()).find()]


async def refusal(url: str) -> str:
    with pytest.raises(DiscoveryError) as caught:
        await names(url)
    assert "s3cr3t" not in str(caught.value)
    assert "ops" not in str(caught.value)
    return str(caught.value)


async def test_a_password_in_the_url_is_sent_and_not_shown() -> None:
    with serving() as port:
        assert await names(f"http://ops:s3cr3t%40%2F@127.0.0.1:{port}") == ["a"]
        assert await names(f"http://ops:s3cr3t%40%2F@127.0.0.1:{port}/api/") == ["a"]
        assert f"http://127.0.0.1:{port}: answers 401" in await refusal(f"http://ops:s3cr3t@127.0.0.1:{port}")


async def test_a_redirect_is_not_followed() -> None:
    with serving() as port:
        assert "answers 302" in await refusal(f"http://ops:s3cr3t%40%2F@127.0.0.1:{port}/moved")


async def test_no_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with serving() as port:
        assert await names(f"http://ops:s3cr3t%40%2F@127.0.0.1:{port}") == ["a"]


async def test_a_silent_member_costs_its_time_and_the_next_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgfleet.discovery.patroni.TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, serving() as port:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert await names(f"{url},http://ops:s3cr3t%40%2F@127.0.0.1:{port}") == ["a"]
        assert f"{url}: timed out" in await refusal(url)


@pytest.fixture(scope="module")
def certificates() -> Iterator[Certificates]:
    certificates = Certificates(Path(tempfile.mkdtemp(prefix="pgfleet-tls-")))
    certificates.make()
    yield certificates
    shutil.rmtree(certificates.directory)


async def test_https_trusts_the_authority_of_the_environment_alone(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.directory / "server.crt", certificates.directory / "server.key")
    with serving(context) as port:
        url = f"https://ops:s3cr3t%40%2F@localhost:{port}"
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
        assert await names(url) == ["a"]
        assert "certificate" in await refusal(url.replace("localhost", "127.0.0.1"))
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates.stranger))
        assert "certificate verify failed" in await refusal(url)
