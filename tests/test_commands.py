"""`reconstruct`, `score` and `generate` as a user types them, on the models of the tiny report."""

import json
import os
import re
import shutil
import sys

import keras
import nibabel
import numpy as np
import pytest
from conftest import TINY, vq_lib
from PIL import Image
from skimage.metrics import structural_similarity

from vq_lib import cli
from vq_lib.errors import UserError
from vq_lib.models import vqvae
from vq_lib.recipe import Data
from vq_lib.report import commands


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


def test_reconstruct_writes_what_the_model_gives(tiny, folder, tmp_path, command):
    paths = sorted(folder.glob("*.png"))[:2]
    done = command("reconstruct", "--model", tiny / "models" / "vqvae.keras", *paths, "--out", tmp_path / "out")
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


def test_reconstruct_takes_a_folder_and_not_what_it_wrote_there(tiny, folder, tmp_path, command):
    place = shutil.copytree(folder, tmp_path / "images")
    count = len(list(place.glob("*.png")))
    for _ in range(2):
        done = command("reconstruct", "--report", tiny, place, "--out", place, "--json", tmp_path / "scores.json")
        assert done.returncode == 0 and f"{count} reconstructions written" in done.stdout, done.stderr
    assert len(list(place.iterdir())) == 2 * count
    for path in place.glob("*_?.png"):
        path.unlink()
    done = command("reconstruct", "--report", tiny, place, "--out", tmp_path)
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
    people = "{layout: cohort, size: 32, slices: 3, people: {train: 4, validation: 2, test: 2}}"
    (copy / "recipe.yaml").write_text(TINY.replace(people, "{size: 32, slices: 3, white: 4095}"), encoding="utf-8")
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
    document["provenance"]["overrides"] = "data.layout=image_folder data.white=4095"
    for place in (copy, copy / "run"):
        (place / "metrics.json").write_text(json.dumps(document))
    assert commands._as_built(copy).recipe.data.white == 4095
    assert commands._as_built(tiny).recipe.data.white is None


def scored(tiny, capsys, *arguments):
    """What `vq-lib score` prints, in this process."""
    commands.score(cli.parser().parse_args(["score", "--report", str(tiny), *map(str, arguments)]))
    return capsys.readouterr().out


def test_people_are_told_apart_as_training_does_and_spoken_of_only_where_they_are_known(tiny, folder, tmp_path, capsys):
    pictures = sorted(folder.glob("*.png"))
    names = {"adni": "{0}/218{1:03d}_{2}.png", "kaggle": "Mild/OAS1_{1:04d}_MR1_mpr-1_{2}.png",
             "unknown": "{2}-{1}.png", "bids": "sub-{1:02d}/slice_{2}.png"}  # fmt: skip
    for layout, name in names.items():
        for i, path in enumerate(pictures):
            place = tmp_path / layout / name.format("AD" if i < 3 else "NC", 1 + i // 3, i % 3)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)
        shutil.copy(pictures[0], tmp_path / layout / "x.reconstruction.png")
        printed = scored(tiny, capsys, tmp_path / layout)
        assert "1 files are reconstructions by their names and were left out" in printed
        if layout == "unknown":
            assert "6 images, 95% interval over images (people unknown)" in printed and "of 6 people" not in printed
        else:
            assert "6 images of 2 people, 95% interval over people" in printed


@pytest.mark.parametrize(("pattern", "said"), [(r"slice_(\d)", "6 images of 3 people"),
                                              ("(nobody)", "6 images of 2 people")])  # fmt: skip
def test_people_are_those_of_the_reports_pattern(tiny, folder, capsys, monkeypatch, pattern, said):
    read = commands._models
    monkeypatch.setattr(commands, "_models", lambda args: (*read(args)[:2], Data.model_validate({"person": pattern})))
    assert said in scored(tiny, capsys, folder)


def test_one_person_has_no_interval(tiny, folder, tmp_path, capsys):
    for path in sorted(folder.glob("case_000*.png")):
        shutil.copy(path, tmp_path)
    printed = scored(tiny, capsys, tmp_path)
    assert "3 images of 1 people" in printed and re.search(r"^SSIM +0\.\d{4} +– +–$", printed, re.M)


def volume(path, seed=0):
    """A small volume of a head that is brighter in the middle."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in (24, 28, 24)), indexing="ij")
    levels = np.clip(1.2 - sum(axis**2 for axis in axes), 0, 1) * (900 + 10 * seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(levels.astype(np.float32), np.diag([4.0, 4, 4, 1])), path)


def test_volumes_are_taken_wherever_images_are(tiny, tmp_path, capsys):
    for person in (1, 2):
        volume(tmp_path / "volumes" / f"sub-{person:02d}_T1w.nii.gz", person)
    assert "6 images of 2 people" in scored(tiny, capsys, tmp_path / "volumes"), "three slices each, as the recipe says"
    one, out = tmp_path / "volumes" / "sub-01_T1w.nii.gz", tmp_path / "out"
    commands.reconstruct(cli.parser().parse_args(["reconstruct", "--report", str(tiny), str(one), "--out", str(out)]))
    assert [path.name for path in sorted(out.iterdir())] == [
        f"sub-01_T1w.nii.0{k}.reconstruction.png" for k in (1, 2, 3)
    ]
    assert generated(tiny, tmp_path, "-n", 2, "--complete", one).shape == (2, 32, 32)


def test_16_bits_that_would_come_out_black_say_so(tiny, tmp_path, capsys):
    level = np.random.default_rng(0).integers(0, 4096, (32, 32)).astype(np.uint16)
    Image.fromarray(level).save(tmp_path / "case_1_slice_0.png")
    with pytest.raises(UserError, match="set data.white"):
        scored(tiny, capsys, tmp_path)
    assert "1 images" in scored(tiny, capsys, tmp_path, "--white", 4095)


def test_generate_is_a_grid_that_the_seed_decides(tiny, tmp_path, command):
    """The second one in a process of its own."""
    pictures = []
    for run, name, seed in ((command, "a.png", 1), (vq_lib, "b.png", 1), (command, "c.png", 2)):
        done = run("generate", "--report", tiny, "-n", 3, "--seed", seed, "--out", tmp_path / name)
        assert done.returncode == 0, done.stderr
        pictures.append(np.asarray(Image.open(tmp_path / name)))
    assert pictures[0].shape == (64, 64)  # 2 x 2 places of 32 pixels, the last one empty
    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert (pictures[0] != pictures[2]).any() and not pictures[0][32:, 32:].any()


def test_mistakes_are_one_sentence(tiny, folder, tmp_path, command):
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
        done = command(*arguments)
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


def test_models_are_known_by_their_settings_and_not_by_their_folders_name(tiny, folder, tmp_path, command):
    copy = tmp_path / "mine"
    shutil.copytree(tiny, copy, ignore=shutil.ignore_patterns("run"))
    recipe = (copy / "recipe.yaml").read_text(encoding="utf-8")
    (copy / "recipe.yaml").write_text(recipe.replace("A tiny report", "Mine").replace("samples: 4", "samples: 8"))
    assert commands._trained(commands._as_built(copy), True) == [
        copy / "models" / f"{x}.keras" for x in ("vqvae", "prior")
    ]
    (copy / "recipe.yaml").write_text(recipe.replace("codes: 16", "codes: 8"), encoding="utf-8")
    with pytest.raises(UserError, match="made with other settings than the recipe"):
        commands._trained(commands._as_built(copy), False)
    (copy / "metrics.json").unlink()
    assert command("score", "--report", copy, folder).returncode == 0


def test_vqvae_and_prior_are_of_one_training(tiny, tmp_path):
    """While notebook 02 has trained anew and notebook 03 has not, `run/` holds half of two reports."""
    copy = shutil.copytree(tiny, tmp_path / tiny.name)

    def found(prior):
        paths = commands._trained(commands._as_built(copy), prior)
        return [path.relative_to(copy).as_posix() for path in paths]

    assert found(True) == ["run/vqvae/model.keras", "run/prior/pixelcnn/model.keras"]
    summary = copy / "run" / "vqvae" / "summary.json"
    summary.write_text(json.dumps({**json.loads(summary.read_text()), "key": "that of another training"}))
    assert found(True) == ["models/vqvae.keras", "models/prior.keras"]
    assert found(False) == ["run/vqvae/model.keras"]
    (copy / "models" / "prior.keras").unlink()
    with pytest.raises(UserError, match="has no trained prior yet"):
        found(True)


def test_without_a_prior_generate_says_what_is_missing(tmp_path):
    (tmp_path / "recipe.yaml").write_text(TINY, encoding="utf-8")
    for overrides, sentence in (
        ("", "has no trained vqvae yet: run 'make report"),
        ("prior", "has no prior, which draws"),
    ):
        if overrides:
            text = TINY[: TINY.index("prior:")] + TINY[TINY.index("evaluation:") :]
            (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=sentence):
            commands.generate(cli.parser().parse_args(["generate", "--report", str(tmp_path)]))


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
    asked = [cli.parser().parse_args(["generate", "--report", "x", "-n", n]) for n in "94"]
    whole, part = (commands._condition(prior(**VARIANTS[3]), arguments) for arguments in asked)
    np.testing.assert_array_equal(whole[:4], part)  # that of image i does not depend on how many are drawn


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path, command):
    (tmp_path / "recipe.yaml").write_text(TINY, encoding="utf-8")
    (tmp_path / "run").write_text("a file where a folder should be", encoding="utf-8")
    done = command("report", tmp_path)
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
