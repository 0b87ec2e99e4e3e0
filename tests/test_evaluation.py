"""What notebook 04 measures, on small hand-made slices."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from vq_lib import plots as figures
from vq_lib import recipe
from vq_lib.data import Slices, cohort, masks
from vq_lib.plots import generation as draw
from vq_lib.report import evaluation
from vq_lib.scores import metrics
from vq_lib.study import REPOSITORY


def people(count=3, positions=4, size=32):
    slices = cohort.make({"train": count, "test": count}, slices=positions, size=size, progress=False)
    return slices, slices.where("test")


def test_another_person_is_another_one_at_the_same_position():
    slices, test = people()
    other = test[evaluation.another_person(slices, test)]
    assert (slices.person[other] != slices.person[test]).all()
    np.testing.assert_array_equal(slices.position[other], slices.position[test])
    assert np.unique(other).size == len(test)


def test_one_test_person_is_nobodys_stranger():
    slices = cohort.make({"train": 3, "test": 1}, slices=4, size=32, progress=False)
    inputs = slices.images[slices.where("test")]
    scores = metrics.scores(inputs, inputs)
    found = evaluation.compared(slices, inputs, inputs / 255, scores)
    assert "another_person" not in found and {"slice", "mean_image", "blur_1"} <= set(found)


def test_every_figure_is_drawn_as_the_recipe_says(monkeypatch):
    """Top-p included; and positions beyond those of the training people are asked of nobody."""
    slices, _ = people()
    wanted = {"seed": 3, "temperature": 0.9, "top_k": 5, "top_p": 0.8}
    study = SimpleNamespace(
        recipe=SimpleNamespace(evaluation=recipe.Evaluation(**wanted), prior=SimpleNamespace(condition=("position",))),
        evaluation=None,
    )
    calls, codes = [], np.zeros((len(slices), 2, 2), int)
    monkeypatch.setattr(evaluation.samples, "save", lambda *_, **__: None)
    for name in ("sample", "complete"):
        monkeypatch.setattr(evaluation.samples.sampling, name, lambda *_, **options: calls.append(options) or codes[:6])
    prior = SimpleNamespace(labels=(), slices=2, conditional=True)
    vqvae = SimpleNamespace(decode=lambda grids: np.zeros((len(grids), 4, 4, 1)))
    evaluation.draw_conditioned(study, slices, vqvae, prior, columns=6)
    evaluation.completions(study, slices, vqvae, prior, codes, np.zeros((len(slices), 2), int), tries=6)
    for options in calls:
        condition = options.pop("condition")
        assert options == wanted and condition.max() <= 1
    assert len(calls) == 5


def test_scores_by_class_are_means_of_the_map():
    rng = np.random.default_rng(0)
    inputs = rng.integers(0, 256, (2, 24, 24, 1)).astype(np.uint8)
    outputs = np.clip(inputs / 255 + rng.normal(0, 0.1, inputs.shape), 0, 1).astype(np.float32)
    classes = (inputs[..., 0] / 255 > metrics.FOREGROUND).astype(int)
    found = metrics.ssim_by_class(inputs, outputs, classes, 3)
    np.testing.assert_allclose(found[:, 1], metrics.ssim(inputs, outputs)[1], atol=1e-6)
    assert np.isnan(found[:, 2]).all()
    share = classes.mean(axis=(1, 2))
    whole = found[:, 0] * (1 - share) + found[:, 1] * share
    np.testing.assert_allclose(whole, metrics.ssim_by_class(inputs, outputs, np.zeros_like(classes), 1)[:, 0])


def test_masks_are_found_by_their_names(tmp_path):
    levels = np.array([[0, 85], [170, 255]], np.uint8).repeat(16, axis=0).repeat(16, axis=1)
    folder = tmp_path / "data" / "keras_png_slices_seg_test"
    folder.mkdir(parents=True)
    Image.fromarray(levels).save(folder / "seg_441_slice_3.nii.png")
    source = np.array(["data/keras_png_slices_test/case_441_slice_3.nii.png"])
    image = np.zeros((1, 8, 8, 1), np.uint8)
    text = np.array([""])
    slices = Slices(image, text, np.array([3]), text, np.array(["test"]), source)
    found = masks.tissues(SimpleNamespace(data_folder=tmp_path), slices, np.array([0]))
    np.testing.assert_array_equal(found[0], np.array([[0, 1], [2, 3]]).repeat(4, axis=0).repeat(4, axis=1))
    assert masks.tissues(SimpleNamespace(data_folder=None), slices, np.array([0])) is None
    (folder / "seg_441_slice_3.nii.png").unlink()
    assert masks.tissues(SimpleNamespace(data_folder=tmp_path), slices, np.array([0])) is None


def test_rate_distortion_has_falling_error_and_this_models_points(tmp_path):
    slices, test = people()
    inputs = slices.images[test]
    scores = {name: np.full(len(test), 0.5) for name in ("ssim", "ssim_foreground", "psnr")}
    rows, count = evaluation.rate_distortion(SimpleNamespace(evaluation=tmp_path), inputs, scores, 0.5, 0.2)
    assert count == len(test)
    webp = [row for row in rows if row["codec"] == "webp"]
    assert len(webp) == len(evaluation.quality.QUALITIES) and webp[-1]["ssim"] > webp[0]["ssim"]
    assert all(row["bits_per_pixel_payload"] < row["bits_per_pixel"] for row in webp)
    assert [(row["codec"], row["bits_per_pixel"], row["ssim"]) for row in rows[-2:]] == [
        ("fixed-length codes", 0.5, 0.5), ("prior's code length", 0.2, 0.5)
    ]  # fmt: skip
    assert len((tmp_path / "rate-distortion.csv").read_text().splitlines()) == len(rows) + 1


def test_panel_mixes_and_remembers(tmp_path):
    real, new = np.zeros((20, 4, 4, 1), np.uint8), np.full((30, 4, 4, 1), 255, np.uint8)
    study = SimpleNamespace(evaluation=tmp_path, recipe=SimpleNamespace(evaluation=SimpleNamespace(seed=0)))
    mixed, is_new = evaluation.panel(study, real, new)
    assert len(mixed) == 24 and is_new.sum() == 12
    np.testing.assert_array_equal(mixed[:, 0, 0, 0] == 255, is_new)
    assert 0 < is_new[:12].sum() < 12
    first = (tmp_path / "panel.npz").read_bytes()
    evaluation.panel(study, real, new)
    assert (tmp_path / "panel.npz").read_bytes() == first


@pytest.fixture
def model():
    """A VQ-VAE as far as `latent` knows one: four codes, told apart by the mean of a patch."""
    import keras

    def encode(images):
        means = np.asarray(images, np.float32).reshape(len(images), 8, 4, 8, 4).mean(axis=(2, 4))
        return (means // 64).astype(np.int32)

    layer = keras.layers.AveragePooling2D(4)
    encoder = keras.Sequential([keras.Input((32, 32, 1)), layer])
    return SimpleNamespace(
        grid=(8, 8),
        quantizer=SimpleNamespace(codes=4, encode=lambda x: x[..., 0] // 64),
        encoder=encoder,
        decode=lambda codes: np.asarray(codes, np.float32).repeat(4, 1).repeat(4, 2)[..., None] / 4,
        encode=encode,
    )


def test_latent_counts_and_patches(tmp_path, model):
    slices, test = people()
    codes = model.encode(slices.images[..., 0])
    outputs = model.decode(codes[test])
    classes = np.zeros((len(test), 32, 32), np.uint8)
    found = evaluation.latent(SimpleNamespace(evaluation=tmp_path), slices, model, codes, outputs, classes, steps=3)
    np.testing.assert_array_equal(found["counts"], np.bincount(codes[test].ravel(), minlength=4))
    np.testing.assert_array_equal(found["by_tissue"][0], found["counts"])
    np.testing.assert_array_equal(found["by_position"].sum(axis=0), found["counts"])
    for code in np.flatnonzero(found["counts"]):  # a code's own cell, in the middle, shows that code
        np.testing.assert_allclose(found["patches"][code][4:8, 4:8], code / 4)
    assert np.isnan(found["patches"][found["counts"] == 0]).all()
    assert found["walk"].shape == (2, 3, 32, 32, 1)
    first = int(np.flatnonzero(test == found["pair"][0])[0])
    np.testing.assert_allclose(found["walk"][0, 0], outputs[first], atol=1e-6)


def test_the_walk_is_between_the_two_most_unlike_people_of_a_position():
    slices, test = people(count=4)
    pixels = slices.images[test].reshape(len(test), -1).astype(float)
    distance = np.sqrt(((pixels[:, None] - pixels[None]) ** 2).sum(axis=-1))
    distance[slices.position[test][:, None] != slices.position[test]] = -1
    a, b = np.unravel_index(distance.argmax(), distance.shape)
    found = evaluation.apart(slices, test)
    assert set(found) == {test[a], test[b]} and len(set(slices.person[found])) == 2
    one = test[slices.person[test] == slices.person[test][0]]
    assert set(slices.person[evaluation.apart(slices, one)]) == {slices.person[test][0]}
    nowhere = slices.__class__(
        slices.images, slices.person, np.full(len(slices), -1), slices.label, slices.split, slices.source
    )
    assert len(set(slices.person[evaluation.apart(nowhere, test)])) == 2


def test_what_else_could_stand_for_a_slice():
    slices, test = people()
    inputs = slices.images[test]
    outputs = inputs.astype(np.float32) / 255
    scores = {"ssim_foreground": np.linspace(0.5, 0.9, len(test))}
    scores["ssim_foreground"][0] = np.nan
    found = evaluation.compared(slices, inputs, outputs, scores)
    middle = (len(test) - 1) // 2 + 1
    np.testing.assert_array_equal(found["slice"][0], inputs[middle] / 255.0)
    assert list(found)[:2] == ["slice", "this VQ-VAE"] and found["this VQ-VAE"][1]["ssim"] == pytest.approx(1)
    assert found["blur_1"][1]["ssim"] > found["blur_2"][1]["ssim"] > found["blur_3"][1]["ssim"]
    ordered = [judged["ssim"] for _, judged in found.values()]
    assert ordered == sorted(ordered, reverse=True) and len(found) == 8


def test_what_is_lit_outside_the_masks_is_skull(monkeypatch):
    slices, test = people()
    inputs = slices.images[test]
    found = np.zeros(inputs.shape[:3], np.uint8)
    found[:, 16:, :] = 2
    monkeypatch.setattr(masks, "tissues", lambda *_: found)
    classes, about = evaluation.tissues(None, slices, inputs)
    lit = inputs[..., 0] / 255 > metrics.FOREGROUND
    assert about["source"] == "masks" and about["classes"][4] == evaluation.SKULL
    assert (classes[:, 16:] == 2).all()
    np.testing.assert_array_equal(classes[:, :16], np.where(lit[:, :16], 4, 0))


def test_samples_are_where_they_were_asked_to_be():
    slices, test = people(count=4, positions=8)
    train, outputs = slices.where("train"), slices.images[test] / 255
    told = np.stack([np.full(8, -1), np.r_[slices.position[train[:6]], -1, -1]], axis=1)
    images = slices.images[train[:8]]  # copies: the nearest training slice is the slice itself
    found = evaluation.position_agreement(slices, images, told, 8, outputs)
    assert found["samples"] == 1 and found["chance"] == pytest.approx(1 / 8) and found["test"] > found["chance"]
    away = np.where(told < 0, told, (told + 4) % 8)
    assert evaluation.position_agreement(slices, images, away, 8, outputs)["samples"] == 0


@pytest.mark.parametrize("knows", [True, False])
def test_membership_is_found_where_training_people_have_shorter_codes(knows):
    """A prior of one logit a code, sure of the codes of training people alone, or of nobody's."""
    rng, names = np.random.default_rng(0), np.repeat(np.arange(24), 5)
    split = np.repeat(["train", "validation", "test"], [60, 30, 30])
    empty, position = np.full(120, ""), np.tile(np.arange(5), 24)
    image = np.zeros((120, 2, 2, 1), np.uint8)
    slices = Slices(image, names.astype(str), position, empty, split, empty)
    codes = rng.integers(0, 4, (120, 3, 3))

    def logits(some):
        seen = np.array([knows and (grid == codes[:60]).all(axis=(1, 2)).any() for grid in some])
        right = np.where(seen, 3.0, 0.0) + rng.normal(0, 0.1, len(some))
        return np.eye(4)[some] * right[:, None, None, None]

    prior = SimpleNamespace(codes=4, conditional=False, predict_on_batch=logits)
    study = SimpleNamespace(recipe=SimpleNamespace(prior=SimpleNamespace(condition=())))
    found = evaluation.membership_metrics(study, slices, prior, codes, people=8, each=3)
    assert list(found) == ["validation", "test"]
    for group in found.values():
        assert (group["prior"]["mean"] == 1) is knows
        assert group["prior"]["low"] <= 0.5 or knows


@pytest.mark.parametrize("known", [True, False])
def test_copies_are_found_where_two_scans_of_one_person_count_as_two_people(monkeypatch, known):
    """Scans of one person are alike: held against each other as if of two people, they would let every copy pass."""
    made = cohort.make({"train": 40, "test": 12}, slices=4, size=32, progress=False)
    train, test = made.where("train"), made.where("test")
    rng = np.random.default_rng(0)
    again = np.clip(made.images[train] + rng.normal(0, 2, made.images[train].shape), 0, 255).astype(np.uint8)
    images = np.concatenate([made.images[train], again, made.images[test]])
    scan = made.person[train] if known else np.char.add(made.person[train], "-again")
    people = np.concatenate([made.person[train], scan, made.person[test]])
    split = np.repeat(["train", "test"], [2 * len(train), len(test)])
    position, text = np.r_[made.position[train], made.position[train], made.position[test]], np.full(len(images), "")
    slices = Slices(images, people, position, text, split, text)
    monkeypatch.setattr(evaluation.reference, "findings", lambda _: [] if known else [
        {"check": "people unknown", "count": 80}])  # fmt: skip
    codes = rng.integers(0, 64, (len(images), 8, 8))
    vqvae = SimpleNamespace(decode=lambda some: np.stack([
        images[np.flatnonzero((codes == grid).all(axis=(1, 2)))[0]] for grid in some]) / 255)  # fmt: skip
    study = SimpleNamespace(recipe=recipe.load(REPOSITORY / "reports" / "demo" / "recipe.yaml"))
    rows = np.arange(2 * len(train), len(images))
    reference = evaluation.Reference(study, slices, vqvae, codes, images[rows], images[rows] / 255, None, None)
    near = reference.neighbours(images[:64], rng.integers(0, 64, (64, 8, 8)))
    assert reference.suspects(near).all(), "each is a training slice"
    assert np.isfinite(reference.own_pixels).all() == known


def test_failures_and_suspects_are_told_by_the_same_distances():
    reference = object.__new__(evaluation.Reference)
    reference.people = np.repeat(np.arange(10), 20)
    reference.held_pixels, reference.limits = np.linspace(4, 6, 200), {"pixels": 4.02, "codes": 0.504}
    near = {"pixel_distance": np.array([5.0, 3.0, 9.0, 5.0]), "code_distance": np.array([0.7, 0.8, 0.9, 0.3]),
            "pixel_index": np.arange(4), "code_index": np.arange(4) + 10}  # fmt: skip
    parts, index = reference.closest(near)
    np.testing.assert_array_equal(parts < 1, reference.suspects(near))
    np.testing.assert_array_equal(parts < 1, [False, True, False, True])
    assert index[1] == 1 and index[3] == 13
    assert reference.failures(near)[0].tolist() == [False, False, True, False]


@pytest.mark.parametrize(("side", "across"), [(32, 6), (64, 6), (128, 6), (256, 3)])
def test_slices_are_drawn_no_smaller_than_they_are(side, across):
    assert draw.columns(side) == across and draw.columns(side) * side <= 928  # pixels of the report's column
    images = np.zeros((7, 32, 32, 1), np.uint8)
    for figure in (draw.gallery({"a": images, "b": images[:6]}), draw.panel(images), draw.by_temperature({1.0: images}),
                   draw.neighbours(images, images, ["x"] * 7, [True] * 7, across=3),
                   draw.neighbours(images[:1], images[:1], ["x"], [False], difference=False)):  # fmt: skip
        assert figures.rendered(figure, "alt")[0] == "png"
