"""The two ways in which PostgreSQL writes a connection string, read into libpq's keywords.

The grammar is libpq's, and stricter where libpq would guess: what it takes, libpq takes with the same meaning. Every
complaint is a fixed sentence, because any piece of a malformed string may be a piece of a password.
"""

from __future__ import annotations

import re

EXAMPLE = "postgresql://user:password@host:5432/database"

_LIBPQ_18 = """
application_name channel_binding client_encoding connect_timeout dbname fallback_application_name gssdelegation
gssencmode gsslib host hostaddr keepalives keepalives_count keepalives_idle keepalives_interval krbsrvname
load_balance_hosts max_protocol_version min_protocol_version oauth_client_id oauth_client_secret oauth_issuer
oauth_scope options passfile password port replication require_auth requirepeer scram_client_key
scram_server_key service ssl_max_protocol_version ssl_min_protocol_version sslcert sslcertmode sslcompression
sslcrl sslcrldir sslkey sslkeylogfile sslmode sslnegotiation sslpassword sslrootcert sslsni
target_session_attrs tcp_user_timeout user
"""
KEYWORDS = frozenset(_LIBPQ_18.split())

_URL = re.compile(r"postgres(?:ql)?://")
_OTHER_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.:-]*://")
_HOST = re.compile(r"(?:\[([^\]]+)\]|([^:\[\]]*))(?::([^:\[\]]*))?")
_BLANKS = " \t\n\r\f\v"
_QUOTED = r"'((?:[^'\\]|\\.)*+)'"
_PLAIN = rf"(?!')((?:[^\\{_BLANKS}]|\\.)*+)"
_PAIR = re.compile(
    rf"[{_BLANKS}]*+([^={_BLANKS}]++)[{_BLANKS}]*+=[{_BLANKS}]*+(?:{_QUOTED}|{_PLAIN})", re.DOTALL
)
_UNREADABLE = re.compile(r"[\0\ud800-\udfff]")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})|%00")

_MALFORMED = f"is neither a URL nor a list of keyword=value; write {EXAMPLE}"
_UNESCAPED = (
    "has an @ or / that ends the user or the password too early; "
    "percent-encode them there: %40 for @, %2F for /, %3A for :, %25 for %"
)


def is_url(text: str) -> bool:
    """Whether a connection string is a URL; otherwise it is a list of keywords."""
    return bool(_URL.match(text))


def parse_conninfo(text: str) -> dict[str, str]:
    """The keywords of a connection string, decoded; of a repeated one the last. Raises ValueError, quoting nothing."""
    if _UNREADABLE.search(text):
        raise ValueError("holds a NUL or bytes that are not UTF-8; write it in UTF-8")
    values = _read_url(text.partition("://")[2]) if is_url(text) else _read_pairs(text)
    if not KEYWORDS.issuperset(values):
        raise ValueError(_unknown(values))
    return values


def _read_url(text: str) -> dict[str, str]:
    if re.search(r"\s", text):
        raise ValueError("has a space in its URL; write %20 for it")
    credentials, _, address = text.rpartition("@")
    if "@" in credentials or "/" in credentials:
        raise ValueError(_UNESCAPED)
    user, _, password = credentials.partition(":")
    place, _, query = address.partition("?")
    hosts, _, database = place.partition("/")
    values = {
        "user": _decode(user),
        "password": _decode(password),
        "dbname": _decode(database),
        **_read_hosts(hosts),
    }
    return {keyword: value for keyword, value in values.items() if value} | _read_query(query)


def _read_hosts(text: str) -> dict[str, str]:
    """The hosts and the ports of a URL, as libpq's two comma-separated lists."""
    found = [_HOST.fullmatch(item) for item in text.split(",")]
    if None in found:
        raise ValueError(
            "has a host that cannot be read; write host:port, an IPv6 address in brackets: [::1]:5432"
        )
    hosts = [_decode(item[1] or item[2]) for item in found if item]
    ports = [_decode(item[3] or "") for item in found if item]
    return {"host": ",".join(hosts), "port": ",".join(ports)}


def _read_query(text: str) -> dict[str, str]:
    pairs = [item.split("=") for item in text.removesuffix("&").split("&")] if text else []
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError(
            "has a parameter after its ? that is not name=value; "
            "write ?name=value&name=value, in a value %3D for = and %26 for &"
        )
    return dict(_known(_decode(name), _decode(value)) for name, value in pairs)


def _known(name: str, value: str) -> tuple[str, str]:
    """libpq takes JDBC's `ssl=true` in a URL."""
    return ("sslmode", "require") if (name, value) == ("ssl", "true") else (name, value)


def _decode(text: str) -> str:
    if _BAD_PERCENT.search(text):
        raise ValueError("has a % that starts no percent-encoded character; write %25 for % itself")
    encoded = re.sub(rb"%(..)", lambda code: bytes.fromhex(code[1].decode()), text.encode())
    decoded = encoded.decode("utf-8", "surrogateescape")  # strict would put the text into its exception
    if _UNREADABLE.search(decoded):
        raise ValueError("has percent-encoded bytes that are not UTF-8; encode its characters as UTF-8")
    return decoded


def _read_pairs(text: str) -> dict[str, str]:
    if _OTHER_SCHEME.match(text):
        raise ValueError(f"has a scheme that is not PostgreSQL's; write {EXAMPLE}")
    values, at = {}, 0
    while text[at:].strip(_BLANKS):
        pair = _PAIR.match(text, at)
        if pair is None:
            raise ValueError(f"{_MALFORMED}, or host=... with a value that holds spaces in single quotes")
        name, quoted, plain = pair.groups()
        values[name] = re.sub(r"\\(.)", r"\1", plain if quoted is None else quoted, flags=re.DOTALL)
        at = pair.end()
    return values


def _unknown(values: dict[str, str]) -> str:
    """What is wrong with the unknown keywords. They may be pieces of a password, so only libpq's own are named."""
    from difflib import get_close_matches

    unknown = [name for name in values if name not in KEYWORDS]
    likely = [match for name in unknown for match in get_close_matches(name, sorted(KEYWORDS), 1, 0.8)]
    instead = f"write {likely[0]}" if likely else "write a server's setting as options=-c name=value"
    return (
        f"has a parameter that libpq does not know; {instead}, and percent-encode or quote special characters"
    )
