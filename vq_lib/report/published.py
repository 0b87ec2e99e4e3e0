"""Published models in the place of a training of one's own: notebook 04 on a fresh clone, or on Colab."""

import hashlib
import shutil
from collections.abc import Collection

from vq_lib import data, files
from vq_lib.errors import UserError
from vq_lib.models import saved
from vq_lib.models.prior import code_lengths
from vq_lib.report import metrics
from vq_lib.study import Study
from vq_lib.training.finished import prior_identity, summary_of, vqvae_identity, write_arrays


def stand_in(study: Study, lengths: Collection[str] = ()) -> None:
    """Where nothing was trained, let the models that the report has published stand in, and say so in a line.

    They must have been made with the same data, VQ-VAE and prior sections of the recipe, and from these data.
    `run/published/` then holds what notebooks 02 and 03 leave to 04 and 05, with the codes computed anew; `study.vqvae`
    and `study.prior` point there, and what is recorded of the prior is what was published. `vq-lib report` does not
    look there: it trains. Slices that are missing are made. Code lengths of the splits `lengths` take a while.

    Raises:
        UserError: the slices cannot be made, or a published file is broken.
    """
    if summary_of(study.vqvae) or not (study.models / "vqvae.keras").exists():
        return
    document = metrics.read(study.published / "metrics.json")
    made, folder = document.provenance, study.run / "published"
    if not metrics.fits(study.recipe, made):
        with_these = f" (overrides = {made.overrides!r})" if made.overrides else ""
        print(f"The models that this report has published were made with another recipe{with_these}.")
        return
    try:
        slices = data.opened(study)
    except UserError:
        slices = data.load(study)
    # The recipe alone decides the people of the embedded cohort; another NumPy rounds some pixels otherwise.
    if study.recipe.data.layout != "cohort" and made.data_fingerprint != slices.fingerprint:
        print("The models that this report has published were made from other images, names or labels than these.")
        return
    # Others may come, with a pull or a report of one's own.
    paths = [study.published / "metrics.json", *sorted(study.models.glob("*.keras"))]
    source = [slices.fingerprint, *(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths)]
    try:
        kept = files.read_json(folder / "source.json", "notebook 04")
        filled = kept["files"] == source and set(lengths) <= set(kept["lengths"])
    except (UserError, KeyError, TypeError):
        filled = False
    if not filled:
        with files.whole_folder(folder) as place:
            _fill(study, slices, document, place, files.digest(source), lengths)
            files.write_json(place / "source.json", {"files": source, "lengths": list(lengths)})
    print("Nothing is trained here yet: the models that this report has published stand in.")
    study.vqvae, study.prior = folder / "vqvae", folder / "prior"
    if document.prior:
        study.record("prior", document.prior.model_dump(mode="json", exclude_unset=True, exclude={"membership_auc"}))


def _fill(study, slices, document, place, key, lengths):
    made = document.provenance

    def summarise(folder, recipe, stage, part, *known):
        summary = {"key": key, "recipe": recipe, "seconds": made.seconds.get(stage, 0.0), "precision": made.precision,
                   "made": {"device": made.device}}  # fmt: skip
        files.write_json(folder / "summary.json", summary | part.model_dump(include={"epochs", *known}))

    model = _copied(study.models / "vqvae.keras", place / "vqvae", "VQ-VAE")
    codes = model.encode(slices.images)
    write_arrays(place / "vqvae", "codes", key, codes)
    summarise(place / "vqvae", vqvae_identity(study, slices), "vqvae", document.vqvae,
              "parameters", "images_per_second")  # fmt: skip
    if not document.prior:
        return
    main, *others = study.recipe.prior.models()
    folder, (_, _, condition) = place / "prior" / main, slices.conditions(study.recipe.prior.condition)
    prior = _copied(study.models / "prior.keras", folder, "prior")
    rows = {split: slices.where(split) for split in lengths}
    write_arrays(folder, "lengths", key, {split: code_lengths(prior, codes[some], condition[some])
                                          for split, some in rows.items()})  # fmt: skip
    summarise(folder, prior_identity(study, main, key), "prior", document.prior, "parameters")
    for name in others:  # of these the report has published figures, and no models
        (place / "prior" / name).mkdir()
        (place / "prior" / name / "model.keras").touch()
        summarise(place / "prior" / name, "", f"prior {name}", document.prior)


def _copied(source, folder, kind):
    folder.mkdir(parents=True)
    shutil.copyfile(source, folder / "model.keras")
    return saved.load(source, kind)
