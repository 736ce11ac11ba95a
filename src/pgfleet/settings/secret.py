"""A text that nobody prints by accident."""

from __future__ import annotations


class Secret:
    """A password or a token: its `repr` and `str` are `***`; `reveal()` gives the text.

    Two are compared in a time that does not tell where they differ. It pickles with its text, because a worker
    process needs it: treat such bytes as you treat the text.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, for the one place that sends it."""
        return self._text

    def reveal_bytes(self) -> bytes:
        """The text in UTF-8, for whoever signs with it."""
        return self._text.encode("utf-8", "surrogateescape")

    def __eq__(self, other: object) -> bool:
        from hmac import compare_digest  # here: few processes compare secrets, all of them import this

        if not isinstance(other, Secret):
            return NotImplemented
        return compare_digest(self.reveal_bytes(), other.reveal_bytes())

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __repr__(self) -> str:
        return "***"

    def __reduce__(self) -> tuple[type[Secret], tuple[str]]:
        return Secret, (self._text,)
