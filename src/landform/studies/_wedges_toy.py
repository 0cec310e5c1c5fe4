"""The toy of wedges: every law beside what a simulation finds."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import torch

from landform.studies._parts import write_part
from landform.studies._wedges_protocol import WedgesProtocol
from landform.theory import wedges

# Dimensions of the planes, as shares of the short directions, and how many are drawn of each.
_SHARES, _DRAWS = (0.2, 0.5, 0.8, 0.9), 5
_OPTIMA, _WAYS, _COMMON = 8, 30, (2, 3, 5)


def toy(folder: Path, protocol: WedgesProtocol, device: str, name: str, seed: int) -> None:
    """Simulate the toy and write each law beside it.

    Args:
        folder: of the study.
        protocol: the study's.
        device: not used: it is small.
        name: of the part.
        seed: of wedges, starts and planes.
    """
    told: dict[str, Any] = {"kind": "toy", "subject": "", "seed": seed, "cases": []}
    big, count = protocol.big, protocol.wedges
    joined = [m for m in _COMMON if m <= count]
    for short in protocol.shorts:
        long = big - short
        made = wedges.Wedges.draw(big, long=long, count=count, seed=seed)
        starts = made.gaussian(_OPTIMA, seed=seed + 1)
        optima = torch.stack([made.project(start, k % count) for k, start in enumerate(starts)])
        pairs = list(zip(optima[::2], optima[1::2], strict=True))
        ways = torch.nn.functional.normalize(made.gaussian(_WAYS, seed=seed + 2))
        planes = []
        for share in _SHARES:
            d = max(1, round(share * short))
            found = [wedges.best_in_plane(made, starts[i], made.plane(d, seed=100 * seed + i)) for i in range(_DRAWS)]
            planes.append(
                {
                    "d": d,
                    "one": statistics.mean(float(each.losses.mean()) for each in found),
                    "one_law": wedges.plane_law(big, long, d),
                    "nearest": statistics.mean(each.loss for each in found),
                    "nearest_law": wedges.plane_law(big, long, d, wedges=count),
                }
            )
        told["cases"].append(
            {
                "short": short,
                "planes": planes,
                "start": wedges.plane_law(big, long, 0),
                "line": statistics.mean(wedges.barrier(made, a, b) for a, b in pairs),
                "line_law": wedges.barrier_law(big, long),
                "arc": statistics.mean(wedges.barrier(made, a, b, arc=True) for a, b in pairs),
                "arc_law": wedges.arc_law(big, long),
                "middle": statistics.mean(wedges.connector(made, a, b, only_middle=True)[1] for a, b in pairs),
                "middle_law": wedges.midpoint_law(big, long),
                "connector": max(wedges.connector(made, a, b)[1] for a, b in pairs),
                "tunnel": float(wedges.tunnel(made, optima[0], ways, threshold=1.0).mean()),
                "tunnel_law": wedges.tunnel_law(big, long, 1.0),
                "common": [wedges.common(made, range(m)) for m in joined],
                "common_law": [wedges.common_law(big, long, m) for m in joined],
                "joined": joined,
            }
        )
    write_part(folder, name, told)
