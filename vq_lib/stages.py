"""The stages of a report, from slices to metrics: what the notebooks call, and the files that pass between them."""

import csv
import functools
import logging
import time
import zipfile

import keras
import numpy as np

from vq_lib import baselines, files, ladder, metrics, provenance, sampling, training
from vq_lib.autoencoder import receptive_field
from vq_lib.codebook import CodebookKeeper, Watch
from vq_lib.data import summary as data_checks
from vq_lib.data.augment import augment
from vq_lib.errors import UserError
from vq_lib.pixelcnn import PixelCNN
from vq_lib.vqvae import VQVAE, as_float32

# Several models that each run once for the first time look to TensorFlow like one that is traced again and again.
logging.getLogger("tensorflow").addFilter(lambda record: "retracing" not in record.getMessage())

FORMAT = 1  # raised when a change of the code makes what an earlier version trained unusable


def variance(images, rows):
    """Variance of the grey levels of the chosen images, in [0, 1] intensities, exactly and in little memory."""
    counts = np.zeros(256, np.int64)
    for start in range(0, len(rows), 256):
        counts += np.bincount(np.asarray(images[rows[start : start + 256]]).ravel(), minlength=256)
    levels = np.arange(256) / 255
    mean = (counts * levels).sum() / counts.sum()
    return float((counts * np.square(levels - mean)).sum() / counts.sum())


def _augment(study):
    """The recipe's augmentation as `Batches` wants it, or None."""
    settings = study.recipe.data.augment
    return settings and functools.partial(augment, **settings.model_dump())


def _vqvae_key(study, slices):
    parts = [FORMAT, study.recipe.chosen("vqvae"), slices.fingerprint]
    return files.digest([*parts, study.recipe.chosen("data")["augment"]] if study.recipe.data.augment else parts)


def _prior_key(study, vqvae_key):
    return files.digest([FORMAT, study.recipe.chosen("prior"), vqvae_key])


def _load(path, made_by):
    try:
        return keras.saving.load_model(path, compile=False)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{path} is no model that vq_lib can load ({str(error).splitlines()[0]}): {made_by} makes one."
        ) from None


def _finished(folder, key):
    """The summary of a finished stage with this key, or None."""
    try:
        summary = files.read_json(folder / "summary.json", "the stage")
    except UserError:
        return None
    return summary if summary.get("key") == key and (folder / "model.keras").exists() else None


def _train(study, name, key, build, train, validation, callbacks, shown, describe, loss=None):
    """Train one model, or load it when it is finished; its file and summary are written whole, the summary last."""
    folder, settings = getattr(study, name), getattr(study.recipe, name)
    with files.lock(folder / ".lock", f"{folder} is being trained by another process: wait for it, or stop it."):
        summary = _finished(folder, key)
        if summary:
            print(f"{name}: already trained, {summary['epochs']['done']} epochs", flush=True)
            return _load(folder / "model.keras", "notebook 02 or 03"), summary
        keras.utils.set_random_seed(settings.seed)
        precision = training.policy(settings.precision)
        print(f"{name}: {len(train.rows)} slices, {provenance.device()}, {precision}", flush=True)
        model = build(precision)
        model.compile(optimizer=training.optimizer(settings, len(train)), loss=loss)
        state = training.fit(model, settings, folder, key, train, validation, callbacks, shown)
        model = as_float32(model)
        with files.whole_file(folder / "model.keras") as temporary:
            model.save(temporary)
        summary = {
            "key": key,
            "epochs": {"done": state["epoch"], "planned": settings.epochs},
            "stopped": state["stopped"],
            "seconds": round(state["seconds"], 1),
            "images_per_second": round(len(train.rows) * state["epoch"] / max(state["seconds"], 1e-9), 1),
            "precision": precision,
            **describe(model),
        }
        return model, summary


def train_vqvae(study, slices):
    """The trained VQ-VAE of a study: trained now, resumed, or loaded. Its codes of all slices go to `codes.npz`.

    Returns:
        model, codes (N, h, w) int32 and the summary.
    """
    recipe, key = study.recipe.vqvae, _vqvae_key(study, slices)
    rows, held_out = slices.where("train"), slices.where("validation")
    model, summary = _train(
        study, "vqvae", key,
        lambda dtype: VQVAE.from_recipe(study.recipe, variance(slices.images, rows), dtype),
        training.Batches(slices.images, rows, recipe.batch, recipe.seed, change=_augment(study)),
        training.Batches(slices.images, held_out, 64),
        [
            *([CodebookKeeper(slices.images, rows, recipe.seed, recipe.restart, start=recipe.start == "kmeans")]
              if recipe.quantizer == "vq" else []),
            Watch(slices.images, held_out),
        ],
        ("loss", "val_loss", "val_ssim", "val_ssim_foreground", "val_usage"),
        lambda model: {"parameters": model.parameters},
    )  # fmt: skip
    try:
        codes = load_codes(study, key)
    except UserError:
        codes = model.encode(slices.images)
        with files.whole_file(study.vqvae / "codes.npz") as temporary:
            np.savez_compressed(temporary, codes=codes.astype(np.uint16), key=np.array(key))
    files.write_json(study.vqvae / "summary.json", summary)
    return model, codes, summary


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
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        raise UserError(f"{path} is missing or broken: run {NOTEBOOK_02} first.") from None


def load_vqvae(study, slices):
    """Model, codes and summary of the finished VQ-VAE of these settings and data.

    Raises:
        UserError: it is not there; the sentence names the command to run first.
    """
    key = _vqvae_key(study, slices)
    summary = _finished(study.vqvae, key)
    if summary is None:
        raise UserError(f"{study.vqvae} holds no finished VQ-VAE of these settings and data: run {NOTEBOOK_02} first.")
    return _load(study.vqvae / "model.keras", NOTEBOOK_02), load_codes(study, key), summary


def train_prior(study, slices):
    """The trained prior of a study and its summary with bits per code; `(None, None)` where the recipe has none."""
    settings = study.recipe.prior
    vqvae, codes, vqvae_summary = load_vqvae(study, slices)
    if settings is None:
        return None, None
    key = _prior_key(study, vqvae_summary["key"])
    rows, held_out = slices.where("train"), slices.where("validation")
    model, summary = _train(
        study, "prior", key,
        lambda dtype: PixelCNN.from_recipe(study.recipe, vqvae.grid, vqvae.quantizer.codes, dtype),
        training.Batches(codes, rows, settings.batch, settings.seed, targets=codes),
        training.Batches(codes, held_out, 64, targets=codes),
        [], ("loss", "val_loss"),
        lambda model: {"name": settings.name, "parameters": model.count_params()},
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )  # fmt: skip
    if "bits_per_code" not in summary:
        split = {name: codes[slices.where(name)] for name in ("train", "validation", "test")}
        summary["bits_per_code"] = {name: float(code_lengths(model, grids).mean()) for name, grids in split.items()}
        summary["baselines_bits_per_code"] = ladder.ladder(*split.values(), vqvae.quantizer.codes)
    files.write_json(study.prior / "summary.json", summary)
    return model, summary


def load_prior(study, vqvae_summary):
    """The finished prior and its summary, `(None, None)` where the recipe has none."""
    if study.recipe.prior is None:
        return None, None
    summary = _finished(study.prior, _prior_key(study, vqvae_summary["key"]))
    if summary is None:
        raise UserError(f"{study.prior} holds no finished prior of these settings and data: run {NOTEBOOK_03} first.")
    return _load(study.prior / "model.keras", NOTEBOOK_03), summary


def code_lengths(prior, codes, batch=64):
    """-log2 p(z_i | z_1 … z_{i-1}) of every code: (N, h, w) int → (N, h, w) float32, in bits."""
    lengths = []
    for start in range(0, len(codes), batch):
        part = np.asarray(codes[start : start + batch], np.int32)
        logits = np.asarray(prior.predict_on_batch(part), np.float32)
        top = logits.max(axis=-1, keepdims=True)
        total = np.log(np.exp(logits - top).sum(axis=-1)) + top[..., 0]
        lengths.append((total - np.take_along_axis(logits, part[..., None], axis=-1)[..., 0]) / np.log(2))
    return np.concatenate(lengths).astype(np.float32)


def history(folder):
    """The columns of a stage's `history.csv`: `{name: float array}`."""
    path = folder / "history.csv"
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}
    except (OSError, IndexError, ValueError, KeyError):
        raise UserError(f"{path} is missing or broken: delete {folder} and run `make report` again.") from None


def evaluate_reconstruction(study, slices, vqvae, codes, summary):
    """`metrics.json`'s `vqvae` on the test people, the reconstructions, and the scores of each slice (`scores.csv`)."""
    test = slices.where("test")
    inputs, codes, people = np.asarray(slices.images[test]), codes[test], slices.person[test]
    outputs = vqvae.decode(codes)
    plain, foreground = metrics.ssim(inputs, outputs)
    scores = {"ssim": plain, "ssim_foreground": foreground, "psnr": metrics.psnr(inputs, outputs)}
    with (
        files.whole_file(study.evaluation / "scores.csv") as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(("person", "position", "label", *scores))
        writer.writerows(zip(people, slices.position[test], slices.label[test], *scores.values(), strict=True))
    size, grid = vqvae.quantizer.codes, vqvae.grid
    black = metrics.black_cells(inputs, grid, receptive_field(study.recipe.section("vqvae")["encoder"]))
    report = {
        **{name: metrics.interval(values, people) for name, values in scores.items()},
        "codebook_usage": metrics.usage(codes, size),
        "perplexity": metrics.perplexity(codes, size),
        "perplexity_foreground": metrics.perplexity(codes[metrics.foreground_cells(inputs, grid)], size),
        "perplexity_cap": metrics.perplexity_cap(black.mean(), size),
        "bits_per_pixel": float(np.log2(size) * np.prod(grid) / np.prod(inputs.shape[1:3])),
        "parameters": summary["parameters"],
        "images_per_second": summary["images_per_second"],
        "epochs": summary["epochs"],
    }
    return report, outputs, scores


def evaluate_baselines(slices, bits_per_pixel):
    """`metrics.json`'s `baselines`: predictions without a model, and codecs at this rate."""
    test = np.asarray(slices.images[slices.where("test")])
    return {**baselines.predictions(slices), **baselines.codecs(test, bits_per_pixel)}


def draw_samples(study, vqvae, prior):
    """Generated images as `evaluation.samples` says, uint8 (N, H, W, C), their codes, and the seconds they took."""
    settings = study.recipe.evaluation
    began = time.monotonic()
    codes = sampling.sample(prior, settings.samples, settings.seed, settings.temperature)
    seconds = time.monotonic() - began
    images = np.round(vqvae.decode(codes) * 255).astype(np.uint8)
    with files.whole_file(study.evaluation / "samples.npz") as temporary:
        np.savez_compressed(temporary, codes=codes.astype(np.uint16), images=images)
    return images, codes, seconds


def prior_metrics(summary, vqvae_bits_per_pixel, codes):
    """`metrics.json`'s `prior`."""
    bits = summary["bits_per_code"]
    return {
        "name": summary["name"],
        "bits_per_code": bits,
        "models": {summary["name"]: bits},
        "baselines_bits_per_code": summary["baselines_bits_per_code"],
        "bits_per_pixel": bits["test"] * vqvae_bits_per_pixel / float(np.log2(codes)),
        "parameters": summary["parameters"],
        "epochs": summary["epochs"],
    }


def write_metrics(study, slices, vqvae, base, seconds, precision, prior=None, samples=None):
    """Write `metrics.json` and return it; a stage that the recipe leaves out leaves its key out."""
    document = {
        "report": study.name,
        "provenance": {
            "versions": provenance.versions(),
            "backend": keras.backend.backend(),
            "device": provenance.device(),
            "precision": precision,
            "recipe_sha256": study.recipe.sha256,
            "data_fingerprint": slices.fingerprint,
            "commit": provenance.commit(),
            "seconds": seconds,
        },
        "data": {**slices.counts(), "checks": data_checks(study)},
        "vqvae": vqvae,
        "baselines": base,
    }
    if prior is not None:
        document["prior"] = prior
    if samples is not None:
        document["samples"] = samples
    files.write_json(study.metrics, document)
    return document
