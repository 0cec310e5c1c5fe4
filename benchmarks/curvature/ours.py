"""landform, asked as a user would ask it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from problems import Problem
from torch import Tensor

from landform import curvature
from landform.landscape import Landscape
from landform.operators import Operator


class Landform:
    """The tasks, each from a landscape to the answer; making the operator (and its symmetry check) is counted."""

    def __init__(self, problem: Problem) -> None:
        norms = "keep" if problem.name == "C" else None
        data = (problem.inputs, problem.targets)
        self.landscape = Landscape(problem.model, data, batch_size=problem.batch, device="cpu", batchnorm=norms)  # type: ignore[arg-type]
        self.point, self.run = self.landscape.here, problem.run
        # On a part of the 2,048 samples, the part of the graphs that is kept is then the same.
        self.memory = 2**30 * min(1.0, len(problem.inputs) / 2048)

    def hessian(self) -> Operator:
        """A fresh operator."""
        return self.landscape.hessian(self.point, memory=self.memory)

    def product(self, task: str) -> Callable[[Tensor], Tensor]:
        """One product with the Hessian or the Gauss-Newton matrix."""
        operator = self.hessian() if task == "product" else self.landscape.gauss_newton(self.point)
        return lambda v: operator @ v

    def eigenpairs(self, k: int, tol: float, seed: int) -> dict[str, Any]:
        """The k eigenvalues largest in magnitude."""
        H = self.hessian()
        found = curvature.eigenpairs(H, k, tol=tol, which="magnitude", seed=seed)
        return {"values": found.values.tolist(), "products": H.products, "converged": found.converged}

    def trace(self, tol: float, seed: int) -> dict[str, Any]:
        """The trace, to a relative standard error."""
        H = self.hessian()
        found = curvature.trace(H, tol=tol, max_products=400, seed=seed)
        return {
            "value": found.value, "error_bar": found.standard_error, "products": H.products,
            "converged": found.converged,
        }  # fmt: skip

    def exact(self) -> dict[str, Any]:
        """The Hessian's trace without probes, where the network is piecewise linear."""
        found = curvature.exact_trace(self.landscape, self.point, of="hessian")
        return {"value": found.value, "error_bar": 0.0, "products": 0}

    def density(self, steps: int, seed: int) -> dict[str, Any]:
        """The spectral density from one probe; then, what else the same basis says for nothing."""
        H = self.hessian()
        basis = curvature.krylov(H, steps, seed=seed)
        found = curvature.density(basis, steps=steps)
        before = H.products
        top = curvature.eigenpairs(basis, 5, which="magnitude", max_products=1)
        return {
            "nodes": found.nodes.flatten().tolist(), "weights": found.weights.flatten().tolist(), "products": before,
            "also": f"top 5 {'converged' if top.converged else 'not converged'}, ends and a trace sample at"
                    f" {H.products - before} further products",
        }  # fmt: skip

    def tracked(self, k: int, tol: float) -> dict[str, Any]:
        """The k largest eigenvalues at each point of a run: products a reading, cold and from the reading before."""
        cold, warm, off = [], [], [0.0, 0.0]
        before = None
        for w in self.run:
            H = self.landscape.hessian(w)
            alone = curvature.eigenpairs(H, k, tol=tol)
            found = alone if before is None else curvature.eigenpairs(H, k, tol=tol, start=before.vectors)
            tight = curvature.eigenpairs(H, k + 2, tol=1e-4, judge="residuals", seed=1).values[:k]
            cold.append(alone.products)
            if before is not None:
                warm.append(found.products)
            for i, values in enumerate((alone.values, found.values)):
                off[i] = max(off[i], float(((values - tight) / tight).abs().max()))
            before = found
        return {"cold": cold, "warm": warm, "off": off}
