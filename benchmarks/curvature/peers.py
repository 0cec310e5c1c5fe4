"""The peers, each used as its documentation says, at settings that serve it best.

Chosen for them: determinism checks off (curvlinops), gradient graphs kept where they fit (Landscaper, all but C),
full reorthogonalisation and doubling until it says that it has converged (hessian-eigenthings, which neither restarts
nor resumes). Products are counted by wrapping the method that makes them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from problems import Problem
from torch import Tensor, nn


def counted(owner: Any, name: str, tally: list[int], of: Callable[..., int] = lambda *_: 1) -> None:
    """Wrap a method so that it adds to a tally."""
    inner = getattr(owner, name)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        tally[0] += of(*args)
        return inner(*args, **kwargs)

    setattr(owner, name, wrapped)


class PyHessian:
    """Power iteration with deflation, Hutchinson's trace, stochastic Lanczos."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.tally = [0]
        self.make()

    def make(self) -> Any:
        """A fresh object, its products counted."""
        from pyhessian import hessian

        self.problem.model.zero_grad()
        made = hessian(self.problem.model, nn.CrossEntropyLoss(), dataloader=self.problem.batches, cuda=False)
        self.tally[0] = 0
        counted(made, "dataloader_hv_product", self.tally)
        return made

    def multiply(self, made: Any, vectors: list[Tensor]) -> list[Tensor]:
        """Its product."""
        found: list[Tensor] = made.dataloader_hv_product(vectors)[1]
        return found

    def product(self, task: str) -> Callable[[Tensor], Tensor]:
        """One product with the Hessian."""
        if task == "gauss-newton":
            raise NotImplementedError("no Gauss-Newton product")
        made = self.make()
        shapes = [p.shape for p in self.problem.parameters]
        lengths = [s.numel() for s in shapes]

        def multiply(v: Tensor) -> Tensor:
            parts = [part.view(s) for part, s in zip(v.split(lengths), shapes, strict=True)]
            return torch.cat([part.flatten() for part in self.multiply(made, parts)])

        return multiply

    def eigenpairs(self, k: int, tol: float, seed: int) -> dict[str, Any]:
        """Power iteration, each pair until it moves by less than the tolerance."""
        values, _ = self.make().eigenvalues(maxIter=100 if tol >= 1e-3 else 1000, tol=tol, top_n=k)
        return {"values": values, "products": self.tally[0]}

    def probes(self, count: int, seed: int) -> dict[str, Any]:
        """So many Hutchinson probes: a tolerance of 0 never stops early."""
        values = self.make().trace(maxIter=count, tol=0.0)
        return {"value": float(np.mean(values)), "products": self.tally[0]}

    def density(self, steps: int, seed: int) -> dict[str, Any]:
        """One run of stochastic Lanczos, tried on three steps first: it may not run at all."""
        self.make().density(iter=3, n_v=1)
        nodes, weights = self.make().density(iter=steps, n_v=1)
        return {"nodes": np.real(nodes[0]).tolist(), "weights": np.real(weights[0]).tolist(), "products": self.tally[0]}


class Landscaper(PyHessian):
    """PyHessian's algorithms, with gradient graphs that can be kept."""

    def make(self) -> Any:
        """A fresh object, its products counted."""
        from landscaper.hessian import PyHessian as Made

        made = Made(
            self.problem.model, nn.CrossEntropyLoss(), self.problem.batches, "cpu", try_cache=self.problem.name != "C"
        )
        self.tally[0] = 0
        counted(made, "hv_product", self.tally)
        return made

    def multiply(self, made: Any, vectors: list[Tensor]) -> list[Tensor]:
        """Its product."""
        found: list[Tensor] = made.hv_product(vectors)[1]
        return found


class Eigenthings:
    """hessian-eigenthings: Lanczos, Hutchinson, Hutch++, stochastic Lanczos quadrature."""

    def __init__(self, problem: Problem) -> None:
        import hessian_eigenthings

        self.peer, self.problem, self.tally = hessian_eigenthings, problem, [0]

    def make(self) -> Any:
        """A fresh Hessian, its products counted."""
        made = self.peer.HessianOperator(
            self.problem.model, self.problem.batches, self.peer.supervised_loss(F.cross_entropy)
        )
        self.tally[0] = 0
        counted(made, "matvec", self.tally)
        return made

    def product(self, task: str) -> Callable[[Tensor], Tensor]:
        """One product."""
        made = self.make()
        if task == "gauss-newton":
            made = self.peer.GGNOperator(
                self.problem.model, self.problem.batches, self.peer.supervised_forward,
                self.peer.supervised_loss_of_output(F.cross_entropy),
            )  # fmt: skip
        found: Callable[[Tensor], Tensor] = made.matvec
        return found

    def eigenpairs(self, k: int, tol: float, seed: int) -> dict[str, Any]:
        """Lanczos of 20, 40, 80, ... steps until it says that it has converged."""
        made, steps = self.make(), min(20, self.problem.size)
        while True:
            found = self.peer.lanczos(made, k=k, max_iter=steps, tol=tol, reorthogonalize=True, which="LM", seed=seed)
            if bool(found.converged.all()) or steps >= min(640, self.problem.size):
                break
            steps = min(2 * steps, self.problem.size)
        done = bool(found.converged.all())
        return {"values": found.eigenvalues.tolist(), "products": self.tally[0], "converged": done}

    def probes(self, count: int, seed: int) -> dict[str, Any]:
        """So many Hutchinson probes."""
        found = self.peer.trace(self.make(), num_matvecs=count, method="hutchinson", seed=seed)
        return {"value": found.estimate, "error_bar": found.stderr, "products": self.tally[0]}

    def density(self, steps: int, seed: int) -> dict[str, Any]:
        """One run of quadrature."""
        found = self.peer.spectral_density(self.make(), num_runs=1, lanczos_steps=steps, seed=seed)
        nodes, weights = found.raw_eigenvalues[0].tolist(), found.raw_weights[0].tolist()
        return {"nodes": nodes, "weights": weights, "products": self.tally[0]}


class Curvlinops:
    """curvlinops: linear operators, SciPy's eigsh on them, Hutchinson, spectra after Papyan."""

    def __init__(self, problem: Problem) -> None:
        import curvlinops

        self.peer, self.problem, self.tally = curvlinops, problem, [0]

    def make(self, name: str = "HessianLinearOperator") -> Any:
        """A fresh operator, its products counted."""
        made = getattr(self.peer, name)(
            self.problem.model, nn.CrossEntropyLoss(), self.problem.parameters, self.problem.batches,
            check_deterministic=False,
        )  # fmt: skip
        self.tally[0] = 0
        counted(made, "_matmat", self.tally, lambda columns: int(columns[0].shape[-1]))
        return made

    def product(self, task: str) -> Callable[[Tensor], Tensor]:
        """One product."""
        made = self.make("GGNLinearOperator" if task == "gauss-newton" else "HessianLinearOperator")
        return lambda v: made @ v

    def eigenpairs(self, k: int, tol: float, seed: int) -> dict[str, Any]:
        """ARPACK."""
        from scipy.sparse.linalg import eigsh

        start = np.random.default_rng(seed).standard_normal(self.problem.size).astype(np.float32)
        values, _ = eigsh(self.make().to_scipy(), k=k, which="LM", tol=tol, v0=start)
        return {"values": values.tolist(), "products": self.tally[0]}

    def probes(self, count: int, seed: int) -> dict[str, Any]:
        """So many Hutchinson probes."""
        value = self.peer.hutchinson_trace(self.make(), count)
        return {"value": float(value), "products": self.tally[0]}

    def density(self, steps: int, seed: int) -> dict[str, Any]:
        """One run of Lanczos; what comes back is the density on a grid."""
        grid, density = self.peer.lanczos_approximate_spectrum(self.make(), steps)
        weights = density * (grid[1] - grid[0])
        return {"nodes": grid.tolist(), "weights": weights.tolist(), "smooth": True, "products": self.tally[0]}


ADAPTERS = {
    "pyhessian": PyHessian, "landscaper": Landscaper, "hessian-eigenthings": Eigenthings, "curvlinops": Curvlinops,
}  # fmt: skip
