"""The tangent kernel, and everything one does with a kernel.

`ntk` computes the kernel of a network as it is, exactly and layer by layer; `kernel.infinite` that of networks of
infinite width. The rest takes any kernel: how it moves along a run, what it learns as a kernel machine, and the
network that is linear in its parameters, of which it is the kernel.
"""

from landform.kernel import infinite
from landform.kernel._classifier import Classifier, classifier
from landform.kernel._descent import Descent, descend
from landform.kernel._dynamics import Changes, Polar, Velocity, changes, distance, distances, polar, velocity
from landform.kernel._eigenfeatures import Eigenfeatures, eigenfeatures
from landform.kernel._flow import Flow, gradient_flow
from landform.kernel._linearised import linearise
from landform.kernel._machine import Regression, predict, regression, ridge_path
from landform.kernel._nystroem import Nystroem, nystroem
from landform.kernel._onset import Course, Onset, onset, why_no_onset
from landform.kernel._operator import KernelOperator, operator
from landform.kernel._spectrum import (
    LabelEnergy,
    Spectrum,
    alignment,
    effective_rank,
    label_energy,
    spectrum,
)
from landform.kernel.finite import (
    Choice,
    Estimate,
    Plan,
    Sketch,
    activations,
    by_layer,
    estimate_outputs,
    explain,
    ntk,
    ntk_to_file,
    precision_error,
    sketch,
)
from landform.kernel.infinite import RecurrentNTK

__all__ = [
    "Changes",
    "Choice",
    "Classifier",
    "Course",
    "Descent",
    "Eigenfeatures",
    "Estimate",
    "Flow",
    "KernelOperator",
    "LabelEnergy",
    "Nystroem",
    "Onset",
    "Plan",
    "Polar",
    "RecurrentNTK",
    "Regression",
    "Sketch",
    "Spectrum",
    "Velocity",
    "activations",
    "alignment",
    "by_layer",
    "changes",
    "classifier",
    "descend",
    "distance",
    "distances",
    "effective_rank",
    "eigenfeatures",
    "estimate_outputs",
    "explain",
    "gradient_flow",
    "infinite",
    "label_energy",
    "linearise",
    "ntk",
    "ntk_to_file",
    "nystroem",
    "onset",
    "operator",
    "polar",
    "precision_error",
    "predict",
    "regression",
    "ridge_path",
    "sketch",
    "spectrum",
    "velocity",
    "why_no_onset",
]
