"""The case of the examples: a dam breaks in a channel of 1 km, and the depth of the water is known exactly.

``case`` has what a run needs, ``model.py`` is the model, ``stoker`` is the exact solution and the check against it.
"""

from dam_break.case import RULES, DamBreak
from dam_break.stoker import StokerCheck

__all__ = ["RULES", "DamBreak", "StokerCheck"]
