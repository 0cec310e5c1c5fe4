"""FedAvg in the kernel regime (Huang, Li, Song & Yang 2021, arXiv 2105.05001): what its analysis predicts.

Two-layer ReLU networks, ``f(x) = sum_r a_r relu(u_r x) / sqrt(m)`` with fixed signs a, on inputs of unit length.
Clients take local steps down ``1/2 sum (f - y)^2`` over their own samples, and a server adds the mean of what they
moved by. The server's residuals then follow a Gram matrix that is not symmetric: its rows see the server's weights, its
columns the client's.
"""

from landform.theory.federated._bounds import contraction_bound, generalisation_bound, rounds_bound
from landform.theory.federated._gram import asymmetry, gram, limit_gram
from landform.theory.federated._round import LazyRounds, lazy_rounds

__all__ = [
    "LazyRounds",
    "asymmetry",
    "contraction_bound",
    "generalisation_bound",
    "gram",
    "lazy_rounds",
    "limit_gram",
    "rounds_bound",
]
