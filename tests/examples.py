"""With how many examples a property is tried: a few in `make unit`, all of them in `make test`."""

from __future__ import annotations

from hypothesis import settings

QUICK = "quick"
QUICK_SHARE = 4
settings.register_profile(QUICK, max_examples=25)


def examples(number: int, stateful_step_count: int = 50) -> settings:
    """The settings of a property that needs more examples, or fewer, than the usual hundred. It has no deadline."""
    is_quick = settings.get_current_profile_name() == QUICK
    return settings(
        max_examples=number // QUICK_SHARE if is_quick else number,
        stateful_step_count=stateful_step_count,
        deadline=None,
    )
