"""Recipes in YAML, in the form that mergekit's users know.

What a recipe means is what it means there: thresholds and angles are of each tensor, densities are 1 unless given, what
is dropped at random is made up for by the L1 norm, and a tie of signs counts as up. Methods and settings that only
landform has may be named too, by their own names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from landform.errors import BadInput, try_import
from landform.merging._ask import nearest
from landform.merging._beside import put_beside
from landform.merging._file_merge import FileMerge
from landform.merging._files import as_type, merge_files
from landform.merging._method import Method, Per
from landform.merging._places import open_stored
from landform.merging._registry import get, methods
from landform.merging._varying import Varying, layers_in

_KEYS = ("merge_method", "base_model", "models", "slices", "parameters", "dtype", "out_dtype", "tokenizer_source")
_OWN = ("per", "seed")
_ELSEWHERE = {
    "modules": "models of several modules",
    "tokenizer": "a tokenizer put together from several",
    "chat_template": "another chat template",
}
# Methods that are there and not here, so that the sentence is about them and not about a misspelling.
_MISSING = (
    "nuslerp", "multislerp", "sce", "ram", "ramplus_tl", "nearswap", "arcee_fusion", "passthrough",
)  # fmt: skip
_NAMES = {"normalize": "normalise", "lambda": "scale", "max_iter": "steps", "tol": "tolerance"}
# What is left out of a recipe there, where it differs from what is left out here.
_VOTED = {"density": 1.0, "undecided": "positive"}
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "ties": _VOTED,
    "dare": {"density": 1.0, "rescale": "norm"},
    "dare_ties": {**_VOTED, "rescale": "norm", "normalise": False},
    "della": {**_VOTED, "rescale": "norm"},
    "della_linear": {"density": 1.0, "rescale": "norm"},
    "breadcrumbs": {"density": 1.0},
    "breadcrumbs_ties": {**_VOTED, "normalise": False},
    "karcher": {"steps": 10, "tolerance": 1e-5},
    "model_stock": {"clip": False},
}


@dataclass(frozen=True)
class MergeRecipe:
    """What a recipe asks for.

    Attributes:
        path: of the recipe.
        method: name of the method, as landform calls it.
        sources: the models.
        base: the base, or None.
        weights: of the sources, or None.
        settings: of the method.
        per: over what thresholds and angles are taken.
        seed: of random drops.
        dtype: for the merge, or None.
        layers: how many layers the recipe takes of each model, all of them, or None where it does not say.
        notes: what it asks for that makes no difference here.
    """

    path: Path
    method: str
    sources: tuple[str, ...]
    base: str | None = None
    weights: tuple[float | Varying, ...] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    per: Per = "tensor"
    seed: int = 0
    dtype: str | None = None
    layers: int | None = None
    notes: tuple[str, ...] = ()

    def merge(self, out: str | Path | None, **how: Any) -> FileMerge:
        """Do what it asks for.

        Args:
            out: a folder, or a file that ends in .safetensors.
            **how: what else `merge_files` takes, such as ``dry_run``; what is given here goes before the recipe.

        Returns:
            What was done.

        Raises:
            BadInput: when the models have more layers than the recipe takes, or `merge_files` refuses.
        """
        if self.layers is not None:
            stored = [open_stored(one) for one in self.sources]
            put_beside(stored, None, as_type(how.get("dtype", self.dtype)))
            found = layers_in(stored[0].files)
            if found != self.layers:
                raise BadInput(
                    f"{self.path} takes the layers 0 to {self.layers} of models that have {found}: slices are merged "
                    "only where they are all of a model, so give models: in their place."
                )
        asked: dict[str, Any] = {
            "method": self.method,
            "base": self.base,
            "weights": self.weights,
            "per": self.per,
            "seed": self.seed,
            "dtype": self.dtype,
            **self.settings,
        }
        return merge_files(self.sources, out, **{**asked, **how})


def read_recipe(path: str | Path) -> MergeRecipe:
    """Read a recipe.

    Args:
        path: a YAML file with ``merge_method``, ``models`` (each a ``model`` and its ``parameters``), and if need be
            ``base_model``, ``parameters`` and ``dtype``. A parameter is a number, a list of numbers that is spread over
            the layers, or a list of such with a ``filter`` on names. Models are looked for from where one is, then from
            where the recipe lies.

    Returns:
        The recipe.

    Raises:
        BadInput: when it is no recipe, or asks for what cannot be done; the message says which entry.
    """
    path = Path(path)
    told = _load(path)
    for key in told:
        if key in _ELSEWHERE:
            raise _wrong(path, f"asks for {_ELSEWHERE[key]} ({key}), which is not done here: leave it out")
        if key not in (*_KEYS, *_OWN):
            raise _wrong(path, f"has an entry {key!r} that means nothing{nearest(str(key), (*_KEYS, *_OWN))}")
    method = _method(path, told.get("merge_method"))
    models, layers = _models(path, told)
    base = _place(path, told["base_model"], "base_model") if told.get("base_model") is not None else None
    shared = _parameters(path, told.get("parameters"), "parameters")
    rows = [
        (_place(path, one.get("model"), "models"), _parameters(path, one.get("parameters"), "models")) for one in models
    ]
    if method.base or method.name == "slerp":
        if base is None:
            raise _wrong(path, f"merges by {told['merge_method']} and names no base_model: add it")
        rows = [row for row in rows if row[0] != base]
    if not rows:
        raise _wrong(path, "names no model beside the base: add those that are to be merged")
    if method.name == "slerp":
        rows = [(base or "", {}), *rows]
    settings, weights, notes = _settings(path, method, shared, [own for _, own in rows])
    if source := told.get("tokenizer_source"):
        first = base or rows[0][0]
        if source != "base" and _place(path, source, "tokenizer_source") != first:
            raise _wrong(path, f"asks for the tokenizer of {source!r}, and that of {first} is copied: leave it out")
    recipe = MergeRecipe(
        path,
        method.name,
        tuple(place for place, _ in rows),
        None if method.name == "slerp" else base,
        weights,
        settings,
        told.get("per", "tensor"),
        told.get("seed", 0),
        told.get("out_dtype") or told.get("dtype"),
        layers,
        tuple(notes),
    )
    as_type(recipe.dtype)
    return recipe


def _load(path: Path) -> dict[str, Any]:
    yaml = try_import("yaml", "yaml")
    try:
        told = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as why:
        raise BadInput(f"{path} cannot be read ({why.strerror}).") from None
    except UnicodeDecodeError:
        raise _wrong(path, "is not text in UTF-8") from None
    except yaml.YAMLError as why:
        mark = getattr(why, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark is not None else ""
        raise _wrong(path, f"is no YAML{line} ({getattr(why, 'problem', None) or 'it cannot be parsed'})") from None
    if not isinstance(told, dict):
        raise _wrong(path, "is no recipe: it needs the entries merge_method and models")
    return told


def _method(path: Path, name: Any) -> Method:
    if not isinstance(name, str):
        raise _wrong(path, f"names no method: give merge_method, one of {', '.join(methods())}")
    if name.lower() in _MISSING:
        raise _wrong(path, f"merges by {name}, which is not done here: give one of {', '.join(methods())}")
    try:
        return get(name)
    except BadInput as why:
        raise _wrong(path, f"has a merge_method that is not there: {str(why).rstrip('.')}") from None


def _models(path: Path, told: Mapping[str, Any]) -> tuple[list[dict[str, Any]], int | None]:
    """The models, and how many layers are taken of each."""
    if ("models" in told) == ("slices" in told):
        raise _wrong(path, "needs models, a list of entries such as '- model: path'")
    if "models" in told:
        return _entries(path, told["models"], "models", ("model", "parameters")), None
    slices = _entries(path, told["slices"], "slices", ("sources", "parameters"))
    sources = _entries(path, slices[0].get("sources"), "sources", ("model", "layer_range", "parameters"))
    ranges = {tuple(one.get("layer_range") or ()) for one in sources}
    (taken, *more) = ranges
    if len(slices) > 1 or more or len(taken) != 2 or taken[0] != 0 or slices[0].get("parameters"):
        raise _wrong(path, "puts a model together from slices of layers, which is not done here: give models")
    return sources, taken[1]


def _entries(path: Path, found: Any, what: str, keys: Sequence[str]) -> list[dict[str, Any]]:
    if not isinstance(found, list) or not found or not all(isinstance(one, dict) for one in found):
        raise _wrong(path, f"needs {what}, a list of entries such as '- {keys[0]}: ...'")
    for one in found:
        for key in one:
            if key not in keys:
                raise _wrong(path, f"has an entry {key!r} in {what} that means nothing{nearest(str(key), keys)}")
    return found


def _place(path: Path, found: Any, where: str) -> str:
    if not isinstance(found, str) or not found:
        raise _wrong(path, f"has a model in {where} that is no path ({found!r}): give the path of a file or folder")
    if "+" in found and not Path(found).exists():
        raise _wrong(path, f"adds an adapter to a model ({found}), which is not done here: merge it in first")
    beside = path.parent / found
    return str(beside) if not Path(found).exists() and beside.exists() else found


def _parameters(path: Path, found: Any, where: str) -> dict[str, Any]:
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise _wrong(path, f"has parameters in {where} that are no names with values")
    return {str(key): _value(path, str(key), value) for key, value in found.items()}


def _value(path: Path, name: str, found: Any) -> Any:
    """A number or word; a list of them, over the layers; or a list of such for names."""
    if isinstance(found, dict):
        found = [found]
    if isinstance(found, list) and found and all(isinstance(one, dict) for one in found):
        rules = []
        for one in found:
            if set(one) - {"filter", "value"} or "value" not in one or isinstance(one["value"], dict):
                raise _wrong(path, f"has a rule for {name} that is not a value with a filter")
            own = one["value"] if isinstance(one["value"], list) else [one["value"]]
            part = one.get("filter")
            rules.append((None if part in (None, "*") else str(part), tuple(_number(each) for each in own)))
        return Varying(tuple(rules))
    if isinstance(found, list):
        if not found or any(isinstance(one, list | dict) for one in found):
            raise _wrong(path, f"has values for {name} that are neither numbers nor rules")
        return Varying(((None, tuple(_number(one) for one in found)),))
    return _number(found)


def _number(found: Any) -> Any:
    # YAML reads 1e-5, without a point, as text.
    if isinstance(found, str):
        try:
            return float(found)
        except ValueError:
            return found
    return found


def _settings(
    path: Path, method: Method, shared: Mapping[str, Any], own: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Any], tuple[Any, ...] | None, list[str]]:
    """Settings of the method and weights of the sources, from the parameters of the recipe and of each model."""
    notes: list[str] = []
    settings = dict(_DEFAULTS.get(method.name, {}))
    weights: tuple[Any, ...] | None = None
    for name in dict.fromkeys([*shared, *(key for one in own for key in one)]):
        given = [_joined(one.get(name), shared.get(name)) for one in own]
        if name == "weight":
            weights = tuple(_joined(one, 1.0) for one in given) if method.name != "slerp" else None
            continue
        if name == "int8_mask" or (name == "filter_wise" and not any(given)):
            notes.append(f"{name} makes no difference here")
            continue
        setting = _NAMES.get(name, name)
        if setting not in method.settings:
            # Parameters are often kept from another method.
            known = ("density", "normalise", "scale", "rescale", "gamma", "epsilon", "t")
            if setting in known:
                notes.append(f"{method.name} takes no {name}")
                continue
            also = ("weight", *method.settings)
            raise _wrong(
                path, f"gives {method.name} the parameter {name!r}, which it does not take{nearest(name, also)}"
            )
        values = [_told(setting, one) for one in given]
        rest = settings.get(setting, method.settings[setting].default)
        values = [_joined(one, rest) for one in values]
        if len(set(map(repr, values))) == 1:
            settings[setting] = values[0]
        elif method.settings[setting].each:
            settings[setting] = tuple(values)
        else:
            raise _wrong(path, f"gives models different values of {name}, which {method.name} takes once for all")
    return settings, weights, notes


def _joined(own: Any, shared: Any) -> Any:
    """What holds for a model: its own, and where no rule of it fits, what holds for all."""
    if own is None:
        return shared
    if isinstance(own, Varying) and shared is not None and all(part is not None for part, _ in own.rules):
        rest = shared.rules if isinstance(shared, Varying) else ((None, (shared,)),)
        return replace(own, rules=(*own.rules, *rest))
    return own


def _told(setting: str, value: Any) -> Any:
    """A value as landform calls it."""
    if setting == "rescale" and isinstance(value, bool):
        return "norm" if value else "none"
    return value


def _wrong(path: Path, what: str) -> BadInput:
    return BadInput(f"The recipe {path} {what}.")
