"""What to call a server that somebody else has named."""

from __future__ import annotations

import hashlib
import re

LONGEST = 63
_UNFIT = re.compile(r"[^A-Za-z0-9_.-]")
_DIGEST = 8


def node_name(text: str) -> str:
    """The text as a node may be called: what is unfit in it becomes `-`, and a long one ends in a digest of itself."""
    fit = _UNFIT.sub("-", text)
    fit = fit if fit[:1].isalnum() else f"node{fit}"
    if len(fit) <= LONGEST:
        return fit
    digest = hashlib.sha256(text.encode()).hexdigest()[:_DIGEST]
    return f"{fit[: LONGEST - _DIGEST - 1]}-{digest}"
