"""One file a paper, named after its question: what is composed to answer it, and what the answer is."""

from landform.studies._claim import CLAIMS, Claim, Verdict, read_claims, write_claims
from landform.studies._deep_vs_kernel import NAME, QUESTION, SCALES, deep_vs_kernel
from landform.studies._deep_vs_kernel_claims import claims_of
from landform.studies._family import Bundle, bundle
from landform.studies._moving import advantage, read, series, together, transitions
from landform.studies._own_run import EVERYTHING, deep_survey
from landform.studies._protocol import Protocol, protocol_of

__all__ = [
    "CLAIMS",
    "EVERYTHING",
    "NAME",
    "QUESTION",
    "SCALES",
    "Bundle",
    "Claim",
    "Protocol",
    "Verdict",
    "advantage",
    "bundle",
    "claims_of",
    "deep_survey",
    "deep_vs_kernel",
    "protocol_of",
    "read",
    "read_claims",
    "series",
    "together",
    "transitions",
    "write_claims",
]
