"""What looks like a secret is hidden, and what is none stays legible."""

from __future__ import annotations

import pytest

from pgfleet.provision.redact import redacted

SECRET = "tr0ub4dor"


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://app:tr0ub4dor@host:5432/db",
        "postgresql://:tr0ub4dor@host/db",
        "postgresql://app:a:tr0ub4dor@host/db and postgres://b:tr0ub4dor@c/d",
        "host=h password=tr0ub4dor user=u",
        "password = 'it''s tr0ub4dor' user=u",
        r"password='a\'tr0ub4dor'",
        "sslpassword=tr0ub4dor",
        "PGPASSWORD=tr0ub4dor psql",
        'MasterUserPassword: "tr0ub4dor"',
        "CREATE USER replicator PASSWORD 'tr0ub4dor'",
        "alter role r password 'SCRAM-SHA-256$4096:tr0ub4dor$x:y'",
        "verifier SCRAM-SHA-256$4096:tr0ub4dor$x:y.",
        "token=tr0ub4dor",
    ],
)
def test_hidden(text: str) -> None:
    assert SECRET not in redacted(text)
    assert "***" in redacted(text)


@pytest.mark.parametrize(
    "text",
    [
        "create replica-1 (db.r5.xlarge, us-east-1a)",
        "passfile=/var/lib/postgresql/.pgpass sslmode=verify-full",
        "https://host:5432/path and user@host: 40 % of 12 GB",
        "set password_encryption",
    ],
)
def test_kept(text: str) -> None:
    assert redacted(text) == text
