"""The server of the Cloud SQL Admin API for tests, and the key of a service account whose tokens it issues."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.clouds.sqladmin import PROJECT, TOKEN, ZONES, Methods, Project
from tests.clouds.sqladmin_model import Json, Refused, asked, check, invalid


class Revoked(Exception):
    """No token for this account any more."""


class Handler(BaseHTTPRequestHandler):
    """One request."""

    project: Project
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer is one packet, which nobody's acknowledgement is waited for

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PATCH = do_DELETE = do_PUT = do_GET  # noqa: N815

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        sent = self.rfile.read(length)
        try:
            with self.project.lock:
                self._reply(200, self._told(sent))
        except Refused as refusal:
            self._reply(refusal.status, refusal.body)
        except Revoked:
            self._reply(400, {"error": "invalid_grant", "error_description": "Account has been deleted"})
        except ConnectionAbortedError:
            self.close_connection = True

    def _told(self, sent: bytes) -> Json:
        parts = urlsplit(self.path)
        if parts.path == "/token":
            if self.project.is_revoked:
                raise Revoked
            return {"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"}
        if self.headers.get("Authorization", "").removeprefix("Bearer ") not in self.project.tokens:
            raise Refused(401, "authError", "Invalid Credentials")
        if zone := re.fullmatch(f"/compute/v1/projects/{PROJECT}/zones/(.+)", parts.path):
            return self._zone(zone[1])
        return self._method(parts.path, dict(parse_qsl(parts.query)), sent)

    def _zone(self, zone: str) -> Json:
        self.project.methods["zones.get"] += 1
        self._fail("zones.get")
        if zone not in ZONES:
            raise Refused(404, "notFound", f"The resource 'zones/{zone}' was not found")
        return {"kind": "compute#zone", "name": zone}

    def _method(self, path: str, query: Json, sent: bytes) -> Json:
        method, said = asked(self.command, path)
        assert said.pop("project", PROJECT) == PROJECT
        if unknown := query.keys() - method.described["parameters"].keys():
            raise invalid(f"unknown parameters {unknown}")
        body = json.loads(sent) if sent else {}
        if "request" in method.described:
            check(body, method.described["request"], "body", is_request=True)
        elif body:
            raise invalid("a body is not expected")
        self._note(method.name, said.get("instance") or body.get("name", ""), body)
        is_lost = self._fail(method.name)
        deed = getattr(Methods(self.project), method.name.replace(".", "_"))
        answer: Json = deed(query=query, body=body, **said)
        if is_lost:
            raise ConnectionAbortedError
        check(answer, method.described["response"], "answer", is_request=False)
        return answer

    def _note(self, method: str, name: str, body: Json) -> None:
        self.project.methods[method] += 1
        if self.command != "GET":
            self.project.bodies.append((method, name, body))

    def _fail(self, method: str) -> bool:
        """Whether the answer is to be lost. Raises another answer, or ends the connection."""
        if not self.project.faults or self.project.faults[0][0] not in (method, "*"):
            return False
        _, status, reason = self.project.faults.popleft()
        if status > 0:
            raise Refused(status, reason, f"injected {reason}")
        if not status:
            raise ConnectionAbortedError
        return True

    def _reply(self, status: int, body: Json) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[Project]:
    """A project behind a port of its own."""
    project = Project()
    handler = type("OfProject", (Handler,), {"project": project})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        project.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield project
        finally:
            server.shutdown()
            thread.join()


@cache
def _key() -> str:
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def credentials(path: Path, project: Project) -> Path:
    """The key file of a service account, whose tokens this server issues."""
    path.write_text(
        json.dumps(
            {
                "type": "service_account",
                "project_id": PROJECT,
                "private_key_id": "1",
                "private_key": _key(),
                "client_email": f"fleet@{PROJECT}.iam.gserviceaccount.com",
                "client_id": "1",
                "token_uri": f"{project.endpoint}/token",
            }
        )
    )
    return path
