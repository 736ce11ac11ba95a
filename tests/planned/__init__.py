"""Every fault that the doctor must know by its first finding: how it is made to happen, and how it is mended.

The table of the guide, the tests on real servers and the list of findings are all held to `PLANNED`.
"""

from tests.planned import clients, feeding, reach, replaying, serving, who
from tests.planned.stage import PLANNED, Case, Planned, Stage

__all__ = [
    "PLANNED",
    "Case",
    "Planned",
    "Stage",
    "clients",
    "feeding",
    "reach",
    "replaying",
    "serving",
    "who",
]
