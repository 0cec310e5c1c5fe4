"""Models of landscapes and of training that need no network: wedges, random logit gradients, FedAvg on a kernel.

`wedges` is a landscape made of long thin cuboids (Fort & Jastrzebski 2019), `logits` a network whose logit gradients
are Gaussian vectors around means of their own (Fort & Ganguli 2019), `federated` the rounds of federated averaging in
the kernel regime (Huang et al. 2021). Each has its closed forms beside what a simulation measures.
"""

from landform.theory import federated, logits, wedges

__all__ = ["federated", "logits", "wedges"]
