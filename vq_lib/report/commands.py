"""What `vq-lib reconstruct`, `generate` and `score` do: use trained models on files, without training or a notebook."""

import contextlib
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from vq_lib import files
from vq_lib.data import folders, persons, reading, words
from vq_lib.environment import start_keras
from vq_lib.errors import UserError, nearest
from vq_lib.recipe import Data
from vq_lib.report import metrics
from vq_lib.scores import codes as code_scores
from vq_lib.scores import images as image_scores
from vq_lib.study import Study

RECONSTRUCTION = ".reconstruction.png"  # ends the name of every file that `reconstruct` writes
LABELS = {"ssim": ("SSIM", 4), "ssim_foreground": ("foreground SSIM", 4), "psnr": ("PSNR (dB)", 2)}


def _models(args, prior=False):
    """The VQ-VAE, the prior (None where it is not asked for), and how their images were read, a recipe's `data`."""
    kinds = ("VQ-VAE", "prior") if prior else ("VQ-VAE",)
    study = None if args.model else _as_built(args.report)
    if study and prior and study.recipe.prior is None:
        raise UserError(f"The report {study.name!r} has no prior, which draws the codes of new images: give its recipe "
                        "a section prior:, as reports/demo has, and build it again.")  # fmt: skip
    start_keras()
    paths = _trained(study, prior) if study else [Path(args.model), *([Path(args.prior)] if prior else [])]
    for path in paths:
        if not path.is_file():
            raise UserError(f"There is no model file {path}.")
    from vq_lib.models import saved

    models = [saved.load(path, kind) for path, kind in zip(paths, kinds, strict=True)]
    return models[0], models[1] if prior else None, study.recipe.data if study else Data.model_validate({})


def _as_built(report):
    """A report with the settings that its last building put in the place of its recipe's (`--set`)."""
    study = Study(report)
    for path in (study.metrics, study.published / "metrics.json"):
        with contextlib.suppress(UserError):
            return Study(report, overrides=metrics.read(path).provenance.overrides)
    return study


def _trained(study, prior):
    """Paths of the VQ-VAE and, where asked for, of the prior of its codes: those that were just trained, or else those
    that the report has published.
    """
    from vq_lib.training.finished import prior_identity, summary_of

    vqvae, own = summary_of(study.vqvae), summary_of(study.main_prior) if prior else None
    # While a report is built anew, the prior there may still be that of another VQ-VAE.
    if vqvae and (not prior or own and own["recipe"] == prior_identity(study, study.recipe.prior.name, vqvae["key"])):
        return [study.vqvae / "model.keras", *([study.main_prior / "model.keras"] if prior else [])]
    paths = [study.models / "vqvae.keras", *([study.models / "prior.keras"] if prior else [])]
    build = f"'make report REPORT={study.name}'"
    if missing := [path for path in paths if not path.is_file()]:
        trained = vqvae and missing == paths[1:]
        raise UserError(f"The report {study.name!r} has no trained {'prior' if trained else paths[0].stem} yet: run "
                        f"{build} first.")  # fmt: skip
    path = study.published / "metrics.json"
    if path.exists() and not metrics.fits(study.recipe, metrics.read(path).provenance):
        raise UserError(f"The models in {study.models} were made with other settings than the recipe beside them has "
                        f"now: {build} makes its own.")  # fmt: skip
    return paths


def _read(args, paths, model, data):
    """The slices in files, uint8 (n, H, W, C), as the model was trained on them; and which path each is from."""
    height, _, channels = model.settings["image_shape"]
    return reading.read_any(paths, height, channels, args.white or data.white, progress=sys.stderr.isatty(),
                            count=data.slices, span=data.range, plane=data.plane, volume=data.volume)  # fmt: skip


def _images_in(folder):
    """The images and volumes in a folder, at any depth; masks and reconstructions are left out."""
    found = [file for file in folders.walk(folder)[0] if file.name.lower().endswith(folders.IMAGES + folders.VOLUMES)]
    own = [file for file in found if not file.name.endswith(RECONSTRUCTION)]
    kept = [Path(file.path) for file in own if not words.is_mask(file.name)]
    if not kept:
        but = " but masks" if own else " but reconstructions" if found else ""
        raise UserError(f"{folder} holds no images{but} ({', '.join(folders.IMAGES + folders.VOLUMES)}).")
    for count, what in ((len(found) - len(own), "are reconstructions"), (len(own) - len(kept), "are masks")):
        if count:
            print(f"{count} files {what} by their names and were left out")
    return kept


def _quality(args, names, paths):
    """Reconstructions of the slices in `paths`, their scores in a frame, whose they are, and the summary."""
    model, _, data = _models(args)
    images, of = _read(args, paths, model, data)
    codes, size = model.encode(images), model.quantizer.num_embeddings
    outputs = model.decode(codes)
    people = persons.people(names).names
    known = all(people)
    groups = np.array(people)[of] if known else np.arange(len(images))
    scores = image_scores.scores(images, outputs)
    summary = {
        **image_scores.summary(scores, groups), **code_scores.summary(codes, images, size),
        "bits_per_pixel": float(np.log2(size) * np.prod(model.grid) / np.prod(images.shape[1:3])),
        "parameters": model.parameter_counts,
    }  # fmt: skip
    return outputs, pd.DataFrame(scores).assign(of=of), len(set(people)) if known else None, summary


def reconstruct(args: Namespace) -> None:
    """Write `<name>.reconstruction.png` of each image into `--out`, those of a folder with their sub-folders, and print
    their scores; of a volume, of each slice.
    """
    found: list[tuple[Path, Path]] = []  # each image, and the folder that it is named from
    for path in map(Path, args.images):
        if not path.exists():
            raise UserError(f"There is no image {path}.")
        found += [(image, path) for image in _images_in(path)] if path.is_dir() else [(path, path.parent)]
    paths, names = [path for path, _ in found], [path.relative_to(folder).as_posix() for path, folder in found]
    targets = [Path(name).with_suffix("").as_posix() for name in names]
    if len(set(targets)) < len(targets):
        raise UserError("Two of the images have the same name, so their reconstructions would overwrite each other.")
    outputs, scores, _, summary = _quality(args, names, paths)
    of, place = scores["of"], scores.groupby("of").cumcount() + 1
    number = np.where(of.duplicated(keep=False), place.map(".{:02d}".format), "").astype(object)
    for image, source, which in zip(outputs, of, number, strict=True):
        _save(Path(args.out) / f"{targets[source]}{which}{RECONSTRUCTION}", image)
    shown = pd.DataFrame({"image": np.array(names)[of] + number})
    for key, (label, digits) in LABELS.items():
        shown[label] = scores[key].map(f"{{:.{digits}f}}".format)
    print(shown.to_string(index=False))
    print(f"{len(outputs)} reconstructions written to {args.out}")
    if args.json:
        files.write_json(args.json, summary)


def score(args: Namespace) -> None:
    """Print SSIM, foreground SSIM and PSNR over a folder, with intervals over the people that its names tell apart."""
    folder = Path(args.folder)
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}.")
    paths = _images_in(folder)
    outputs, _, people, summary = _quality(args, [path.relative_to(folder).as_posix() for path in paths], paths)
    parts = ("mean", "low", "high")
    rows = {label: ["–" if summary[key][part] is None else f"{summary[key][part]:.{digits}f}" for part in parts]
            for key, (label, digits) in LABELS.items() if key in summary}  # fmt: skip
    who = f"of {people} people, 95% interval over people" if people else "95% interval over images (people unknown)"
    print(f"{len(outputs)} images{'' if people else ','} {who}")
    print(pd.DataFrame.from_dict(rows, orient="index", columns=parts).to_string())
    print(f"codes used {100 * summary['codebook_usage']:.1f}%, perplexity {summary['perplexity']:.1f}")
    if args.json:
        files.write_json(args.json, summary)


def generate(args: Namespace) -> None:
    """Draw `-n` new images and write them as one picture, in a grid."""
    out = Path(args.out)
    Image.init()
    if out.suffix.lower() not in folders.IMAGES:
        raise UserError(f"--out {out} must end in one of {', '.join(folders.IMAGES)}.")
    model, prior, data = _models(args, prior=True)
    has, wants = ((model.quantizer.num_embeddings, *model.grid), (prior.codes, *prior.grid))
    if has != wants:
        of = "{1}x{2} grids of {0} codes".format
        raise UserError(f"The prior draws {of(*wants)}, but the VQ-VAE reads {of(*has)}: they do not belong together.")
    from vq_lib.models import sampling

    options = {"seed": args.seed, "temperature": args.temperature, "top_k": args.top_k, "top_p": args.top_p,
               "condition": _condition(prior, args)}  # fmt: skip
    if args.complete:
        images = _read(args, [args.complete], model, data)[0]
        known = model.encode(images[len(images) // 2][None])[0]
        given = np.where(_mask(args.mask or "lower", model.grid), sampling.FREE, known)
        codes = sampling.complete(prior, given, args.n, **options)
    else:
        codes = sampling.sample(prior, args.n, **options)
    images = model.decode(codes)
    columns = int(np.ceil(np.sqrt(args.n)))
    rows = -(-args.n // columns)
    blank = np.zeros((rows * columns - args.n, *images.shape[1:]), images.dtype)
    grid = np.concatenate([images, blank]).reshape(rows, columns, *images.shape[1:]).transpose(0, 2, 1, 3, 4)
    _save(out, grid.reshape(rows * images.shape[1], columns * images.shape[2], -1))
    print(f"{args.n} new images written to {out}")


def _condition(prior, args):
    """Label and slice position of each image, int (n, 2): as asked for, else drawn evenly, that of image i whatever n
    is; -1 where not conditioned.
    """
    columns = []
    for number, (option, value, known, what) in enumerate((
        ("--label", args.label, prior.labels, "labels"),
        ("--position", args.position, tuple(range(prior.slices)), "slice positions"),
    )):  # fmt: skip
        if value is not None and not known:
            raise UserError(f"{option} {value} means nothing to this prior: it was not trained with {what}.")
        if value is not None and value not in known:
            names = f"{nearest(value, known)} It knows {', '.join(known)}." if what == "labels" else \
                f" It knows 0 to {len(known) - 1}."  # fmt: skip
            raise UserError(f"{option} {value} is unknown to this prior.{names}")
        drawn = np.random.default_rng([args.seed, number]).integers(0, max(len(known), 1), args.n)
        columns.append(np.full(args.n, known.index(value)) if value is not None else drawn if known else drawn - 1)
    return np.stack(columns, axis=1)


def _mask(name, grid):
    """Which cells of a grid a part or a mask image covers: bool (h, w)."""
    (h, w), mask = grid, np.zeros(grid, bool)
    parts = {
        "left": np.s_[:, : w // 2], "right": np.s_[:, w // 2 :],
        "upper": np.s_[: h // 2, :], "lower": np.s_[h // 2 :, :],
        "centre": np.s_[h // 4 : h - h // 4, w // 4 : w - w // 4],
    }  # fmt: skip
    if name in parts:
        mask[parts[name]] = True
    elif Path(name).is_file():
        side = 8 * max(h, w)
        white = reading.read(name, side) > 127
        mask = np.any(white.reshape(h, side // h, w, side // w), axis=(1, 3))
    else:
        raise UserError(f"--mask {name} is neither a file nor one of {', '.join(parts)}.{nearest(name, parts)}")
    if not mask.any():
        raise UserError(f"The mask {name} is white nowhere: there is nothing to draw anew.")
    return mask


def _save(path, image):
    pixels = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
    with files.whole_file(path) as temporary:
        Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(temporary)
