"""The probes that come with landform: one line each."""

from __future__ import annotations

import importlib

from landform.errors import BadInput
from landform.probes._probe import Probe

# Name of the probe, and the module that holds it under that name (with an underscore behind it where the name is taken
# there); a module is imported when its probe is asked for.
_PROBES = {
    "loss": "landform.probes._basic",
    "error": "landform.probes._basic",
    "gradient_norm": "landform.probes._basic",
    "distance": "landform.probes._basic",
    "parameter_norm": "landform.probes._basic",
    "step_cosine": "landform.probes._basic",
    "eigenvalues": "landform.probes._curvature",
    "sharpness": "landform.probes._curvature",
    "trace": "landform.probes._curvature",
    "density": "landform.probes._curvature",
    "class_parts": "landform.probes._class_parts",
    "function_from_start": "landform.probes._functions",
    "function_to_end": "landform.probes._functions",
    "function_step": "landform.probes._functions",
    "kernel_velocity": "landform.probes._kernel",
    "kernel_distance": "landform.probes._kernel",
    "kernel_alignment": "landform.probes._kernel",
    "kernel_spectrum": "landform.probes._kernel",
    "kernel_distances": "landform.probes._kernel",
    "kernel_map": "landform.probes._kernel",
    "kernel_sketch": "landform.probes._sketch",
    "onset": "landform.probes._onset",
    "children": "landform.probes._children",
    "family_plane": "landform.probes._family_plane",
    "barrier_to_end": "landform.probes._paths",
    "line_from_start": "landform.probes._paths",
    "plane_around": "landform.probes._surface",
    "tunnel_width": "landform.probes._surface",
}

DEFAULT = ("loss", "error", "gradient_norm", "distance", "parameter_norm", "step_cosine")
"""Names of the probes that a survey takes when it is told none."""


def names() -> tuple[str, ...]:
    """Name the probes that come with landform.

    Returns:
        Their names.
    """
    return tuple(_PROBES)


def get(name: str) -> Probe:
    """Find a probe by name.

    Args:
        name: one of `names`.

    Returns:
        The probe, with its usual settings; `Probe.using` gives it others.

    Raises:
        BadInput: when there is none of that name.
    """
    if name not in _PROBES:
        raise BadInput(f"There is no probe {name!r}: there are {', '.join(_PROBES)}.")
    home = importlib.import_module(_PROBES[name])
    probe = getattr(home, f"{name}_", None) or getattr(home, name)
    if not isinstance(probe, Probe) or probe.name != name:
        raise TypeError(f"The registry's line for {name!r} does not lead to a probe of that name.")
    return probe
