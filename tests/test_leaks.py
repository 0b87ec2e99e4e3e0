"""The mistakes that made published reports worthless, tried as a user would, and each one caught."""

import itertools

import numpy as np
import pandas as pd
import pytest
from conftest import unlinked
from PIL import Image

from vq_lib import data as datasets
from vq_lib.data import checks, cohort, reading, splits
from vq_lib.data.augment import augment
from vq_lib.data.slices import Slices
from vq_lib.errors import UserError
from vq_lib.layers.quantizer import EMAVectorQuantizer
from vq_lib.models.vqvae import VQVAE
from vq_lib.scores.images import ssim
from vq_lib.study import Study
from vq_lib.training.batches import Batches

MODEL = "vqvae: {encoder: [{layer: conv, filters: 4, stride: 2}], decoder: [{layer: transpose, filters: 4, stride: 2}]}"


def noise(seed, side=64):
    """A picture of blobs, like no other seed's: 4x4 blocks of random grey levels, none of which is flat."""
    rng = np.random.default_rng(seed)
    blobs = np.kron(rng.integers(0, 250, (side // 4, side // 4)), np.ones((4, 4), int))
    return (blobs + rng.integers(0, 6, (side, side))).astype(np.uint8)


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


@pytest.fixture
def study(tmp_path):
    def make(section="size: 64"):
        (tmp_path / "mine").mkdir(exist_ok=True)
        (tmp_path / "mine" / "recipe.yaml").write_text(f"title: test\ndata: {{{section}}}\n{MODEL}\n")
        return Study(str(tmp_path / "mine"), str(tmp_path / "data"))

    return make


def stops(study, *words):
    with pytest.raises(UserError) as caught:
        datasets.load(study)
    for word in words:
        assert word in str(caught.value), caught.value
    return str(caught.value)


# Mistake 1: masks trained on as if they were images --------------------------------------------------------------


def arrange_oasis(root):
    for split, cases in (("train", (1, 2, 3)), ("validate", (402,)), ("test", (441,))):
        for case, k in itertools.product(cases, (0, 1)):
            picture = noise(1000 * k + case)
            save(root / f"keras_png_slices_{split}" / f"case_{case:03d}_slice_{k}.nii.png", picture)
            save(root / f"keras_png_slices_seg_{split}" / f"seg_{case:03d}_slice_{k}.nii.png", picture // 64 * 85)


@pytest.mark.parametrize("layout", ["oasis", "image_folder"])
def test_masks_beside_the_images_are_left_out_and_counted(study, tmp_path, layout):
    """Also where the folder is forced into the layout that would read anything."""
    arrange_oasis(tmp_path / "data")
    mine = study(f"size: 64, layout: {layout}")
    slices = datasets.load(mine)
    assert len(slices) == 10 and not any("seg_" in source for source in slices.source)
    assert datasets.summary(mine)["masks left out"]["count"] == 10


def test_masks_that_no_name_betrays_stop_the_run(study, tmp_path):
    for k in range(14):
        save(tmp_path / "data" / "a" / f"{k}.png", noise(k) if k < 9 else noise(k) // 64 * 85)
    stops(study(), "few levels", "segmentation masks: 5", "a/9.png", "allow_leaks: true")
    assert len(datasets.load(study("size: 64, allow_leaks: true"))) == 14
    for k in range(9):
        (tmp_path / "data" / "a" / f"{k}.png").unlink()
    drawings = study("size: 64, test: 0.4")
    assert len(datasets.load(drawings)) == 5  # nothing but drawings: a warning
    assert any("segmentation masks" in text for text in datasets.summary(drawings)["warnings"])


def test_a_folder_of_masks_alone_is_refused(study, tmp_path):
    save(tmp_path / "data" / "seg_001_slice_0.png", noise(1) // 64 * 85)
    stops(study(), "masks by their names")


# Mistake 2: train, validation and test the same folder -----------------------------------------------------------


@pytest.mark.parametrize("links", [False, pytest.param(True, marks=unlinked)])
def test_the_same_pictures_in_every_split_stop_the_run(study, tmp_path, links):
    for k in range(4):
        save(tmp_path / "data" / "train" / "a" / f"{k}.png", noise(k))
    for split in ("val", "test"):
        if links:
            (tmp_path / "data" / split).symlink_to(tmp_path / "data" / "train", target_is_directory=True)
        else:
            for k in range(4):
                save(tmp_path / "data" / split / "a" / f"renamed {k}.png", noise(k))
    stops(study(), "identical pictures in two splits: 12", "train/a/0.png")  # 4 pictures in 3 pairs of splits


def test_every_planted_pair_is_named_and_allow_leaks_goes_on(study, tmp_path, capsys):
    """Re-encoded, brightened, resized and recoloured copies among mixed sizes and modes."""
    planted = set()
    for k in range(24):
        image = Image.fromarray(noise(k)).resize((64 + 8 * (k % 3),) * 2)
        if k % 2:  # something in colour
            image = Image.merge("RGB", (image, image.rotate(90), image.rotate(180)))
        path = tmp_path / "data" / ("Testing" if k % 4 == 3 else "Training") / "ab"[k % 2] / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
        if k < 5:
            copies = [image, image.resize((200, 160), Image.Resampling.BICUBIC), image.point(lambda g: 40 + 0.8 * g),
                      image, image.convert("P")]  # fmt: skip
            other = "Training" if path.parts[-3] == "Testing" else "Testing"
            name = f"copy {k}.{'jpg' if k == 3 else 'png'}"
            (tmp_path / "data" / other / "a").mkdir(parents=True, exist_ok=True)
            copies[k].save(tmp_path / "data" / other / "a" / name, **({"quality": 90} if k == 3 else {}))
            planted.add((f"{path.parts[-3]}/{path.parts[-2]}/{path.name}", f"{other}/a/{name}"))
    sentence = stops(study(), "identical pictures in two splits", "near-identical pictures in two splits")
    out = capsys.readouterr().out
    for pair in planted:
        assert any(all(name in line for name in pair) for line in out.splitlines()), (pair, out, sentence)
    assert len([line for line in out.splitlines() if " = " in line or " ≈ " in line]) == len(planted)
    stops(study(), "identical pictures")  # also from the cache
    slices = datasets.load(study("size: 64, allow_leaks: true"))
    assert len(slices) == 29 and "as made before" in capsys.readouterr().out
    warnings = datasets.summary(study("size: 64, allow_leaks: true"))["warnings"]
    assert sum("in two splits" in text for text in warnings) >= 2


# Mistake 3: validation drawn by slice ----------------------------------------------------------------------------


def test_a_person_in_two_given_splits_stops_the_run(study, tmp_path):
    arrange_oasis(tmp_path / "data")
    save(tmp_path / "data" / "keras_png_slices_test" / "case_002_slice_9.nii.png", noise(99))
    stops(study(), "People with slices in two splits: 1", "case_002 (train and test)")
    with pytest.raises(UserError, match="case_002"):
        datasets.check(study())
    slices = datasets.load(study("size: 64, allow_leaks: true"))
    assert set(slices.split[slices.person == "case_002"]) == {"train", "test"}
    assert any("case_002" in text for text in datasets.summary(study("size: 64, allow_leaks: true"))["warnings"])


def test_two_scans_that_a_table_gives_to_one_person_are_a_leak_too(study, tmp_path):
    for k, split in enumerate(("train", "train", "test")):
        save(tmp_path / "data" / "AD_NC" / split / "AD" / f"{218391 + k}_78.jpeg", noise(k))
    (tmp_path / "data" / "subjects.csv").write_text("scan,person\n218391,x\n218392,y\n218393,x\n")
    stops(study(), "x (train and test)")


@pytest.mark.parametrize("people", [7, 40, 101])
def test_splits_are_by_person_stratified_and_seeded(people):
    rng = np.random.default_rng(people)
    each = rng.integers(1, 6, people)
    person = np.repeat([f"p{k:03d}" for k in range(people)], each)
    label = np.repeat(rng.choice(["a", "b", "c"], people, p=[0.6, 0.3, 0.1]), each)
    given = np.full(len(person), "", dtype="U10")
    shares = {"test": 0.2, "validation": 0.15}
    split, cut = splits.assign(person, label, given, shares, seed=4)
    assert not splits.shared(person, split)
    who = {name: np.unique(person[split == name]) for name in ("train", "validation", "test")}
    for name, share in shares.items():
        assert len(who[name]) == cut[name] == max(1, round(share * people))
        for kind in "abc":
            of_kind = len(np.unique(person[label == kind]))
            assert abs(np.isin(who[name], person[label == kind]).sum() - share * of_kind) <= 1.5
    np.testing.assert_array_equal(split, splits.assign(person, label, given, shares, seed=4)[0])
    assert (split != splits.assign(person, label, given, shares, seed=5)[0]).any()
    order = rng.permutation(len(person))  # of the slices: decides nothing
    np.testing.assert_array_equal(splits.assign(person[order], label[order], given, shares, seed=4)[0], split[order])


def test_given_splits_are_kept_and_only_the_missing_one_is_cut():
    person = np.array([f"p{k}" for k in range(20)])
    given = np.array(["train"] * 15 + ["test"] * 5)
    split, cut = splits.assign(person, np.full(20, ""), given, {"test": 0.5, "validation": 0.2})
    assert cut == {"validation": 3} and (split[15:] == "test").all() and (split == "validation").sum() == 3
    with pytest.raises(UserError, match="1 people to train on"):
        splits.assign(person[:1], person[:1], np.array([""]), {"test": 0.5, "validation": 0.2})
    with pytest.raises(UserError, match="leave none"):
        splits.assign(person[:4], person[:4], np.full(4, ""), {"test": 0.9, "validation": 0.9})


def test_near_identical_pictures_of_nobody_stay_together(study, tmp_path):
    for k in range(30):
        save(tmp_path / "data" / "a" / f"{k}.png", noise(k // 2) ^ (k % 2))
    slices = datasets.load(study())
    assert len(set(slices.person)) == 15
    assert all(len(set(slices.split[slices.person == who])) == 1 for who in set(slices.person))


def test_the_nearest_neighbour_is_the_same_person_only_under_a_split_by_slice():
    slices = cohort.make({"train": 12, "validation": 1, "test": 1}, slices=24, size=64, seed=0, progress=False)
    slices = Slices(**{**slices.__dict__, "thumbnails": slices.images[..., 0]})
    found = splits.neighbours(slices)
    assert found["slice"]["same_person"] > 0.9 > 0.0 == found["person"]["same_person"]
    assert found["slice"]["same_label"] > 0.9 and found["slice"]["same_label"] > found["person"]["same_label"] + 0.1
    assert found["slice"]["correlation"] > found["person"]["correlation"]
    labels, counts = np.unique(slices.label, return_counts=True)
    assert found["constant"] == {"label": labels[counts.argmax()], "same_label": counts.max() / counts.sum()}


# Mistake 5: SSIM in a wrong range; mistake 9: another normalisation in prediction than in training -----------------


@pytest.mark.parametrize("change", [lambda x: x * 255.0, lambda x: x - 0.5])
def test_ssim_refuses_intensities_of_another_range(change):
    x = noise(0)[None, ..., None] / 255
    with pytest.raises(ValueError, match=r"uint8 or lie in \[0, 1\]"):
        ssim(change(x), change(x))


def test_the_model_refuses_images_that_somebody_normalised():
    block = {"kernel": 4, "stride": 2, "filters": 4}
    quantizer = EMAVectorQuantizer(4, 2)
    model = VQVAE((16, 16, 1), [{**block, "layer": "conv"}], [{**block, "layer": "transpose"}], quantizer)
    image = noise(0, 16)[None, ..., None]
    for wrong in (image / 255, image / 255 - 0.5, image.astype(np.float32)):
        with pytest.raises(ValueError, match="uint8"):
            model.encode(wrong)
    assert 0 <= model.decode(model.encode(image)).min() <= model.decode(model.encode(image)).max() <= 1


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "LA", "I;16"])
def test_the_same_slice_is_read_the_same_in_every_mode(tmp_path, mode):
    image = Image.fromarray(noise(3, 32))
    if mode == "I;16":
        other = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    else:
        other = image.convert("L" if mode in ("P", "LA") else "RGB").convert(mode)
    other.save(tmp_path / "other.png")
    with Image.open(tmp_path / "other.png") as saved:
        assert saved.mode == mode
    np.testing.assert_array_equal(reading.read(tmp_path / "other.png", 32)[..., 0], np.asarray(image))


def test_score_leaves_masks_out(tiny, tmp_path, command):
    save(tmp_path / "case_001_slice_0.png", noise(1, 32))
    save(tmp_path / "seg_001_slice_0.png", noise(1, 32) // 64 * 85)
    done = command("score", "--report", tiny, tmp_path)
    assert done.returncode == 0 and "1 images of 1 people" in done.stdout and "left out" in done.stdout


# Odd pictures ----------------------------------------------------------------------------------------------------


def test_odd_pictures_are_found():
    images = np.zeros((12, 64, 64, 1), np.uint8)
    images[:, 16:48, 16:48, 0] = [noise(k, 32) // 2 + 20 for k in range(12)]
    images[1], images[2] = 0, 255 - images[2]
    images[3, 4:60, 4:60] = 255
    images[4] //= 8
    noted = pd.DataFrame({"width": 64, "height": 64, "mode": "L", "colour": False, "labels": False}, range(12))
    noted.loc[5] = (80, 64, "RGB", True, True)
    names = np.array([str(k) for k in range(12)])
    table = {
        "person": names,
        "position": np.zeros(12, int),
        "label": names,
        "split": np.full(12, "train"),
        "source": names,
    }
    found = {
        one["check"]: one["examples"]
        for one in checks.pictures(Slices(images, **table, thumbnails=images[..., 0]), noted)
    }
    assert found["constant"] == ["1"] and found["inverted"] == ["2"] and found["saturated"] == ["3"]
    assert found["nearly black"] == ["4"] and found["masks among the images"] == ["5"]
    assert found["colour read as grey"] == ["5"]
    assert found["mixed sizes"] == ["64x64 (11)", "80x64 (1)"] and found["mixed modes"] == ["L (11)", "RGB (1)"]


# Augmentation ----------------------------------------------------------------------------------------------------


def test_each_augmentation_by_hand():
    images = np.stack([noise(k) for k in range(40)])[..., None]
    same = augment(images, np.random.default_rng(0))
    np.testing.assert_array_equal(same, images)
    flipped = augment(images, np.random.default_rng(0), flip=True)
    mirrored = [np.array_equal(b, a[:, ::-1]) for a, b in zip(images, flipped, strict=True)]
    assert 8 < sum(mirrored) < 32
    assert all(m or np.array_equal(a, b) for m, a, b in zip(mirrored, images, flipped, strict=True))
    bright = augment(images, np.random.default_rng(0), intensity=0.3)
    for a, b in zip(images.astype(float), bright, strict=True):
        gain = np.median(b[a > 50][b[a > 50] < 255] / a[a > 50][b[a > 50] < 255])
        assert 0.69 < gain < 1.31 and np.abs(np.minimum(a * gain, 255) - b).max() < 3
        assert (b[a == 0] == 0).all()


def test_shift_and_rotation_move_a_dot_as_the_formula_says():
    image = np.zeros((1, 64, 64, 1), np.uint8)
    image[0, 12:15, 42:45] = 255  # around the point (43.5, 13.5)
    moved = set()
    for seed in range(20):
        changed = augment(image, np.random.default_rng(seed), shift=0.1, rotation=20)[0, ..., 0].astype(float)
        rng = np.random.default_rng(seed)
        turn, move = np.deg2rad(rng.uniform(-20, 20, 1))[0], rng.uniform(-0.1, 0.1, (1, 2))[0] * 64
        turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ [43.5 - 32, 13.5 - 32]
        y, x = np.average(np.indices((64, 64)).reshape(2, -1), axis=1, weights=changed.ravel())
        np.testing.assert_allclose([x + 0.5, y + 0.5], turned + 32 + move, atol=0.3)
        moved.add((round(x), round(y)))
    assert len(moved) > 10


def test_colour_is_augmented_as_one_picture():
    image = np.repeat(noise(1)[None, ..., None], 3, axis=-1)
    changed = augment(image, np.random.default_rng(2), shift=0.1, rotation=10, flip=True, intensity=0.2)
    assert changed.shape == image.shape and (changed[..., :1] == changed).all() and (changed != image).any()
    with pytest.raises(ValueError, match="uint8"):
        augment(image / 255, np.random.default_rng(0))


def test_batches_are_augmented_by_seed_epoch_and_number_alone():
    images = np.stack([noise(k, 16) for k in range(12)])[..., None]

    def change(batch, rng):
        return augment(batch, rng, shift=0.1, flip=True)

    def epoch(number):
        batches = Batches(images, np.arange(12), 4, seed=3, change=change)
        batches.start(number)
        return np.concatenate([batches[i][0] for i in (2, 0, 1)])

    np.testing.assert_array_equal(epoch(1), epoch(1))
    assert (epoch(1) != epoch(2)).any()
