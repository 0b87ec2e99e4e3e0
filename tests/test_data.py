"""From recipe and folder to slices: the table of people, reading, the check and the cache."""

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from vq_lib import data as datasets
from vq_lib.data import Slices, reading
from vq_lib.errors import UserError
from vq_lib.study import Study

MODEL = "vqvae: {encoder: [{layer: conv, filters: 4, stride: 2}], decoder: [{layer: transpose, filters: 4, stride: 2}]}"
CASES = {"train": (1, 2, 10), "validate": (402,), "test": (441, 442)}


def picture(case, position, side=32):
    """Random grey levels that tell case and position apart: any mix-up changes pixels."""
    return np.random.default_rng([case, position]).integers(0, 256, (side, side)).astype(np.uint8)


def arrange(root, positions=(0, 1, 11)):
    """The three folders of the OASIS layout, with masks beside the images."""
    for split, cases in CASES.items():
        for kind, prefix in ((split, "case"), (f"seg_{split}", "seg")):
            folder = root / f"keras_png_slices_{kind}"
            folder.mkdir(parents=True)
            for case in cases:
                for position in positions:
                    levels = picture(case, position) if prefix == "case" else np.full((32, 32), 85, np.uint8)
                    Image.fromarray(levels).save(folder / f"{prefix}_{case:03d}_slice_{position}.nii.png")
    return root


@pytest.fixture
def images(tmp_path):
    arrange(tmp_path / "images" / "keras_png_slices_data")
    return tmp_path / "images"


@pytest.fixture
def study(tmp_path):
    """A function that makes a study from the text of its `data:` section and a folder."""

    def make(section, folder=""):
        (tmp_path / "mine").mkdir(exist_ok=True)
        (tmp_path / "mine" / "recipe.yaml").write_text(f"title: test\ndata: {section}\n{MODEL}\n")
        return Study(str(tmp_path / "mine"), str(folder))

    return make


def refuses(study, *words):
    """The check's sentence, which must hold every one of `words`."""
    with pytest.raises(UserError) as caught:
        datasets.check(study)
    for word in words:
        assert str(word) in str(caught.value), caught.value


def slice_file(images, name="keras_png_slices_train/case_002_slice_1.nii.png"):
    return images / "keras_png_slices_data" / name


# The table of people ---------------------------------------------------------------------------------------------


def test_labels_ages_and_unmatched_people_come_from_subjects_csv(study, images):
    (images / "subjects.csv").write_text("case,sex,age,cdr\n001,F,70,0\n002,M,,0.5\n010,F,20,\n402,M,80,1\n999,M,3,0\n")
    mine = study("{layout: oasis, size: 16}", images)
    slices = datasets.load(mine)
    found = dict(zip(slices.person.tolist(), slices.label.tolist(), strict=True))
    assert found == {"case_001": "control", "case_002": "dementia", "case_010": "unrated", "case_402": "dementia",
                     "case_441": "", "case_442": ""}  # fmt: skip
    assert datasets.people(mine)["case_001"] == {"age": "70", "sex": "F"}
    checks = datasets.summary(mine)
    assert checks["layout"] == "oasis"
    assert checks["people without a row"] == {"count": 2, "examples": ["case_441", "case_442"]}
    assert checks["rows without slices"] == {"count": 1, "examples": ["999"]}


def test_oasis_public_table_joins_too(study, images):
    (images / "oasis_cross-sectional.csv").write_text("ID,M/F,Hand,Age,CDR\nOAS1_0002_MR1,F,R,55,0\n")
    mine = study("{layout: oasis, size: 16, subjects: oasis_cross-sectional.csv}", images)
    slices = datasets.load(mine)
    assert set(slices.label[slices.person == "case_002"]) == {"control"}
    assert datasets.people(mine) == {"case_002": {"age": "55", "sex": "F"}}


# Reading ---------------------------------------------------------------------------------------------------------


def test_shrinking_is_the_mean_of_the_area(tmp_path):
    levels = np.random.default_rng(0).integers(0, 256, (32, 32)).astype(np.uint8)
    Image.fromarray(levels).save(tmp_path / "a.png")
    expected = levels.reshape(16, 2, 16, 2).mean(axis=(1, 3))
    found = reading.read(tmp_path / "a.png", 16)
    assert found.shape == (16, 16, 1) and found.dtype == np.uint8
    assert np.abs(found[..., 0] - expected).max() <= 1
    np.testing.assert_array_equal(reading.read(tmp_path / "a.png", 32)[..., 0], levels)


@pytest.mark.parametrize("size", [20, 24, 128])
def test_black_stays_black(tmp_path, size):
    levels = np.zeros((32, 32), np.uint8)
    levels[8:24, 8:24] = 255
    Image.fromarray(levels).save(tmp_path / "a.png")
    border = size // 5
    assert reading.read(tmp_path / "a.png", size)[:border].max() == 0


# The check -------------------------------------------------------------------------------------------------------


def test_check_recognises_the_layout_and_signs_it(study, images):
    signature = datasets.check(study("{size: 16}", images))
    assert signature.startswith("oasis:")
    assert signature != datasets.check(study("{size: 32}", images))
    moved = shutil.copytree(images, images.parent / "moved")  # keeps times
    assert signature == datasets.check(study("{size: 16}", moved))
    for later in ("allow_leaks: true", "skip: 0.5", "augment: {flip: true}"):  # no slice changes with these
        assert signature == datasets.check(study(f"{{size: 16, {later}}}", images))
    os.utime(slice_file(images), (1, 1))
    assert signature != datasets.check(study("{size: 16}", images))


def test_check_of_the_cohort(study):
    assert datasets.check(study("{layout: cohort, seed: 1}")).startswith("cohort:")
    assert datasets.check(study("{layout: cohort, seed: 1}")) != datasets.check(study("{layout: cohort, seed: 2}"))
    folder = study("{}").folder
    refuses(study("{layout: cohort}", folder), "cohort", folder, "DATA")


def test_check_refuses_wrong_folders(study, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("")
    for section in ("{layout: oasis}", "{}"):
        refuses(study(section), "DATA=folder", "--data")
        refuses(study(section, tmp_path / "gone"), tmp_path / "gone", "does not exist")
        refuses(study(section, tmp_path / "notes" / "a.txt"), "a.txt", "not a folder")
        refuses(study(section, tmp_path / "empty"), tmp_path / "empty", "is empty")
        refuses(study(section, tmp_path / "notes"), tmp_path / "notes", "case_NNN_slice_K.nii.png")


def spoil_empty(path):
    path.write_bytes(b"")


def spoil_text(path):
    path.write_text("no image at all")


def spoil_cut(path):
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize(
    ("spoil", "why"), [(spoil_empty, "it is empty"), (spoil_text, "no image file"), (spoil_cut, "it is cut off")]
)
def test_check_names_a_bad_image_and_counts_the_others(study, images, spoil, why):
    spoil(slice_file(images))
    refuses(study("{layout: oasis, size: 16}", images), "case_002_slice_1.nii.png", why)
    with pytest.raises(UserError, match="case_002_slice_1.nii.png"):
        reading.read(slice_file(images), 16)
    with pytest.raises(UserError, match="case_002_slice_1.nii.png"):
        reading.read_any([slice_file(images)] * 3, 16)
    spoil(slice_file(images, "keras_png_slices_test/case_441_slice_0.nii.png"))
    refuses(study("{layout: oasis, size: 16}", images), "case_002_slice_1.nii.png", "(1 more of 18 files", "data.skip")


def test_bad_images_are_left_out_up_to_the_recipes_share(study, images):
    whole = datasets.load(study("{size: 16}", images))
    spoil_cut(slice_file(images))
    mine = study("{size: 16, skip: 0.06}", images)
    slices = datasets.load(mine)
    kept = np.flatnonzero(whole.source != "keras_png_slices_data/keras_png_slices_train/case_002_slice_1.nii.png")
    assert slices.source.tolist() == whole.source[kept].tolist() and len(slices) == 17
    np.testing.assert_array_equal(slices.images, whole.images[kept])
    np.testing.assert_array_equal(slices.thumbnails, whole.thumbnails[kept])
    assert "case_002_slice_1.nii.png: it is cut off" in datasets.summary(mine)["files left out"]["examples"][0]
    assert any("Files that cannot be read and were left out: 1" in text for text in datasets.summary(mine)["warnings"])
    spoil_cut(slice_file(images, "keras_png_slices_test/case_441_slice_0.nii.png"))
    refuses(study("{size: 16, skip: 0.06}", images), "1 more of 18 files")


def test_a_person_in_two_splits_is_named(study, images):
    shutil.copy(slice_file(images), slice_file(images, "keras_png_slices_test/case_002_slice_1.nii.png"))
    refuses(study("{layout: oasis, size: 16}", images), "case_002", "two splits")
    with pytest.raises(UserError, match="case_002"):
        datasets.load(study("{layout: oasis, size: 16}", images))


# The cache -------------------------------------------------------------------------------------------------------


def test_load_makes_then_opens(study, images, capsys):
    mine = study("{layout: oasis, size: 32}", images)
    made = datasets.load(mine)
    assert "18 slices of 6 people (oasis), made in" in capsys.readouterr().out
    for row, (person, position) in enumerate(zip(made.person.tolist(), made.position.tolist(), strict=True)):
        np.testing.assert_array_equal(made.images[row, ..., 0], picture(int(person[5:]), position))
    assert made.counts()["validation"] == {"images": 3, "people": 1}
    written = (mine.slices / "images.npy").stat().st_mtime_ns
    again = datasets.load(mine)
    assert capsys.readouterr().out == "18 slices of 6 people (oasis), as made before.\n"
    assert (mine.slices / "images.npy").stat().st_mtime_ns == written
    assert isinstance(again.images, np.memmap) and not again.images.flags.writeable
    assert again.fingerprint == made.fingerprint and len(made.fingerprint) == 64
    np.testing.assert_array_equal(datasets.opened(mine).images, made.images)
    assert "OASIS-1" in datasets.acknowledgement(mine)


def test_changed_settings_or_files_make_it_anew(study, images):
    first = datasets.load(study("{layout: oasis, size: 16}", images))
    assert datasets.load(study("{layout: oasis, size: 32}", images)).images.shape[1:] == (32, 32, 1)
    second = datasets.load(study("{layout: oasis, size: 16}", images))
    assert second.fingerprint == first.fingerprint
    Image.fromarray(picture(99, 0)).save(slice_file(images))
    assert datasets.load(study("{layout: oasis, size: 16}", images)).fingerprint != first.fingerprint


def cut_images(folder):
    with open(folder / "images.npy", "r+b") as file:
        file.truncate(file.seek(0, 2) - 100)


def empty_images(folder):
    (folder / "images.npy").write_bytes(b"")


def other_shape(folder):
    np.save(folder / "images.npy", np.zeros((18, 8, 8, 1), np.uint8))


def no_thumbnails(folder):
    (folder / "thumbnails.npy").unlink()


def other_kind(folder):
    np.save(folder / "images.npy", np.zeros((18, 16, 16, 1), np.float32))


def short_table(folder):
    lines = (folder / "slices.csv").read_text().splitlines(keepends=True)
    (folder / "slices.csv").write_text("".join(lines[:-1]))


def no_json(folder):
    (folder / "slices.json").write_text("{")


def no_table(folder):
    (folder / "slices.csv").unlink()


@pytest.mark.parametrize(
    "damage", [cut_images, empty_images, no_thumbnails, other_shape, other_kind, short_table, no_json, no_table]
)
def test_a_broken_cache_is_made_again(study, images, damage):
    mine = study("{layout: oasis, size: 16}", images)
    made = datasets.load(mine)
    damage(mine.slices)
    with pytest.raises(UserError, match="run notebook 01 first"):
        datasets.opened(mine)
    again = datasets.load(mine)
    assert again.fingerprint == made.fingerprint and len(again) == 18


def test_opened_asks_for_notebook_01(study, images):
    mine = study("{layout: oasis, size: 16}", images)
    with pytest.raises(UserError, match="are missing: run notebook 01 first"):
        datasets.opened(mine)
    datasets.load(mine)
    assert len(datasets.opened(study("{layout: oasis, size: 16}"))) == 18  # the folder itself is no longer needed
    with pytest.raises(UserError, match="other settings"):
        datasets.opened(study("{layout: oasis, size: 32}", images))
    os.utime(slice_file(images), (1, 1))
    with pytest.raises(UserError, match="other files"):
        datasets.opened(study("{layout: oasis, size: 16}", images))


def test_the_cohort_is_cached_too(study):
    mine = study("{layout: cohort, size: 32, slices: 2, people: {train: 2, validation: 1, test: 1}}")
    made = datasets.load(mine)
    assert made.counts()["train"] == {"images": 4, "people": 2}
    assert datasets.opened(mine).fingerprint == made.fingerprint
    assert json.loads((mine.slices / "slices.json").read_text())["layout"] == "cohort"
    assert "synthetic" in datasets.acknowledgement(mine)


# Before the training ------------------------------------------------------------------------------------------------


def pictures_of_people(root, labels=("AD", "CN"), people=12):
    """Class folders of two pictures a person, whose position no name tells."""
    for who in range(people):
        folder = root / labels[who % len(labels)]
        folder.mkdir(parents=True, exist_ok=True)
        for k in "ab":
            Image.fromarray(picture(who, ord(k))).save(folder / f"p{who}{k}.png")
    return root


PERSON = "{size: 16, person: 'p(.+)[ab]'}"


@pytest.mark.parametrize("wanted", ["label", "position"])
@pytest.mark.parametrize("place", ["", "compare: {gated: {condition: [%s]}}, "])
def test_a_condition_that_the_data_cannot_give_is_refused_before_anything_is_trained(
    study, images, tmp_path, wanted, place
):
    folder = images if wanted == "label" else pictures_of_people(tmp_path / "people")
    mine = study("{size: 16}" if wanted == "label" else PERSON, folder)
    prior = place % wanted if place else f"condition: [{wanted}], "
    recipe = mine.folder / "recipe.yaml"
    recipe.write_text(recipe.read_text() + f"prior: {{{prior}filters: 4, kernel: 3}}\n")
    mine = Study(str(mine.folder), str(folder))
    refuses(mine, "prior.condition", wanted, "leave it out")
    with pytest.raises(UserError, match=f"prior.condition names '{wanted}'"):
        datasets.load(mine)


def test_one_test_slice_is_too_few(study, images):
    for path in (images / "keras_png_slices_data" / "keras_png_slices_test").iterdir():
        if "441_slice_0" not in path.name:
            path.unlink()
    with pytest.raises(UserError, match="one test slice"):
        datasets.load(study("{size: 16}", images))


def test_training_images_of_one_level_teach_nothing(study, images):
    for number, path in enumerate((images / "keras_png_slices_data" / "keras_png_slices_train").iterdir()):
        Image.fromarray(np.full((32, 32), number, np.uint8)).save(path)
    with pytest.raises(UserError, match="of one level"):
        datasets.load(study("{size: 16}", images))


# Slices ----------------------------------------------------------------------------------------------------------


def group(splits_and_labels):
    """Slices of one pixel, a person each: `[(split, label)]`."""
    split, label = map(np.array, zip(*splits_and_labels, strict=True))
    n = len(split)
    person = np.array([f"p{i}" for i in range(n)])
    return Slices(np.zeros((n, 1, 1, 1), np.uint8), person, np.zeros(n, int), label, split, person)


def test_a_table_a_shape_and_names():
    slices = group([("train", "a"), ("train", ""), ("test", "b")])
    slices.position[1] = -1
    assert slices.names(np.array([0, 1])) == ["p0, 0", "p1"] and slices.image_shape == (1, 1, 1)
    assert slices.table.columns.tolist() == ["person", "position", "label", "split", "source"]
    assert slices.table.iloc[2].tolist() == ["p2", 0, "b", "test", "p2"]
    assert slices.counts() == {"train": {"images": 2, "people": 2}, "validation": {"images": 0, "people": 0},
                               "test": {"images": 1, "people": 1}}  # fmt: skip


def test_conditions_are_numbers_of_what_the_training_slices_show():
    slices = group([("train", "b"), ("train", "a"), ("train", ""), ("test", "a"), ("test", "c")])
    slices.position[:] = [0, 4, -1, 3, 5]
    labels, positions, condition = slices.conditions(["label", "position"])
    assert labels == ("a", "b") and positions == 5 and condition.dtype == np.int32
    assert condition.tolist() == [[1, 0], [0, 4], [-1, -1], [0, 3], [-1, -1]]
    assert slices.conditions([])[:2] == ((), 0) and (slices.conditions(["label"])[2][:, 1] == -1).all()


@pytest.mark.skipif(not os.environ.get("OASIS_DIR"), reason="OASIS_DIR does not name a folder of OASIS slices")
def test_real_oasis_slices(study):
    mine = study("{size: 32}", os.environ["OASIS_DIR"])
    slices = datasets.load(mine)
    assert slices.counts()["train"]["people"] >= 100 and set(slices.label) <= {"control", "dementia", "unrated", ""}
    assert 0.3 < (slices.images > 0.05 * 255).mean() < 0.6  # brains; masks would be something else
    np.testing.assert_array_equal(np.bincount(slices.position), np.full(32, len(np.unique(slices.person))))
    assert not any(one["count"] for one in datasets.findings(mine) if one["kind"] != "note")
