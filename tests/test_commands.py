"""`reconstruct`, `score` and `generate` as a user types them, on the models of the tiny report."""

import json

import keras
import numpy as np
import pytest
from conftest import vq_lib
from PIL import Image
from skimage.metrics import structural_similarity

from vq_lib import vqvae  # registers the class that the file names


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
