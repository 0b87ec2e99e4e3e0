"""The stages that train: what notebooks 02 and 03 call, and the files that pass between them."""

import functools
import logging
import shutil

import keras
import numpy as np

from vq_lib import files
from vq_lib.data.augment import augment
from vq_lib.errors import UserError
from vq_lib.models import loading, priors
from vq_lib.models.vqvae import VQVAE, as_float32
from vq_lib.report import provenance
from vq_lib.scores import ladder, metrics
from vq_lib.training import training
from vq_lib.training.codebook import CodebookKeeper, Watch

# Several models that each run once for the first time look to TensorFlow like one that is traced again and again.
logging.getLogger("tensorflow").addFilter(lambda record: "retracing" not in record.getMessage())

FORMAT = 1  # raised when a change of the code makes what an earlier version trained unusable


def variance(images, rows):
    """Variance of the grey levels of the chosen images, in [0, 1] intensities, exactly and in little memory.

    Raises:
        UserError: all their pixels are alike, so that there is nothing to learn.
    """
    counts = np.zeros(256, np.int64)
    for start in range(0, len(rows), 256):
        counts += np.bincount(np.asarray(images[rows[start : start + 256]]).ravel(), minlength=256)
    if np.count_nonzero(counts) == 1:
        raise UserError(f"every pixel of the training images has the grey level {counts.argmax()}: look at them.")
    levels = np.arange(256) / 255
    mean = (counts * levels).sum() / counts.sum()
    return float((counts * np.square(levels - mean)).sum() / counts.sum())


def _augment(study):
    """The recipe's augmentation as `Batches` wants it, or None."""
    settings = study.recipe.data.augment
    return settings and functools.partial(augment, **settings.model_dump())


def vqvae_key(study, slices):
    """What the VQ-VAE of a study depends on, hashed."""
    parts = [FORMAT, study.recipe.chosen("vqvae"), slices.fingerprint]
    return files.digest([*parts, study.recipe.chosen("data")["augment"]] if study.recipe.data.augment else parts)


def _prior_keys(study, vqvae_key):
    """What each prior of the recipe depends on, `{name: key}`: not on the others, nor on which is the main one."""
    chosen = {
        name: model.model_dump(mode="json", exclude_defaults=True)
        for name, model in study.recipe.prior.models().items()
    }
    return {name: files.digest([FORMAT, section, vqvae_key]) for name, section in chosen.items()}


def prior_key(study, vqvae_key):
    """What the main prior and all that it is compared with depend on, hashed."""
    return files.digest([study.recipe.prior.name, _prior_keys(study, vqvae_key)])


def _load(path, made_by):
    try:
        return loading.load(path)
    except UserError as error:
        raise UserError(f"{str(error)[:-1]}; {made_by} makes one.") from None


def finished(folder, key):
    """The summary of the finished stage in `folder` with this key, or None."""
    try:
        summary = files.read_json(folder / "summary.json", "the stage")
    except UserError:
        return None
    if not isinstance(summary, dict):
        return None
    return summary if summary.get("key") == key and (folder / "model.keras").exists() else None


def _train(study, name, key, build, train, validation, callbacks, shown, describe, loss=None, place=None):
    """Train one model, or load it when it is finished; its file and summary are written whole, the summary last.

    `place`: folder and settings where they are not those of the stage `name`.
    """
    folder, settings = place or (getattr(study, name), getattr(study.recipe, name))
    with files.lock(folder / ".lock", f"{folder} is being trained by another process: wait for it, or stop it."):
        summary = finished(folder, key)
        if summary:
            print(f"{name}: already trained, {summary['epochs']['done']} epochs", flush=True)
            return _load(folder / "model.keras", "notebook 02 or 03"), summary
        keras.utils.set_random_seed(settings.seed)
        precision = training.policy(settings.precision)
        print(f"{name}: {len(train.rows)} slices, {provenance.device()}, {precision}", flush=True)
        if not provenance.repeatable():
            print("On this device a second run gives the same figures to rounding only, not bit for bit.", flush=True)
        with training.across(study.recipe.devices):
            model = build(precision)
            model.compile(optimizer=training.optimizer(settings, len(train)), loss=loss)
            state = training.fit(model, settings, folder, key, train, validation, callbacks, shown)
        (folder / "summary.json").unlink(missing_ok=True)  # it must not vouch for another model, not for a moment
        training.write_history(folder / "history.csv", state["history"])
        with files.whole_file(folder / "model.keras") as temporary:
            as_float32(model).save(temporary)
        summary = {
            "key": key,
            "epochs": {"done": state["epoch"], "planned": settings.epochs},
            "stopped": state["stopped"],
            "seconds": round(state["seconds"], 1),
            "images_per_second": round(len(train.rows) * state["epoch"] / max(state["seconds"], 1e-9), 1),
            "precision": precision,
            # A model is trained once and evaluated often, perhaps by later code.
            "made": {"commit": provenance.commit(), "date": provenance.now()},
            **describe(model),
        }
        # Whoever trains goes on with the very model that whoever comes later loads, to the last rounding.
        return _load(folder / "model.keras", "notebook 02 or 03"), summary


def train_vqvae(study, slices):
    """The trained VQ-VAE of a study: trained now, resumed, or loaded. Its codes of all slices go to `codes.npz`.

    Returns:
        model, codes (N, h, w) int32 and the summary.

    Raises:
        UserError: there is one test slice, which is told now and not by notebook 04, after hours.
    """
    if len(slices.where("test")) < 2:
        raise UserError("There is one test slice, and an evaluation compares two: add images, or raise data.test.")
    recipe, key = study.recipe.vqvae, vqvae_key(study, slices)
    rows, held_out = slices.where("train"), slices.where("validation")
    model, summary = _train(
        study, "vqvae", key,
        lambda dtype: VQVAE.from_recipe(study.recipe, variance(slices.images, rows), dtype),
        training.Batches(slices.images, rows, recipe.batch, recipe.seed, change=_augment(study),
                         devices=study.recipe.devices),
        training.Batches(slices.images, held_out, 64, devices=study.recipe.devices),
        [
            *([CodebookKeeper(slices.images, rows, recipe.seed, recipe.restart, start=recipe.start == "kmeans")]
              if recipe.quantizer == "vq" else []),
            Watch(slices.images, held_out),
        ],
        ("loss", "val_loss", "val_ssim", "val_ssim_foreground", "val_usage"),
        lambda model: {"parameters": model.parameter_counts},
    )  # fmt: skip
    try:
        codes = load_codes(study, key)
    except UserError:
        codes = model.encode(slices.images)
        save_codes(study.vqvae, codes, key)
    files.write_json(study.vqvae / "summary.json", summary)
    return model, codes, summary


def save_codes(folder, codes, key):
    """Write the codes of all slices, (N, h, w), with the key of the VQ-VAE that gave them, to `folder/codes.npz`."""
    with files.whole_file(folder / "codes.npz") as temporary:
        np.savez_compressed(temporary, codes=codes.astype(np.uint16), key=np.array(key))


NOTEBOOK_02 = "`make report`, or notebook 02_vqvae_training with the same report, data and overrides,"
NOTEBOOK_03 = "`make report`, or notebook 03_pixelcnn_prior with the same report, data and overrides,"


def load_codes(study, key):
    """The codes of all slices, int32 (N, h, w), that the VQ-VAE with this key gave."""
    path = study.vqvae / "codes.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            if str(file["key"]) != key:
                raise UserError(f"{path} was made with other settings or data: run {NOTEBOOK_02} first.")
            return file["codes"].astype(np.int32)
    except UserError:
        raise
    except Exception:  # NumPy and zipfile raise a dozen kinds for broken files
        raise UserError(f"{path} is missing or broken: run {NOTEBOOK_02} first.") from None


def load_vqvae(study, slices):
    """Model, codes and summary of the finished VQ-VAE of these settings and data.

    Raises:
        UserError: it is not there; the sentence names the command to run first.
    """
    key = vqvae_key(study, slices)
    summary = finished(study.vqvae, key)
    if summary is None:
        raise UserError(f"{study.vqvae} holds no finished VQ-VAE of these settings and data: run {NOTEBOOK_02} first.")
    model, codes = _load(study.vqvae / "model.keras", NOTEBOOK_02), load_codes(study, key)
    if codes.shape != (len(slices), *model.grid) or not 0 <= codes.min() <= codes.max() < model.quantizer.codes:
        raise UserError(f"{study.vqvae / 'codes.npz'} is missing or broken: run {NOTEBOOK_02} first.")
    return model, codes, summary


class Conditioned:
    """Codes and the conditions of the same rows, as one array whose rows are pairs; see `training.Batches`."""

    def __init__(self, codes, condition):
        self.codes, self.condition = codes, condition

    def __getitem__(self, rows):
        return self.codes[rows], self.condition[rows]


def conditions(slices, wanted):
    """What a prior is told of each slice: label names, number of slice positions, and int32 (N, 2) with -1 for unknown.

    Args:
        wanted: the recipe's `prior.condition`.

    Raises:
        UserError: the training slices have no labels, or no positions.
    """
    train, told = slices.where("train"), np.full((len(slices), 2), -1, np.int32)
    labels: tuple[str, ...] = ()
    count = 0
    if "label" in wanted:
        labels = tuple(sorted({str(label) for label in slices.label[train] if label}))
        if not labels:
            raise UserError("prior.condition names 'label', but the slices have no labels: leave it out.")
        index = {label: i for i, label in enumerate(labels)}
        told[:, 0] = [index.get(str(label), -1) for label in slices.label]
    if "position" in wanted:
        count = int(slices.position[train].max()) + 1
        if not count:
            raise UserError("prior.condition names 'position', but the slices' positions are not known: leave it out.")
        told[:, 1] = np.where(slices.position < count, slices.position, -1)
    return labels, count, told


def train_priors(study, slices):
    """Every prior of a recipe, trained now, resumed, or loaded: `{name: (model, summary)}`, the main one first.

    Each lies in a folder of its own, `run/prior/<name>/`, under a key of its own: a model that was trained before is
    not trained again, whichever becomes the main one. The main one is copied to `run/prior/`, whose summary also has
    `models`, every prior's bits per code, `differences`, how many more bits a code each other needs on the test people,
    with a paired bootstrap over people, `gaps`, how many more each needs for unseen people (see `ladder.gap`),
    `position_unigram`, bits per code of the yardstick on all three groups, and `vqvae`, the key of the VQ-VAE whose
    codes they know. Empty where the recipe has no prior.
    """
    vqvae, codes, vqvae_summary = load_vqvae(study, slices)
    if study.recipe.prior is None:
        return {}
    _check_codes(study, slices, vqvae, codes)
    keys, found = _prior_keys(study, vqvae_summary["key"]), {}
    for name, settings in study.recipe.prior.models().items():
        found[name] = _train_prior(study, name, settings, keys[name], slices, vqvae, codes)
    (main, (_, summary)), *others = found.items()
    gaps, yardstick = _gaps(study, slices, codes, vqvae.quantizer.codes, found)
    lengths = {name: lengths_on_test(study, name).mean(axis=(1, 2)) + model.condition_bits / codes[0].size
               for name, (model, _) in found.items()}  # fmt: skip
    people = slices.person[slices.where("test")]
    summary = {
        **summary,
        "key": prior_key(study, vqvae_summary["key"]),
        "vqvae": vqvae_summary["key"],  # whose codes they know
        "models": {name: other["bits_per_code"] for name, (_, other) in found.items()},
        "differences": {name: metrics.interval(lengths[name] - lengths[main], people) for name, _ in others},
        "gaps": gaps,
        "position_unigram": yardstick,
    }
    (study.prior / "summary.json").unlink(missing_ok=True)  # as in `_train`
    for file in ("model.keras", "history.csv"):
        with files.whole_file(study.prior / file) as temporary:
            shutil.copyfile(study.prior / main / file, temporary)
    files.write_json(study.prior / "summary.json", summary)
    return {main: (found[main][0], summary), **dict(others)}


def _gaps(study, slices, codes, size, found):
    """`gaps` and `position_unigram` of `train_priors`."""
    split = {name: slices.where(name) for name in ("train", "validation", "test")}
    people = {name: slices.person[rows] for name, rows in split.items()}
    train, validation, test = (codes[rows] for rows in split.values())
    yardstick = {
        "train": ladder.left_out(train, validation, people["train"], size).mean(axis=(1, 2)),
        "validation": ladder.position_unigram(train, validation, validation, size).mean(axis=(1, 2)),
        "test": ladder.position_unigram(train, validation, test, size).mean(axis=(1, 2)),
    }
    gaps = {}
    for prior, (model, _) in found.items():
        told_bits = model.condition_bits / codes[0].size
        group = {name: (lengths + told_bits, yardstick[name], people[name])
                 for name, lengths in _slice_lengths(study, prior).items()}  # fmt: skip
        gaps[prior] = {name: ladder.gap(group["train"], group[name]) for name in ("validation", "test")}
    return gaps, {name: float(values.mean()) for name, values in yardstick.items()}


def _slice_lengths(study, name):
    """Mean code length of each slice under the prior `name`, `{split: (n,)}`, in bits; see `_train_prior`."""
    with np.load(study.prior / name / "lengths.npz", allow_pickle=False) as file:
        return {"train": file["train"], "validation": file["validation"], "test": file["test"].mean(axis=(1, 2))}


def _train_prior(study, name, settings, key, slices, vqvae, codes):
    folder = study.prior / name
    rows, held_out = slices.where("train"), slices.where("validation")
    labels, count, told = conditions(slices, settings.condition)
    inputs = Conditioned(codes, told) if settings.condition else codes
    size, section = vqvae.quantizer.codes, settings.model_dump(mode="json")
    model, summary = _train(
        study, f"prior {name}", key,
        lambda dtype: priors.from_recipe(section, vqvae.grid, size, labels, count, dtype),
        training.Batches(inputs, rows, settings.batch, settings.seed, targets=codes, devices=study.recipe.devices),
        training.Batches(inputs, held_out, 64, targets=codes, devices=study.recipe.devices),
        [], ("loss", "val_loss"),
        lambda model: {"name": name, "parameters": model.count_params()},
        keras.losses.SparseCategoricalCrossentropy(from_logits=True), place=(folder, settings),
    )  # fmt: skip
    if "bits_per_code" not in summary or not _lengths_are_whole(folder):
        split = {name: slices.where(name) for name in ("train", "validation", "test")}
        lengths = {name: code_lengths(model, codes[rows], told[rows]) for name, rows in split.items()}
        means = {name: lengths[name].mean(axis=(1, 2)) for name in ("train", "validation")}
        with files.whole_file(folder / "lengths.npz") as temporary:
            np.savez_compressed(temporary, test=lengths["test"], **means)
        told_bits = model.condition_bits / np.prod(vqvae.grid)
        summary["bits_per_code"] = {name: float(values.mean() + told_bits) for name, values in lengths.items()}
        train, validation, test = (codes[rows] for rows in split.values())
        summary["baselines_bits_per_code"] = ladder.ladder(train, validation, test, size)
        files.write_json(folder / "summary.json", summary)
    return model, summary


def _lengths_are_whole(folder):
    """Whether `lengths.npz` has all three groups; that of an earlier version has the test people only."""
    try:
        with np.load(folder / "lengths.npz", allow_pickle=False) as file:
            return {"train", "validation", "test"} <= set(file.files)
    except Exception:  # NumPy and zipfile raise a dozen kinds for broken files
        return False


def _check_codes(study, slices, vqvae, codes):
    """Stop unless a few slices, encoded again, have the codes of `codes.npz`."""
    rows = np.unique(np.linspace(0, len(slices) - 1, 8).astype(int))
    same = (vqvae.encode(np.asarray(slices.images[rows])) == codes[rows]).mean()
    if same < 0.99:  # another machine may round a near tie otherwise
        raise UserError(
            f"{study.vqvae / 'codes.npz'} does not hold the codes of the model beside it ({same:.0%} of a few slices "
            f"agree): delete it and run {NOTEBOOK_02} again."
        )


def lengths_on_test(study, name):
    """The code lengths of the test slices under the prior `name`, float32 (n, h, w), in bits; see `code_lengths`."""
    path = study.prior / name / "lengths.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            return file["test"]
    except Exception:  # NumPy and zipfile raise a dozen kinds for broken files
        raise UserError(
            f"{path} is missing or broken: delete {path.parent} and run {NOTEBOOK_03} to train it again."
        ) from None


def load_prior(study, vqvae_summary):
    """The finished main prior and its summary, `(None, None)` where the recipe has none."""
    if study.recipe.prior is None:
        return None, None
    summary = finished(study.prior, prior_key(study, vqvae_summary["key"]))
    if summary is None:
        raise UserError(f"{study.prior} holds no finished prior of these settings and data: run {NOTEBOOK_03} first.")
    return _load(study.prior / "model.keras", NOTEBOOK_03), summary


def code_lengths(prior, codes, condition=None, batch=64):
    """-log2 p(z_i | z_1 … z_{i-1}, c) of every code: (N, h, w) int → (N, h, w) float32, in bits.

    Args:
        condition: what the prior is told, (N, 2), where it is conditioned; see `conditions`.
    """
    lengths = []
    for start in range(0, len(codes), batch):
        part = np.asarray(codes[start : start + batch], np.int32)
        inputs = (part, condition[start : start + batch]) if prior.conditional else part
        logits = np.asarray(prior.predict_on_batch(inputs), np.float32)
        top = logits.max(axis=-1, keepdims=True)
        total = np.log(np.exp(logits - top).sum(axis=-1)) + top[..., 0]
        lengths.append((total - np.take_along_axis(logits, part[..., None], axis=-1)[..., 0]) / np.log(2))
    return np.concatenate(lengths).astype(np.float32)


def history(folder):
    """The columns of a stage's `history.csv`: `{name: float array}`."""
    columns = files.read_columns(folder / "history.csv", f"deleting {folder} and running 'make report' again")
    return {name: np.array(values) for name, values in columns.items()}
