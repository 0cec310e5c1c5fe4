"""Models of a loss landscape that need no network: wedges, and random logit gradients.

`wedges` is a landscape made of long thin cuboids (Fort & Jastrzebski 2019), `logits` a network whose logit gradients
are Gaussian vectors around means of their own (Fort & Ganguli 2019). Each has its closed forms beside what a simulation
measures.
"""

from landform.theory import logits, wedges

__all__ = ["logits", "wedges"]
