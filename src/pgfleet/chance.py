"""Our own dice. The global ones are the application's: to seed them must not make all processes take turns alike."""

from __future__ import annotations

import os
from random import Random

CHANCE = Random()  # noqa: S311 (a turn or a pause, not a secret)

if hasattr(os, "register_at_fork"):  # a worker that is forked throws its own
    os.register_at_fork(after_in_child=CHANCE.seed)
