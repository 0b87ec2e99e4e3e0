"""`reconstruct`, `score` and `generate` as a user types them, on the models of the tiny report."""

import json
import os
import re
import shutil
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import TINY, vq_lib
from PIL import Image
from skimage.metrics import structural_similarity

from vq_lib import cli
from vq_lib.errors import UserError
from vq_lib.models import vqvae
from vq_lib.report import commands, pipeline
from vq_lib.study import Study


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory):
    """The report's test slices as files, two people of three slices each."""
    images = np.load(tiny / "run" / "slices" / "images.npy", allow_pickle=False)[-6:]
    target = tmp_path_factory.mktemp("slices")
    for i, image in enumerate(images):
        Image.fromarray(image[..., 0]).save(target / f"case_{i // 3:03d}_slice_{i % 3}.png")
    return target


def test_score_repeats_the_reports_figures(tiny, folder, tmp_path):
    done = vq_lib("score", "--report", tiny, folder, "--json", tmp_path / "scores.json")
    assert done.returncode == 0, done.stderr
    assert "6 images of 2 people" in done.stdout
    found = json.loads((tmp_path / "scores.json").read_text())
    published = json.loads((tiny / "metrics.json").read_text())["vqvae"]
    for score in ("ssim", "ssim_foreground", "psnr"):
        assert found[score]["mean"] == pytest.approx(published[score]["mean"], abs=1e-6)
    for name in ("codebook_usage", "perplexity", "perplexity_foreground", "bits_per_pixel", "parameters"):
        assert found[name] == pytest.approx(published[name])


def test_reconstruct_writes_what_the_model_gives(tiny, folder, tmp_path):
    paths = sorted(folder.glob("*.png"))[:2]
    done = vq_lib("reconstruct", "--model", tiny / "models" / "vqvae.keras", *paths, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    model = keras.saving.load_model(tiny / "models" / "vqvae.keras", compile=False)
    assert isinstance(model, vqvae.VQVAE)
    for path in paths:
        x = np.asarray(Image.open(path))
        y = np.asarray(Image.open(tmp_path / "out" / f"{path.stem}.reconstruction.png"))
        expected = np.asarray(model(x[None, ..., None]))[0, ..., 0]
        assert np.abs(y / 255 - expected).max() <= 0.5 / 255 + 1e-4
        score = structural_similarity(
            x / 255, expected, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        assert f"{score:.4f}"[:-1] in done.stdout


def test_reconstruct_takes_a_folder_and_not_what_it_wrote_there(tiny, folder, tmp_path):
    place = shutil.copytree(folder, tmp_path / "images")
    count = len(list(place.glob("*.png")))
    for _ in range(2):
        done = vq_lib("reconstruct", "--report", tiny, place, "--out", place, "--json", tmp_path / "scores.json")
        assert done.returncode == 0 and f"{count} reconstructions written" in done.stdout, done.stderr
    assert len(list(place.iterdir())) == 2 * count
    for path in place.glob("*_?.png"):
        path.unlink()
    done = vq_lib("reconstruct", "--report", tiny, place, "--out", tmp_path)
    assert done.returncode == 2 and "holds no images but reconstructions" in done.stderr
    scores, published = (json.loads(path.read_text()) for path in (tmp_path / "scores.json", tiny / "metrics.json"))
    assert scores["ssim"] == pytest.approx(published["vqvae"]["ssim"], abs=1e-6)  # the interval is over people


def test_equal_names_in_two_folders_stay_apart(tiny, folder, tmp_path, monkeypatch):
    for name, path in zip(("AD/1.png", "NC/1.png"), sorted(folder.glob("*.png")), strict=False):
        (tmp_path / "images" / name).parent.mkdir(parents=True)
        shutil.copy(path, tmp_path / "images" / name)

    def reconstruct(*images):
        commands.reconstruct(cli.parser().parse_args(["reconstruct", "--report", str(tiny), *map(str, images),
                                                      "--out", str(tmp_path / "out")]))  # fmt: skip

    reconstruct(tmp_path / "images")
    written = [path.relative_to(tmp_path / "out").as_posix() for path in sorted(tmp_path.glob("out/*/*"))]
    assert written == ["AD/1.reconstruction.png", "NC/1.reconstruction.png"]
    monkeypatch.setattr(commands, "_models", lambda args: pytest.fail("the model ran before the names were looked at"))
    with pytest.raises(UserError, match="have the same name"):
        reconstruct(tmp_path / "images" / "AD", tmp_path / "images" / "NC")


def test_images_of_more_than_8_bits_are_read_as_the_report_read_them(tiny, folder, tmp_path):
    """Levels from 0 to 4080 in 16 bits, of which `data.white` says that 4095 is white."""
    copy = shutil.copytree(tiny, tmp_path / tiny.name)
    recipe = copy / "recipe.yaml"
    recipe.write_text(TINY.replace("size: 32,", "size: 32, white: 4095,"), encoding="utf-8")
    (tmp_path / "deep").mkdir()
    for path in folder.glob("*.png"):
        Image.fromarray(np.asarray(Image.open(path)).astype(np.uint16) * 16).save(tmp_path / "deep" / path.name)
    expected = json.loads((tiny / "metrics.json").read_text())["vqvae"]["ssim"]["mean"]
    for model in (["--report", str(copy)], ["--model", str(copy / "models" / "vqvae.keras"), "--white", "4095"]):
        arguments = ["score", *model, str(tmp_path / "deep"), "--json", str(tmp_path / "scores.json")]
        commands.score(cli.parser().parse_args(arguments))
        assert json.loads((tmp_path / "scores.json").read_text())["ssim"]["mean"] == pytest.approx(expected, abs=1e-6)


def test_settings_that_a_report_was_built_with_count_for_its_images(tiny, tmp_path):
    copy = shutil.copytree(tiny, tmp_path / tiny.name)
    document = json.loads((copy / "metrics.json").read_text())
    document["provenance"]["overrides"] = "data.white=4095"
    for place in (copy, copy / "run"):
        (place / "metrics.json").write_text(json.dumps(document))
    assert commands._trained_with(copy).data.white == 4095
    assert commands._trained_with(tiny).data.white is None


def test_people_are_told_apart_by_sub_folders_where_names_do_not():
    paths = [Path(name) for name in ("AD/1.png", "NC/1.png", "a/case_1_slice_3.nii.png", "b/case_1_slice_4.nii.png")]
    assert commands._people(paths).tolist() == ["AD/1.png", "NC/1.png", "case_1", "case_1"]


def test_generate_is_a_grid_that_the_seed_decides(tiny, tmp_path):
    pictures = []
    for name, seed in (("a.png", 1), ("b.png", 1), ("c.png", 2)):
        done = vq_lib("generate", "--report", tiny, "-n", 3, "--seed", seed, "--out", tmp_path / name)
        assert done.returncode == 0, done.stderr
        pictures.append(np.asarray(Image.open(tmp_path / name)))
    assert pictures[0].shape == (64, 64)  # 2 x 2 places of 32 pixels, the last one empty
    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert (pictures[0] != pictures[2]).any() and not pictures[0][32:, 32:].any()


def test_mistakes_are_one_sentence(tiny, folder, tmp_path):
    (tmp_path / "broken.keras").write_bytes(b"no model")
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.png").write_bytes(b"no image")
    cases = {
        "There is no report": ("score", "--report", "nowhere", folder),
        "broken.keras cannot be loaded as a Keras model": ("score", "--model", tmp_path / "broken.keras", folder),
        "holds a PixelCNN, not a VQ-VAE": ("score", "--model", tiny / "models" / "prior.keras", folder),
        "empty holds no images": ("score", "--report", tiny, tmp_path / "empty"),
        "There is no image": ("reconstruct", "--report", tiny, tmp_path / "none.png", "--out", tmp_path),
        "bad.png cannot be read": ("reconstruct", "--report", tiny, tmp_path / "bad.png", "--out", tmp_path),
        "must end in one of": ("generate", "--report", tiny, "--out", tmp_path / "samples.gif"),
    }
    for sentence, arguments in cases.items():
        done = vq_lib(*arguments)
        assert done.returncode == 2 and sentence in done.stderr, (arguments, done.stderr)
        assert "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) == 1


def generated(tiny, tmp_path, *arguments):
    """What `vq-lib generate` draws, in this process: the images side by side, (n, 32, 32)."""
    out = tmp_path / "out.png"
    commands.generate(
        cli.parser().parse_args(["generate", "--report", str(tiny), "--out", str(out), *map(str, arguments)])
    )
    pixels = np.asarray(Image.open(out))
    return pixels.reshape(pixels.shape[0] // 32, 32, -1, 32).transpose(0, 2, 1, 3).reshape(-1, 32, 32)


def test_generate_draws_what_it_is_asked_for(tiny, tmp_path):
    drawn = {
        options: generated(tiny, tmp_path, "-n", 4, "--seed", 1, *options)
        for options in ((), ("--label", "atrophy"), ("--label", "control"), ("--position", 2), ("--top-k", 1))
    }
    pictures = [drawn[options].tobytes() for options in drawn]
    assert len(set(pictures)) == len(pictures)
    likeliest = generated(tiny, tmp_path, "-n", 4, "--label", "control", "--position", 0, "--top-p", 1e-6)
    assert (likeliest == likeliest[:1]).all(), "with one code left at each place nothing is drawn by chance"


def test_complete_keeps_the_codes_outside_the_mask(tiny, folder, tmp_path, monkeypatch):
    source = sorted(folder.glob("*.png"))[1]
    model = keras.saving.load_model(tiny / "models" / "vqvae.keras", compile=False)
    known = model.encode(np.asarray(Image.open(source))[None, ..., None])[0]
    codes = []
    monkeypatch.setattr(
        vqvae.VQVAE, "decode", lambda self, drawn: codes.append(drawn) or np.zeros((len(drawn), 32, 32, 1))
    )
    mask = np.zeros((32, 32), np.uint8)
    mask[8:12, 20:28] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    cells = {
        "left": np.s_[:, :4],
        "lower": np.s_[4:],
        "centre": np.s_[2:6, 2:6],
        tmp_path / "mask.png": np.s_[2:3, 5:7],
    }
    for name, part in cells.items():
        generated(tiny, tmp_path, "-n", 3, "--complete", source, "--mask", name)
        drawn, outside = codes.pop(), np.ones((8, 8), bool)
        outside[part] = False
        assert (drawn[:, outside] == known[outside]).all()
        assert (drawn[:, ~outside] != known[~outside]).any(), "an untrained prior does not repeat the image"


def test_what_cannot_be_drawn_is_named(tiny, folder, tmp_path):
    image = sorted(folder.glob("*.png"))[0]
    Image.new("L", (32, 32)).save(tmp_path / "black.png")
    for sentence, arguments in {
        "Did you mean 'atrophy'": ("--label", "atropy"),
        r"unknown to this prior\. It knows 0 to 2": ("--position", 3),
        "neither a file nor one of left, right": ("--complete", image, "--mask", "leeft"),
        "nothing to draw anew": ("--complete", image, "--mask", tmp_path / "black.png"),
        "none.png": ("--complete", tmp_path / "none.png"),
    }.items():
        with pytest.raises(UserError, match=sentence):
            generated(tiny, tmp_path, *arguments)
    for arguments in (["--mask", "left"], ["--top-p", "1.5"], ["--top-k", "0"]):
        with pytest.raises(SystemExit) as stopped:
            cli.main(["generate", "--report", str(tiny), *arguments])
        assert stopped.value.code == 2


def test_models_of_another_report_are_refused(tiny, folder, tmp_path):
    copy = tmp_path / "mine"
    shutil.copytree(tiny, copy, ignore=shutil.ignore_patterns("run"))
    done = vq_lib("score", "--report", copy, folder)
    assert done.returncode == 2 and f"those of the report {tiny.name!r}" in done.stderr, done.stderr
    (copy / "metrics.json").unlink()
    assert vq_lib("score", "--report", copy, folder).returncode == 0


def test_vqvae_and_prior_are_of_one_training(tiny, tmp_path, monkeypatch):
    """While notebook 02 has trained anew and notebook 03 has not, `run/` holds half of two reports."""
    copy = shutil.copytree(tiny, tmp_path / tiny.name)
    monkeypatch.setattr(commands, "_model", lambda path, kind: path.relative_to(copy).as_posix())
    asked = cli.parser().parse_args(["generate", "--report", str(copy)])
    assert commands._models(asked, prior=True) == ["run/vqvae/model.keras", "run/prior/model.keras"]
    summary = copy / "run" / "vqvae" / "summary.json"
    summary.write_text(json.dumps({**json.loads(summary.read_text()), "key": "that of another training"}))
    assert commands._models(asked, prior=True) == ["models/vqvae.keras", "models/prior.keras"]
    assert commands._models(asked) == ("run/vqvae/model.keras", None)
    (copy / "models" / "vqvae.keras").unlink()
    with pytest.raises(UserError, match="has no trained prior yet"):
        commands._models(asked, prior=True)


def test_a_report_without_prior_publishes_none(tiny, tmp_path):
    copy = shutil.copytree(tiny, tmp_path / tiny.name)
    assert (copy / "models" / "prior.keras").exists() and (copy / "history-prior.csv").exists()
    pipeline.publish(Study(copy, overrides="prior=null"))
    assert sorted(path.name for path in copy.glob("models/*.keras")) == ["vqvae.keras"]
    assert sorted(path.name for path in copy.glob("history-*")) == ["history-vqvae.csv"]


def test_an_unconditioned_prior_knows_no_labels():
    from test_prior import prior

    arguments = cli.parser().parse_args(["generate", "--report", "x", "--label", "atrophy"])
    with pytest.raises(UserError, match="not trained with labels"):
        commands._condition(prior(), arguments)
    assert (commands._condition(prior(), cli.parser().parse_args(["generate", "--report", "x"])) == -1).all()


def test_conditions_drawn_evenly_cover_all(tiny):
    from test_prior import VARIANTS, prior

    arguments = cli.parser().parse_args(["generate", "--report", "x", "-n", "200", "--position", "3"])
    found = commands._condition(prior(**VARIANTS[3]), arguments)
    assert set(found[:, 0]) == {0, 1} and set(found[:, 1]) == {3}


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "recipe.yaml").write_text(TINY, encoding="utf-8")
    (tmp_path / "run").write_text("a file where a folder should be", encoding="utf-8")
    done = vq_lib("report", tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert re.fullmatch(rf"vq-lib: {re.escape(str(tmp_path / 'run'))}.* cannot be read or written: .*\.\n", done.stderr)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
def test_a_full_disk_is_one_sentence(tmp_path):
    """A limit of 50 bytes a file stands in for it: writing fails, as there, with an error that names no file."""
    import resource

    (tmp_path / "recipe.yaml").write_text(TINY, encoding="utf-8")
    done = vq_lib("report", tmp_path, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50, 50)),
                  env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})  # fmt: skip
    file = re.escape(str(tmp_path / "run" / "pipeline.json"))
    assert done.returncode == 1 and re.fullmatch(rf"vq-lib: {file} cannot be read or written: .*\.\n", done.stderr)


def test_letters_that_the_output_has_no_place_for_become_numbers(tiny, folder, tmp_path):
    shutil.copy(folder / "case_000_slice_0.png", tmp_path / "脑.png")
    done = vq_lib("reconstruct", "--report", tiny, tmp_path / "脑.png", "--out", tmp_path / "out",
                  env={**os.environ, "PYTHONIOENCODING": "cp1252"}, encoding="cp1252")  # fmt: skip
    assert done.returncode == 0 and "\\u8111" in done.stdout, done.stderr
