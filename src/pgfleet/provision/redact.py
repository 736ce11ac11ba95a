"""Takes out of a text what looks like a secret, before a person or a log sees it."""

from __future__ import annotations

import re

HIDDEN = "***"

_VALUE = r"""('(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.)*"|[^\s,;&'"]+)"""
_SECRETS = (
    (re.compile(r"(://[^\s:/@]*:)[^\s@]+(?=@)"), rf"\1{HIDDEN}"),  # a URL's
    (
        re.compile(rf"(?i)(\w*(?:password|passwd|secret|token)[\s]*[=:]\s*){_VALUE}"),
        rf"\1{HIDDEN}",
    ),  # a keyword's
    (re.compile(r"(?i)(\bpassword\s+)('(?:[^'\\]|\\.|'')*')"), rf"\1{HIDDEN}"),  # SQL's
    (re.compile(r"SCRAM-SHA-256\$[^\s'\"]+"), f"SCRAM-SHA-256${HIDDEN}"),  # a verifier lets its holder log in
)


def redacted(text: str) -> str:
    """The text with its passwords hidden. The last guard: whoever makes a message leaves them out."""
    for pattern, shown in _SECRETS:
        text = pattern.sub(shown, text)
    return text
