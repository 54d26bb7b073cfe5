"""The case of the example: the tide runs into Merimbula Lake (New South Wales), whose mesh comes with ANUGA.

``case`` has what a run needs, ``model.py`` is the model, ``gather`` makes one dataset and one picture of all members.
"""

from merimbula.case import COMMAND, RULES, Merimbula
from merimbula.gather import draw, gather

__all__ = ["COMMAND", "RULES", "Merimbula", "draw", "gather"]
