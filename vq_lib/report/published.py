"""Published models in the place of a training of one's own: notebook 04 on a fresh clone, or on Colab."""

import hashlib
import shutil

import numpy as np

from vq_lib import data, files
from vq_lib.errors import UserError
from vq_lib.models import loading
from vq_lib.study import Study
from vq_lib.training import stages

VQVAE = ("parameters", "images_per_second", "epochs")  # what `metrics.json` keeps of a summary
PRIOR = ("name", "parameters", "epochs", "bits_per_code", "baselines_bits_per_code", "models", "differences", "gaps",
         "position_unigram")  # fmt: skip


def stand_in(study: Study) -> None:
    """Where nothing was trained, let the models that the report has published stand in, and say so in a line.

    They must have been made with this very recipe and from these data. `run/published/` then holds what notebooks 02
    and 03 leave to notebook 04, with codes and code lengths computed anew, and `study.vqvae` and `study.prior` point
    there. `vq-lib report` does not look there: it trains. Slices that are missing are made.

    Raises:
        UserError: the slices cannot be made, or a published file is broken.
    """
    if (study.vqvae / "summary.json").exists() or not (study.models / "vqvae.keras").exists():
        return
    path = study.published / "metrics.json"
    metrics = files.read_json(path, "a report")
    try:
        made = metrics["provenance"]
        same, fingerprint = made["recipe_sha256"] == study.recipe.sha256, made["data_fingerprint"]
        overrides, summaries = made.get("overrides", ""), _summaries(metrics, study.recipe.prior) if same else {}
    except (AttributeError, KeyError, TypeError):
        raise UserError(f"{path} is not as 'vq-lib report' writes it.") from None
    if not same:
        with_these = f" (overrides = {overrides!r})" if overrides else ""
        print(f"The models that this report has published were made with another recipe{with_these}.")
        return
    try:
        slices = data.opened(study)
    except UserError:
        slices = data.load(study)
    # The recipe alone decides the people of the embedded cohort; another NumPy rounds some pixels otherwise.
    if study.recipe.data.layout != "cohort" and fingerprint != slices.fingerprint:
        print("The models that this report has published were made from other images, names or labels than these.")
        return
    folder = study.run / "published"
    key = stages.vqvae_key(study, slices)
    if not _is_filled(study, folder, key):
        with files.whole_folder(folder) as place:
            _fill(study, slices, summaries, place, key)
    print("Nothing is trained here yet: the models that this report has published stand in.")
    study.vqvae, study.prior = folder / "vqvae", folder / "prior"


def _summaries(metrics, priors):
    """What the trainings' summaries said, as far as `metrics.json` keeps it: `{"vqvae", and the priors' names}`."""
    made = metrics["provenance"]
    found = {"vqvae": {name: metrics["vqvae"][name] for name in VQVAE}}
    found["vqvae"] |= {"seconds": made["seconds"]["vqvae"], "precision": made["precision"]}
    if priors:
        main, *others = priors.models()
        found[main] = {**{name: metrics["prior"][name] for name in PRIOR}, "seconds": made["seconds"]["prior"]}
        found |= {name: {"seconds": made["seconds"][f"prior {name}"]} for name in others}
    return found


def _source(study):
    """Of the files that stand in, a digest: others may come, with a pull or a report of one's own."""
    paths = [study.published / "metrics.json", *sorted(study.models.glob("*.keras"))]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def _is_filled(study, folder, key):
    try:
        same = files.read_json(folder / "source.json", "notebook 04") == _source(study)
    except UserError:
        return False
    filled = same and stages.finished(folder / "vqvae", key)
    return filled and (not study.recipe.prior or stages.finished(folder / "prior", stages.prior_key(study, key)))


def _fill(study, slices, summaries, place, key):
    files.write_json(place / "source.json", _source(study))
    model = loading.load(study.models / "vqvae.keras", "VQ-VAE")
    codes, rows = model.encode(slices.images), slices.where("test")
    (place / "vqvae").mkdir()
    shutil.copyfile(study.models / "vqvae.keras", place / "vqvae" / "model.keras")
    stages.save_codes(place / "vqvae", codes, key)
    files.write_json(place / "vqvae" / "summary.json", {**summaries["vqvae"], "key": key})
    if study.recipe.prior is None:
        return
    main, *others = study.recipe.prior.models()
    prior = loading.load(study.models / "prior.keras", "prior")
    told = stages.conditions(slices, study.recipe.prior.condition)[2]
    for name in (main, *others):
        (place / "prior" / name).mkdir(parents=True)
    shutil.copyfile(study.models / "prior.keras", place / "prior" / "model.keras")
    lengths = stages.code_lengths(prior, codes[rows], told[rows])
    np.savez_compressed(place / "prior" / main / "lengths.npz", test=lengths)
    for name in others:
        files.write_json(place / "prior" / name / "summary.json", summaries[name])
    summary = {**summaries[main], "key": stages.prior_key(study, key), "vqvae": key}
    files.write_json(place / "prior" / "summary.json", summary)
