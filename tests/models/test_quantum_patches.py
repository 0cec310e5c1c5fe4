"""The circuit against one that is written gate by gate, as products of full matrices, and against PennyLane."""

import copy
import math

import numpy as np
import pytest
import torch

import landform as lf
from landform import models
from landform.errors import BadInput

I2, X, Z = np.eye(2), np.array([[0, 1], [1, 0]]), np.diag([1.0, -1.0])


def rx(a):
    return np.cos(a / 2) * I2 - 1j * np.sin(a / 2) * X


def ry(a):
    return np.array([[np.cos(a / 2), -np.sin(a / 2)], [np.sin(a / 2), np.cos(a / 2)]])


def on(gate, qubit, n):
    full = np.eye(1)
    for q in range(n):
        full = np.kron(full, gate if q == qubit else I2)
    return full


def cz(a, b, n):
    p0, p1 = np.diag([1.0, 0.0]), np.diag([0.0, 1.0])
    return on(p0, a, n) + on(p1, a, n) @ on(Z, b, n)


def gates(net, patch, pixels):
    """The circuit of one patch on its pixels, gate after gate: (name, qubits, angle)."""
    n, k = net.qubits, net.features
    blocks, encoding = net.blocks.detach().double().numpy()[patch], net.encoding.detach().double().numpy()[patch]
    ring = [("cz", (q, (q + 1) % n), 0.0) for q in range(n)] if n > 2 else [("cz", (0, 1), 0.0)]
    for part in range(3):
        for layer in range(net.depth):
            for kind in range(2):
                yield from (("rx" if kind == 0 else "ry", (q,), blocks[part, layer, kind, q]) for q in range(n))
            if part < 2 or layer < net.depth - 1:
                yield from ring
        if part == 2:
            return
        for q in range(n):
            for j in range(k):
                outer, inner = ("ry", "rx") if j % 2 == 0 else ("rx", "ry")
                x = pixels[part * n * k + q * k + j]
                yield outer, (q,), encoding[part, j, 0, q]
                yield inner, (q,), x
                yield outer, (q,), encoding[part, j, 1, q]
        yield from ring


def corners(net):
    side, patch = net.height // net.pool, math.isqrt(net.places.shape[1])
    each = math.isqrt(len(net.places))
    at = np.linspace(0, side - patch, each).round().astype(int) if each > 1 else [(side - patch) // 2]
    return [(i, j, patch) for i in at for j in at]


def by_hand(net, images):
    """Logits of images ``[B, side, side]`` (after pooling)."""
    n, made = net.qubits, {"rx": rx, "ry": ry}
    logits = []
    for image in images:
        angles = net.angle * image + net.shift + net.position.detach().double().numpy().reshape(image.shape)
        total = np.zeros(net.classes)
        for number, (i, j, patch) in enumerate(corners(net)):
            state = np.zeros(2**n, complex)
            state[0] = 1
            for name, qubits, angle in gates(net, number, angles[i : i + patch, j : j + patch].ravel()):
                state = (cz(*qubits, n) if name == "cz" else on(made[name](angle), qubits[0], n)) @ state
            xs = net.classes - net.classes // 2
            read = [on(X, q, n) for q in range(xs)] + [on(Z, q, n) for q in range(net.classes // 2)]
            total += [np.vdot(state, operator @ state).real for operator in read]
        logits.append(net.factor * total)
    return np.array(logits)


def small(**options):
    settings = {"qubits": 4, "depth": 2, "patch": 4, "patches": 4, "scale": 25.0, "seed": 3, **options}
    net = models.quantum_patches(inputs=(1, 8, 8), classes=settings.pop("classes", 7), **settings).double()
    with torch.no_grad():
        net.position.normal_(generator=torch.Generator().manual_seed(0)).mul_(0.1)
    return net


@pytest.mark.parametrize(
    "options",
    [{}, {"patches": 1}, {"patches": 9, "aggregation": "sum"}, {"qubits": 2, "classes": 4, "aggregation": "root"},
     {"depth": 1, "shift": 0.3, "angle": 1.1}, {"qubits": 8, "depth": 1, "patches": 1, "classes": 10}],
)  # fmt: skip
def test_it_is_the_circuit_gate_by_gate(options):
    net = small(**options)
    images = torch.rand(3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    np.testing.assert_allclose(net(images[:, None]).detach().numpy(), by_hand(net, images.numpy()), atol=1e-10)
    torch.testing.assert_close(net(images.flatten(1)), net(images[:, None]))


def test_a_large_batch_goes_through_one_unitary_with_the_same_outcome():
    net = small()
    images = torch.rand(40, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert len(images) > 2**net.qubits
    torch.testing.assert_close(net(images), torch.cat([net(part) for part in images.split(8)]), atol=1e-11, rtol=0)


def test_pooling_comes_first():
    net = models.quantum_patches(inputs=(1, 17, 17), classes=4, qubits=4, depth=1, patch=4, patches=4, pool=2).double()
    images = torch.rand(2, 17, 17, dtype=torch.float64)
    pooled = images[:, :16, :16].reshape(2, 8, 2, 8, 2).mean((2, 4))
    np.testing.assert_allclose(net(images[:, None]).detach().numpy(), by_hand(net, pooled.numpy()), atol=1e-9)


def test_gradients_follow_the_parameter_shift_rule():
    net = small(patches=1, classes=3)
    image = torch.rand(1, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    net(image)[0, 1].backward()
    for parameter, place in (
        (net.blocks, (0, 1, 1, 0, 2)),
        (net.blocks, (0, 0, 0, 1, 3)),
        (net.encoding, (0, 1, 1, 1, 0)),
    ):
        both = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter[place] += sign * math.pi / 2
                both.append(float(net(image)[0, 1]))
                parameter[place] -= sign * math.pi / 2
        assert float(parameter.grad[place]) == pytest.approx((both[0] - both[1]) / 2, abs=1e-10)


def test_amplitudes_are_those_of_pennylane():
    qml = pytest.importorskip("pennylane", reason="PennyLane is not installed")
    net = small(patches=1, classes=8)
    image = torch.rand(8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    angles = (net.angle * image + net.shift).numpy() + net.position.detach().numpy().reshape(8, 8)
    made = {"rx": qml.RX, "ry": qml.RY}

    @qml.qnode(qml.device("default.qubit", wires=net.qubits))
    def circuit():
        i, j, patch = corners(net)[0]
        for name, wires, angle in gates(net, 0, angles[i : i + patch, j : j + patch].ravel()):
            qml.CZ(wires) if name == "cz" else made[name](angle, wires=wires[0])
        return [*(qml.expval(qml.PauliX(q)) for q in range(4)), *(qml.expval(qml.PauliZ(q)) for q in range(4))]

    np.testing.assert_allclose(
        net(image[None, None]).detach().numpy()[0], net.factor * np.array(circuit()), atol=1e-6 * net.factor
    )


def test_parameters_are_as_many_as_the_paper_has():
    net = models.quantum_patches(inputs=(1, 28, 28), classes=10, qubits=8, depth=50, patch=8, patches=9, pool=2)
    assert sum(p.numel() for p in net.parameters()) == 9 * 2528 + 196
    at = {(int(one[0]) // 14, int(one[0]) % 14) for one in net.places}
    assert at == {(i, j) for i in (0, 3, 6) for j in (0, 3, 6)}
    sixteen = models.quantum_patches(inputs=(1, 28, 28), classes=10, depth=1, patches=16, pool=2)
    assert sorted({int(one[0]) // 14 for one in sixteen.places}) == [0, 2, 4, 6]


def test_every_general_measurement_works_on_it():
    net = models.quantum_patches(inputs=(64,), classes=3, qubits=2, depth=1, patch=4, patches=4, scale=10.0, seed=1)
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(20, 64, generator=generator), torch.randint(0, 3, (20,), generator=generator)
    landscape = lf.Landscape(net, (x, y), dtype=torch.float64)
    here = landscape.here
    there = here + 0.3 * torch.randn(len(here), generator=generator, dtype=torch.float64)
    H = landscape.hessian(here)
    dense = H.dense()
    top = lf.curvature.eigenpairs(H, 1)
    assert float(top.values[0]) == pytest.approx(float(torch.linalg.eigvalsh(dense)[-1]), rel=1e-3)
    both = landscape.loss(torch.stack([here, there]))
    torch.testing.assert_close(both[1], landscape.loss(there))
    assert lf.paths.barrier(landscape, here, there, steps=5).height >= 0
    assert lf.curvature.density(H, probes=1, steps=10) is not None
    double = copy.deepcopy(net).double()

    def outputs(point):
        return torch.func.functional_call(double, landscape.layout.views(point), (x[:4].double(),))

    J = torch.autograd.functional.jacobian(outputs, here)
    kernel = lf.kernel.finite.ntk(landscape, here, x[:4], kind="trace")
    torch.testing.assert_close(kernel, torch.einsum("icp,jcp->ij", J, J), rtol=1e-8, atol=1e-8)
    gradients = [landscape.gradient(point) for point in (here, there)]
    torch.testing.assert_close(landscape.gradient(torch.stack([here, there])), torch.stack(gradients))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"inputs": (63,)}, "are no square"),
        ({"inputs": (3, 8, 8)}, "square grey images"),
        ({"patches": 5}, "square number"),
        ({"patch": 9}, "smaller patch"),
        ({"patch": 3}, "share evenly"),
        ({"classes": 9}, "8 classes at most"),
        ({"qubits": 17, "patch": 34, "inputs": (1, 34, 34)}, "too much"),
        ({"aggregation": "max"}, "aggregation"),
        ({"parametrisation": "ntk"}, "parametrisation"),
    ],
)
def test_misuse(options, said):
    settings = {"inputs": (1, 8, 8), "classes": 4, "qubits": 4, "depth": 1, "patch": 4, "patches": 4, **options}
    with pytest.raises(BadInput, match=said):
        models.quantum_patches(**settings)


def test_memory_grows_with_batch_patches_and_amplitudes_alone():
    net, wide = small(), small(patches=9)
    assert net.memory(8) == 2 * net.memory(4)
    assert wide.memory(8) * 4 == net.memory(8) * 9
    assert net.memory(16, 8) == 2 * net.memory(16)
