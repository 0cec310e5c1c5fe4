"""A training step of a quantum network over patches: time and memory, beside PennyLane's simulator.

Run it on a quiet machine. Both are the same circuits with the same angles, eight qubits and four patches, on a batch of
64: loss and gradient, in turn, medians. PennyLane runs `default.qubit` with backpropagation through torch, the batch
broadcast through each patch's circuit. What a step of ours keeps is counted, tensor by tensor, beside what
`net.memory` foretells.

    python benchmarks/quantum.py [--peer PYTHON] [--rounds 7] [--threads 1] [--batch 64] [--depth 5]

`--peer` is the Python of an environment that has PennyLane and landform; without it the present one is tried.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from landform import models

SIDE, CLASSES, SCALE = 14, 10, 100.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", help="the Python of an environment with PennyLane and landform")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--depth", type=int, default=5)
    parser.add_argument("--qubits", type=int, default=8)
    parser.add_argument("--patches", type=int, default=4)
    parser.add_argument("--json", action="store_true", help="print numbers only, as a peer does")
    asked = parser.parse_args()
    if asked.peer is not None:
        options = {name: value for name, value in vars(asked).items() if name not in ("peer", "json")}
        flags = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        done = subprocess.run([asked.peer, __file__, "--json", *flags], check=True, capture_output=True, text=True)
        told = json.loads(done.stdout.splitlines()[-1])
    else:
        torch.set_num_threads(asked.threads)
        told = measure(asked.qubits, asked.depth, asked.patches, asked.batch, asked.rounds)
    if asked.json:
        print(json.dumps(told))
        return
    print(f"torch {told['torch']}, {asked.threads} thread(s); {asked.qubits} qubits, {asked.depth} layers a block, "
          f"{asked.patches} patches, batch {asked.batch}, {asked.rounds} rounds")  # fmt: skip
    print(f"kept for the gradient: {told['kept'] / 1e6:.1f} MB; net.memory said {told['foretold'] / 1e6:.1f} MB")
    print(f"landform   {told['ours'] * 1e3:9.1f} ms forward and backward")
    if told["theirs"] is None:
        print("PennyLane is not installed here: name the Python of an environment that has it by --peer.")
        return
    print(f"PennyLane  {told['theirs'] * 1e3:9.1f} ms ({told['pennylane']}): {told['theirs'] / told['ours']:.1f} times")
    print(f"largest difference of logits {told['logits']:.1e}, of gradients over the largest {told['gradients']:.1e}")


def measure(qubits: int, depth: int, patches: int, batch: int, rounds: int) -> dict[str, object]:
    """Time both in turn.

    Args:
        qubits: of each circuit.
        depth: layers of each block.
        patches: how many circuits.
        batch: how many images.
        rounds: how often.

    Returns:
        Medians in seconds, bytes, and by how much outcomes differ.
    """
    classes = min(CLASSES, 2 * qubits)
    net = models.quantum_patches(
        inputs=(1, SIDE, SIDE), classes=classes, qubits=qubits, depth=depth, patch=8, patches=patches, scale=SCALE
    )
    made = torch.Generator().manual_seed(0)
    images, labels = torch.rand(batch, 1, SIDE, SIDE, generator=made), torch.arange(batch) % classes
    ways: dict[str, Callable[[Tensor], Tensor]] = {"ours": net}
    told: dict[str, object] = {
        "torch": torch.__version__,
        "kept": kept(net, images, labels),
        "foretold": net.memory(batch),
        "theirs": None,
    }
    if importlib.util.find_spec("pennylane") is not None:
        import pennylane

        told["pennylane"] = f"{pennylane.__version__}, default.qubit, backprop"
        ways["theirs"] = peer(net)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    outcomes: dict[str, tuple[Tensor, Tensor]] = {}
    for turn in range(rounds + 1):  # the first warms up
        for name, way in ways.items():
            net.zero_grad()
            start = time.perf_counter()
            logits = way(images)
            torch.nn.functional.cross_entropy(logits, labels).backward()
            if turn:
                seconds[name].append(time.perf_counter() - start)
            gradients = [p.grad.flatten() for p in net.parameters() if p.grad is not None]
            outcomes[name] = (logits.detach(), torch.cat(gradients).clone())
    told |= {name: statistics.median(times) for name, times in seconds.items()}
    if "theirs" in ways:
        (a, x), (b, y) = outcomes["ours"], outcomes["theirs"]
        told |= {"logits": float((a - b).abs().max()), "gradients": float((x - y).abs().max() / x.abs().max())}
    return told


def kept(net: torch.nn.Module, images: Tensor, labels: Tensor) -> int:
    """Bytes of all tensors that a forward pass keeps for the backward one, each counted once."""
    found: dict[int, int] = {}
    alive: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        alive.append(tensor)
        found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        torch.nn.functional.cross_entropy(net(images), labels)
    return sum(found.values())


def peer(net: models.QuantumPatches) -> Callable[[Tensor], Tensor]:
    """The same network as PennyLane circuits, the batch broadcast through each."""
    import pennylane as qml

    wires = range(net.qubits)
    device = qml.device("default.qubit", wires=net.qubits)
    ring = [(q, (q + 1) % net.qubits) for q in wires] if net.qubits > 2 else [(0, 1)]

    def block(angles: Tensor, last: bool) -> None:
        for layer in range(net.depth):
            for kind, gate in enumerate((qml.RX, qml.RY)):
                for q in wires:
                    gate(angles[layer, kind, q], wires=q)
            if not last or layer < net.depth - 1:
                for pair in ring:
                    qml.CZ(pair)

    @qml.qnode(device, interface="torch", diff_method="backprop")
    def circuit(angles: Tensor, encoding: Tensor, pixels: Tensor) -> list[Tensor]:
        for part in range(3):
            block(angles[part], part == 2)
            if part == 2:
                break
            for q in wires:
                for j in range(net.features):
                    outer, inner = (qml.RY, qml.RX) if j % 2 == 0 else (qml.RX, qml.RY)
                    outer(encoding[part, j, 0, q], wires=q)
                    inner(pixels[:, part, q, j], wires=q)
                    outer(encoding[part, j, 1, q], wires=q)
            for pair in ring:
                qml.CZ(pair)
        xs, zs = net.classes - net.classes // 2, net.classes // 2
        return [*(qml.expval(qml.PauliX(q)) for q in range(xs)), *(qml.expval(qml.PauliZ(q)) for q in range(zs))]

    def forward(images: Tensor) -> Tensor:
        pixels = (net.angle * images.flatten(1) + net.shift + net.position)[:, net.places]
        x = pixels.reshape(len(images), len(net.places), 2, net.qubits, net.features)
        read = [torch.stack(list(circuit(net.blocks[p], net.encoding[p], x[:, p])), -1) for p in range(len(net.places))]
        return (net.factor * torch.stack(read).sum(0)).to(images.dtype)

    return forward


if __name__ == "__main__":
    sys.exit(main())
