"""What the prior makes of the test people, in bits, and `metrics.json` as a whole."""

import keras
import numpy as np

from vq_lib import files
from vq_lib.data import summary as data_checks
from vq_lib.errors import UserError
from vq_lib.report import provenance
from vq_lib.scores import baselines, ladder, metrics
from vq_lib.training.stages import NOTEBOOK_03, lengths_on_test


def prior_metrics(summary, vqvae_bits_per_pixel, codes):
    """`metrics.json`'s `prior`."""
    bits = summary["bits_per_code"]
    return {
        "name": summary["name"],
        "bits_per_code": bits,
        "models": summary["models"],
        "differences": summary["differences"],
        "overfitted": {name: ladder.overfitted(bits) for name, bits in summary["models"].items()},
        **{key: summary[key] for key in ("gaps", "position_unigram") if key in summary},
        "baselines_bits_per_code": summary["baselines_bits_per_code"],
        "bits_per_pixel": bits["test"] * vqvae_bits_per_pixel / float(np.log2(codes)),
        "parameters": summary["parameters"],
        "epochs": summary["epochs"],
    }


def likelihood_metrics(study, slices, vqvae, prior, codes, outputs):
    """`metrics.json`'s `likelihood`: what the test slices cost, without loss, in bits per pixel; None without TFP.

    -log2 p(x) ≤ -log2 p(z) - log2 p(x | z) for any z, since p(x) = Σ_z p(z) p(x | z); z is the encoder's. The scales of
    p(x | z) are fitted on the validation people. Beside it: what PNG and WebP need, without loss too, and how much
    more the bound is than theirs on the same slices (`difference`, intervals over people).
    """
    from vq_lib.models import distribution

    try:
        distribution.probability()
    except UserError as error:
        print(error)
        return None
    held_out, test = slices.where("validation"), slices.where("test")
    scales = distribution.fit_scales(slices.images[held_out], vqvae.decode(codes[held_out]))
    inputs, people = np.asarray(slices.images[test]), slices.person[test]
    size = float(np.prod(inputs.shape[1:3]))
    rate = (lengths_on_test(study, study.recipe.prior.name).sum(axis=(1, 2)) + prior.condition_bits) / size
    rest, lossless = distribution.bits_of_pixels(inputs, outputs, scales) / size, baselines.lossless(inputs)
    return {
        "bits_per_pixel": metrics.interval(rate + rest, people),
        "codes": metrics.interval(rate, people),
        "pixels_given_codes": metrics.interval(rest, people),
        "lossless": {name: float(each.mean()) for name, each in lossless.items()},
        "difference": {name: metrics.interval(rate + rest - each, people) for name, each in lossless.items()},
        "scales": [round(float(scale), 3) for scale in scales],
    }


def _seconds_of_compared(study):
    """What the training of each prior beside the main one took: `{"prior <name>": seconds}`."""
    if study.recipe.prior is None:
        return {}
    others = list(study.recipe.prior.models())[1:]
    return {f"prior {name}": files.read_json(study.prior / name / "summary.json", NOTEBOOK_03)["seconds"]
            for name in others}  # fmt: skip


def write_metrics(study, slices, vqvae, base, seconds, precision, **parts):
    """Write `metrics.json` and return it.

    Args:
        parts: `codecs`, `prior`, `samples`, `likelihood`; None, for a stage that the recipe leaves out, leaves its key
            out.
    """
    document = {
        "report": study.name,
        "provenance": {
            "versions": provenance.versions(),
            "backend": keras.backend.backend(),
            "device": provenance.device(),
            "precision": precision,
            "repeatable": provenance.repeatable(),
            "recipe_sha256": study.recipe.sha256,
            "overrides": study.overrides,
            "data_fingerprint": slices.fingerprint,
            "commit": provenance.commit(),
            "seconds": {**seconds, **_seconds_of_compared(study)},
        },
        "data": {**slices.counts(), "checks": data_checks(study)},
        "vqvae": vqvae,
        "baselines": base,
        **{name: part for name, part in parts.items() if part is not None},
    }
    files.write_json(study.metrics, document)
    return document
