"""Published models in the place of a training of one's own: notebook 04 on a fresh clone, or on Colab."""

import shutil

import numpy as np

from vq_lib import data, files, loading, stages
from vq_lib.errors import UserError
from vq_lib.study import Study

VQVAE = ("parameters", "images_per_second", "epochs")  # what `metrics.json` keeps of a summary
PRIOR = ("name", "parameters", "epochs", "bits_per_code", "baselines_bits_per_code", "models", "differences", "gaps",
         "position_unigram")  # fmt: skip


def stand_in(study: Study) -> None:
    """Where nothing was trained, let the models that the report has published stand in, and say so in a line.

    They must have been made with this very recipe and from these data. `run/published/` then holds what notebooks 02
    and 03 leave to notebook 04, with codes and code lengths computed anew, and `study.vqvae` and `study.prior` point
    there. `vq-lib report` does not look there: it trains. Slices that are missing are made.

    Raises:
        UserError: the slices cannot be made, or a model's file is broken.
    """
    if (study.vqvae / "summary.json").exists() or not (study.models / "vqvae.keras").exists():
        return
    try:
        slices = data.opened(study)
    except UserError:
        slices = data.load(study)
    try:
        metrics = files.read_json(study.published / "metrics.json", "a report")
        made = metrics["provenance"]
        # The recipe alone decides the people of the embedded cohort; another NumPy rounds some pixels otherwise.
        same = study.recipe.data.layout == "cohort" or made["data_fingerprint"] == slices.fingerprint
        if made["recipe_sha256"] != study.recipe.sha256 or not same:
            print("The models that this report has published were made with another recipe or from other data.")
            return
        folder = study.run / "published"
        if not _is_filled(study, slices, folder):
            with files.whole_folder(folder) as place:
                _fill(study, slices, metrics, place)
    except (KeyError, TypeError):
        raise UserError(f"{study.published / 'metrics.json'} is not as 'vq-lib report' writes it.") from None
    print("Nothing is trained here yet: the models that this report has published stand in.")
    study.vqvae, study.prior = folder / "vqvae", folder / "prior"


def _is_filled(study, slices, folder):
    key = stages.vqvae_key(study, slices)
    filled = stages.finished(folder / "vqvae", key)
    return filled and (not study.recipe.prior or stages.finished(folder / "prior", stages.prior_key(study, key)))


def _fill(study, slices, metrics, place):
    key, made, rows = stages.vqvae_key(study, slices), metrics["provenance"], slices.where("test")
    model = loading.load(study.models / "vqvae.keras", "VQ-VAE")
    codes = model.encode(slices.images)
    (place / "vqvae").mkdir()
    shutil.copyfile(study.models / "vqvae.keras", place / "vqvae" / "model.keras")
    stages.save_codes(place / "vqvae", codes, key)
    summary = {name: metrics["vqvae"][name] for name in VQVAE}
    summary |= {"key": key, "seconds": made["seconds"]["vqvae"], "precision": made["precision"]}
    files.write_json(place / "vqvae" / "summary.json", summary)
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
        seconds = made["seconds"][f"prior {name}"]
        files.write_json(place / "prior" / name / "summary.json", {"seconds": seconds})
    summary = {name: metrics["prior"][name] for name in PRIOR}
    summary |= {"key": stages.prior_key(study, key), "vqvae": key, "seconds": made["seconds"]["prior"]}
    files.write_json(place / "prior" / "summary.json", summary)
