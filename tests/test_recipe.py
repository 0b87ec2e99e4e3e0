"""A recipe with a mistake stops with a sentence that names the key; the recipes of the reports have none."""

import pytest
import yaml
from conftest import REPOSITORY, TINY

from vq_lib import recipe
from vq_lib.errors import UserError


@pytest.fixture
def written(tmp_path):
    def write(text=TINY, **replaced):
        for old, new in replaced.items():
            text = text.replace(old, new)
        path = tmp_path / "recipe.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def complaint(path, overrides=""):
    with pytest.raises(UserError) as caught:
        recipe.load(path, overrides)
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith((".", "?"))
    return sentence


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "reports").glob("*/recipe.yaml")), ids=lambda path: path.parent.name
)
def test_recipes_of_the_reports_are_valid(path):
    loaded = recipe.load(path)
    assert loaded.data.size % loaded.vqvae.factor == 0


def test_unknown_key_names_the_nearest(written):
    sentence = complaint(written(codes="codess"))
    assert "'vqvae.codess'" in sentence and "'codes'" in sentence


def test_wrong_kind_names_key_and_value(written):
    sentence = complaint(written(**{"codes: 16": "codes: many"}))
    assert "'vqvae.codes'" in sentence and "'many'" in sentence


def test_unknown_choice_names_the_nearest(written):
    assert "Did you mean 'cohort'?" in complaint(written(cohort="cohrot"))


def test_size_must_be_divisible(written):
    sentence = complaint(written(**{"size: 32": "size: 33"}))
    assert "33" in sentence and "4" in sentence


def test_decoder_must_undo_the_encoder(written):
    sentence = complaint(written(**{"kernel: 4, stride: 2}]\n  codes": "kernel: 4}]\n  codes"}))
    assert "4 times" in sentence and "2 times" in sentence


@pytest.mark.parametrize(("report", "overrides", "named"), [
    ("demo", "data.layout=oasis data.channels=3", "data.channels (=3)"),
    ("demo", "vqvae.encoder=[] vqvae.decoder=[]", "'output: block'"),
    ("demo", 'vqvae.encoder=[{"layer":"conv","filters":32,"stride":4},{"layer":"residual","filters":64}]',
     "vqvae.encoder has 64 filters, and is given 32"),
    ("oasisvq", 'vqvae.encoder=[{"layer":"residual","filters":8}] vqvae.decoder=[]', "has 8 filters, and is given 1"),
    ("demo", "vqvae.seed=4294967296", "vqvae.seed"),
])  # fmt: skip
def test_what_cannot_be_built_is_no_recipe(report, overrides, named):
    assert named in complaint(REPOSITORY / "reports" / report / "recipe.yaml", overrides)


def test_missing_section_and_missing_file(written, tmp_path):
    assert "'title'" in complaint(written("data: {size: 32}"))
    assert str(tmp_path / "none.yaml") in complaint(tmp_path / "none.yaml")


def test_bad_yaml_names_the_line(written):
    assert "line 2" in complaint(written("title: x\n  data: {}\n"))
    assert "sections" in complaint(written("- a list"))


@pytest.mark.parametrize(("report", "overrides", "named"), [
    ("demo", 'vqvae.encoder=[{"layer":"conv","filters":32,"stride":4,"repeat":2}]', "'repeat'"),
    ("demo", 'vqvae.encoder=[{"layer":"conv","filters":32,"stride":4,"hidden":8}]', "'hidden'"),
    ("demo", 'vqvae.encoder=[{"layer":"residual","filters":32,"kernel":5}]', "'kernel'"),
    ("demo", "prior.attention=3", "'attention'"), ("oasisvq", "prior.key_dim=8", "'key_dim'"),
    ("demo", "prior.head=0 prior.head_filters=64", "'head_filters'"),
    ("oasis-best", "prior.compare.pixelcnn.value_dim=8", "'value_dim'"),
    ("oasisvq", "vqvae.codebook=ema vqvae.levels=[8,16]", "'levels'"),
    ("demo", "data.white=4095", "'white'"), ("demo", "data.person=(.)", "'person'"),
    ("demo", "data.test=0.3", "'test'"), ("demo", "data.skip=0.1", "'skip'"),
    ("oasisvq", "vqvae.decay=0.9", "'decay'"), ("demo", "vqvae.spread=0.1", "'spread'"),
    ("oasisvq", "data.plane=coronal", "'plane'"),
    *(("oasis-256", f"vqvae.quantizer=fsq vqvae.levels=[8,16] vqvae.code_dim=2 vqvae.codebook=ema vqvae.start=kmeans "
       f"vqvae.spread=null vqvae.restart=null vqvae.beta=0.25 vqvae.{text}", f"'{text.partition('=')[0]}'")
      for text in ("decay=0.9", "distance=cosine", "beta=1", "restart=0.2", "codebook=gradient", "gradient=rotation")),
])  # fmt: skip
def test_a_setting_without_effect_is_refused(report, overrides, named):
    sentence = complaint(REPOSITORY / "reports" / report / "recipe.yaml", overrides)
    assert named in sentence and "has no effect" in sentence


def test_what_one_prior_alone_has_is_not_inherited_by_those_that_it_is_compared_with(written):
    text = {"compare: {gated: {}}": "name: snail, attention: 3, compare: {gated: {}}"}
    models = recipe.load(written(**text)).prior.models()
    assert (models["snail"].attention, models["gated"].attention) == (3, 2)


def test_a_key_given_twice_names_the_line(written):
    sentence = complaint(written(**{"  codes: 16\n": "  codes: 16\n  codes: 32\n"}))
    assert "line " in sentence and "'codes' is given twice" in sentence


@pytest.mark.parametrize(("override", "meant"), [
    ("codes=64", "'vqvae.codes'"), ("samples=4", "'evaluation.samples'"), ("vqvae.layout=oasis", "'data.layout'"),
    ("epochs=2", "'vqvae.epochs' or 'prior.epochs'"), ("vqvae.xyz=2", "Known here: "),
])  # fmt: skip
def test_an_override_without_its_section_is_told_where_it_belongs(written, override, meant):
    assert meant in complaint(written(), override)


def test_whose_report_it_is_changes_no_stage(written):
    plain, signed = recipe.load(written()), recipe.load(written(), "author=Me appendix=false title=Other")
    assert (signed.author, signed.appendix, plain.appendix) == ("Me", False, True)
    assert all(plain.chosen(stage) == signed.chosen(stage) for stage in ("data", "vqvae", "prior", "evaluation"))


def test_new_keys_of_the_library_change_no_digest(written):
    """By which models are known: this one is from before `author`, `appendix`, `files`, `plane` and `volume`."""
    assert recipe.load(written()).sha256 == "945296036756bf8957bac853ecc921a120e428ca2442915593126951c70d8a58"


def test_overrides_change_exactly_what_they_name(written):
    plain, changed = recipe.load(written()), recipe.load(written(), "vqvae.epochs=3 prior.learning_rate=5e-4")
    assert (changed.vqvae.epochs, changed.prior.learning_rate) == (3, 5e-4)
    assert changed.data == plain.data
    assert changed.sha256 != plain.sha256
    assert recipe.load(written(), "prior=null").prior is None


@pytest.mark.parametrize(("override", "named"), [
    ("vqvae.epoch=2", "'epochs'"), ("vqvae.epochs", "vqvae.epochs"), ("title.x=2", "title"),
    ("vqvae.epochs=0", "vqvae.epochs"), ("vqvae.epochs=[", "vqvae.epochs=["),
])  # fmt: skip
def test_bad_overrides(written, override, named):
    assert named in complaint(written(), override)


def test_settings_list_every_value_once(written):
    names = [name for name, _ in recipe.load(written()).settings()]
    assert len(names) == len(set(names))
    assert {"data.size", "vqvae.encoder[0]", "prior.epochs"} <= set(names)
    assert yaml.safe_load(TINY)["title"] == dict(recipe.load(written()).settings())["title"]


def test_a_compared_prior_inherits_what_it_leaves_out(written):
    path = written(**{"compare: {gated: {}}": "compare: {snail: {attention: 3, epochs: 7}, gated: {}}"})
    models = recipe.load(path, "prior.minutes=2").prior.models()
    assert list(models) == ["pixelcnn", "gated", "snail"]
    assert [model.filters for model in models.values()] == [8, 8, 8] and models["snail"].condition == [
        "label",
        "position",
    ]
    assert (models["snail"].attention, models["snail"].epochs, models["gated"].epochs) == (3, 7, 1)
    assert all(model.minutes == 2 for model in models.values())
    swapped = recipe.load(written(**{"compare: {gated: {}}": "name: gated, compare: {pixelcnn: {}}"})).prior.models()
    assert list(swapped) == ["gated", "pixelcnn"]
    assert swapped == {name: recipe.load(written()).prior.models()[name] for name in swapped}


@pytest.mark.parametrize(("comparison", "named"), [
    ("{gatd: {}}", "'gated'"), ("{gated: {filterss: 3}}", "'filters'"), ("{pixelcnn: {}}", "the prior itself"),
    ("{gated: 3}", "prior.compare.gated"), ("{gated: {kernel: 4}}", "odd"),
    ("{gated: {}}, name: [pixelcnn, gated]", "'prior.name'"), ("{gated: {}}, name: {}", "'prior.name'"),
])  # fmt: skip
def test_bad_comparisons(written, comparison, named):
    assert named in complaint(written(**{"{gated: {}}": comparison}))
