"""SCRAM-SHA-256 against the example of RFC 7677, and against itself."""

from __future__ import annotations

import base64
import hashlib
import hmac

from pgfleet.local.scram import ScramExchange, is_password_of, scram_verifier

NONCE = "rOprNGfwEbeRWgbNEkqO"
SERVER_FIRST = f"r={NONCE}%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
CLIENT_FINAL = (
    f"c=biws,r={NONCE}%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
)
SERVER_FINAL = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def exchange(password: str) -> ScramExchange:
    made = ScramExchange(password)
    made._bare = f"n=user,r={NONCE}"
    return made


def test_the_example_of_the_rfc() -> None:
    client = exchange("pencil")
    assert client.first() == f"n,,n=user,r={NONCE}".encode()
    assert client.final(SERVER_FIRST) == CLIENT_FINAL.encode()
    assert client.accepts(SERVER_FINAL)


def test_a_server_that_does_not_know_the_password_is_not_accepted() -> None:
    client = exchange("pen")
    assert client.final(SERVER_FIRST) != CLIENT_FINAL.encode()
    assert not client.accepts(SERVER_FINAL)


def test_no_two_exchanges_share_a_nonce() -> None:
    assert ScramExchange("pencil").first() != ScramExchange("pencil").first()


def test_a_verifier_verifies_its_password_and_does_not_hold_it() -> None:
    mechanism, cost_and_salt, keys = scram_verifier("pencil").split("$")
    iterations, salt = cost_and_salt.split(":")
    salted = hashlib.pbkdf2_hmac("sha256", b"pencil", base64.b64decode(salt), int(iterations))
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    assert mechanism == "SCRAM-SHA-256"
    assert keys == f"{base64.b64encode(stored).decode()}:{base64.b64encode(server).decode()}"
    assert scram_verifier("pencil") != scram_verifier("pencil")


def test_a_verifier_knows_its_password_and_no_other() -> None:
    verifier = scram_verifier("pencil")
    assert is_password_of("pencil", verifier)
    assert not is_password_of("pen", verifier)
    assert not is_password_of("pencil", "")
    assert not is_password_of("pencil", "md5" + "0" * 32)
