"""What names alone tell: people, splits, classes and label maps, in the nestings that people bring.

No file holds anything: names are all that is read.
"""

import itertools
import os

import numpy as np
import pytest
from conftest import unlinked

from vq_lib.data import layouts, reading, splits, subjects, words
from vq_lib.errors import UserError
from vq_lib.study import Study

MODEL = "vqvae: {encoder: [{layer: conv, filters: 4, stride: 2}], decoder: [{layer: transpose, filters: 4, stride: 2}]}"


@pytest.fixture
def survey(tmp_path):
    """A function: names of files, and settings of `data:`; what `layouts.survey` makes of a folder that has them."""
    numbers = itertools.count()

    def make(names, section="size: 32", tables=None):
        folder = tmp_path / str(next(numbers))
        (folder / "mine").mkdir(parents=True)
        (folder / "mine" / "recipe.yaml").write_text(f"title: test\ndata: {{{section}}}\n{MODEL}\n", encoding="utf-8")
        for name in names:
            (folder / "data" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "data" / name).touch()
        for name, content in (tables or {}).items():
            (folder / "data" / name).write_bytes(content)
        return layouts.survey(Study(str(folder / "mine"), str(folder / "data")))

    return make


def column(survey, name):
    return [getattr(row, name) for row in survey.rows]


def counts(survey):
    return {one["check"]: one["count"] for one in survey.findings}


def warned(survey):
    """Whether the report will say in red that it cannot vouch for the people."""
    return survey.identity != "person" or "" in column(survey, "person")


# Label maps ------------------------------------------------------------------------------------------------------

MAPS = ["seg.nii", "p_seg4.nii.gz", "aligned_seg35.nii.gz", "aseg.mgz", "aparc+aseg.mgz", "aparc.a2009s+aseg.mgz",
        "wmparc.mgz", "x_dseg.nii.gz", "x_label-GM_probseg.nii.gz", "T1_pve_0.nii.gz", "T1_pveseg.nii.gz", "a_fseg.hdr",
        "labelsTr/hippocampus_001.nii.gz", "labelsTs/001_0000.nii.gz", "masksTr/1.png", "train_masks/1.png", "GT/1.png",
        "Ground Truth/1.png", "groundtruth/1.png", "a/1_gt.png", "annotations/1.png", "Segmentations/1.png",
        "keras_slices_seg_train/1.nii.gz", "label/1.png", "a/b_mask.tif", "a_roi.nii.gz", "sub-1_label-lesion_roi.nii",
        "IBSR_01_segTRI_ana.nii", "LabelsForTraining.nii", "manualSegmentation/1.png", "segm.nii.gz",
        "c1sub-01_T1w.nii", "mwp1anna.nii", "rc2sub-01.nii", "smwc1x.nii.gz", "x_prob_1.nii"]  # fmt: skip
NONE = ["brainmask.mgz", "OAS1_0001_MR1_t88_masked_gfc.hdr", "label_0/1.png", "labeled/1.png", "unmasked/1.png",
        "T1.mgz", "gtx/1.png", "sub-segal/T1.nii", "parchment.png", "grois/1.png",
        "roi/1.png", "c1.png", "p1/p1_3.png", "rc101.png", "wp1.png", "problem.png"]  # fmt: skip


@pytest.mark.parametrize("name", MAPS)
def test_names_of_label_maps_are_known_as_words(survey, name):
    assert words.is_mask(name) and words.is_mask(f"x/{name}")
    beside = [f"case_{k}/image_{k}.{'png' if name.endswith(('png', 'tif')) else 'nii'}" for k in range(5)]
    made = survey([name, *beside])
    assert sorted({row.file.name for row in made.rows}) == beside and counts(made)["masks left out"] == 1


@pytest.mark.parametrize("form", ["lgg-mri-segmentation/kaggle_3m/TCGA_CS_494{k}_1/TCGA_CS_494{k}_1_{n}.tif",
                                  "MSSEG-Training/center 1/patient {k}/FLAIR_{n}.png"])  # fmt: skip
def test_a_word_that_all_share_makes_no_label_maps(survey, form):
    names = [form.format(k=k, n=n) for k in range(3) for n in ("1", "2", "1_mask")]
    made = survey(names)
    assert made.identity == "person" and counts(made)["masks left out"] == 3 and len(made.rows) == 6
    with pytest.raises(UserError, match="masks by their names"):
        survey([f"GT/{k}.png" for k in range(3)])


@pytest.mark.parametrize("name", NONE)
def test_other_names_are_none(name):
    assert not words.is_mask(name)


# Splits ----------------------------------------------------------------------------------------------------------

TRAIN = ["train", "Training", "train_set", "TrainSet", "Train_images", "trainset", "trn", "X_train", "TrainingData",
         "imagesTr", "keras_png_slices_train", "train2"]  # fmt: skip
TEST = ["test", "Testing", "test_set", "Test Data", "Test_images", "testset", "tst", "eval", "evaluation", "holdout",
        "held-out", "imagesTs", "keras_png_slices_test", "X_test"]  # fmt: skip
VALIDATION = ["val", "valid", "validate", "validation", "Validation_Data", "dev", "imagesVal", "devset"]


@pytest.mark.parametrize(("train", "other", "split"), [
    *((one, TEST[k % len(TEST)], "test") for k, one in enumerate(TRAIN)),
    *((TRAIN[k % len(TRAIN)], one, "test") for k, one in enumerate(TEST)),
    *((TRAIN[k % len(TRAIN)], one, "validation") for k, one in enumerate(VALIDATION))])  # fmt: skip
@pytest.mark.parametrize("form", ["{s}/{c}/p{w}_{k}.png", "{c}/{s}/p{w}_{k}.png", "{s}/p{w}_{k}.png",
                                  "dataset/{s}/{c}/p{w}_{k}.png", "a test of data/{s}/{c}/x/p{w}_{k}.png",
                                  "{s}/{c}/OAS2_00{w}_MR1.nii"])  # fmt: skip
def test_a_split_is_known_as_a_word_and_is_no_label(survey, train, other, split, form):
    names = {form.format(s=folder, c=("AD", "CN")[who % 2], w=who + 10 * first, k=k): which
             for first, (folder, which) in enumerate(((train, "train"), (other, split)))
             for who in range(10, 16) for k in range(2)}  # fmt: skip
    made = survey(names, "size: 32, person: '([p_]\\d+)_'")
    assert {row.file.name: row.split for row in made.rows} == names
    assert set(column(made, "label")) == ({"AD", "CN"} if "{c}" in form else {""})
    assert made.identity == "person"


@pytest.mark.parametrize(("train", "other", "split"), [
    ("entrenamiento", "prueba", "test"), ("Trainingsdaten", "Testdaten", "test"), ("treino", "teste", "test"),
    ("allenamento", "prova", "test"), ("训练集", "测试集", "test"), ("обучение", "тест", "test"),
    ("Entrenar", "Validar", "validation"), ("treino", "validação", "validation"), ("tr", "te", "test"),
    ("tr", "va", "validation")])  # fmt: skip
def test_splits_in_other_languages_and_abbreviations(survey, train, other, split):
    names = {f"{folder}/AD/case_{k + 5 * (folder == other)}.png": which
             for folder, which in ((train, "train"), (other, split)) for k in range(5)}  # fmt: skip
    made = survey(names)
    assert {row.file.name: row.split for row in made.rows} == names and set(column(made, "label")) == {"AD"}


def test_bare_abbreviations_count_where_all_lie_in_such():
    assert words.splits(["tr/1.png", "te/2.png", "x/3.png"]) == ["", "", ""]


@pytest.mark.parametrize("form", ["img/patient{k}_0_{s}.png", "AD_{s}_{k}.png"])
def test_a_split_inside_of_all_names_is_heeded(form):
    assert words.splits([form.format(k=k, s=s) for k, s in enumerate(("train", "train", "test"))]) == [
        "train", "train", "test"]  # fmt: skip
    assert words.splits([form.format(k=k, s=s) for k, s in enumerate(("train", "train", "x"))]) == [""] * 3


@pytest.mark.skipif(os.sep == "\\", reason="a backslash is no part of a name")
def test_backslashes_in_names_are_folders(survey):
    made = survey([f"{s}\\AD\\case_{k}.png" for k, s in enumerate(("train", "train", "test"))] + ["__MACOSX\\1.png"])
    assert column(made, "split") == ["test", "train", "train"] and set(column(made, "label")) == {"AD"}


def test_eval_beside_test_is_for_validation(survey):
    made = survey([f"{split}/case_{k}.png" for k, split in enumerate(("train", "train", "eval", "test"))])
    assert column(made, "split") == ["validation", "test", "train", "train"]


@pytest.mark.parametrize("name", ["latest/1.png", "contest/1.png", "test-retest/1.png", "training_and_test/1.png",
                                  "sub-test1/1.png", "devices/1.png", "invalid/1.png", "values/1.png",
                                  "TR2000/1.png", "test_1.png"])  # fmt: skip
def test_other_words_are_no_split(name):
    assert words.splits([name, "a/1.png"])[0] == ""


def test_files_that_all_begin_with_a_split_are_heeded(survey):
    made = survey([f"{split}_case_{k}.png" for split, k in (("train", 1), ("train", 2), ("test", 3))])
    assert column(made, "split") == ["test", "train", "train"]


@pytest.mark.parametrize(("names", "words"), [
    (["train/test/case_1.png", "train/case_2.png", "test/case_3.png"], ["train/test/case_1.png", "two splits"]),
    (["train/AD/case_1.png", "test/AD/case_2.png", "extra/AD/case_3.png"], ["extra/AD/case_3.png", "which split"]),
    (["train/case_1.png", "test/case_2.png", "case_3.png"], ["case_3.png", "data.files"]),
    (["a/train/sub-1.nii", "a/test/sub-2.nii", "b/sub-3.nii"], ["b/sub-3.nii", "data.files"])])  # fmt: skip
def test_a_split_that_is_not_clear_stops_with_a_question(survey, names, words):
    with pytest.raises(UserError) as caught:
        survey(names)
    assert all(word in str(caught.value) for word in words), caught.value
    assert survey(names, "size: 32, files: '*case_2*', layout: image_folder") if "case_2" in str(names) else True


# People ----------------------------------------------------------------------------------------------------------

PEOPLE = {
    "Data/Mild Dementia/OAS1_0028_MR1_mpr-1_100.jpg": "OAS1_0028",
    "a/oas1_0028_mr2.png": "OAS1_0028",
    "disc1/OAS2_0001_MR1/RAW/mpr-1.nifti.hdr": "OAS2_0001",
    "sub-OAS30001/ses-d0129/anat/sub-OAS30001_ses-d0129_T1w.nii.gz": "OAS30001",
    "OAS30001_MR_d0129/anat1/x.nii.gz": "OAS30001",
    "train/AD/002_S_0413/002_S_0413_slice_000.png": "002_S_0413",
    "ADNI/002_S_0295/MPR/2006-04-18/I118671/ADNI_002_S_0295_MR_MPR_Br_2007_S13408_I45108.nii": "002_S_0295",
    "sub-ADNI002S0295/anat/x.nii": "002_S_0295",
    "sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz": "sub-01",
    "png/sub-A7_slice_3.png": "sub-A7",
    "keras_slices_train/case_004_week_0_slice_0.nii.gz": "case_004",
    "IXI012-HH-1211-T1.nii.gz": "IXI012",
    "MICCAI_BraTS2020_TrainingData/BraTS20_Training_001/BraTS20_Training_001_flair.nii": "BraTS20_Training_001",
    "BraTS2021_00000/BraTS2021_00000_t1.nii.gz": "BraTS2021_00000",
    "BraTS-GLI-00000-000/x-t1c.nii.gz": "BraTS-GLI-00000",
    "HGG/Brats18_2013_10_1/Brats18_2013_10_1_t1.nii.gz": "Brats18_2013_10_1",
    "imagesTr/BRATS_001.nii.gz": "BRATS_001",
    "kaggle_3m/TCGA_CS_4941_19960909/TCGA_CS_4941_19960909_1.tif": "TCGA_CS_4941",
    "T1/1000012_20252_2_0/T1_brain.nii.gz": "1000012",
    "tumour/patient 12/IM-0001.png": "patient 12",
    "subj100307/mri/T1.mgz": "subj100307",
    "AD/218391_78.jpeg": "218391",
    "volume_12_slice_45.png": "volume_12",
    "brats_2013_pat0002_1/VSD.Brain.XX.O.MR_T1.nii": "brats_2013_pat0002",
    "patient001_s0012.png": "patient001",
    "sub001_s0012.png": "sub001",
    "brain_001_s_0012.png": "",
    "sub-001slice012.png": "sub-001",
    "sub-01T1w3.png": "sub-01",
    "sub-PAT12.png": "sub-PAT12",
    "a/picture.png": "",
    "Mild/mild_12.jpg": "",
}


@pytest.mark.parametrize("name", PEOPLE)
def test_one_table_of_patterns_knows_the_names_of_the_field(name):
    others = {"AD/218391_78.jpeg": "NC/218392_70.jpeg", "volume_12_slice_45.png": "volume_13_slice_45.png"}
    assert words.people([name, others.get(name, "z.png" if PEOPLE[name] else "y/other.png")])[0][0] == PEOPLE[name]


def test_sub_1_and_sub_01_are_two_and_upper_case_is_none():
    assert words.people(["sub-1.png", "sub-01.png", "SUB-01_b.png"])[0] == ["sub-1", "sub-01", "sub-01"]


def test_spelling_tears_nobody():
    names = ["T1/patient_10.nii.gz", "T2/patient10.nii.gz", "a/patient 10.nii", "b/Patient-10.nii"]
    assert words.people(names, volumes=True) == (["patient_10"] * 4, "person")


@pytest.mark.parametrize("form", ["HC00{w}/case_{k}.png", "pt0{w}/x/brats_{k}.png", "100{w}/Sub_{k}.png"])
def test_people_numbered_anew_in_each_folder_are_the_folders(form):
    names = [form.format(w=w, k=k) for w in range(6) for k in range(4)]
    assert words.people(names) == ([name.split("/")[0] for name in names], "scan")


@pytest.mark.parametrize(
    "form", ["{c}/{w}.nii", "T{k}/{w}.nii", "{m}/{w}.nii", "OAS2_RAW_PART{k}/{w}.nii", "{c}/200{k}/{w}.nii"]
)
def test_folders_without_people_are_none_of_volumes(survey, form):
    made = survey([form.format(c=("AD", "CN")[w % 2], k=k, m="_ps"[k], w=f"scan{w}") for w in range(8) for k in (1, 2)])
    assert len(set(column(made, "person"))) == 8
    assert set(column(made, "label")) == ({"AD", "CN"} if "{c}" in form else {""})


@pytest.mark.parametrize(
    ("form", "count", "left"),
    [
        ("train/{c}/12000_{k}.png", 10, 0),
        ("AD_NC/train/{c}/12000_{k}.png", 10, 0),
        ("{c}/AD_NC/train/AD/12000_{k}.png", 5, 5),
    ],
)
def test_only_copies_are_single_and_what_is_not_read_is_counted(survey, form, count, left):
    made = survey([form.format(c=c, k=k) for c in ("AD", "NC") for k in range(5)] + ["montage.png"])
    assert len(made.rows) == count and counts(made)["other images left out"] == left + 1


@pytest.mark.parametrize(("form", "count"), [
    ("{w}/T1w/T1w_acpc_dc_restore_brain.nii.gz", 12), ("subject folders/hc{w}/mri/T1.mgz", 12),
    ("AD/{w}/T1.nii", 12), ("{name}/T1.nii", 12), ("{w}/scan_{k}/T1.nii", 12), ("{w}/{w}_t{k}.nii", 12),
    ("images/{w}/IM-000{k}.png", 12), ("{c}/{w}/slice_{k}.png", 12), ("imagesTr/hippocampus_{w}_000{k}.nii.gz", 12),
    ("vol{w}_T{k}.nii", 12), ("{c}/{w}_{k}0.jpeg", 12), ("{c}/mri{w}_slice_{k}.png", 12)])  # fmt: skip
def test_people_without_a_pattern_are_told_by_the_folder_that_differs(survey, form, count):
    truth = {form.format(w=w, k=k, c=("AD", "NC")[w % 2], name=f"{chr(w % 26 + 97)}nna"): w
             for w in range(100307, 100319) for k in (1, 2)}  # fmt: skip
    made = survey(truth)
    who: dict[str, set] = {}
    for row in made.rows:
        who.setdefault(row.person, set()).add(truth[row.file.name])
    assert len(who) == count and all(len(truly) == 1 for truly in who.values()), who
    assert made.identity == "scan"  # which the report says in red: nobody vouches that two are not one
    if "{c}" in form:
        assert {row.label for row in made.rows} == {"AD", "NC"}


def test_mrbrains_with_splits(survey):
    made = survey([f"{s}/{w}/pre/reg_T1.nii.gz" for s, people in (("train", range(1, 13)), ("test", range(20, 24)))
                   for w in people], "size: 32, slices: 1")  # fmt: skip
    assert sorted(map(int, column(made, "person"))) == [*range(1, 13), *range(20, 24)]
    assert [row.split for row in made.rows if int(row.person) >= 20] == ["test"] * 4 and set(column(made, "label")) == {
        ""
    }


LAYOUTS = {
    "oasis": "keras_png_slices_train/case_{}_slice_0.nii.png",
    "adni": "AD_NC/train/AD/{}00000_70.jpeg",
    "volumes": "{}/T1.nii.gz",
    "slices_nifti": "train/{}_slice_0.nii.gz",
    "image_folder": "a/{}.png",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_data_person_works_in_every_layout(survey, layout):
    names = [LAYOUTS[layout].format(100 + k) for k in range(12)]
    made = survey(names, "size: 32, slices: 1, person: '1(\\d)\\d'")
    assert made.layout == layout and made.identity == "person"
    assert sorted(column(made, "person")) == ["0"] * 10 + ["1"] * 2
    with pytest.raises(UserError, match="finds nobody in the name"):
        survey(names, "size: 32, person: '(nobody)'")


# Classes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [
    "OriginalDataset/{c}/26 ({k}).jpg", "archive/Alzheimer_s Dataset/{s}/{c}/{c}_{k}.jpg", "{s}/{c}/p{k}/x.png",
    "{c}/sub-{k}/anat/sub-{k}_T1w.nii.gz", "{s}/{c}/sub-{k}.nii.gz", "{c}/{s}/OAS1_00{k}_MR1_mpr-1_100.jpg",
    "disc{k}/{c}/OAS1_00{k}_MR1.nii", "{c}/disc{k}/OAS1_00{k}_MR1.nii",
    "site/{c}/002_S_10{k}/axial/{k}.png"])  # fmt: skip
def test_the_class_is_the_level_that_repeats(survey, form):
    names = {form.format(c=("MildDemented", "NonDemented")[k % 2], s="test" if k > 30 else "train", k=k): k % 2
             for k in range(10, 40)}  # fmt: skip
    for row in survey(names, "size: 32, slices: 1").rows:
        assert row.label == ("MildDemented", "NonDemented")[names[row.file.name]]


@pytest.mark.parametrize("form", ["sub-{k}/ses-1/anat/sub-{k}_T1w.nii.gz", "disc{d}/OAS1_00{k}_MR1/RAW/x.nii",
                                  "{k}/T1w/T1w.nii.gz", "train/sub-{k}/slice.png"])  # fmt: skip
def test_folders_of_people_and_of_the_pipeline_are_no_classes(survey, form):
    made = survey([form.format(k=k, d=k % 4) for k in range(10, 30)], "size: 32, slices: 1")
    assert set(column(made, "label")) == {""} and len(set(column(made, "person"))) == 20


def test_augmented_copies_are_left_out_beside_the_originals(survey):
    names = [f"{folder}/{c}/{k} ({n}).jpg" for n, folder in enumerate(("OriginalDataset", "AugmentedAlzheimerDataset"))
             for c in ("MildDemented", "NonDemented") for k in range(5)]  # fmt: skip
    made = survey(names)
    assert len(made.rows) == 10 and counts(made)["altered copies left out"] == 10
    assert all("Original" in row.file.name for row in made.rows)
    assert set(column(made, "label")) == {"MildDemented", "NonDemented"}
    assert len(survey([name for name in names if "Aug" in name]).rows) == 10


# ADNI, HipMRI, and files that a pattern chooses ------------------------------------------------------------------


@pytest.mark.parametrize(
    "root", ["AD_NC/train/{c}", "train/{c}", "{c}", "AD_NC/{c}", "AD_NC/{c}/train", "ADNI/train", "."]
)
def test_adni_below_or_without_its_split_has_as_many_people_as_scans(survey, root):
    made = survey([f"{root.format(c=('AD', 'NC')[w % 2])}/{w}_{k}.jpeg" for w in range(218000, 218012)
                   for k in range(75, 78)])  # fmt: skip
    assert len(set(column(made, "person"))) == 12 and made.identity == "scan"
    assert set(column(made, "label")) == ({"AD", "NC"} if "{c}" in root else {""})
    assert made.layout == ("adni" if root != "." else "image_folder")


HIPMRI = [f"keras_slices_{kind}{split}/{prefix}_{who:03d}_week_{week}_slice_{k}.nii.gz"
          for kind, prefix in (("", "case"), ("seg_", "seg"))
          for split, people in (("train", range(4, 12)), ("validate", range(34, 37)), ("test", range(40, 43)))
          for who in people for week in range(2) for k in range(3)]  # fmt: skip


@pytest.mark.parametrize(("section", "prefix"), [("size: 32", "HipMRI_study_keras_slices_data/"),
                                                 ("size: 32, layout: volumes", "")])  # fmt: skip
def test_hipmri(survey, section, prefix):
    made = survey([prefix + name for name in HIPMRI], section)
    assert made.layout == "slices_nifti" and made.identity == "person" and len(made.rows) == 84
    assert {row.split: len({one.person for one in made.rows if one.split == row.split}) for row in made.rows} == {
        "train": 8, "validation": 3, "test": 3}  # fmt: skip
    assert set(column(made, "position")) == {0, 1, 2} and counts(made)["masks left out"] == 84
    assert len(survey([name for name in HIPMRI if "slices_train" in name], section).rows) == 48


def test_slices_beside_their_volumes_are_two_layouts(survey):
    names = [f"OASIS_OAS1_{k:04d}_MR1/{name}.nii.gz" for k in range(1, 5) for name in ("norm", "slice_norm", "seg35")]
    with pytest.raises(UserError, match="two layouts, volumes and slices_nifti.*data.files"):
        survey(names)
    assert len(survey(names, "size: 32, slices: 1, layout: volumes").rows) == 4
    assert survey(names, "size: 32, files: 'slice_*'").layout == "slices_nifti"


BIDS = [name.format(s=f"sub-{k:02d}") for k in range(1, 7) for name in (
    "{s}/anat/{s}_T1w.nii.gz", "{s}/anat/{s}_T2w.nii.gz", "{s}/func/{s}_task-rest_bold.nii.gz",
    "derivatives/fmriprep/{s}/anat/{s}_desc-preproc_T1w.nii.gz",
    "derivatives/fmriprep/{s}/anat/{s}_dseg.nii.gz")]  # fmt: skip


@pytest.mark.parametrize(("pattern", "count"), [("*T1w*", 6), ("sub-*/anat/*_t2w.nii.gz", 6),
                                                ("derivatives/*T1w*", 6), ("*_T?w.nii.gz", 12)])  # fmt: skip
def test_files_are_chosen_by_a_pattern(survey, pattern, count):
    made = survey(BIDS, f"size: 32, slices: 1, files: '{pattern}'")
    assert len(made.rows) == count and len(set(column(made, "person"))) == 6 and made.identity == "person"
    assert {"derivatives/" in row.file.name for row in made.rows} == {pattern.startswith("deriv")}


def test_derivatives_are_left_out_and_a_pattern_that_fits_nothing_is_named(survey):
    made = survey(BIDS, "size: 32, slices: 1")
    assert len(made.rows) == 18 and counts(made)["derivatives left out"] == 6 == counts(made)["masks left out"]
    with pytest.raises(UserError, match=r"data.files \(\*FLAIR\*\) fits none of the 30 files"):
        survey(BIDS, "size: 32, files: '*FLAIR*'")
    assert len(survey([f"BraTS20_Training_00{k}/BraTS20_Training_00{k}_{c}.nii" for k in range(5)
                       for c in ("flair", "t1", "seg")],
                      "size: 32, slices: 1, files: '*_flair.*'").rows) == 5  # fmt: skip


# What is not read ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("suffix", "words"), [
    (".dcm", "6 .dcm files: dcm2niix"), (".IMA", "dcm2niix"), (".nrrd", "SimpleITK"), (".mha", "6 .mha files"),
    (".mnc", "mnc2nii"), (".h5", "PNG"), (".npy", "6 .npy files"), (".npz", "PNG"), (".mat", "PNG"), (".gif", "PNG"),
    (".parquet", "PNG"), (".pgm", "PNG"), (".zip", "unpack"), (".tar.gz", "6 .tar.gz files: unpack")])  # fmt: skip
def test_what_a_folder_holds_is_said_where_nothing_is_read(survey, suffix, words):
    with pytest.raises(UserError, match=words):
        survey([f"AD/case_{k}{suffix}" for k in range(6)])


def test_dicom_without_a_suffix_and_an_archive_in_place_of_a_folder_are_named(survey, tmp_path):
    with pytest.raises(UserError, match="2 DICOM files: dcm2niix"):
        survey(["a"], tables={"IM1": bytes(128) + b"DICM", "IM2": bytes(128) + b"DICM" + bytes(9)})
    (tmp_path / "x.zip").touch()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "recipe.yaml").write_text(f"title: test\ndata: {{size: 32}}\n{MODEL}\n")
    with pytest.raises(UserError, match="is not a folder: 1 .zip file: unpack"):
        layouts.survey(Study(str(tmp_path / "mine"), str(tmp_path / "x.zip")))


@unlinked
def test_links_that_lead_nowhere_are_named(survey, tmp_path):
    folder = tmp_path / "0" / "data" / "sub-01"
    folder.mkdir(parents=True)
    for k in range(6):
        os.symlink(f"../.git/annex/objects/MD5E-{k}.nii.gz", folder / f"sub-01_run-{k}_T1w.nii.gz")
    with pytest.raises(UserError, match="sub-01_run-0_T1w.nii.gz: the link leads nowhere.*datalad get"):
        survey([])
    (tmp_path / "1" / "data").mkdir(parents=True)
    os.symlink("../.git/annex/objects/x.nii.gz", tmp_path / "1" / "data" / "sub-9.nii.gz")
    assert "datalad get" in survey([f"sub-{k}.nii.gz" for k in range(4)]).broken["sub-9.nii.gz"]


@pytest.mark.parametrize("name", ["a.png", "a.nii.gz"])
def test_a_pointer_in_the_place_of_an_image_is_named(tmp_path, name):
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    with pytest.raises(UserError, match="git lfs pull"):
        reading.read(tmp_path / name, 32)


# Tables of people ------------------------------------------------------------------------------------------------

HEAD = "ID,M/F,Age,CDR,Größe"
LINES = [f"OAS1_{k:04d}_MR1,{'FM'[k % 2]},{60 + k},{('0', '0.5', '')[k % 3]},1" for k in range(1, 11)]
VOLUMES = [f"OAS1_{k:04d}_MR1/mpr.nii.gz" for k in range(1, 11)]
TABLES = {
    "commas": "\n".join([HEAD, *LINES]).encode(),
    "marked": "\n".join([HEAD, *LINES]).encode("utf-8-sig"),
    "semicolons": "\r\n".join([HEAD, *LINES]).replace(",", ";").replace("0.5", "0,5").encode(),
    "tabs": "\n".join([HEAD, *LINES]).replace(",", "\t").encode(),
    "latin": "\n".join([HEAD, *LINES]).encode("latin-1"),
    "utf-16": "\n".join([HEAD, *LINES]).encode("utf-16"),
    "quoted": "\n".join([HEAD, *LINES]).replace("OAS1", '"OAS1').replace("_MR1", '_MR1"').encode(),
}


@pytest.mark.parametrize("kind", TABLES)
def test_tables_are_read_as_they_are_had(survey, kind):
    made = survey(VOLUMES, "size: 32, slices: 1", {"subjects.csv": TABLES[kind]})
    assert column(made, "label") == [("control", "dementia", "unrated")[k % 3] for k in range(1, 11)]
    assert made.people["OAS1_0003"] == {"age": "63", "sex": "M"}


@pytest.mark.parametrize(("name", "label"), [("participants.tsv", "group"), ("oasis_cross-sectional.csv", "CDR")])
def test_tables_under_their_own_names_are_known(survey, name, label):
    text = f"participant_id\tage\t{label}\n" + "".join(f"OAS1_{k:04d}\t{k}\t0\n" for k in range(1, 11))
    made = survey(VOLUMES, "size: 32, slices: 1", {name: text.encode()})
    assert set(column(made, "label")) == {"0" if label == "group" else "control"}


def test_a_spreadsheet_that_cannot_be_read_is_a_sentence(survey):
    with pytest.raises(UserError, match=r"x.xlsx cannot be read.*save it as CSV"):
        survey(VOLUMES, "size: 32, subjects: x.xlsx", {"x.xlsx": b"PK\x03\x04" + bytes(range(256))})


def test_names_with_and_without_zeros_meet_their_own_rows(survey):
    names = ["sub-1/sub-1_T1w.nii", "sub-01/sub-01_T1w.nii", "sub-2/sub-2_T1w.nii"]
    made = survey(names, "size: 32, slices: 1", {"subjects.csv": b"id,group\nsub-1,a\nsub-01,b\n002,c\n"})
    assert {row.person: row.label for row in made.rows} == {"sub-1": "a", "sub-01": "b", "sub-2": "c"}
    made = survey(names, "size: 32, slices: 1", {"subjects.csv": b"id,group\n1,a\n2,c\n"})
    assert {row.person: row.label for row in made.rows} == {"sub-1": "", "sub-01": "", "sub-2": "c"}


def test_oasis_own_table_groups_by_its_id(survey):
    lines = "ID,CDR\n" + "".join(f"OAS1_{k // 2:04d}_MR{1 + k % 2},0\n" for k in range(2, 22))
    scans = {f"OAS1_{k // 2:04d}_MR{1 + k % 2}": k // 2 for k in range(2, 22)}
    made = survey([f"{name}.png" for name in scans], tables={"oasis_cross-sectional.csv": lines.encode()})
    assert made.identity == "person" and len(set(column(made, "person"))) == 10
    table = "".join(f"x{k}.png,OAS1_{1 + k // 2:04d}_MR1\n" for k in range(20))
    made = survey([f"x{k}.png" for k in range(20)], tables={"subjects.csv": ("file,ID\n" + table).encode()})
    assert made.identity == "person" and set(column(made, "person")) == {f"OAS1_{k:04d}" for k in range(1, 11)}


def test_scans_of_adnis_download_table(survey):
    table = '"Image Data ID","Subject","Group","Sex","Age"\n' + "".join(
        f'"I{218300 + w}","{w // 2:03d}_S_{1000 + w // 2}","{("AD", "CN")[w % 2]}","{"FM"[w % 2]}","{70 + w}"\n'
        for w in range(12))  # fmt: skip
    made = survey([f"AD_NC/train/{('AD', 'NC')[w % 2]}/{218300 + w}_{k}.jpeg" for w in range(12) for k in range(3)],
                  tables={"subjects.csv": table.encode()})  # fmt: skip
    assert made.identity == "person" and len(set(column(made, "person"))) == 6
    assert subjects.canonical("I218300") == "218300" and made.people["000_S_1000"]["sex"] == "F"


# Two hundred names and nestings ----------------------------------------------------------------------------------

FILES = {  # how people are named, {w}; what tells a slice or scan of theirs, {k} and {u}, which no two files share
    "known": [
        "OAS1_{w:04d}_MR{v}_mpr-{v}_{k}",
        "{w:03d}_S_{w4}_slice_{k:03d}",
        "sub-{w:02d}_ses-{v}_{k}",
        "sub-OAS3{w:04d}_{k}",
        "case_{w:03d}_slice_{k}",
        "case_{w:03d}_week_{v}_slice_{k}",
        "patient{w:03d}_{k}",
        "Subject_{w}_{k}",
        "IXI{w:03d}-HH-1{w}-T1_{k}",
        "BraTS20_Training_{w:03d}_{k}",
        "TCGA_CS_{w4}_2001_{k}",
        "PAT {w} ({k})",
    ],
    "scan": ["{w}00000_{k}", "{w}00000_{k:03d}", "mri{w}_slice_{k}", "p{w}_{k}", "scan {w}-{k}"],
    "nobody": ["{u}", "img_{u}", "{c}_{u}", "26 ({u})", "slice{u}", "IM-{u:04d}"],
    "folder": ["slice_{k}", "IM-{k:04d}", "{k}", "T1"],
}
NESTINGS = ["", "{s}/", "{s}/{c}/", "{c}/{s}/", "{c}/", "archive/{s}/{c}/", "{s} data/{c}/", "{s}_images/",
            "my test/{s}/{c}/",             "Data/{c}/png/", "site{w2}/{c}/", "{S}Set/", "x_{s}/y/{c}/"]  # fmt: skip
BELOW = {"known": ["", "", "{w}/", "sub{w}/anat/"], "scan": ["", "{w}/"], "nobody": [""],
         "folder": ["{w}00/", "hc{w}/mri/", "OAS2_{w:04d}_MR{v}/", "{w:03d}_S_{w4}/MPR/I{w}{k}/",
                    "sub-{w}/ses-{v}/"]}  # fmt: skip


def generated(seed):
    """`{name: (person, split)}` of ten people or more, the settings, and which kind of name; split "" where none is."""
    rng = np.random.default_rng(seed)
    kind = ("known", "known", "folder", "folder", "scan", "nobody")[seed % 6]
    form = rng.choice(NESTINGS) + rng.choice(BELOW[kind]) + rng.choice(FILES[kind])
    suffix = ".png" if kind != "folder" else rng.choice([".nii.gz", ".png", ".mgz"])
    names, unique = {}, itertools.count(int(rng.integers(100)))
    for who in rng.choice(np.arange(10, 90), int(rng.integers(10, 25)), replace=False).tolist():
        split = ("train", "train", "test", "validation")[who % 4]
        word = {"train": "train", "test": rng.choice(["test"]), "validation": "val"}[split]
        for k, v in itertools.product((1, 2, 3), (1, 2) if "{v}" in form else (1,)):
            name = form.format(w=who, k=k, v=v, u=next(unique), w2=who % 3, w4=4000 + who, c=("AD", "CN")[who % 2],
                               s=word, S=word.capitalize()) + suffix  # fmt: skip
            names[name] = (who, split if "{s}" in form.lower() else "")
            if who % 5 == 0:
                names[name.replace(suffix, "_mask" + suffix)] = None
    return names, f"size: 32, slices: 2, seed: {seed}", kind


def outcome(survey, seed):
    """How one generated folder ends: "stop", "warning" or "clean"; fails where one person is on two sides unsaid."""
    names, section, kind = generated(seed)
    shown = (kind, sorted(names)[:6])
    try:
        made = survey(names, section)
    except UserError as error:
        return f"stop: {error}"
    rows = [(row, *names[row.file.name]) for row in made.rows]  # a mask has no person: this would fail
    assert len({row.file for row in made.rows}) == sum(value is not None for value in names.values()), shown
    given = np.array(column(made, "split"))
    assert given.tolist() == [split for _, _, split in rows], shown
    person = np.array([row.person or row.file.name for row in made.rows])
    if splits.shared(person[given != ""], given[given != ""]):
        return "stop: people in two splits"
    split, _ = splits.assign(person, np.array(column(made, "label")), given, {"test": 0.2, "validation": 0.2}, seed)
    truth = np.array([str(who) for _, who, _ in rows])
    assert warned(made) or not splits.shared(truth, split), shown
    if kind in ("known", "folder"):
        assert not splits.shared(truth, split) and len(set(person)) == len(set(truth)), (shown, sorted(set(person))[:5])
    labels = set(column(made, "label"))
    assert not labels & {"train", "test", "val", "Train", "Test", "Val"}, shown
    return "warning" if warned(made) else "clean"


def test_two_hundred_names_and_nestings_keep_everybody_on_one_side(survey):
    ends = [outcome(survey, seed) for seed in range(200)]
    assert sum(end == "clean" for end in ends) >= 60 and not [end for end in ends if end.startswith("stop")]
