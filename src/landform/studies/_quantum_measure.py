"""What is measured on quantum networks over patches: plain numbers, for ``results/*.json``."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from landform import curvature, kernel, models, paths, store, surface
from landform.landscape import Landscape
from landform.studies._parts import write_part
from landform.studies._quantum_classical import PatchMLP
from landform.studies._quantum_protocol import QuantumProtocol, QuantumVariant
from landform.training import Recording, train

POINTS = "points"
# Eigenvalues beyond the classes that are looked at.
_BEYOND = 3
# Share of the largest eigenvalue within which an eigenvalue belongs to the bulk.
_BULK = 0.01


def network(
    folder: Path, protocol: QuantumProtocol, device: str, name: str, variant: QuantumVariant, seed: int
) -> None:
    """Train one network, and measure the curvature where its training loss was least.

    Args:
        folder: of the study.
        protocol: the study's.
        device: where to compute.
        name: of the part.
        variant: what of the network and its training is varied.
        seed: of the initial weights and of the order of the data.
    """
    data = protocol.dataset()
    net = protocol.net(data, variant, seed)
    landscape = Landscape(net, data, device=device)
    start = landscape.here.clone()
    points, epochs = _trained(protocol, variant, seed, device)
    losses = torch.stack([landscape.loss(each) for each in points])
    best = int(losses.argmin())
    point = points[best]
    outputs = landscape.outputs(point).double()
    shares = outputs.softmax(-1)
    # The trace of diag(p) - p p', by which curvature in the space of outputs enters the Gauss-Newton matrix.
    softness = float((1 - shares.square().sum(-1)).mean())
    test = landscape.on(data.test).read(point)
    found: dict[str, Any] = {
        "kind": "network", "subject": variant.name, "seed": seed,
        "patches": variant.patches, "depth": variant.depth, "rate": variant.rate, "aggregation": variant.aggregation,
        "classical": variant.classical, "parameters": landscape.layout.size, "classes": protocol.classes,
        "epoch": epochs[best], "loss": float(losses[best]), "last_loss": float(losses[-1]), "softness": softness,
        "error": float(landscape.error(point)), "test_error": None if test.error is None else float(test.error),
        "test_loss": float(test.loss),
    }  # fmt: skip
    hessian = landscape.hessian(point)
    if variant == protocol.usual:
        found["looks"] = _closely(protocol, landscape, start, point, points, seed)
        found["eigenvalues"] = found["looks"]["eigenvalues"][:1]
        found["products"] = found["looks"]["products"]
        store.make_folder(folder / POINTS)
        store.write_tensors(folder / POINTS / f"{name}.safetensors", {"point": point.cpu()})
    else:
        pairs = curvature.eigenpairs(hessian, 1, tol=1e-2, judge="values", seed=seed)
        found["eigenvalues"] = pairs.values.tolist()
        found["products"] = pairs.products
        found["converged"] = pairs.converged
    write_part(folder, name, found)


def _trained(protocol: QuantumProtocol, variant: QuantumVariant, seed: int, device: str) -> tuple[Tensor, list[float]]:
    """Points at the start and at the ends of the epochs of least running loss, in order, with their epochs."""
    data = protocol.dataset()
    recipe = protocol.recipe_of(variant, seed)
    per_epoch = recipe.steps_per_epoch(len(data.train))
    with tempfile.TemporaryDirectory(prefix="landform-") as place:
        recording = Recording(at=per_epoch, pairs=None, resumable_at=(0,))
        run = train(
            protocol.net(data, variant, seed), data, recipe, out=Path(place) / "run", recording=recording,
            device=device, settings={"study": "quantum-patches", "variant": variant.name},
        )  # fmt: skip
        assert run.trajectory is not None
        last = len(run.trajectory) - 1
        if variant == protocol.usual:
            chosen = list(range(last + 1))
        else:
            running = run.losses[: last * per_epoch].reshape(last, per_epoch).double().mean(1)
            least = running.argsort()[: protocol.closely] + 1
            chosen = sorted({*least.tolist(), last})
        where = torch.device(Landscape(protocol.net(data, variant, seed), data, device=device).device)
        points = torch.stack([run.trajectory.points[i] for i in chosen]).to(where)
        return points, [float(run.trajectory.epochs[i]) for i in chosen]


def _closely(
    protocol: QuantumProtocol, landscape: Landscape, start: Tensor, point: Tensor, points: Tensor, seed: int
) -> dict[str, Any]:
    """Spectrum, tangent kernel, and for the first seed the plane of the run, of one network."""
    count = protocol.classes + _BEYOND
    density = curvature.density(
        landscape.hessian(point), probes=protocol.probes, steps=protocol.products, keep=True, exact=False, seed=seed,
        scale="log", points=300,
    )  # fmt: skip
    pairs = curvature.eigenpairs(density.bases[0], count, tol=2e-2, judge="values")
    top = float(pairs.values[0])
    outside = density.share(below=-_BULK * top, above=_BULK * top).value
    found: dict[str, Any] = {
        "eigenvalues": pairs.values.tolist(),
        "converged": pairs.converged,
        "products": density.products + pairs.products,
        "bulk": 1 - outside,
        "negative": density.negative.value,
        "trace": [density.trace.value, finite(density.trace.standard_error)],
        "outliers": _before_gap(pairs.values.tolist(), protocol.classes),
    }
    rows = torch.randperm(_samples(landscape), generator=torch.Generator().manual_seed(0))[: protocol.kernel]
    few = landscape.subset(rows)
    kernels = [kernel.ntk(few, where, kind="trace").double() for where in (start, point)]
    spectra = [kernel.spectrum(each) for each in kernels]
    labels = _labels(protocol, rows)
    found["kernel"] = {
        "spectra": [each.values.tolist() for each in spectra],
        "rank": [each.effective_rank for each in spectra],
        "alignment": [kernel.alignment(each, labels.to(each.device)) for each in kernels],
        "distance": kernel.distance(*kernels),
    }
    directions = surface.principal(landscape, points, about="mean")
    assert directions.shares is not None
    found["shares"] = directions.shares.tolist()
    if seed == 0:
        plane = surface.plane(landscape, directions=directions, steps=protocol.steps, margin=0.25)
        way = plane.project(points).coordinates
        found["density"] = {"grid": density.grid.tolist(), "density": density.density.tolist()}
        found["plane"] = {
            "alphas": plane.alphas.tolist(),
            "betas": plane.betas.tolist(),
            "losses": plane.losses.tolist(),
            "way": way.tolist(),
            "how": str(plane),
        }
    return found


def between(folder: Path, protocol: QuantumProtocol, device: str, name: str, seed: int, other: int) -> None:
    """The straight line between two seeds' networks, and each one's loss there.

    Args:
        folder: of the study.
        protocol: the study's.
        device: where to compute.
        name: of the part.
        seed: of the first.
        other: of the second.
    """
    data = protocol.dataset()
    landscape = Landscape(protocol.net(data, protocol.usual, 0), data, device=device)
    a, b = (
        store.read_tensors(folder / POINTS / f"{protocol.usual.name}-{s}.safetensors")[0]["point"].to(landscape.device)
        for s in (seed, other)
    )
    cut = paths.barrier(landscape, a, b, steps=13, refine=4)
    write_part(
        folder,
        name,
        {
            "kind": "barrier",
            "subject": protocol.usual.name,
            "seed": seed,
            "other": other,
            "height": cut.height,
            "error_height": cut.error_height,
            "ends": list(cut.ends),
            "alphas": cut.alphas.tolist(),
            "losses": cut.losses.tolist(),
            "chance": math.log(protocol.classes),
        },
    )


def plateau(folder: Path, protocol: QuantumProtocol, device: str, name: str, seed: int) -> None:
    """Spread of one component of the gradient over random circuits, by qubits and depth, beside classical networks.

    All circuits of a kind are the patches of one network that see the same image of random pixels: one backward pass
    gives the gradients of all. The component is that of the first qubit's first RX in the middle layer of the second
    block; the function is Z on the first qubit, between -1 and 1.

    Args:
        folder: of the study.
        protocol: the study's.
        device: where to compute.
        name: of the part.
        seed: of the circuits and the pixels.
    """
    variances: list[list[float]] = []
    classical: list[list[float]] = []
    parameters: list[list[int]] = []
    where = Landscape(torch.nn.Linear(1, 1), (torch.zeros(1, 1), torch.zeros(1, 1)), loss="mse", device=device).device
    for depth in protocol.layers:
        rows: tuple[list[float], list[float], list[int]] = ([], [], [])
        for qubits in protocol.qubits:
            side = next(side for side in range(2, 4 * qubits) if side * side % (2 * qubits) == 0)
            net = models.quantum_patches(
                inputs=(1, side, side), classes=2, qubits=qubits, depth=depth, patch=side, patches=protocol.draws,
                scale=1.0, aggregation="sum", seed=seed,
            ).to(where)  # fmt: skip
            image = torch.rand(1, 1, side, side, generator=torch.Generator().manual_seed(seed)).to(where)
            net(image)[0, 1].backward()
            assert net.blocks.grad is not None
            rows[0].append(float(net.blocks.grad[:, 1, depth // 2, 0, 0].double().var()))
            control = PatchMLP(net, seed).to(where)
            control(image)[0, 1].backward()
            assert control.hidden.grad is not None
            rows[1].append(float(control.hidden.grad[:, 0, 0].double().var()))
            rows[2].append(int(net.blocks[0].numel() + net.encoding[0].numel()))
        variances.append(rows[0])
        classical.append(rows[1])
        parameters.append(rows[2])
    write_part(
        folder,
        name,
        {
            "kind": "plateau",
            "subject": "",
            "seed": seed,
            "qubits": list(protocol.qubits),
            "layers": list(protocol.layers),
            "variance": variances,
            "classical": classical,
            "parameters": parameters,
            "draws": protocol.draws,
        },
    )


def finite(value: float) -> float | None:
    """A number for JSON, which has no place for those that are not finite.

    Args:
        value: the number.

    Returns:
        The number, or None.
    """
    return value if math.isfinite(value) else None


def _before_gap(values: list[float], classes: int) -> int:
    """Eigenvalues before the largest ratio of neighbours, among those after the (C - 3)th to the (C + 2)th."""
    places = [k for k in range(max(1, classes - 3), min(classes + _BEYOND, len(values))) if values[k] > 0]
    return max(places, key=lambda k: values[k - 1] / values[k], default=0)


def _samples(landscape: Landscape) -> int:
    return len(landscape.outputs(landscape.here))


def _labels(protocol: QuantumProtocol, rows: Tensor) -> Tensor:
    return protocol.dataset().train.targets[rows]
