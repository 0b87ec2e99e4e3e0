"""How good the reconstructions of the test people are, and against what."""

from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from vq_lib import files
from vq_lib.data import masks
from vq_lib.layers.autoencoder import receptive_field
from vq_lib.report.evaluation.shared import spread
from vq_lib.scores import baselines, generation, metrics

CLASSES = ("background", *generation.TISSUES)
SKULL = "skull and scalp"  # masks know the brain alone: what is lit around it is a class of its own
BLURS = (1, 2, 3)  # standard deviations in pixels
QUALITIES = (1, 5, 10, 20, 30, 45, 60, 75, 90)  # of the codecs' curves


def vqvae_metrics(study, slices, vqvae, codes, summary):
    """`metrics.json`'s `vqvae` on the test people, the reconstructions, and the scores of each slice (`scores.csv`)."""
    test = slices.where("test")
    inputs, codes, people = np.asarray(slices.images[test]), codes[test], slices.person[test]
    outputs = vqvae.decode(codes)
    scores = metrics.scores(inputs, outputs)
    rows = zip(people, slices.position[test], slices.label[test], *(v.tolist() for v in scores.values()), strict=True)
    files.write_csv(study.evaluation / "scores.csv", ("person", "position", "label", *scores), rows)
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


def baseline_metrics(slices, scores, rates):
    """`metrics.json`'s `baselines` and `codecs`: predictions without a model, and codecs at the model's rates.

    Args:
        scores: `{name: (n,)}` of the test slices.
        rates: bits per pixel, `{"fixed_length": log2 K per code, "prior": the prior's code length}`, the latter where
            there is a prior.

    Returns:
        predictions and codecs at the last of `rates`, as `metrics.json` has them; and `{rate: baselines.codecs}`.
    """
    test = slices.where("test")
    inputs, people = np.asarray(slices.images[test]), slices.person[test]
    found = {name: baselines.codecs(inputs, rate, scores, people) for name, rate in rates.items()}
    plain = {codec: {key: value for key, value in entry.items() if key != "lead"}
             for codec, entry in found[list(rates)[-1]].items()}  # fmt: skip
    return {**baselines.predictions(slices), **plain}, found


def tissues(study, slices, inputs):
    """Tissue of every pixel of the test slices, from masks where they lie beside the images, else by grey level.

    Returns:
        classes, uint8 (n, H, W), and `{"classes", "source", "thresholds", "dice"}`: the classes' names (`CLASSES`, and
        with masks `SKULL`), "masks" or "grey levels", and how well the rule by grey level agrees with masks, where
        there are any, for each tissue (Dice).
    """
    train = spread(slices.where("train"), 200)
    thresholds = generation.tissue_thresholds(np.asarray(slices.images[train]))
    by_rule, found = generation.tissues(inputs, thresholds), masks.tissues(study, slices, slices.where("test"))
    about: dict[str, Any] = {"classes": CLASSES, "source": "grey levels", "thresholds": list(thresholds)}
    if found is None:
        return by_rule, about
    about.update(classes=(*CLASSES, SKULL), source="masks")
    about["dice"] = {
        name: float(2 * ((found == k) & (by_rule == k)).sum() / ((found == k).sum() + (by_rule == k).sum()))
        for k, name in enumerate(generation.TISSUES, 1)
    }
    lit = metrics.in_parts(lambda x: metrics.unit(x, "inputs").max(axis=-1) > metrics.FOREGROUND, inputs)
    return np.where((found == 0) & lit, len(CLASSES), found).astype(np.uint8), about


def reconstruction(study, slices, inputs, outputs, scores, classes, base, names=CLASSES):
    """`reconstruction.json`: scores by tissue, label, person and position, and what else stands on the axis of SSIM.

    Args:
        scores: `{name: (n,)}` of the test slices. classes: tissues (n, H, W), with their names.
        base: `metrics.json`'s `baselines`.
    """
    test = slices.where("test")
    people, labels = slices.person[test], slices.label[test]
    similarity = metrics.ssim_by_class(inputs, outputs, classes, len(names))
    error = metrics.in_parts(lambda x, y: np.abs(metrics.unit(x, "inputs") - y).mean(axis=-1), inputs, outputs)
    shares = [(classes == k).mean(axis=(1, 2)) for k in range(len(names))]
    by_tissue = {
        name: {"ssim": metrics.interval(similarity[:, k], people), "share": float(shares[k].mean()),
               "absolute_error": float(error[classes == k].mean())}
        for k, name in enumerate(names) if shares[k].any()
    }  # fmt: skip
    inside = [k for k, name in enumerate(names) if name in by_tissue and name != "background"]
    if inside:
        worst = min(inside, key=lambda k: by_tissue[names[k]]["ssim"]["mean"])
        for k in inside:  # paired: on the same slices
            by_tissue[names[k]]["above_worst"] = metrics.interval(similarity[:, k] - similarity[:, worst], people)
    by_label = {
        label: {**{name: metrics.interval(values[labels == label], people[labels == label])
                   for name, values in scores.items()}, "people": int(np.unique(people[labels == label]).size)}
        for label in sorted(set(labels.tolist())) if label
    }  # fmt: skip
    scale = {name: base[name] for name in ("zeros", "mean_image", "position_mean", "nearest_training")}
    if np.unique(people).size > 1:
        scale["another_person"] = baselines.scores(inputs, inputs[another_person(slices, test)])
    for sigma in BLURS:
        scale[f"blur_{sigma}"] = _scores_blurred(inputs, sigma)
    document = {
        "tissues": by_tissue, "labels": by_label, "scale": scale,
        **{name: _foreground_by(groups, scores["ssim_foreground"])
           for name, groups in (("people", people), ("positions", slices.position[test]))},
    }  # fmt: skip
    files.write_json(study.evaluation / "reconstruction.json", document)
    return document


def _blurred(images, sigma):
    return gaussian_filter(metrics.unit(images, "images"), (0, sigma, sigma, 0))


def _scores_blurred(images, sigma):
    """Mean scores of uint8 `images` after a Gaussian blur of `sigma` pixels."""

    def part(some):
        found = metrics.scores(some, _blurred(some, sigma))
        return np.stack([found[name] for name in metrics.SCORES], axis=1)

    return baselines.means(dict(zip(metrics.SCORES, metrics.in_parts(part, images).T, strict=True)))


def _foreground_by(groups, scores):
    """Mean foreground SSIM of each group, `{group: mean}`; one whose slices have no foreground is left out."""
    lit = ~np.isnan(scores)
    return {str(group): float(scores[lit & (groups == group)].mean()) for group in np.unique(groups[lit])}


def compared(slices, inputs, outputs, scores):
    """One test slice, of median foreground SSIM, and what else could stand for it, by falling SSIM.

    Returns:
        `{name: ((H, W, C) in [0, 1], {ssim, ssim_foreground, psnr})}`: "slice" itself, "this VQ-VAE", "blur_1" and on,
        "another_person" where there is one, "mean_image" and "position_mean".
    """
    test = slices.where("test")
    order = np.argsort(scores["ssim_foreground"])  # NaN, a slice without foreground, comes last
    chosen = order[np.count_nonzero(~np.isnan(scores["ssim_foreground"])) // 2]
    one = inputs[chosen : chosen + 1]
    other = another_person(slices, test)[chosen]
    others = {"another_person": inputs[other : other + 1] / 255.0} if np.unique(slices.person[test]).size > 1 else {}
    found = {"slice": one / 255.0, "this VQ-VAE": outputs[chosen : chosen + 1],
             **{f"blur_{sigma}": _blurred(one, sigma) for sigma in BLURS}, **others,
             "mean_image": baselines.mean(slices.images, slices.where("train"))[None].astype(np.float32),
             "position_mean": baselines.position_means(slices, test[chosen : chosen + 1])}  # fmt: skip
    judged = {name: (image[0], baselines.scores(one, image)) for name, image in found.items()}
    return dict(sorted(judged.items(), key=lambda entry: -entry[1][1]["ssim"]))


def another_person(slices, rows):
    """For each of `rows`, the place in `rows` of the next person's slice nearest to its position: (n,) int."""
    people, position = slices.person[rows], slices.position[rows]
    names = np.unique(people)
    following = dict(zip(names, np.roll(names, -1), strict=True))
    chosen = np.empty(len(rows), np.int64)
    for i in range(len(rows)):
        theirs = np.flatnonzero(people == following[people[i]])
        chosen[i] = theirs[np.abs(position[theirs] - position[i]).argmin()]
    return chosen


def rate_distortion(study, inputs, scores, fixed, entropy=None):
    """`rate-distortion.csv`: JPEG, WebP and AVIF over their quality settings, and this model's points.

    On at most 64 test slices, evenly spaced, since AVIF is slow; all points on the same ones.

    Args:
        scores: `{name: (n,)}` of the test slices. fixed: bits per pixel of fixed-length codes. entropy: with the
            prior's code length; None without prior.

    Returns:
        rows of dicts: codec, quality, bits_per_pixel, bits_per_pixel_payload, ssim, ssim_foreground, psnr; and the
        number of slices.
    """
    rows = spread(np.arange(len(inputs)), 64)
    few, found = inputs[rows], []
    for name in baselines.available():
        found += [{"codec": name, "quality": quality, **baselines.means(baselines.at_quality(few, name, quality))}
                  for quality in QUALITIES]  # fmt: skip
    own = {name: float(np.nanmean(values[rows])) for name, values in scores.items()}
    for name, rate in (("fixed-length codes", fixed), ("prior's code length", entropy)):
        if rate is not None:
            found.append({"codec": name, "quality": "", **own, "bits_per_pixel": rate, "bits_per_pixel_payload": rate})
    header = ("codec", "quality", "bits_per_pixel", "bits_per_pixel_payload", "ssim", "ssim_foreground", "psnr")
    files.write_csv(study.evaluation / "rate-distortion.csv", header, [[row[name] for name in header] for row in found])
    return found, len(rows)
