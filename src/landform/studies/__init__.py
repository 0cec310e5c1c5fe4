"""One file a paper, named after its question: what is composed to answer it, and what the answer is."""

from landform.studies._adversarial_kernel import (
    ADVERSARIAL_KERNEL,
    KernelProtocol,
    adversarial_kernel,
)
from landform.studies._adversarial_kernel_claims import carried, claims_of_adversarial_kernel, ordered
from landform.studies._adversarial_landscape import (
    ADVERSARIAL_LANDSCAPE,
    RobustProtocol,
    RobustSetting,
    adversarial_landscape,
    settings_of_robust,
)
from landform.studies._adversarial_landscape_claims import claims_of_adversarial_landscape, gap_of, rise_of, top_of
from landform.studies._claim import CLAIMS, Claim, Verdict, read_claims, write_claims
from landform.studies._deep_vs_kernel import SCALES, deep_vs_kernel
from landform.studies._deep_vs_kernel_claims import claims_of
from landform.studies._emergent import EMERGENT, emergent_geometry
from landform.studies._emergent_claims import claims_of_emergent
from landform.studies._emergent_numbers import confined, intrinsic, order
from landform.studies._emergent_protocol import EmergentProtocol, Subject
from landform.studies._family import Bundle, bundle
from landform.studies._federated import FEDERATED, federated_study
from landform.studies._federated_claims import claims_of_federated, run_of, zoo_cell
from landform.studies._federated_protocol import FederatedProtocol
from landform.studies._mergeability import Predicted, predict, rise
from landform.studies._merging import MERGING, merging_study
from landform.studies._merging_claims import TASKS, claims_of_merging, fixed
from landform.studies._merging_groups import SETTINGS, MergingProtocol, settings_of
from landform.studies._merging_measure import CHOICES
from landform.studies._moving import advantage, read, series, together, transitions
from landform.studies._needle import NEEDLE, needle_study
from landform.studies._needle_claims import accuracy, claims_of_needle, over, rises
from landform.studies._needle_protocol import NeedleProtocol
from landform.studies._own_run import EVERYTHING, deep_survey
from landform.studies._parts import Asked, Kept, Made
from landform.studies._protocol import Protocol, protocol_of
from landform.studies._quantum import QUANTUM, quantum_study
from landform.studies._quantum_claims import (
    claims_of_quantum,
    over_loss,
    plateau_slope,
    sharpness,
    variants_row,
)
from landform.studies._quantum_protocol import QuantumProtocol, QuantumVariant
from landform.studies._recurrent import RECURRENT, recurrent_study
from landform.studies._recurrent_claims import accuracies, ahead, best_other, claims_of_recurrent, ranks, sets_needed
from landform.studies._recurrent_protocol import RecurrentProtocol
from landform.studies._registry import STUDIES, Study
from landform.studies._taxonomy import TAXONOMY, taxonomy_cells, taxonomy_study
from landform.studies._taxonomy_claims import claims_of_taxonomy
from landform.studies._taxonomy_protocol import TaxonomyProtocol
from landform.studies._wedges import WEDGES, wedges_study
from landform.studies._wedges_claims import claims_of_wedges, fitted
from landform.studies._wedges_protocol import WedgesProtocol

__all__ = [
    "ADVERSARIAL_KERNEL",
    "ADVERSARIAL_LANDSCAPE",
    "CHOICES",
    "CLAIMS",
    "EMERGENT",
    "EVERYTHING",
    "FEDERATED",
    "MERGING",
    "NEEDLE",
    "QUANTUM",
    "RECURRENT",
    "SCALES",
    "SETTINGS",
    "STUDIES",
    "TASKS",
    "TAXONOMY",
    "WEDGES",
    "Asked",
    "Bundle",
    "Claim",
    "EmergentProtocol",
    "FederatedProtocol",
    "Kept",
    "KernelProtocol",
    "Made",
    "MergingProtocol",
    "NeedleProtocol",
    "Predicted",
    "Protocol",
    "QuantumProtocol",
    "QuantumVariant",
    "RecurrentProtocol",
    "RobustProtocol",
    "RobustSetting",
    "Study",
    "Subject",
    "TaxonomyProtocol",
    "Verdict",
    "WedgesProtocol",
    "accuracies",
    "accuracy",
    "advantage",
    "adversarial_kernel",
    "adversarial_landscape",
    "ahead",
    "best_other",
    "bundle",
    "carried",
    "claims_of",
    "claims_of_adversarial_kernel",
    "claims_of_adversarial_landscape",
    "claims_of_emergent",
    "claims_of_federated",
    "claims_of_merging",
    "claims_of_needle",
    "claims_of_quantum",
    "claims_of_recurrent",
    "claims_of_taxonomy",
    "claims_of_wedges",
    "confined",
    "deep_survey",
    "deep_vs_kernel",
    "emergent_geometry",
    "federated_study",
    "fitted",
    "fixed",
    "gap_of",
    "intrinsic",
    "merging_study",
    "needle_study",
    "order",
    "ordered",
    "over",
    "over_loss",
    "plateau_slope",
    "predict",
    "protocol_of",
    "quantum_study",
    "ranks",
    "read",
    "read_claims",
    "recurrent_study",
    "rise",
    "rise_of",
    "rises",
    "run_of",
    "series",
    "sets_needed",
    "settings_of",
    "settings_of_robust",
    "sharpness",
    "taxonomy_cells",
    "taxonomy_study",
    "together",
    "top_of",
    "transitions",
    "variants_row",
    "wedges_study",
    "write_claims",
    "zoo_cell",
]
