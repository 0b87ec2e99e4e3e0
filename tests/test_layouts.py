"""Every layout that exists in the wild: files arranged from the cohort, and what comes out of a folder alone."""

import itertools
import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
from conftest import unlinked
from PIL import Image
from scipy.ndimage import gaussian_filter

from vq_lib import data as datasets
from vq_lib.data import cohort, folders, layouts, subjects, voxels
from vq_lib.errors import UserError
from vq_lib.study import Study

MODEL = "vqvae: {encoder: [{layer: conv, filters: 4, stride: 2}], decoder: [{layer: transpose, filters: 4, stride: 2}]}"
COUNTS = {"train": 4, "validation": 1, "test": 2}
POSITIONS = 3


@pytest.fixture(scope="module")
def slices():
    return cohort.make(COUNTS, slices=POSITIONS, size=64, seed=3, progress=False)


@pytest.fixture
def study(tmp_path):
    def make(folder, section="size: 64"):
        (tmp_path / "mine").mkdir(exist_ok=True)
        (tmp_path / "mine" / "recipe.yaml").write_text(f"title: test\ndata: {{{section}}}\n{MODEL}\n")
        return Study(str(tmp_path / "mine"), str(folder))

    return make


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image[..., 0]).save(path, quality=95)


def number(person):
    return int(person.rpartition("-")[2])


def arrange(slices, root, name, drop=()):
    """Write every slice to `name(row)` below `root`; what a loader should find, by file name."""
    expected = {}
    for row in range(len(slices)):
        if slices.split[row] not in drop:
            path = name(row)
            save(root / path, slices.images[row])
            expected[path] = row
    return expected


def found_again(slices, made, expected, jpeg=False):
    """The table has each file once, with the picture that was written there."""
    assert sorted(made.source.tolist()) == sorted(expected)
    for row, source in enumerate(made.source.tolist()):
        difference = np.abs(made.images[row].astype(int) - slices.images[expected[source]])
        assert difference.max() <= (20 if jpeg else 0) and difference.mean() < 2
    return [expected[source] for source in made.source.tolist()]


# OASIS -----------------------------------------------------------------------------------------------------------

OASIS = {"train": "train", "validation": "validate", "test": "test"}


@pytest.mark.parametrize(
    "below", ["", "keras_png_slices_data", "keras_png_slices_data/keras_png_slices_data", "slices"]
)
def test_oasis(slices, study, tmp_path, below, capsys):
    def name(row, prefix="case", seg=""):
        split, case = OASIS[slices.split[row]], number(slices.person[row])
        file = f"keras_png_slices_{seg}{split}/{prefix}_{case:03d}_slice_{slices.position[row]}.nii.png"
        return f"{below}/{file}".lstrip("/")

    expected = arrange(slices, tmp_path / "data", name)
    for row in (0, 5):  # masks lie beside the images
        save(tmp_path / "data" / name(row, "seg", "seg_"), slices.images[row] // 85 * 85)
    made = datasets.load(study(tmp_path / "data"))
    assert "(oasis)" in capsys.readouterr().out
    rows = found_again(slices, made, expected)
    assert made.person.tolist() == [f"case_{number(slices.person[row]):03d}" for row in rows]
    assert (
        made.position.tolist() == slices.position[rows].tolist() and made.split.tolist() == slices.split[rows].tolist()
    )
    left_out = next(one for one in datasets.findings(study(tmp_path / "data")) if one["check"] == "masks left out")
    assert left_out["count"] == 2


def test_oasis_missing_splits_are_cut_from_train_by_person(slices, study, tmp_path):
    def name(row):
        return f"keras_png_slices_train/case_{number(slices.person[row]):03d}_slice_{slices.position[row]}.nii.png"

    arrange(slices, tmp_path / "data", name)
    made = datasets.load(study(tmp_path / "data"))
    assert made.counts() == {"train": {"images": 15, "people": 5}, "validation": {"images": 3, "people": 1},
                             "test": {"images": 3, "people": 1}}  # fmt: skip
    again = datasets.load(study(tmp_path / "data", "size: 64, seed: 1"))
    assert again.split.tolist() != made.split.tolist()


def test_only_test_slices_are_no_training_set(slices, study, tmp_path):
    arrange(slices, tmp_path / "data", lambda row: f"keras_png_slices_test/case_{row:03d}_slice_0.nii.png")
    with pytest.raises(UserError, match="training slices are missing"):
        datasets.load(study(tmp_path / "data"))


# ADNI ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("below", "classes", "suffix"), list(itertools.product(
    ("ADNI_AD_NC_2D/AD_NC", "ADNI_AC_NC_2D/AD_NC", "AD_NC", ""), (True, False), ("jpeg", "png"))))  # fmt: skip
def test_adni(slices, study, tmp_path, below, classes, suffix):
    def name(row):
        split = "test" if slices.split[row] == "test" else "train"
        label = ("AD/" if slices.label[row] == "atrophy" else "NC/") if classes else ""
        return (
            f"{below}/{split}/{label}{218000 + number(slices.person[row])}_{78 + slices.position[row]}.{suffix}".lstrip(
                "/"
            )
        )

    expected = arrange(slices, tmp_path / "data", name)
    mine = study(tmp_path / "data")
    made = datasets.load(mine)
    rows = found_again(slices, made, expected, jpeg=suffix == "jpeg")
    assert layouts.survey(mine).layout == "adni"
    assert made.person.tolist() == [str(218000 + number(slices.person[row])) for row in rows]
    assert set(made.position.tolist()) == {78, 79, 80}
    labels = {("AD" if slices.label[row] == "atrophy" else "NC") if classes else "" for row in rows}
    assert set(made.label.tolist()) == labels
    assert made.counts()["test"]["people"] == 2 and made.counts()["validation"]["people"] == 1  # cut from train
    assert any("cannot vouch" in text for text in datasets.summary(mine)["warnings"])


def test_adni_scans_of_one_person_stay_together(slices, study, tmp_path):
    arrange(
        slices, tmp_path / "data", lambda row: f"AD_NC/train/AD/{218000 + row // POSITIONS}_{slices.position[row]}.png"
    )
    lines = "".join(f"I{218000 + scan},002_S_{1000 + scan // 2},{60 + scan},F\n" for scan in range(7))
    (tmp_path / "data" / "subjects.csv").write_text("Image Data ID,Subject,Age,Sex\n" + lines)
    mine = study(tmp_path / "data")
    made = datasets.load(mine)
    assert set(made.person) == {f"002_S_{1000 + k}" for k in range(4)} and set(made.label) == {"AD"}
    assert all(len(set(made.split[made.person == who])) == 1 for who in set(made.person))
    assert datasets.people(mine)["002_S_1000"] == {"age": "60", "sex": "F"}
    assert not datasets.summary(mine)["warnings"]


# Image folders ---------------------------------------------------------------------------------------------------

FORMS = {
    "classes alone": lambda split, label: f"{label}/",
    "train and test": lambda split, label: f"{'test' if split == 'test' else 'train'}/{label}/",
    "capitals, nested": lambda split, label: f"archive/{'Testing' if split == 'test' else 'Training'}/{label}/",
    "no classes": lambda split, label: "",
}


@pytest.mark.parametrize("form", FORMS)
def test_image_folder(slices, study, tmp_path, form):
    expected = arrange(slices, tmp_path / "data", lambda row: f"{FORMS[form](slices.split[row], slices.label[row])}"
                       f"{slices.person[row]} {row}.{('png', 'bmp', 'tif', 'webp')[row % 4]}")  # fmt: skip
    for row in [row for row in range(len(slices)) if row % 4 == 3]:  # WebP without loss
        path = next(path for path, number in expected.items() if number == row)
        Image.fromarray(slices.images[row, ..., 0]).save(tmp_path / "data" / path, lossless=True)
    mine = study(tmp_path / "data")
    made = datasets.load(mine)
    rows = found_again(slices, made, expected)
    assert layouts.survey(mine).layout == "image_folder"
    assert made.label.tolist() == [slices.label[row] if form != "no classes" else "" for row in rows]
    assert all(made.counts()[split]["images"] for split in ("train", "validation", "test"))
    if "capitals" in form:
        assert made.counts()["test"]["images"] == COUNTS["test"] * POSITIONS
    assert any("cannot vouch" in text for text in datasets.summary(mine)["warnings"])


@pytest.mark.parametrize("how", ["pattern", "table"])
def test_people_of_an_image_folder(slices, study, tmp_path, how):
    expected = arrange(slices, tmp_path / "data", lambda row: f"{slices.label[row]}/{slices.person[row]}_{row}.png")
    section = "size: 64"
    if how == "pattern":
        section += r", person: '(synthetic-\d+)_'"
    else:
        lines = [f"{path},{slices.person[row]}" for path, row in expected.items()]
        (tmp_path / "data" / "subjects.csv").write_text("\n".join(["file,person", *lines]))
    mine = study(tmp_path / "data", section)
    made = datasets.load(mine)
    assert set(made.person) == set(slices.person)
    assert all(len(set(made.split[made.person == who])) == 1 for who in set(made.person))
    assert not datasets.summary(mine)["warnings"]


def test_a_pattern_that_finds_nobody_names_the_file(slices, study, tmp_path):
    arrange(slices, tmp_path / "data", lambda row: f"a/{row}.png")
    with pytest.raises(UserError, match=r"a/0.png"):
        datasets.check(study(tmp_path / "data", "size: 64, person: '(nobody)'"))


# Volumes ---------------------------------------------------------------------------------------------------------


def head(seed=0):
    """A head in mm, axes to the right, front and top: brighter to the front, one bright dot on the left."""
    x, y, z = np.meshgrid(*(np.arange(n) - n / 2 + 0.5 for n in (40, 48, 36)), indexing="ij")
    inside = (x / 16) ** 2 + (y / 21) ** 2 + (z / 15) ** 2 < 1
    texture = gaussian_filter(np.random.default_rng(seed).normal(size=x.shape), 2)
    values = np.where(inside, 600 + 8 * y + 200 * texture / texture.std(), 0).clip(0, 1000)
    values[(x + 8) ** 2 + y**2 < 9] = 1000 * inside[(x + 8) ** 2 + y**2 < 9]
    return values.astype(np.int16)


def nifti(kind, oriented="RAS"):
    def write(path, values):
        image = kind(values, np.diag([1.0, 1, 1, 1]))
        turn = nibabel.orientations.ornt_transform(
            nibabel.io_orientation(image.affine), nibabel.orientations.axcodes2ornt(oriented)
        )
        nibabel.save(image.as_reoriented(turn), path)

    return write


def analyze(orient):
    def write(path, values):
        stored = values[::-1]  # from the right
        if orient == 2:
            stored = stored.transpose(1, 2, 0)
        image = nibabel.AnalyzeImage(np.ascontiguousarray(stored), None)
        image.header.structarr["orient"] = bytes([orient]) if orient else b""
        image.to_filename(path)

    return write


VOLUMES = {
    "nii": (".nii", nifti(nibabel.Nifti1Image)),
    "nii, other axes": (".nii", nifti(nibabel.Nifti1Image, "PSL")),
    "nii.gz": (".nii.gz", nifti(nibabel.Nifti1Image, "LAS")),
    "mgz": (".mgz", nifti(nibabel.MGHImage, "LIA")),
    "hdr/img": (".hdr", analyze(0)),
    "hdr/img, sagittal": (".hdr", analyze(2)),
    "nifti hdr/img": (".hdr", nifti(nibabel.Nifti1Pair, "LPS")),
}


@pytest.mark.parametrize("kind", VOLUMES)
def test_volumes(study, tmp_path, kind):
    suffix, write = VOLUMES[kind]
    for scan in ("OAS2_0001_MR1", "OAS2_0001_MR2", "OAS2_0002_MR1", "OAS2_0003_MR1"):
        folder = tmp_path / "data" / scan
        folder.mkdir(parents=True)
        write(folder / f"mpr-1{suffix}", head(seed=int(scan[8] + scan[-1])))
        write(folder / f"mpr-1_fseg{suffix}", (head() > 0).astype(np.int16))  # a segmentation beside it
    mine = study(tmp_path / "data", "size: 48, slices: 4, range: [0.3, 0.7], subjects: s.csv")
    (tmp_path / "data" / "s.csv").write_text("MRI ID,CDR\nOAS2_0001_MR1,0\nOAS2_0002_MR1,1\nOAS2_0009_MR1,0\n")
    made = datasets.load(mine)
    assert made.images.shape == (16, 48, 48, 1)
    assert sorted(set(made.person)) == ["OAS2_0001", "OAS2_0002", "OAS2_0003"]  # both scans of one person together
    assert (made.person == "OAS2_0001").sum() == 8 and len(set(made.split[made.person == "OAS2_0001"])) == 1
    labels = {who: set(made.label[made.person == who]) for who in set(made.person)}
    assert labels["OAS2_0002"] == {"dementia"} and labels["OAS2_0003"] == {""}
    counts = {one["check"]: one["count"] for one in datasets.findings(mine)}
    assert (counts["masks left out"], counts["people without a row"], counts["rows without slices"]) == (4, 1, 1)
    middle = made.images[1, ..., 0].astype(int)
    assert middle[0].max() == 0 and (middle > 0).mean() > 0.3  # black around
    assert middle[8:16, 20:28].mean() > middle[32:40, 20:28].mean() + 10  # the front, bright, is up
    assert middle[22:26, 15:17].min() > 240 > middle[22:26, 31:33].max()  # the dot is on the left


def test_a_volume_is_the_same_however_it_is_stored(tmp_path):
    pictures = []
    for name, (suffix, write) in VOLUMES.items():
        path = tmp_path / f"{name.replace('/', ' ')}{suffix}"
        write(path, head())
        pictures.append(np.stack([np.asarray(image) for image, _ in voxels.pictures(str(path), 5, (0.2, 0.8))]))
    for other in pictures[1:]:
        np.testing.assert_array_equal(pictures[0], other)


@pytest.mark.parametrize("kind", ["nii", "hdr/img"])
def test_other_voxels_are_other_data(study, tmp_path, kind):
    suffix, write = VOLUMES[kind]
    for person in range(4):
        folder = tmp_path / "data" / f"sub-{person}"
        folder.mkdir(parents=True)
        write(folder / f"t1{suffix}", head(seed=person))
    mine = study(tmp_path / "data", "size: 48, slices: 2")
    made, signature = datasets.load(mine), datasets.check(mine)
    header = (folder / f"t1{suffix}").stat()
    write(folder / f"t1{suffix}", head(seed=9))
    if kind == "hdr/img":  # the header stays as it was
        os.utime(folder / "t1.hdr", ns=(header.st_atime_ns, header.st_mtime_ns))
    assert datasets.check(mine) != signature
    assert datasets.load(mine).fingerprint != made.fingerprint


def test_voxels_that_are_not_cubes_keep_the_shape(tmp_path):
    nibabel.save(nibabel.Nifti1Image(head()[:, ::2], np.diag([1.0, 2, 1, 1])), tmp_path / "a.nii")
    image, _ = next(voxels.pictures(str(tmp_path / "a.nii"), 1, (0.4, 0.6)))
    assert image.size == (40, 48)


# Recognition -----------------------------------------------------------------------------------------------------


def test_two_specific_layouts_are_an_error_and_the_recipe_decides(slices, study, tmp_path):
    data = tmp_path / "data"
    arrange(slices, data, lambda row: f"keras_png_slices_train/case_{row // 3:03d}_slice_{row % 3}.nii.png")
    arrange(slices, data, lambda row: f"AD_NC/train/AD/{1000 + row // 3}_{row % 3}.png")
    with pytest.raises(UserError, match="two layouts, oasis and adni: set data.layout"):
        datasets.check(study(data))
    for layout in ("oasis", "adni", "image_folder"):
        assert datasets.check(study(data, f"size: 64, layout: {layout}")).startswith(f"{layout}:")


def test_a_wrong_layout_says_what_the_folder_looks_like(slices, study, tmp_path):
    arrange(slices, tmp_path / "data", lambda row: f"AD_NC/train/AD/{1000 + row // 3}_{row % 3}.png")
    with pytest.raises(UserError, match="no slices of the layout oasis.*looks like the layout adni"):
        datasets.check(study(tmp_path / "data", "size: 64, layout: oasis"))


def test_without_data_three_lines_say_where_to_get_some(study):
    with pytest.raises(UserError) as caught:
        datasets.check(study("", "size: 64, layout: adni"))
    lines = str(caught.value).splitlines()
    assert len(lines) == 3 and "DATA=folder" in lines[0] and "make report REPORT=mine DATA=" in lines[2]
    for word in ("OASIS-1", "OASIS-2", "ADNI", "https://", "terms"):
        assert word in lines[1]


# Walking ---------------------------------------------------------------------------------------------------------


@unlinked
def test_link_loops_end_and_odd_names_survive(slices, study, tmp_path):
    data = tmp_path / "data"
    names = ["naïve é", "脳", "a\nb", "$x$ {y} %s", "-rf", "'\"", "trailing. "]
    arrange(slices, data, lambda row: f"{names[row % len(names)]}/{row} {names[row % len(names)]}.png")
    os.rename(data / "-rf", os.fsencode(data) + b"/\xff\xfe")
    for place in ("脳/loop", "loop"):
        (data / place).symlink_to(data, target_is_directory=True)
    (data / "self").symlink_to(data / "self")
    for one, other in itertools.permutations("abcdefgh", 2):  # a maze of links
        (data / "maze" / one).mkdir(parents=True, exist_ok=True)
        (data / "maze" / one / other).symlink_to(data / "maze" / other, target_is_directory=True)
    made = datasets.load(study(data))
    assert len(made) == len(slices) and len(set(made.source)) == len(slices)
    assert all(text.isprintable() for text in [*made.source.tolist(), *made.label.tolist()])
    assert {"脳", "a\\nb", "\\xff\\xfe"} <= set(made.label.tolist())


@unlinked
def test_what_cannot_be_reached_is_named(slices, study, tmp_path, monkeypatch):
    arrange(slices, tmp_path / "data", lambda row: f"a/{row}.png")
    (tmp_path / "data" / "a" / "gone.png").symlink_to(tmp_path / "nowhere")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "data" / "a" / "pipe.png")  # opening it would wait for ever
    scandir = os.scandir

    def refused(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    (tmp_path / "data" / "locked").mkdir()
    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(UserError, match=r"(?s)(a/gone.png|locked).*cannot be read"):
        datasets.check(study(tmp_path / "data"))
    mine = study(tmp_path / "data", "size: 64, skip: 0.2")
    assert len(datasets.load(mine)) == len(slices)
    left_out = next(one for one in datasets.findings(mine) if one["check"] == "files left out")
    assert any("locked: the folder cannot be read (Permission denied)" in text for text in left_out["examples"])


def test_a_hundred_thousand_names_take_seconds(study):
    files = [folders.File(f"train/class {k % 7}/picture {k}.png", "", 1, 1) for k in range(100_000)]
    listing = layouts._recognise("", files, study("").recipe.data)
    assert listing[0] == "image_folder" and len(listing[1].rows) == 100_000


# People ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("one", "other"), [("OAS1_0007_MR1", "oas1_7_mr1"), ("case_007", "7"), ("I218391", "218391"),
                                            ("sub-07", "7"), ("Ada", "ada")])  # fmt: skip
def test_names_of_tables_meet_names_on_disk(one, other):
    assert subjects.canonical(one) == subjects.canonical(other)


@pytest.mark.parametrize(("cdr", "label"), [("", "unrated"), ("nan", "unrated"), ("0", "control"), ("0.5", "dementia")])
def test_a_rating_gives_a_label_and_its_absence_none(cdr, label):
    assert subjects.label({"cdr": cdr}, Path("subjects.csv")) == label


@pytest.mark.parametrize(("text", "named"), [("name,cdr\nx,0\n", "no column that names people"),
                                             ("case,cdr\n1,many\n", "'many'"), ("", "no column")])  # fmt: skip
def test_a_wrong_table_is_named(slices, study, tmp_path, text, named):
    arrange(
        slices, tmp_path / "data", lambda row: f"keras_png_slices_train/case_{row // 3:03d}_slice_{row % 3}.nii.png"
    )
    (tmp_path / "data" / "subjects.csv").write_text(text)
    with pytest.raises(UserError, match=named):
        datasets.check(study(tmp_path / "data"))
