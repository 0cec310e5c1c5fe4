"""Does adversarial training flatten the loss surface? (Prabhu et al. 2019).

Networks are trained without an adversary and with several, and measured alike: steepness in filter-normalised random
directions and largest curvature, of the clean and of the adversarial loss, with the norm of the weights beside both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Unpack

import torch
from torch import nn

from landform import models
from landform.attacks import Attack
from landform.data import Dataset, Split
from landform.engine import Unit
from landform.errors import BadInput
from landform.studies._adversarial_landscape_claims import claims_of_adversarial_landscape
from landform.studies._adversarial_landscape_measure import look
from landform.studies._claim import Claim
from landform.studies._loaded import loaded
from landform.studies._parts import Asked, Made, conduct, read_parts, write_part
from landform.training import Recipe, train_many

NAME = "adversarial-landscape"
QUESTION = "does adversarial training flatten the loss surface? (Prabhu et al. 2019)"
SCHEMA = 1


@dataclass(frozen=True)
class RobustProtocol:
    """What is trained, against whom, and how closely it is looked at.

    Attributes:
        data: name of a data set of labelled samples.
        model: name of a model.
        recipe: how a network is trained, but for its seed and its adversary.
        data_options: options of the data.
        model_options: options of the model.
        eps: the adversary's radius, small and large, of inputs that are not normalised (pixels in [0, 1]).
        sweep: further radii of adversarial-only training, between the two or beside them.
        steps: of the adversary in training.
        strong: steps and restarts of the attack that robust accuracy is measured with.
        samples: training samples that losses away from the point are read on, at most.
        tested: test samples that are attacked, at most.
        directions: random directions; of the adversarial loss a third of them.
        length: of the steps that are equally long for all networks (L2).
        plane: places along each side of the planes, of the first seed; 0 for none.
        precise: whether Hessians are taken in float64.
        seeds: how many networks in each setting.
    """

    data: str
    model: str
    recipe: Recipe
    data_options: Mapping[str, Any]
    model_options: Mapping[str, Any]
    eps: tuple[float, float] = (0.1, 0.2)
    sweep: tuple[float, ...] = (0.05, 0.15)
    steps: int = 4
    strong: tuple[int, int] = (20, 4)
    samples: int = 1000
    tested: int = 797
    directions: int = 10
    length: float = 6.0
    plane: int = 13
    precise: bool = True
    seeds: int = 5

    def __post_init__(self) -> None:
        """Refuse what cannot be compared."""
        if self.seeds < 1 or self.directions < 3:
            raise BadInput(f"seeds is {self.seeds} and directions {self.directions}: give at least 1 and 3.")
        if not 0 < self.eps[0] < self.eps[1] or any(not 0 < e <= 10 * self.eps[1] for e in self.sweep):
            raise BadInput(f"eps is {self.eps} with {self.sweep} beside: give a small and a larger radius, above 0.")
        if self.recipe.adversary is not None:
            raise BadInput("The recipe of this study is that without an adversary: the settings bring theirs.")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "data": {"name": self.data, "options": dict(self.data_options)},
            "model": {"name": self.model, "options": dict(self.model_options)},
            "recipe": self.recipe.to_json(),
            "eps": list(self.eps),
            "sweep": list(self.sweep),
            "steps": self.steps,
            "strong": list(self.strong),
            "samples": self.samples,
            "tested": self.tested,
            "directions": self.directions,
            "length": self.length,
            "plane": self.plane,
            "precise": self.precise,
            "seeds": self.seeds,
        }

    def dataset(self) -> Dataset:
        """The data, with inputs as they were before they were normalised."""
        found = raw(loaded(self.data, self.data_options))
        if found.classes is None or found.train.targets.dim() != 1:
            raise BadInput(f"{found.name} has no labels: the study counts which of them an attack changes.")
        return found

    def net(self, data: Dataset, seed: int) -> nn.Module:
        """A network with the initial weights of a seed."""
        assert data.classes is not None
        shape = tuple(data.train.inputs.shape[1:])
        return models.build(self.model, inputs=shape, classes=data.classes, seed=seed, **self.model_options)

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> RobustProtocol:
        """Read what `to_json` wrote."""
        return cls(
            data=told["data"]["name"],
            data_options=told["data"]["options"],
            model=told["model"]["name"],
            model_options={k: tuple(v) if isinstance(v, list) else v for k, v in told["model"]["options"].items()},
            recipe=Recipe.from_json(told["recipe"]),
            eps=tuple(told["eps"]),
            sweep=tuple(told["sweep"]),
            strong=tuple(told["strong"]),
            **{
                name: told[name]
                for name in ("steps", "samples", "tested", "directions", "length", "plane", "precise", "seeds")
            },
        )


def raw(data: Dataset) -> Dataset:
    """Take the normalisation of inputs back, as robust networks are usually trained on pixels in [0, 1].

    Args:
        data: one of ``lf.data``.

    Returns:
        The same samples as they were, which is what eps counts.
    """
    told: Any = data.transform.get("normalise")
    if not told:
        return data

    def undone(split: Split) -> Split:
        shape = (-1, *[1] * (split.inputs.dim() - 2)) if len(told["mean"]) > 1 else (1,)
        mean, std = (torch.tensor(told[name], dtype=torch.float64).reshape(shape) for name in ("mean", "std"))
        inputs = split.inputs.double() * std + mean
        if told["unit"] != 1.0:  # pixels have a range, and rounding leaves it
            inputs = inputs.clamp(0.0, 1.0)
        return Split(inputs.to(split.inputs.dtype), split.targets, split.lengths)

    transform = {key: value for key, value in data.transform.items() if key != "normalise"}
    return replace(data, train=undone(data.train), test=undone(data.test), transform=transform)


@dataclass(frozen=True)
class RobustSetting:
    """One way of training.

    Attributes:
        id: short name, for files.
        title: in a few words.
        eps: radius of the adversary; 0 for none.
        kind: FGSM, PGD, or none.
        share: of the loss that is adversarial.
    """

    id: str
    title: str
    eps: float = 0.0
    kind: Literal["", "fgsm", "pgd"] = ""
    share: float = 1.0

    def recipe(self, base: Recipe, steps: int, seed: int) -> Recipe:
        """How its networks are trained.

        Args:
            base: without an adversary.
            steps: of PGD.
            seed: of the network.

        Returns:
            The recipe.
        """
        if not self.kind:
            return replace(base, seed=seed)
        attack = Attack.fgsm(self.eps) if self.kind == "fgsm" else Attack("linf", self.eps, steps)
        return replace(base, seed=seed, adversary=attack, adversarial=self.share)


def settings_of_robust(protocol: RobustProtocol) -> tuple[RobustSetting, ...]:
    """The settings, the one without an adversary first.

    Args:
        protocol: the study's.

    Returns:
        The settings.
    """
    small = protocol.eps[0]
    alone = [
        RobustSetting(f"alone-{eps:g}", f"PGD alone, {eps:.3g}", eps, "pgd")
        for eps in sorted({*protocol.eps, *protocol.sweep})
    ]
    return (
        RobustSetting("standard", "standard"),
        RobustSetting("fgsm-both", f"clean + FGSM, {small:.3g}", small, "fgsm", 0.5),
        RobustSetting("pgd-both", f"clean + PGD, {small:.3g}", small, "pgd", 0.5),
        *alone,
    )


SCALES: Mapping[str, RobustProtocol] = {
    "small": RobustProtocol(
        data="digits",
        data_options={},
        model="mlp",
        model_options={"width": 128, "depth": 2, "init": "torch"},
        # A rate that comes down to nothing: at a constant one eigenvalues are those of the last few batches.
        recipe=Recipe(epochs=100, batch_size=32, lr=0.15, momentum=0.0, schedule="cosine"),
    ),
    # Seconds: shows what the page looks like, and proves nothing.
    "tiny": RobustProtocol(
        data="digits",
        data_options={"per_class": 10},
        model="mlp",
        model_options={"width": 16, "depth": 1, "init": "torch"},
        recipe=Recipe(epochs=6, batch_size=25, lr=0.2, momentum=0.0),
        sweep=(0.05,),
        steps=2,
        strong=(3, 2),
        samples=60,
        tested=60,
        directions=3,
        plane=5,
        seeds=2,
    ),
    "medium": RobustProtocol(
        data="cifar10",
        data_options={"only": (0, 1), "per_class": 500},
        model="small_cnn",
        model_options={"width": (16, 32, 32), "init": "torch"},
        recipe=Recipe(epochs=60, batch_size=50, lr=0.05, momentum=0.9, schedule="cosine", precision="bfloat16"),
        eps=(2 / 255, 8 / 255),
        sweep=(4 / 255,),
        steps=3,
        strong=(10, 3),
        samples=500,
        tested=500,
        directions=9,
        plane=13,
        precise=False,
    ),
}


def adversarial_landscape(out: str | Path, **asked: Unpack[Asked[RobustProtocol]]) -> list[Claim]:
    """Train with and without adversaries, measure, and hold the claims against the numbers; goes on where it stopped.

    The scales are ``"small"`` (digits, minutes), ``"medium"`` (CIFAR-10, less than an hour), or ``"tiny"``, to see
    in seconds what comes out.

    Args:
        out: folder for the results, ``claims.json`` and the report.
        **asked: ``scale``, ``seeds`` and whatever else `Asked` tells of.

    Returns:
        The claims.

    Raises:
        BadInput: when something given does not fit, or another study lies in the folder.
    """
    return conduct(ADVERSARIAL_LANDSCAPE, out, **asked)


def _by_setting(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """What was measured, by setting, one for each seed, in their order."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for part in read_parts(folder).get("networks", ()):
        for each in part["networks"]:
            found.setdefault(part["subject"], {})[each["seed"]] = each
    return {setting: [own[seed] for seed in sorted(own)] for setting, own in found.items()}


def _wanted(protocol: RobustProtocol, folder: Path, device: str) -> list[Unit]:
    """A part for each setting, whose networks are one stack: of the seeds that are missing."""
    there = _by_setting(folder)
    found: list[Unit] = []
    for setting in sorted(settings_of_robust(protocol), key=lambda one: (bool(one.kind), one.share != 1.0)):
        done = {each["seed"] for each in there.get(setting.id, ())}
        seeds = [seed for seed in range(protocol.seeds) if seed not in done]
        if seeds:
            name = f"{setting.id}-{seeds[0]}-{seeds[-1]}"
            arguments = {"folder": folder, "protocol": protocol, "device": device, "setting": setting, "seeds": seeds}
            found.append(Unit(name, networks, {**arguments, "name": name}))
    return found


def networks(
    folder: Path, protocol: RobustProtocol, device: str, setting: RobustSetting, seeds: list[int], name: str
) -> None:
    """Train the networks of a setting, measure each, and write down what was found.

    Args:
        folder: of the study.
        protocol: the study's.
        device: where to compute.
        setting: how they are trained.
        seeds: of the networks.
        name: of the part.
    """
    data = protocol.dataset()
    nets = [protocol.net(data, seed) for seed in seeds]
    recipes = [setting.recipe(protocol.recipe, protocol.steps, seed) for seed in seeds]
    trained = train_many(nets, data, recipes, device=device)
    found = []
    for net, seed, one in zip(nets, seeds, trained, strict=True):
        if not bool(torch.isfinite(one.point).all()):
            raise BadInput(f"The network of {setting.title} with seed {seed} diverged: give the recipe a smaller lr.")
        planes = protocol.plane > 0 and seed == 0 and setting.id in drawn(protocol)
        found.append({"seed": seed, **look(protocol, data, net, seed, device, planes=planes)})
    write_part(folder, name, {"kind": "networks", "subject": setting.id, "seed": seeds[0], "networks": found})


def drawn(protocol: RobustProtocol) -> tuple[str, ...]:
    """Settings whose planes are drawn.

    Args:
        protocol: the study's.

    Returns:
        Their short names.
    """
    return ("standard", *(f"alone-{eps:g}" for eps in protocol.eps))


def _sentence(chosen: RobustProtocol) -> str:
    data, ways = chosen.dataset(), len(settings_of_robust(chosen))
    return f"Training in {ways} ways with {chosen.seeds} seeds on {data.name}, and attacking"


ADVERSARIAL_LANDSCAPE = Made(
    NAME, SCHEMA, SCALES, RobustProtocol.from_json, _sentence, _wanted, claims_of_adversarial_landscape, _by_setting
)
