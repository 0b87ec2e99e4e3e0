"""What notebook 04 measures on the test people; functions leave their results in `run/evaluation/`."""

from vq_lib.report.evaluation.document import likelihood_metrics, prior_metrics, write_metrics
from vq_lib.report.evaluation.latent import apart, latent
from vq_lib.report.evaluation.privacy import membership_metrics, memorised
from vq_lib.report.evaluation.quality import (
    CLASSES,
    SKULL,
    another_person,
    baseline_metrics,
    compared,
    rate_distortion,
    reconstruction,
    tissues,
    vqvae_metrics,
)
from vq_lib.report.evaluation.reference import Reference
from vq_lib.report.evaluation.samples import (
    completions,
    draw_conditioned,
    draw_samples,
    generated,
    grain,
    on_the_floor,
    panel,
    position_agreement,
    temperatures,
)

__all__ = [
    "CLASSES",
    "Reference",
    "SKULL",
    "another_person",
    "apart",
    "baseline_metrics",
    "compared",
    "completions",
    "draw_conditioned",
    "draw_samples",
    "generated",
    "grain",
    "latent",
    "likelihood_metrics",
    "membership_metrics",
    "memorised",
    "on_the_floor",
    "panel",
    "position_agreement",
    "prior_metrics",
    "rate_distortion",
    "reconstruction",
    "temperatures",
    "tissues",
    "vqvae_metrics",
    "write_metrics",
]
