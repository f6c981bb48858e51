"""What would help where a network cannot be proved: one sentence for each remedy."""

from __future__ import annotations

from pvae_neuro.errors import CertificateError

REMEDIES = {
    "narrower": "lower the largest count, the fractional bits or the weight bits",
    "predictive": "take 8-bit weights, or a circuit without recurrent connections",
    "weights": "train the model again with a lower learning rate",
    "inputs": "declare a smaller input range, or scale the inputs down",
    "counts": "raise the largest count, or clamp the potential lower",
    "clip": "let its programs clip it to a range that fits",
}


def refused(fact: str, remedy: str) -> CertificateError:
    """Error that states a fact and its remedy, and carries the remedy's name."""
    return CertificateError(f"{fact}; {REMEDIES[remedy]}", remedy)
