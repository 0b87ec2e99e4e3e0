"""What `vq-lib reconstruct`, `generate` and `score` do: use trained models on files, without training or a notebook."""

import contextlib
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from skimage.util import montage

from vq_lib import files
from vq_lib.data import folders, reading, words
from vq_lib.environment import start_keras
from vq_lib.errors import UserError, nearest
from vq_lib.recipe import Data
from vq_lib.report import metrics
from vq_lib.scores import codes as code_scores
from vq_lib.scores import images as image_scores
from vq_lib.study import Study

RECONSTRUCTION = ".reconstruction.png"  # ends the name of every file that `reconstruct` writes
LABELS = {"ssim": "SSIM", "ssim_foreground": "foreground SSIM", "psnr": "PSNR (dB)"}


def _models(args, prior=False):
    """The VQ-VAE, the prior (None where it is not asked for), and how their images were read, a recipe's `data`."""
    study = None if args.model else _as_built(args.report)
    if study and prior and study.recipe.prior is None:
        raise UserError(f"The report {study.name!r} has no prior, which draws the codes of new images: give its recipe "
                        "a section prior:, as reports/demo has, and build it again.")  # fmt: skip
    start_keras()
    paths = _trained(study, prior) if study else [Path(args.model), *([Path(args.prior)] if prior else [])]
    from vq_lib.models import saved

    models = [saved.load(path, kind) for path, kind in zip(paths, ("VQ-VAE", "prior"), strict=False)]
    return models[0], models[-1] if prior else None, study.recipe.data if study else Data.model_validate({})


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

    stages = {"vqvae": study.vqvae, **({"prior": study.main_prior} if prior else {})}
    made = {stage: summary_of(folder) for stage, folder in stages.items()}
    # While a report is built anew, the prior there may still be that of another VQ-VAE.
    if all(made.values()) and (not prior or made["prior"]["recipe"] == prior_identity(
            study, study.recipe.prior.name, made["vqvae"]["key"])):  # fmt: skip
        return [folder / "model.keras" for folder in stages.values()]
    paths, build = [study.models / f"{stage}.keras" for stage in stages], f"'make report REPORT={study.name}'"
    if missing := [path for path in paths if not path.is_file()]:
        raise UserError(f"The report {study.name!r} has no trained {missing[0].stem} yet: run {build} first.")
    path = study.published / "metrics.json"
    if path.exists() and not metrics.fits(study.recipe, metrics.read(path).provenance, ("data", *stages)):
        raise UserError(f"The models in {study.models} were made with other settings than the recipe beside them has "
                        f"now: {build} makes its own.")  # fmt: skip
    return paths


def _read(args, paths, model, data):
    """The slices in files, uint8 (n, H, W, C), as the model was trained on them; and which path each is from."""
    height, _, channels = model.settings["image_shape"]
    return reading.read_any(paths, height, channels, args.white or data.white, progress=sys.stderr.isatty(),
                            count=data.slices, span=data.range, plane=data.plane, volume=data.volume)  # fmt: skip


def _found(places):
    """The images and volumes in `places`, files or folders, and the name of each from the folder that it lies in; masks
    and reconstructions at any depth of a folder are left out.
    """
    found: list[tuple[Path, str]] = []
    for place in map(Path, places):
        if not place.exists():
            raise UserError(f"There is no image or folder {place}.")
        if not place.is_dir():
            found.append((place, place.name))
            continue
        kinds = folders.IMAGES + folders.VOLUMES
        every = [file for file in folders.walk(place)[0] if file.name.lower().endswith(kinds)]
        own = [file for file in every if not file.name.endswith(RECONSTRUCTION)]
        kept = [Path(file.path) for file in own if not words.is_mask(file.name)]
        if not kept:
            but = " but masks" if own else " but reconstructions" if every else ""
            raise UserError(f"{place} holds no images{but} ({', '.join(kinds)}).")
        for count, what in ((len(every) - len(own), "reconstructions"), (len(own) - len(kept), "masks")):
            if count:
                print(f"{count} files are {what} by their names and were left out")
        found += [(path, path.relative_to(place).as_posix()) for path in kept]
    return [path for path, _ in found], [name for _, name in found]


def _digits(score):
    return f"{score:.{4 if score <= 1 else 2}f}"  # SSIM goes up to 1, decibels far beyond


def _quality(args, paths, names):
    """Reconstructions of the slices in `paths`, their scores in a frame, how many people they are of (None: unknown),
    and the summary, which `--json` keeps.
    """
    model, _, data = _models(args)
    images, of = _read(args, paths, model, data)
    codes, size = model.encode(images), model.quantizer.num_embeddings
    outputs = model.decode(codes)
    try:
        people = words.people(names, data.person)[0]
    except UserError:  # the pattern is made for other names
        people = words.people(names)[0]
    scores = image_scores.scores(images, outputs)
    summary = {
        **image_scores.summary(scores, np.array(people)[of] if all(people) else np.arange(len(images))),
        **code_scores.summary(model.fine(codes), images, size), "parameters": model.parameter_counts,
        "bits_per_pixel": float(np.log2(size) * np.prod(model.grid) / np.prod(images.shape[1:3])),
    }  # fmt: skip
    if args.json:
        files.write_json(args.json, summary)
    return outputs, pd.DataFrame(scores).assign(of=of), len(set(people)) if all(people) else None, summary


def reconstruct(args: Namespace) -> None:
    """Write `<name>.reconstruction.png` of each image into `--out`, those of a folder with their sub-folders, and print
    their scores; of a volume, of each slice.
    """
    paths, names = _found(args.images)
    targets = [Path(name).with_suffix("").as_posix() for name in names]
    if len(set(targets)) < len(targets):
        raise UserError("Two of the images have the same name, so their reconstructions would overwrite each other.")
    outputs, scores, _, _ = _quality(args, paths, names)
    of, place = scores["of"], scores.groupby("of").cumcount() + 1
    number = np.where(of.duplicated(keep=False), place.map(".{:02d}".format), "").astype(object)
    for image, source, which in zip(outputs, of, number, strict=True):
        _save(Path(args.out) / f"{targets[source]}{which}{RECONSTRUCTION}", image)
    shown = scores[list(LABELS)].rename(columns=LABELS)
    shown.insert(0, "image", np.array(names)[of] + number)
    print(shown.to_string(index=False, float_format=_digits, na_rep="–"))
    print(f"{len(outputs)} reconstructions written to {args.out}")


def score(args: Namespace) -> None:
    """Print SSIM, foreground SSIM and PSNR over a folder, with intervals over the people that its names tell apart."""
    outputs, _, people, summary = _quality(args, *_found([args.folder]))
    shown = pd.DataFrame({label: summary[key] for key, label in LABELS.items() if key in summary}, dtype=float).T
    who = "95% interval over images (people unknown)"
    if people:
        who = f"of {people} people, 95% interval over people{', rough: fewer than ten' * (people < 10)}"
    print(f"{len(outputs)} images{'' if people else ','} {who}")
    print(shown.to_string(float_format=_digits, na_rep="–"))
    print(f"codes used {100 * summary['codebook_usage']:.1f}%, perplexity {summary['perplexity']:.1f}")


def generate(args: Namespace) -> None:
    """Draw `-n` new images and write them as one picture, in a grid."""
    out = Path(args.out)
    if out.suffix.lower() not in folders.IMAGES:
        raise UserError(f"--out {out} must end in one of {', '.join(folders.IMAGES)}.")
    model, prior, data = _models(args, prior=True)
    has, wants = ((model.quantizer.num_embeddings, *model.grid), (prior.codes, *prior.grid))
    if has != wants:
        of = "{1}x{2} grids of {0} codes".format
        raise UserError(f"The prior draws {of(*wants)}, but the VQ-VAE reads {of(*has)}: they do not belong together.")
    from vq_lib.models import sampling
    from vq_lib.models.levels import join

    options = {"seed": args.seed, "temperature": args.temperature, "top_k": args.top_k, "top_p": args.top_p,
               "condition": _condition(prior, args)}  # fmt: skip
    if args.complete:
        images = _read(args, [args.complete], model, data)[0]
        known = model.encode(images[len(images) // 2][None])[0]
        free = [_mask(args.mask or "lower", grid)[None] for grid in model.levels]
        given = np.where((join(*free) if model.coarse else free[0])[0], sampling.FREE, known)
        codes = sampling.complete(prior, given, args.n, **options)
    else:
        codes = sampling.sample(prior, args.n, **options)
    images, columns = model.decode(codes), int(np.ceil(np.sqrt(args.n)))
    shape = (-(-args.n // columns), columns)
    _save(out, montage(images, fill=[0] * images.shape[-1], grid_shape=shape, channel_axis=-1))
    print(f"{args.n} new images written to {out}")


def _condition(prior, args):
    """Label and slice position of each image, int (n, 2): as asked for, else drawn evenly, that of image i whatever n
    is; -1 where not conditioned.
    """
    columns = []
    for number, (name, known) in enumerate({"label": prior.labels, "position": tuple(range(prior.slices))}.items()):
        value = getattr(args, name)
        if value is not None and value not in known:
            knows = f"knows {', '.join(known)}" if name == "label" else f"knows 0 to {len(known) - 1}"
            hint = nearest(value, known) if name == "label" else ""
            raise UserError(f"--{name} {value} is unknown to this prior.{hint} It "
                            f"{knows if known else f'was not trained with {name}s'}.")  # fmt: skip
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
        mask[:] = (reading.read(name, side) > 127).reshape(h, side // h, w, side // w).any(axis=(1, 3))
    else:
        raise UserError(f"--mask {name} is neither a file nor one of {', '.join(parts)}.{nearest(name, parts)}")
    if not mask.any():
        raise UserError(f"The mask {name} is white nowhere: there is nothing to draw anew.")
    return mask


def _save(path, image):
    pixels = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
    with files.whole_file(path) as temporary:
        Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(temporary)
