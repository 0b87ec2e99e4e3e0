"""What notebook 04 measures beyond the headline figures; each function leaves its result in `run/evaluation/`."""

from typing import Any

import numpy as np
from keras import ops
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import cdist

from vq_lib import baselines, files, generation, memorisation, metrics, sampling
from vq_lib.autoencoder import receptive_field
from vq_lib.data import masks
from vq_lib.grain import Grain

CLASSES = ("background", *generation.TISSUES)
SKULL = "skull and scalp"  # masks know the brain alone: what is lit around it is a class of its own
BLURS = (1, 2, 3)  # standard deviations in pixels
QUALITIES = (1, 5, 10, 20, 30, 45, 60, 75, 90)  # of the codecs' curves
TEMPERATURES = (0.7, 0.85, 1.15)  # beside the recipe's own


def _save(study, name, **arrays):
    with files.whole_file(study.evaluation / f"{name}.npz") as temporary:
        np.savez_compressed(temporary, **arrays)
    return arrays


def _spread(rows, count):
    """At most `count` of `rows`, evenly spaced."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int))]


def tissues(study, slices, inputs):
    """Tissue of every pixel of the test slices, from masks where they lie beside the images, else by grey level.

    Returns:
        classes, uint8 (n, H, W), and `{"classes", "source", "thresholds", "dice"}`: the classes' names (`CLASSES`, and
        with masks `SKULL`), "masks" or "grey levels", and how well the rule by grey level agrees with masks, where
        there are any, for each tissue (Dice).
    """
    train = _spread(slices.where("train"), 200)
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
    lit = metrics.unit(inputs, "inputs").max(axis=-1) > metrics.FOREGROUND
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
    error = np.abs(inputs / 255.0 - outputs).mean(axis=-1)
    shares = [(classes == k).mean(axis=(1, 2)) for k in range(len(names))]
    by_tissue = {
        name: {"ssim": metrics.interval(similarity[:, k], people), "share": float(shares[k].mean()),
               "absolute_error": float(error[classes == k].mean())}
        for k, name in enumerate(names) if shares[k].any()
    }  # fmt: skip
    by_label = {
        label: {**{name: metrics.interval(values[labels == label], people[labels == label])
                   for name, values in scores.items()}, "people": int(np.unique(people[labels == label]).size)}
        for label in sorted(set(labels.tolist())) if label
    }  # fmt: skip
    scale = {name: base[name] for name in ("zeros", "mean_image", "position_mean", "nearest_training")}
    scale["another_person"] = baselines.scores(inputs, inputs[another_person(slices, test)])
    for sigma in BLURS:
        scale[f"blur_{sigma}"] = baselines.scores(inputs, _blurred(inputs, sigma))
    document = {
        "tissues": by_tissue, "labels": by_label, "scale": scale,
        **{name: _foreground_by(groups, scores["ssim_foreground"])
           for name, groups in (("people", people), ("positions", slices.position[test]))},
    }  # fmt: skip
    files.write_json(study.evaluation / "reconstruction.json", document)
    return document


def _blurred(images, sigma):
    return gaussian_filter(images.astype(np.float32) / 255, (0, sigma, sigma, 0))


def _foreground_by(groups, scores):
    """Mean foreground SSIM of each group, `{group: mean}`; one whose slices have no foreground is left out."""
    lit = ~np.isnan(scores)
    return {str(group): float(scores[lit & (groups == group)].mean()) for group in np.unique(groups[lit])}


def compared(slices, inputs, outputs, scores):
    """One test slice, of median foreground SSIM, and what else could stand for it, by falling SSIM.

    Returns:
        `{name: ((H, W, C) in [0, 1], {ssim, ssim_foreground, psnr})}`: "slice" itself, "this VQ-VAE", "blur_1" and on,
        "another_person", "mean_image" and "position_mean".
    """
    test = slices.where("test")
    order = np.argsort(scores["ssim_foreground"])  # NaN, a slice without foreground, comes last
    chosen = order[np.count_nonzero(~np.isnan(scores["ssim_foreground"])) // 2]
    one = inputs[chosen : chosen + 1]
    other = another_person(slices, test)[chosen]
    found = {"slice": one / 255.0, "this VQ-VAE": outputs[chosen : chosen + 1],
             **{f"blur_{sigma}": _blurred(one, sigma) for sigma in BLURS},
             "another_person": inputs[other : other + 1] / 255.0,
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
    rows = _spread(np.arange(len(inputs)), 64)
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


def grain(study, slices, vqvae, codes):
    """`grain.npz`: what codes leave out of validation people's slices, as `Grain`."""
    rows = _spread(slices.where("validation"), 200)
    found = Grain(np.asarray(slices.images[rows]), vqvae.decode(codes[rows]))
    _save(study, "grain", scales=found.scales, spectrum=found.spectrum, levels=found.edges[0], slopes=found.edges[1])
    return found


class Reference:
    """What generated images are held against: real test slices and their reconstructions, training slices, codes.

    All is computed once, for samples of several temperatures.

    Args:
        codes: of all slices. inputs, outputs: the test slices and their reconstructions.
        thresholds: of the tissues, see `generation.tissue_thresholds`.
        grain: a `Grain`.
    """

    def __init__(self, study, slices, codes, inputs, outputs, thresholds, grain):
        test, train = slices.where("test"), slices.where("train")
        people = slices.person[test]
        self.people = people if np.unique(people).size > 1 else np.arange(len(test))
        self.thresholds, self.inputs, self.grain = thresholds, inputs, grain
        self.reconstructed = np.round(outputs * 255).astype(np.uint8)
        self.real, self.blurred = generation.features(inputs), generation.features(self.reconstructed)
        field = receptive_field(study.recipe.section("vqvae")["encoder"])
        black = metrics.black_cells(inputs, codes.shape[1:], field)
        self.background = memorisation.background_code(codes[test], black)
        self.codes = codes[train]
        self.thumbnails = baselines.thumbnails(slices.images, rows=train)
        # Reconstructions, not slices: what comes out of the same decoder is as smooth as a sample.
        _, self.held_pixels = baselines.nearest(baselines.thumbnails(self.reconstructed), self.thumbnails)
        _, self.held_codes, self.held_runs = memorisation.code_distances(codes[test], self.codes, self.background)

    def neighbours(self, images, codes):
        """Nearest training slices of samples: `{pixel_index, pixel_distance, code_index, code_distance, run}`."""
        index, distance = baselines.nearest(baselines.thumbnails(images), self.thumbnails)
        nearest, share, run = memorisation.code_distances(codes, self.codes, self.background)
        return {"pixel_index": index, "pixel_distance": distance, "code_index": nearest, "code_distance": share,
                "run": run}  # fmt: skip

    def suspects(self, near):
        """Which samples lie below the held-out threshold of either distance: bool."""
        by_pixels = memorisation.flagged(near["pixel_distance"], self.held_pixels)
        return by_pixels | memorisation.flagged(near["code_distance"], self.held_codes)

    def failures(self, near):
        """Which samples are like no slice, and about them; see `memorisation.failures`."""
        return memorisation.failures(near["pixel_distance"], self.held_pixels, self.people)

    def closest(self, near):
        """How near each sample lies, in parts of the threshold, by the distance that is the smaller part.

        Returns:
            parts (n,), below 1 for the suspects alone, and the index of the training slice by that distance, (n,).
        """
        parts = np.stack([
            near["pixel_distance"] / max(memorisation.threshold(self.held_pixels), 1e-9),
            near["code_distance"] / max(memorisation.threshold(self.held_codes), 1e-9),
        ])  # fmt: skip
        by_codes = parts.argmin(axis=0).astype(bool)
        return parts.min(axis=0), np.where(by_codes, near["code_index"], near["pixel_index"])

    def anatomy(self, images):
        """Tissue shares and ventricle size of images, all by the rule of grey levels."""
        return generation.anatomy(generation.tissues(images, self.thresholds))


def generated(study, reference, images):
    """`generation.json`: two-sample AUCs, pair MS-SSIM, anatomy of samples and of test slices.

    Returns:
        that document, whose `anatomy` holds `{kind: {measure: {"mean", "low", "high"}}}` with intervals over people or
        samples, and whose `outside` the share of samples beyond the 1st and 99th percentile of test slices (2% of
        these by construction), and the measures themselves, `{kind: {measure: (n,)}}`.
    """
    people, seed = reference.people, study.recipe.evaluation.seed
    names, splits = np.arange(len(images)), np.unique(people)
    drawn, redrawn = (reference.grain.draw(some, seed) for some in (images, reference.reconstructed))
    sets = {"test slices": (reference.real, people), "reconstructions": (reference.blurred, people),
            "reconstructions with grain": (generation.features(redrawn), people),
            "samples": (generation.features(images), names),
            "samples with grain": (generation.features(drawn), names)}  # fmt: skip
    auc = {}
    for one, other in (("samples with grain", "test slices"), ("samples with grain", "reconstructions with grain"),
                       ("samples", "reconstructions"), ("samples", "test slices"),
                       ("reconstructions", "test slices")):  # fmt: skip
        (first, first_groups), (second, second_groups) = sets[other], sets[one]
        auc[f"{one} against {other}"] = generation.two_sample_auc(first, second, first_groups, second_groups, seed=seed)
    floor = []
    for split in range(10):
        half = np.isin(people, np.random.default_rng([seed, split]).permutation(splits)[: len(splits) // 2])
        if np.unique(people[half]).size > 1:
            pair = reference.real[half], reference.real[~half], people[half], people[~half]
            floor.append(generation.two_sample_auc(*pair, draws=1, seed=split)["mean"])
    if floor:
        spread = {"mean": float(np.mean(floor)), "low": float(np.min(floor)), "high": float(np.max(floor))}
        auc["test people against other test people"] = spread
    pairs = {"generated": metrics.pair_similarity(drawn, seed=seed),
             "real": metrics.pair_similarity(reference.inputs, people, seed=seed)}  # fmt: skip
    kinds = {"real": reference.inputs, "reconstructed": reference.reconstructed, "generated": images}
    measures = {kind: reference.anatomy(some) for kind, some in kinds.items()}
    of_whom = {"real": people, "reconstructed": people, "generated": names}
    anatomy = {
        kind: {name: metrics.interval(values, of_whom[kind]) for name, values in found.items()}
        for kind, found in measures.items()
    }
    limits = {name: np.percentile(values, [1, 99]) for name, values in measures["real"].items()}
    outside = {name: float(((values < limits[name][0]) | (values > limits[name][1])).mean())
               for name, values in measures["generated"].items()}  # fmt: skip
    document = {
        "two_sample_auc": auc, "pair_ms_ssim": {kind: pair["mean"] for kind, pair in pairs.items()},
        "pair_ms_ssim_interval": pairs, "anatomy": anatomy, "outside": outside,
    }  # fmt: skip
    files.write_json(study.evaluation / "generation.json", document)
    rows = [(kind, *row) for kind, found in measures.items() for row in zip(*map(_floats, found.values()), strict=True)]
    files.write_csv(study.evaluation / "anatomy.csv", ("images", *measures["real"]), rows)
    return document, measures


def on_the_floor(aucs, people):
    """A sentence that holds the whole model's AUC, the first of `generated`'s, against the floor, the last; or ""."""
    floor = aucs.get("test people against other test people")
    if floor is None:
        return ""
    own = next(iter(aucs.values()))
    place = "beyond" if own["mean"] > floor["high"] else "within"
    return (
        f"With {people} test people, two halves of them reach {floor['low']:.2f} to {floor['high']:.2f} by the split "
        f"alone. The samples with grain, at {own['mean']:.2f} ({own['low']:.2f}–{own['high']:.2f}), lie {place} that "
        "range."
    )


def _floats(values):
    return [float(value) for value in values]


def memorised(study, reference, near, bits, known, heated):
    """`memorisation.json` and `.npz`: nearest training slices of all samples, thresholds, failures, and the verdict.

    Args:
        near: `Reference.neighbours` of the samples. bits: the prior's bits per code. known: see
            `stages.evaluate_membership`. heated: see `temperatures`.
    """
    suspects, exact = reference.suspects(near), int((near["code_distance"] == 0).sum())
    beyond = {split: gap["beyond_table"] for split, gap in known.items()}
    kind, sentence = memorisation.verdict(suspects, exact, bits["train"], bits["test"], beyond, heated)
    _, failed = reference.failures(near)
    document = {
        "kind": kind, "verdict": sentence, "memorised_fraction": float(suspects.mean()), "exact": exact,
        "failed": failed, "membership_auc": known,
        "memorised_at": {f"{row['temperature']:g}": row["memorised"] for row in heated},
        "longest_run": {"samples": int(near["run"].max()), "held_out": int(reference.held_runs.max())},
        "threshold": {"pixels": memorisation.threshold(reference.held_pixels),
                      "codes": memorisation.threshold(reference.held_codes)},
        "bits_per_code": {name: bits[name] for name in ("train", "test")},
    }  # fmt: skip
    files.write_json(study.evaluation / "memorisation.json", document)
    _save(study, "memorisation", suspects=suspects, held_pixels=reference.held_pixels, held_codes=reference.held_codes,
          held_runs=reference.held_runs, **near)  # fmt: skip
    return document


def temperatures(study, reference, vqvae, prior, images, codes, told, count=128):
    """`temperature.csv`: what the temperature does to samples; one row a temperature, the recipe's own among them.

    Up to `count` samples each; where the recipe draws no more than these, its own row is of all of them.
    """
    settings, rows, shown = study.recipe.evaluation, [], {}
    for temperature in sorted({*TEMPERATURES, settings.temperature}):
        if temperature == settings.temperature:
            few, grids = images[:count], codes[:count]
        else:
            n = min(count, len(images))
            grids = sampling.sample(prior, n, settings.seed, temperature, settings.top_k, settings.top_p,
                                    condition=told[:n])  # fmt: skip
            few = np.round(vqvae.decode(grids) * 255).astype(np.uint8)
        with_grain = reference.grain.draw(few, settings.seed)
        auc = generation.two_sample_auc(reference.real, generation.features(with_grain), reference.people,
                                        np.arange(len(few)), draws=200, seed=settings.seed)  # fmt: skip
        sizes, near = reference.anatomy(few), reference.neighbours(few, grids)
        rows.append({
            "temperature": temperature, "count": len(few),
            "auc": auc["mean"], "auc_low": auc["low"], "auc_high": auc["high"],
            "pair_ms_ssim": metrics.pair_similarity(with_grain, seed=settings.seed)["mean"],
            "memorised": float(reference.suspects(near).mean()),
            "failed": float(reference.failures(near)[0].mean()),
            **{name.replace(" ", "_"): float(values.mean()) for name, values in sizes.items()},
        })  # fmt: skip
        shown[temperature] = few
    files.write_csv(study.evaluation / "temperature.csv", tuple(rows[0]), [tuple(row.values()) for row in rows])
    return rows, shown


def completions(study, slices, vqvae, prior, codes, told, count=4, tries=5):
    """`completions.npz`: the lower half of some test slices drawn anew, `tries` times each.

    Returns:
        rows of the slices, and images uint8 (count, tries, H, W, C).
    """
    test, seed = slices.where("test"), study.recipe.evaluation.seed
    chosen = _spread(test, 2 * count + 1)[1::2][:count]
    options = {"seed": seed, "temperature": study.recipe.evaluation.temperature}
    drawn = []
    for row in chosen:
        given = codes[row].copy()
        given[given.shape[0] // 2 :] = sampling.FREE
        condition = np.repeat(told[row][None], tries, axis=0) if prior.conditional else None
        drawn.append(vqvae.decode(sampling.complete(prior, given, tries, condition=condition, **options)))
    images = np.round(np.stack(drawn) * 255).astype(np.uint8)
    _save(study, "completions", rows=chosen, images=images)
    return chosen, images


def panel(study, inputs, images, count=12):
    """`panel.npz`: real and generated slices in random order, and which are which (True: generated)."""
    rng = np.random.default_rng([study.recipe.evaluation.seed, 4])
    count = min(count, len(inputs), len(images))
    real, new = (some[rng.choice(len(some), count, replace=False)] for some in (inputs, images))
    order = rng.permutation(2 * count)
    mixed, is_new = np.concatenate([real, new])[order], np.repeat([False, True], count)[order]
    _save(study, "panel", images=mixed, generated=is_new)
    return mixed, is_new


def apart(slices, rows):
    """The two of `rows` that are most unlike, of different people at one position (of one person, if there is but one).

    Where positions are not known, all slices count as of one. Unlike is the Euclidean distance of thumbnails.
    """
    people, position = slices.person[rows], slices.position[rows]
    thumbnails, best, pair = baselines.thumbnails(slices.images, rows=rows), -1.0, rows[[0, 0]]
    for place in np.unique(position):
        here = _spread(np.flatnonzero(position == place), 500)
        distance = cdist(thumbnails[here], thumbnails[here])
        if np.unique(people).size > 1:
            distance[people[here][:, None] == people[here]] = -1
        if distance.max() > best:
            best = distance.max()
            pair = rows[here[list(np.unravel_index(distance.argmax(), distance.shape))]]
    return pair


def latent(study, slices, vqvae, codes, outputs, classes, names=CLASSES, steps=7):
    """`latent.npz`: each code as it is decoded in its places, where codes are used, and a walk between two people.

    Returns:
        dict of `patches` (K, 3p, 3p): means of the reconstruction around up to 32 places of each code, p pixels a cell,
        NaN for a code that the test slices do not use; `counts` (K,); `by_tissue` (classes, K) and `by_position` (P, K)
        counts; `positions` (P,); `pair` (2,): the rows that `apart` finds; `walk` (2, steps, H, W, C): between those
        two, by latents and by pixels.
    """
    test, size, (height, width) = slices.where("test"), vqvae.quantizer.codes, vqvae.grid
    mine, side = codes[test], outputs.shape[1] // height
    padded = np.pad(outputs.mean(axis=-1), ((0, 0), (side, side), (side, side)))
    patches = np.full((size, 3 * side, 3 * side), np.nan, np.float32)
    order = np.argsort(mine.ravel(), kind="stable")
    counts = np.bincount(mine.ravel(), minlength=size)
    for code, places in enumerate(np.split(order, np.cumsum(counts)[:-1])):
        if places.size:
            n, row, column = np.unravel_index(_spread(places, 32), mine.shape)
            cut = [padded[a, b * side : (b + 3) * side, c * side : (c + 3) * side]
                   for a, b, c in zip(n, row, column, strict=True)]  # fmt: skip
            patches[code] = np.mean(cut, axis=0)
    middle = classes.reshape(len(test), height, side, width, side)[:, :, side // 2, :, side // 2]
    position = slices.position[test]
    by_tissue = np.stack([np.bincount(mine[middle == k], minlength=size) for k in range(len(names))])
    positions = np.unique(position)
    by_position = np.stack([np.bincount(mine[position == p].ravel(), minlength=size) for p in positions])
    pair = apart(slices, test)
    ends = np.asarray(slices.images[pair])
    vectors = np.asarray(vqvae.encoder.predict_on_batch(ends))
    share = np.linspace(0, 1, steps, dtype=np.float32).reshape(-1, 1, 1, 1)
    between = vectors[:1] * (1 - share) + vectors[1:] * share
    grids = ops.convert_to_numpy(vqvae.quantizer.encode(ops.convert_to_tensor(between)))
    walk = np.stack([vqvae.decode(grids), (ends[:1] * (1 - share) + ends[1:] * share) / 255])
    return _save(study, "latent", patches=patches, counts=counts, by_tissue=by_tissue, by_position=by_position,
                 positions=positions, pair=pair, walk=walk.astype(np.float32))  # fmt: skip
