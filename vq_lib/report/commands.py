"""What `vq-lib reconstruct`, `generate` and `score` do: use trained models on files, without training or a notebook."""

import contextlib
import os
import re
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
from PIL import Image

from vq_lib import files
from vq_lib import plots as figures
from vq_lib.data import folders, reading
from vq_lib.environment import start_keras
from vq_lib.errors import UserError, nearest
from vq_lib.study import Study

RECONSTRUCTION = ".reconstruction.png"  # ends the name of every file that `reconstruct` writes


def _keras():
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # a command says what went wrong in a sentence of its own
    return start_keras()


def _model(path, kind):
    """A saved model of ours of the given kind: "VQ-VAE" or "prior"."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"There is no model file {path}.")
    _keras()
    from vq_lib.models import loading

    return loading.load(path, kind)


def _models(args, prior=False):
    """The VQ-VAE, and the prior where it is asked for, that `--report` or `--model` and `--prior` name."""
    if args.model:
        return _model(args.model, "VQ-VAE"), _model(args.prior, "prior") if prior else None
    study, kinds = Study(args.report), ("VQ-VAE", "prior") if prior else ("VQ-VAE",)
    # Models that were just trained come before the published ones of the same report, but both or neither.
    places = {
        study.run: [study.vqvae / "model.keras", study.prior / "model.keras"][: len(kinds)],
        study.published: [study.models / "vqvae.keras", study.models / "prior.keras"][: len(kinds)],
    }
    for folder, paths in places.items():
        if all(map(Path.is_file, paths)) and (folder == study.published or not prior or _belong_together(study)):
            break
    else:
        kind = kinds[-1] if any(paths[0].is_file() for paths in places.values()) else kinds[0]
        raise UserError(
            f"The report {study.name!r} has no trained {kind} yet: run 'make report REPORT={study.name}' first."
        )
    other = files.made_for(folder / "metrics.json")
    if other not in ("", study.name):
        raise UserError(
            f"The models in {study.folder} are those of the report {other!r}: 'make report REPORT={study.name}' "
            "makes its own."
        )
    found = [_model(path, kind) for path, kind in zip(paths, kinds, strict=True)]
    return found if prior else (found[0], None)


def _belong_together(study):
    """Whether the prior in `run/` was trained on the codes of the VQ-VAE there: not so while a report is built anew."""
    with contextlib.suppress(UserError, KeyError, TypeError):
        vqvae, prior = (files.read_json(stage / "summary.json", "a notebook") for stage in (study.vqvae, study.prior))
        return prior["vqvae"] == vqvae["key"]
    return False


def _read(args, paths, model):
    """The images, uint8 (N, H, W, C), brought to the size, the colours and the levels that the model was trained on."""
    size, _, channels = model.settings["image_shape"]
    white = args.white or (None if args.model else _trained_with(args.report).data.white)
    return reading.read_many(paths, size, channels, white, progress=sys.stderr.isatty())


def _trained_with(report):
    """The recipe of a report, with the settings that its last building put in their place (`--set`)."""
    study, overrides = Study(report), ""
    for path in (study.metrics, study.published / "metrics.json"):
        with contextlib.suppress(UserError, KeyError, TypeError):
            overrides = str(files.read_json(path, "a report")["provenance"]["overrides"])
            break
    return Study(report, overrides=overrides).recipe


def _quality(args, paths, model, people):
    """The reconstructions, `{score: (N,)}`, and their summary as `metrics.json` has it."""
    from vq_lib.scores import metrics

    images = _read(args, paths, model)
    codes = model.encode(images)
    outputs = model.decode(codes)
    scores = metrics.scores(images, outputs)
    size = model.quantizer.codes
    foreground = codes[metrics.foreground_cells(images, model.grid)]
    summary = {
        **{name: metrics.interval(values, people) for name, values in scores.items() if not np.isnan(values).all()},
        "codebook_usage": metrics.usage(codes, size),
        "perplexity": metrics.perplexity(codes, size),
        **({"perplexity_foreground": metrics.perplexity(foreground, size)} if foreground.size else {}),
        "bits_per_pixel": float(np.log2(size) * np.prod(model.grid) / np.prod(images.shape[1:3])),
        "parameters": model.parameter_counts,
    }
    return outputs, scores, summary


def _images_in(folder):
    """The image files in a folder, at any depth, masks left out."""
    files = [file for file in folders.walk(folder)[0] if file.name.lower().endswith(folders.IMAGES)]
    paths = [Path(file.path) for file in files if not folders.is_mask(file)]
    if not paths:
        masks = " but masks" if files else ""
        raise UserError(f"{folder} holds no images{masks} ({', '.join(folders.IMAGES)}).")
    if len(paths) < len(files):
        print(f"{len(files) - len(paths)} files are masks by their names and were left out")
    return paths


def _people(paths):
    """Whose each image is: what stands before `_slice_K` in its name, or the whole path; (N,) str."""
    return np.array([re.sub(r"_slice_\d+.*$", "", path.name) if "_slice_" in path.name else path.as_posix()
                     for path in paths])  # fmt: skip


def reconstruct(args: Namespace) -> None:
    """Write `<name>.reconstruction.png` of each image into `--out`, those of a folder with their sub-folders, and print
    their scores."""
    found, out = [], Path(args.out)  # each image and what it is named from
    for path in map(Path, args.images):
        if path.is_dir():  # an earlier run may have written there
            found += [(image, path) for image in _images_in(path) if not image.name.endswith(RECONSTRUCTION)]
        elif path.is_file():
            found.append((path, path.parent))
        else:
            raise UserError(f"There is no image {path}.")
    if not found:
        raise UserError(f"{args.images[0]} holds no images but reconstructions.")
    paths, inside = [path for path, _ in found], [path.relative_to(folder) for path, folder in found]
    names = [path.with_name(f"{path.stem}{RECONSTRUCTION}") for path in inside]
    if len(set(names)) < len(names):
        raise UserError("Two of the images have the same name, so their reconstructions would overwrite each other.")
    model, _ = _models(args)
    outputs, scores, summary = _quality(args, paths, model, _people(inside))
    for name, image in zip(names, outputs, strict=True):
        _save(out / name, image)
    rows = [
        (
            path.as_posix(),
            *(f"{scores[key][i]:.{digits}f}" for key, digits in (("ssim", 4), ("ssim_foreground", 4), ("psnr", 2))),
        )
        for i, path in enumerate(inside)
    ]
    print(figures.table(("image", "SSIM", "foreground SSIM", "PSNR (dB)"), rows).text)
    print(f"{len(paths)} reconstructions written to {out}")
    _json(args.json, summary)


def score(args: Namespace) -> None:
    """Print SSIM, foreground SSIM and PSNR over a folder; `case_NNN_slice_K` names tell the people apart."""
    folder = Path(args.folder)
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}.")
    paths = _images_in(folder)
    people = _people(paths)
    model, _ = _models(args)
    _, _, summary = _quality(args, paths, model, people)
    rows = [
        (label, *(f"{summary[key][part]:.{digits}f}" for part in ("mean", "low", "high")))
        for key, label, digits in (
            ("ssim", "SSIM", 4),
            ("ssim_foreground", "foreground SSIM", 4),
            ("psnr", "PSNR (dB)", 2),
        )
        if key in summary
    ]
    count = np.unique(people).size
    print(
        figures.table(
            ("", "mean", "low", "high"), rows, f"{len(paths)} images of {count} people, 95% interval over people"
        ).text
    )
    print(f"codes used {100 * summary['codebook_usage']:.1f}%, perplexity {summary['perplexity']:.1f}")
    _json(args.json, summary)


def generate(args: Namespace) -> None:
    """Draw `-n` new images and write them as one picture, in a grid."""
    out = Path(args.out)
    Image.init()
    if out.suffix.lower() not in folders.IMAGES:
        raise UserError(f"--out {out} must end in one of {', '.join(folders.IMAGES)}.")
    model, prior = _models(args, prior=True)
    if prior.grid != model.grid or prior.codes != model.quantizer.codes:
        raise UserError(
            f"The prior draws {prior.grid[0]}x{prior.grid[1]} grids of {prior.codes} codes, but the VQ-VAE reads "
            f"{model.grid[0]}x{model.grid[1]} grids of {model.quantizer.codes}: they do not belong together."
        )
    from vq_lib.models import sampling

    options = {
        "seed": args.seed, "temperature": args.temperature, "top_k": args.top_k, "top_p": args.top_p,
        "condition": _condition(prior, args),
    }  # fmt: skip
    if args.complete:
        known = model.encode(_read(args, [args.complete], model))[0]
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
    """Label and slice position of each image, int (n, 2): as asked for, else drawn evenly; -1 where not conditioned."""
    asked = []
    for option, value, known, what in (
        ("--label", args.label, prior.labels, "labels"),
        ("--position", args.position, tuple(range(prior.slices)), "slice positions"),
    ):
        if value is not None and not known:
            raise UserError(f"{option} {value} means nothing to this prior: it was not trained with {what}.")
        if value is not None and value not in known:
            if what == "labels":
                names = f"{nearest(value, known)} It knows {', '.join(prior.labels)}."
            else:
                names = f" It knows 0 to {len(known) - 1}."
            raise UserError(f"{option} {value} is unknown to this prior.{names}")
        asked.append(-1 if value is None else known.index(value))
    rng, counts = np.random.default_rng(args.seed), (len(prior.labels), prior.slices)
    drawn = np.stack([rng.integers(0, max(count, 1), args.n) for count in counts], axis=1)
    return np.where(np.array(counts) == 0, -1, np.where(np.array(asked) < 0, drawn, asked))


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
    try:
        with files.whole_file(path) as temporary:
            Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(temporary)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}.") from None


def _json(path, summary):
    if path:
        try:
            files.write_json(path, summary)
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror or error}.") from None
