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


def test_overrides_change_exactly_what_they_name(written):
    plain, changed = recipe.load(written()), recipe.load(written(), "vqvae.epochs=3 prior.learning_rate=5e-4")
    assert (changed.vqvae.epochs, changed.prior.learning_rate) == (3, 5e-4)
    assert changed.section("data") == plain.section("data")
    assert changed.sha256 != plain.sha256
    assert recipe.load(written(), "prior=null").prior is None


@pytest.mark.parametrize(("override", "named"), [
    ("vqvae.epoch=2", "'epochs'"), ("vqvae.epochs", "vqvae.epochs"), ("title.x=2", "title"),
    ("vqvae.epochs=0", "vqvae.epochs"),
    ("vqvae.epochs=[", "vqvae.epochs=["),
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
