"""Copies of a picture are found, moved, mirrored, turned or in other levels; pictures of two people are none."""

import dataclasses
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vq_lib import data as datasets
from vq_lib.data import cohort, duplicates, reading
from vq_lib.data.duplicates import copies
from vq_lib.errors import UserError
from vq_lib.study import Study

MODEL = "vqvae: {encoder: [{layer: conv, filters: 4, stride: 2}], decoder: [{layer: transpose, filters: 4, stride: 2}]}"
BICUBIC = Image.Resampling.BICUBIC


def jpeg(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=75)
    return np.asarray(Image.open(buffer))


def turned(image, degrees):
    return np.asarray(Image.fromarray(image).rotate(degrees, BICUBIC))


def cropped(image):
    """1.6% of the side less, drawn out again."""
    off = max(1, round(len(image) * 0.008))
    return np.asarray(Image.fromarray(image[off:-off, off:-off]).resize(image.shape[::-1], BICUBIC))


KINDS = {
    "same": lambda image: image,
    "moved by 1": lambda image: np.roll(image, 1, 1),
    "moved by 2": lambda image: np.roll(image, -2, 0),
    "moved by 2 and 2": lambda image: np.roll(image, (2, 2), (0, 1)),
    "cropped": cropped,
    "mirrored": lambda image: image[:, ::-1],
    "upside down": lambda image: image[::-1],
    "inverted": lambda image: 255 - image,
    "turned by 90°": np.rot90,
    "turned by 2°": lambda image: turned(image, 2),
    "turned by -2°": lambda image: turned(image, -2),
    "gamma 1.6": lambda image: np.round(255 * (image / 255) ** 1.6).astype(np.uint8),
    "brighter": lambda image: np.round(40 + 0.8 * image).astype(np.uint8),
    "JPEG": jpeg,
    "mirrored, turned by 2° and moved by 1": lambda image: turned(np.roll(image[:, ::-1], 1, 0), 2),
}


def shrunk(images):
    """Thumbnails of images uint8 (N, side, side)."""
    return np.stack([reading.thumbnail(Image.fromarray(image)) for image in np.ascontiguousarray(images)])


def shares_found(images, own, everything):
    """`{kind: share}` of `images` whose copy is found to be `everything[own]`, and how many pairs name others."""
    made = [KINDS[kind](image) for kind in KINDS for image in images]
    thumbs = np.concatenate([shrunk(np.stack(made)), everything])
    pairs, _, _ = copies(thumbs, np.repeat([0, 1], [len(made), len(everything)]))
    right = own[pairs[:, 0] % len(own)] == pairs[:, 1] - len(made)
    counts = np.bincount(pairs[right, 0] // len(own), minlength=len(KINDS))
    return dict(zip(KINDS, counts / len(own), strict=True)), (~right).sum()


@pytest.fixture(scope="module")
def people():
    """Slices of 128 pixels with a margin, as scans have it."""
    slices = cohort.make({"train": 12, "validation": 4, "test": 6}, slices=8, size=112, seed=1, progress=False)
    return dataclasses.replace(slices, images=np.pad(slices.images, ((0, 0), (8, 8), (8, 8), (0, 0))))


def test_each_kind_of_copy_is_found(people):
    everything = people.images[..., 0]
    own = np.arange(0, len(everything), 5)
    found, wrong = shares_found(everything[own], own, shrunk(everything))
    assert min(found.values()) >= 0.95 and wrong == 0, (found, wrong)


@pytest.mark.parametrize(("size", "seed"), [(32, 0), (64, 0), (128, 3)])
def test_people_of_the_cohort_are_no_copies(size, seed):
    slices = cohort.make({"train": 10, "validation": 4, "test": 6}, 6, size, seed, progress=False)
    assert len(copies(shrunk(slices.images[..., 0]), slices.split)[0]) == 0


def test_pairs_are_named_once_with_what_was_done(people):
    image = people.images[4, ..., 0]
    thumbs = shrunk(np.stack([image, 255 - image[:, ::-1], np.rot90(image), np.zeros_like(image), image]))
    pairs, values, how = copies(thumbs)
    assert pairs.tolist() == [[0, 1], [0, 2], [0, 4], [1, 2], [1, 4], [2, 4]] and (values > 0.999).all()
    assert how[0] == "mirrored, inverted" and how[2] == "" and how[1] in ("turned 90°", "turned 270°")
    assert copies(thumbs, np.array([0, 0, 0, 1, 1]))[0].tolist() == [[0, 4], [1, 4], [2, 4]]
    assert len(copies(np.full((3, 64, 64), 77, np.uint8))[0]) == 0 and len(copies(thumbs[:0])[0]) == 0


def test_every_pair_is_compared_whatever_the_blocks(people, monkeypatch):
    thumbs = shrunk(people.images[:60, ..., 0])
    thumbs = np.concatenate([thumbs, thumbs[::-1, :, ::-1]])
    group = np.random.default_rng(0).choice(["train", "test", "validation"], len(thumbs))
    whole = [copies(thumbs)[0].tolist(), copies(thumbs, group)[0].tolist()]
    assert {(k, 119 - k) for k in range(60)} <= set(map(tuple, whole[0]))
    assert whole[1] == [[a, b] for a, b in whole[0] if group[a] != group[b]]
    monkeypatch.setattr(duplicates, "BLOCK", 7)
    assert [copies(thumbs)[0].tolist(), copies(thumbs, group)[0].tolist()] == whole


def test_thumbnails_are_means():
    images = np.random.default_rng(0).integers(0, 256, (3, 128, 128)).astype(np.uint8)
    assert np.abs(shrunk(images) - images.reshape(3, 64, 2, 64, 2).mean(axis=(2, 4))).max() <= 1
    for shape in ((96, 96), (64, 64, 3), (32, 48)):
        assert (shrunk(np.full((3, *shape), 77, np.uint8)) == 77).all()


# Through the whole of the check ----------------------------------------------------------------------------------


def folder_of_people(root, people, extra=()):
    """A picture of each person in train/ and test/, and more: `[(path, image)]`."""
    for number in range(0, len(people), 8):
        split = "test" if people.split[number] == "test" else "train"
        extra = [*extra, (f"{split}/{people.person[number]}.png", people.images[number + 4, ..., 0])]
    for name, image in extra:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(root / name)


@pytest.fixture
def study(tmp_path):
    (tmp_path / "recipe.yaml").write_text(f"title: test\ndata: {{size: 64}}\n{MODEL}\n")
    return lambda overrides="": Study(str(tmp_path), str(tmp_path / "data"), overrides)


def test_a_changed_copy_in_another_split_stops_the_run(study, tmp_path, people, capsys):
    image = people.images[4, ..., 0]
    extra = [("test/mirrored.png", image[:, ::-1]), ("test/same.png", image)]
    folder_of_people(tmp_path / "data", people, extra)
    with pytest.raises(UserError, match="near-identical pictures in two splits: 1.*worthless"):
        datasets.load(study())
    lines = capsys.readouterr().out
    assert "test/same.png = train/synthetic-001.png" in lines
    assert "test/mirrored.png ≈ train/synthetic-001.png (correlation 1.0000, mirrored)" in lines
    with pytest.raises(UserError, match="identical pictures"):  # also from the cache
        datasets.load(study())
    assert len(datasets.load(study("data.allow_leaks=true"))) == 24
    assert (
        sum("pictures in two splits" in text for text in datasets.summary(study("data.allow_leaks=true"))["warnings"])
        == 2
    )


def test_altered_copies_of_unknown_people_stay_on_one_side(study, tmp_path, people):
    extra = [(f"{kind[:4]}{number}.png", KINDS[kind](people.images[8 * number + 4, ..., 0]))
             for number in range(12) for kind in ("mirrored", "moved by 2", "inverted")]  # fmt: skip
    folder_of_people(tmp_path / "data", people, [(f"train/{name}", image) for name, image in extra])
    slices = datasets.load(study())
    assert len(slices) == 22 + 36
    of = dict(zip(slices.source.tolist(), slices.person.tolist(), strict=True))
    for name, _ in extra:
        number = int("".join(filter(str.isdigit, name)))
        assert of[f"train/{name}"] == of[f"train/synthetic-{number + 1:03d}.png"]
    assert any("cannot vouch" in text for text in datasets.summary(study())["warnings"])


@pytest.mark.skipif(not os.environ.get("OASIS_DIR"), reason="OASIS_DIR does not name a folder of OASIS slices")
def test_on_real_slices_copies_are_found_and_honest_pairs_are_not():
    """Four slices of each person; `test_real_oasis_slices` holds the splits apart with all."""
    paths = sorted(Path(os.environ["OASIS_DIR"]).rglob("case_*_slice_[0-9].nii.png"))[::3]
    images = reading.read_any(paths, 128)[0][..., 0]
    thumbs, person = shrunk(images), np.array([path.name[:8] for path in paths])
    pairs = copies(thumbs)[0]
    assert len(set(person)) > 150 and (person[pairs[:, 0]] == person[pairs[:, 1]]).all()
    own = np.arange(0, len(images), 25)
    found, wrong = shares_found(images[own], own, thumbs)
    assert min(found.values()) >= 0.95, found
    assert wrong <= len(own)  # a slice of the same person, next to it
