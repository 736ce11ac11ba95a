"""Watermarks that come from other processes, and go to them."""

from __future__ import annotations

import logging
import time
from typing import Any

from pgfleet.board import Board
from pgfleet.core.lsn import Lsn
from pgfleet.core.position import Watermark
from pgfleet.core.token import Token, decode, encode, system_hash
from pgfleet.engine.samples import Samples
from pgfleet.errors import ConfigurationError, PrimaryUnavailable, TokenError
from pgfleet.ports import Runtime

logger = logging.getLogger("pgfleet")

WARN_EVERY_S = 60.0
MINT_TIMEOUT_S = 2.0
"""The longest that a token waits for the primary to say where it stands."""
NO_SECRET = "PGFLEET_TOKEN_SECRET: is not set, and tokens are signed with it"  # noqa: S105 (its name)
SECRET_HINT = "Give every process the same one, such as `openssl rand -hex 32` prints."  # noqa: S105
TOKEN_HINT = "Give it whole, as router.token() made it; both processes need the same PGFLEET_TOKEN_SECRET."  # noqa: S105


class Tokens:
    """Signs and reads the tokens of this cluster."""

    def __init__(self, board: Board[Any], samples: Samples, runtime: Runtime) -> None:
        self._board = board
        self._samples = samples
        self._clock = runtime.clock
        self._secrets = tuple(secret.reveal_bytes() for secret in board.settings.token_secrets)
        self._warned_s: float | None = None
        self.refused = 0
        """Tokens that were none of ours: forged, cut off, signed with another secret, or of another cluster."""

    def read(self, text: str) -> Watermark | None:
        """What a token says; None for one that is none of ours.

        Raises ConfigurationError without a secret, and TokenError where `token_errors` says so.
        """
        token = decode(text, self._require_secrets())
        system_id = self._board.topology.system_id
        if token is None or (system_id is not None and token.system_hash != system_hash(system_id)):
            self._refuse(token)
            return None
        return Watermark(system_id or 0, token.timeline, token.lsn)

    def sign(self, watermark: Watermark) -> str:
        """The token of a watermark."""
        return encode(watermark, int(time.time()), self._require_secrets())

    async def watermark(self, mark_s: float) -> Watermark:
        """The position before which all lies that was committed by this moment. Raises PrimaryUnavailable."""
        deadline_s = self._clock() + MINT_TIMEOUT_S
        history = self._board.topology.history
        if mark_s == 0.0 and history.written_by:
            return Watermark(history.written_by.system_id, history.written_by.timeline, Lsn(0))
        mark_s = min(mark_s, self._clock())
        if not await self._samples.after(mark_s, deadline_s, rationed=False):
            raise PrimaryUnavailable(
                "no primary says where it stands, so there is no token for what was written",
                "Try again, or read with prefer_replica=False; `pgfleet explain` shows what is known of every node.",
            )
        found = self._board.topology.history.watermark(mark_s)
        assert found
        return found

    def _require_secrets(self) -> tuple[bytes, ...]:
        if not self._secrets:
            raise ConfigurationError((NO_SECRET,), SECRET_HINT)
        return self._secrets

    def _refuse(self, token: Token | None) -> None:
        """Count it, and say so now and then."""
        why = "its signature is not ours" if token is None else "it is of another cluster"
        self.refused += 1
        if self._board.settings.token_errors == "raise":  # noqa: S105 (a policy)
            raise TokenError(f"this consistency token is not accepted: {why}", TOKEN_HINT)
        now_s = self._clock()
        if self._warned_s is None or now_s - self._warned_s >= WARN_EVERY_S:
            self._warned_s = now_s
            logger.warning("Consistency tokens were ignored, %d so far: %s", self.refused, why)
