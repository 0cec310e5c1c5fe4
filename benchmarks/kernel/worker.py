"""One way of computing one kernel, in a process of its own: seconds, memory, and a corner of the kernel to judge by.

It is started as ``worker.py WAY MODEL KIND SAMPLES REPEATS`` and prints one line of JSON for each repeat. It knows
nothing of landform but in the ways that are landform's, so it runs in the peers' environments too.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

CORNER = 6  # samples whose kernel is handed back
SHAPES = {"mlp": (784,), "cnn": (1, 28, 28)}


def weights(model: str) -> list[Any]:
    """The same numbers in every library: standard normal, without biases, layer after layer."""
    drawing = np.random.default_rng(0)
    sizes: list[tuple[int, ...]] = (
        [(512, 784), (512, 512), (10, 512)]
        if model == "mlp"
        else [(32, 1, 3, 3), (64, 32, 3, 3), (64, 64, 3, 3), (10, 64)]
    )
    return [drawing.standard_normal(size).astype(np.float32) for size in sizes]


def inputs(model: str, samples: int) -> Any:
    """Standard normal inputs."""
    return np.random.default_rng(1).standard_normal((samples, *SHAPES[model])).astype(np.float32)


def torch_model(model: str) -> Any:
    """The network in PyTorch, with standard initialisation scales folded into the weights."""
    import torch
    from torch import nn

    def scaled(layer: Any, numbers: Any) -> Any:
        fan_in = int(np.prod(numbers.shape[1:]))
        layer.weight = nn.Parameter(torch.from_numpy(numbers * np.float32(np.sqrt(2.0 / fan_in))))
        return layer

    given = weights(model)
    if model == "mlp":
        dense = [scaled(nn.Linear(w.shape[1], w.shape[0], bias=False), w) for w in given]
        return nn.Sequential(dense[0], nn.ReLU(), dense[1], nn.ReLU(), dense[2])
    convolutions = [scaled(nn.Conv2d(w.shape[1], w.shape[0], 3, padding=1, bias=False), w) for w in given[:3]]
    body = [layer for conv in convolutions for layer in (conv, nn.ReLU())]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), scaled(nn.Linear(64, 10, bias=False), given[3]))


def landform(model: str, kind: str, x: Any, way: str) -> Callable[[], Any]:
    """Exact, with products in bfloat16, or estimated from two mixes of outputs."""
    import torch

    import landform as lf

    data = torch.from_numpy(x)
    scape = lf.Landscape(torch_model(model), (data, torch.zeros(len(data), dtype=torch.long)), device="cpu")
    here = scape.here
    if way == "landform, estimated":
        return lambda: lf.kernel.estimate_outputs(scape, here, data, draws=2)
    precision = "bfloat16" if way == "landform, bfloat16" else "full"
    return lambda: lf.kernel.ntk(scape, here, data, kind=kind, precision=precision)  # type: ignore[arg-type]


def torch_func(model: str, kind: str, x: Any) -> Callable[[], Any]:
    """The recipe of PyTorch's documentation: the Jacobian of every sample, then one sum over all parameters."""
    import torch
    from torch.func import functional_call, jacrev, vmap

    net, data = torch_model(model), torch.from_numpy(x)
    held = {name: p.detach() for name, p in net.named_parameters()}

    def single(parameters: Any, sample: Any) -> Any:
        return functional_call(net, parameters, (sample.unsqueeze(0),)).squeeze(0)

    def run() -> Any:
        jacobians = vmap(jacrev(single), (None, 0))(held, data)
        flat = [j.flatten(2) for j in jacobians.values()]
        sums = "Naf,Maf->NM" if kind == "trace" else "Naf,Mbf->NMab"
        return torch.stack([torch.einsum(sums, j, j) for j in flat]).sum(0)

    return run


def neural_tangents(model: str, kind: str, x: Any, way: str) -> Callable[[], Any]:
    """The network in JAX; the trace there is the mean over outputs."""
    import jax
    import jax.numpy as jnp
    import neural_tangents as nt

    scaled = [w * np.float32(np.sqrt(2.0 / np.prod(w.shape[1:]))) for w in weights(model)]
    # Dense weights as [in, out]: a transpose inside the network would hide their structure from its rules.
    given = [jnp.asarray(w.T if w.ndim == 2 else w) for w in scaled]

    def net(parameters: Any, data: Any) -> Any:
        h = data
        for w in parameters[:-1]:
            if model == "mlp":
                h = jax.nn.relu(h @ w)
            else:
                h = jax.nn.relu(jax.lax.conv(h, w, (1, 1), "SAME"))
        if model == "cnn":
            h = h.mean((2, 3))
        return h @ parameters[-1]

    kinds = {
        "neural-tangents, structured": nt.NtkImplementation.STRUCTURED_DERIVATIVES,
        "neural-tangents, Jacobian": nt.NtkImplementation.JACOBIAN_CONTRACTION,
    }
    taken = nt.empirical_ntk_fn(
        net, trace_axes=(-1,) if kind == "trace" else (), vmap_axes=0, implementation=kinds[way]
    )
    compiled = jax.jit(lambda data, given: taken(data, None, given))
    data = jnp.asarray(x)

    def run() -> Any:
        kernel = compiled(data, given).block_until_ready()
        return kernel * 10 if kind == "trace" else kernel

    return run


def main() -> None:
    """Run one way, as often as asked."""
    way, model, kind, samples, repeats = sys.argv[1:]
    x = inputs(model, int(samples))
    if way.startswith("neural"):
        run = neural_tangents(model, kind, x, way)
        run()  # compiled unmeasured
    else:
        import torch

        torch.set_num_threads(1)
        run = torch_func(model, kind, x) if way == "torch.func" else landform(model, kind, x, way)
        small = x[:4]
        (torch_func(model, kind, small) if way == "torch.func" else landform(model, kind, small, way))()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(int(repeats)):
        cpu, wall = time.process_time(), time.perf_counter()
        found = run()
        seconds, waited = time.process_time() - cpu, time.perf_counter() - wall
        told = getattr(found, "standard_error", None)
        corner = np.asarray(getattr(found, "kernel", found))[:CORNER, :CORNER]
        peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        print(
            json.dumps({"cpu": seconds, "wall": waited, "peak": peak, "error": told, "corner": corner.tolist()}),
            flush=True,
        )


if __name__ == "__main__":
    main()
