"""Images drawn from the prior, and how like real slices they are."""

import time

import numpy as np

from vq_lib import files
from vq_lib.models import sampling
from vq_lib.report.evaluation.shared import save, spread
from vq_lib.scores import baselines, generation, metrics
from vq_lib.scores.grain import Grain
from vq_lib.training.stages import conditions

TEMPERATURES = (0.7, 0.85, 1.15)  # beside the recipe's own


def drawing(study):
    """How the recipe draws, as options of `sampling.sample`."""
    return study.recipe.evaluation.model_dump(include={"seed", "temperature", "top_k", "top_p"})


def draw_samples(study, slices, vqvae, prior):
    """Generated images as `evaluation` in the recipe says: uint8 (N, H, W, C), codes, conditions, seconds.

    A conditioned prior is told what N training slices, drawn at random, are.
    """
    settings = study.recipe.evaluation
    _, _, told = conditions(slices, study.recipe.prior.condition)
    train = slices.where("train")
    told = told[np.random.default_rng(settings.seed).choice(train, settings.samples)]
    began = time.monotonic()
    codes = sampling.sample(prior, settings.samples, condition=told, **drawing(study))
    seconds = time.monotonic() - began
    images = metrics.levels(vqvae.decode(codes))
    with files.whole_file(study.evaluation / "samples.npz") as temporary:
        np.savez_compressed(temporary, codes=codes.astype(np.uint16), images=images, condition=told)
    return images, codes, told, seconds


def draw_conditioned(study, slices, vqvae, prior, columns=8):
    """Rows of slices at the same positions: real ones of test people, then new ones for each label, `{name: images}`.

    A prior that knows no positions draws them for none; one that knows no labels has one row.
    """
    test, seed = slices.where("test"), study.recipe.evaluation.seed
    rng, last = np.random.default_rng(seed), slices.position[test].max()
    last = min(last, prior.slices - 1) if prior.slices else last  # no more than training people have
    places = np.round(np.linspace(0, last, columns + 2)[1:-1]).astype(int)
    near = [
        test[np.abs(slices.position[test] - place) == np.abs(slices.position[test] - place).min()] for place in places
    ]
    rows = {"test people": np.asarray(slices.images[np.array([rng.choice(some) for some in near])])}
    names = list(prior.labels) or [""]
    label = np.repeat(np.arange(len(names)) if prior.labels else [-1], columns)
    told = np.stack([label, np.tile(places if prior.slices else -np.ones(columns, int), len(names))], axis=1)
    drawn = vqvae.decode(sampling.sample(prior, len(told), condition=told, **drawing(study)))
    for name, images in zip(names, np.split(metrics.levels(drawn), len(names)), strict=True):
        rows[f"new, {name}" if name else "new"] = images
    return rows


def position_agreement(slices, images, told, positions, outputs):
    """How often the nearest training slice lies within 3/32 of the volume from where a slice should be.

    Args:
        told: what each sample was told, (N, 2). positions: how many there are. outputs: the test slices'
            reconstructions, which are as smooth as samples.

    Returns:
        `{"samples", "test", "chance"}`: the shares of the samples and of the test slices, and what a training slice
        drawn at random has.
    """
    train, test = slices.where("train"), slices.where("test")
    places, references = slices.position[train], baselines.thumbnails(slices.images, rows=train)

    def share(pictures, wanted):
        index, _ = baselines.nearest(baselines.thumbnails(pictures), references)
        return float((np.abs(places[index] - wanted)[wanted >= 0] <= 3 * positions / 32).mean())

    wanted = told[:, 1][told[:, 1] >= 0]
    return {
        "samples": share(images, told[:, 1]),
        "test": share(metrics.levels(outputs), slices.position[test]),
        "chance": float((np.abs(places - wanted[:, None]) <= 3 * positions / 32).mean()),
    }


def grain(study, slices, vqvae, codes):
    """`grain.npz`: what codes leave out of validation people's slices, as `Grain`."""
    rows = spread(slices.where("validation"), 200)
    found = Grain(np.asarray(slices.images[rows]), vqvae.decode(codes[rows]))
    save(study, "grain", scales=found.scales, spectrum=found.spectrum, levels=found.edges[0], slopes=found.edges[1])
    return found


def panel(study, inputs, images, count=12):
    """`panel.npz`: real and generated slices in random order, and which are which (True: generated)."""
    rng = np.random.default_rng([study.recipe.evaluation.seed, 4])
    count = min(count, len(inputs), len(images))
    real, new = (some[rng.choice(len(some), count, replace=False)] for some in (inputs, images))
    order = rng.permutation(2 * count)
    mixed, is_new = np.concatenate([real, new])[order], np.repeat([False, True], count)[order]
    save(study, "panel", images=mixed, generated=is_new)
    return mixed, is_new


def generated(study, reference, images):
    """`generation.json`: two-sample AUCs, pair MS-SSIM, anatomy of samples, and of slices of training and test people.

    Returns:
        that document, whose `anatomy` holds `{kind: {measure: {"mean", "low", "high"}}}` with intervals over people or
        samples, and whose `outside` the share of samples beyond the 1st and 99th percentile of training slices (2% of
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
    kinds = {"training": reference.trained[0], "real": reference.inputs, "reconstructed": reference.reconstructed,
             "generated": images}  # fmt: skip
    measures = {kind: reference.anatomy(some) for kind, some in kinds.items()}
    of_whom = {"training": reference.trained[1], "real": people, "reconstructed": people, "generated": names}
    anatomy = {
        kind: {name: metrics.interval(values, of_whom[kind]) for name, values in found.items()}
        for kind, found in measures.items()
    }
    limits = {name: np.percentile(values, [1, 99]) for name, values in measures["training"].items()}
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
            options = {**drawing(study), "temperature": temperature}
            grids = sampling.sample(prior, n, condition=told[:n], **options)
            few = metrics.levels(vqvae.decode(grids))
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
    chosen, drawn = spread(slices.where("test"), 2 * count + 1)[1::2][:count], []
    for row in chosen:
        given = codes[row].copy()
        given[given.shape[0] // 2 :] = sampling.FREE
        condition = np.repeat(told[row][None], tries, axis=0) if prior.conditional else None
        drawn.append(vqvae.decode(sampling.complete(prior, given, tries, condition=condition, **drawing(study))))
    images = metrics.levels(np.stack(drawn))
    save(study, "completions", rows=chosen, images=images)
    return chosen, images
