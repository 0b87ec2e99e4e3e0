"""Malformed and hostile files: each is a named skip or a clear error, none a crash, a hang or a silently wrong image.

PNG and gzip carry checksums, so that an accepted file must give the very pixels of the original; a file of another kind
that is accepted must give a picture of the right shape.
"""

import functools
import gzip
import io
import struct
import zlib

import nibabel
import numpy as np
import pytest
from PIL import Image

from vq_lib import data as datasets
from vq_lib.data import reading, voxels
from vq_lib.errors import UserError
from vq_lib.study import Study

EACH = 40  # of every kind of harm
MODEL = "vqvae: {encoder: [{layer: conv, filters: 4, stride: 2}], decoder: [{layer: transpose, filters: 4, stride: 2}]}"
PICTURE = np.random.default_rng(0).integers(0, 256, (48, 48)).astype(np.uint8)


def encoded(kind, image=None, **options):
    buffer = io.BytesIO()
    (image or Image.fromarray(PICTURE)).save(buffer, kind, **options)
    return buffer.getvalue()


def flipped(content, rng, begin=0, end=None):
    """Up to eight bytes between `begin` and `end` replaced at random."""
    harmed = bytearray(content)
    for _ in range(rng.integers(1, 9)):
        harmed[rng.integers(begin, end or len(content))] = rng.integers(0, 256)
    return bytes(harmed)


def cut(content, rng):
    return content[: rng.integers(0, len(content) - 12)]


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(header, *chunks):
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IEND", b"")


def with_valid_checksums(content, rng):
    """A PNG's header changed at random, its checksum made right again."""
    header = flipped(content[16:29], rng)
    return content[:16] + header + struct.pack(">I", zlib.crc32(b"IHDR" + header)) + content[33:]


def volume():
    values = np.zeros((16, 18, 14), np.int16)
    values[3:13, 3:15, 2:12] = np.random.default_rng(1).integers(100, 1000, (10, 12, 10))
    return nibabel.Nifti1Image(values, np.eye(4)).to_bytes()


PNG, JPEG, NIFTI = encoded("PNG"), encoded("JPEG", quality=90), volume()
HARM = {
    "PNG header": ("png", lambda rng: flipped(PNG, rng, 0, 41)),
    "PNG header, checksum right": ("png", lambda rng: with_valid_checksums(PNG, rng)),
    "PNG body": ("png", lambda rng: flipped(PNG, rng, 41)),
    "PNG cut off": ("png", lambda rng: cut(PNG, rng)),
    "JPEG header": ("jpg", lambda rng: flipped(JPEG, rng, 0, 300)),
    "JPEG body": ("jpg", lambda rng: flipped(JPEG, rng, 300)),
    "JPEG cut off": ("jpg", lambda rng: cut(JPEG, rng)),
    "TIFF": ("tif", lambda rng: flipped(encoded("TIFF", compression="tiff_lzw"), rng)),
    "BMP": ("bmp", lambda rng: flipped(encoded("BMP"), rng, 0, 60)),
    "WebP": ("webp", lambda rng: flipped(encoded("WEBP"), rng)),
    "noise": ("png", lambda rng: rng.bytes(rng.integers(0, 500))),
    "NIfTI header": ("nii", lambda rng: flipped(NIFTI, rng, 0, 352)),
    "NIfTI cut off": ("nii", lambda rng: cut(NIFTI, rng)),
    "NIfTI body, compressed": ("nii.gz", lambda rng: flipped(gzip.compress(NIFTI), rng, 10)),
    "NIfTI cut off, compressed": ("nii.gz", lambda rng: cut(gzip.compress(NIFTI), rng)),
}


def original(suffix, path):
    path.write_bytes({"png": PNG, "nii.gz": gzip.compress(NIFTI)}[suffix])
    return slices_of(path)


def slices_of(path):
    """What a loader makes of a file, uint8 (n, 32, 32, 1), or the reason why it makes nothing."""
    source = functools.partial(reading.picture, str(path))
    if ".nii" in path.name:
        source = functools.partial(voxels.pictures, str(path), 3, (0.3, 0.7))
        found = []
        why = reading.check_all([lambda: found.extend(source())])
        return why[0] if why else np.stack([reading.as_array(reading.fit(image, 32)) for image in found])
    blocks = []
    _, broken = reading.read_all(
        [lambda: [source()]], 1, 32, 1, lambda row, block, _: blocks.append(block), progress=False
    )
    return broken[0] if broken else blocks[0]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("harm", HARM)
def test_fuzzed_files(tmp_path, harm):
    suffix, make = HARM[harm]
    refused = 0
    for seed in range(EACH):
        path = tmp_path / f"{seed}.{suffix}"
        path.write_bytes(make(np.random.default_rng([seed, len(harm)])))
        found = slices_of(path)
        if isinstance(found, str):
            refused += 1
            assert found and "\n" not in found and "Traceback" not in found
            continue
        assert found.dtype == np.uint8 and found.shape[1:] == (32, 32, 1)
        if suffix in ("png", "nii.gz") and "checksum right" not in harm:
            np.testing.assert_array_equal(found, original(suffix, tmp_path / f"whole.{suffix}"))
    if "cut off" in harm or harm in ("PNG header", "PNG body", "noise"):
        assert refused == EACH


BIG = struct.pack(">IIBBBBB", 30000, 30000, 8, 0, 0, 0, 0)
SMALL = struct.pack(">IIBBBBB", 48, 48, 8, 0, 0, 0, 0)
HOSTILE = {
    "empty.png": (b"", "it is empty"),
    "text.png": (b"no image at all", "no image file"),
    "bomb.png": (png(BIG, chunk(b"IDAT", zlib.compress(bytes(30001 * 300), 9))), "more than 67,108,864 pixels"),
    "text bomb.png": (png(SMALL, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**26)))), ""),
    "no pixels.png": (png(SMALL), ""),
    "nothing.png": (png(struct.pack(">IIBBBBB", 0, 48, 8, 0, 0, 0, 0)), ""),
    "no end.png": (PNG[:-12], "it is cut off"),
    "giant.jpg": (JPEG.replace(struct.pack(">HH", 48, 48), struct.pack(">HH", 65000, 65000), 1), "more than 67"),
    "loop.tif": (b"II*\0\x08\0\0\0" + struct.pack("<H", 0) + struct.pack("<I", 8), ""),
    "giant.bmp": (b"BM" + struct.pack("<IHHIIiiHHIIiiII", 99, 0, 0, 54, 40, 60000, 60000, 1, 8, *[0] * 6), "pixels"),
    "postscript.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no image file"),
    "pages.tif": (encoded("TIFF", save_all=True, append_images=[Image.new("L", (48, 48))]), "2 pictures, not one"),
    "moving.webp": (encoded("WEBP", save_all=True, append_images=[Image.new("L", (48, 48))]), "2 pictures, not one"),
    "floats.tif": (encoded("TIFF", Image.fromarray(PICTURE / np.float32(255))), "data.white"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_images(tmp_path, name):
    content, why = HOSTILE[name]
    (tmp_path / name).write_bytes(content)
    found = slices_of(tmp_path / name)
    assert isinstance(found, str) and why in found
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        reading.read(tmp_path / name, 32)


def changed(**fields):
    """The volume with fields of its header changed."""
    header = nibabel.Nifti1Header(NIFTI[:348], check=False)
    for name, value in fields.items():
        header.structarr[name] = value
    return header.structarr.tobytes() + NIFTI[348:]


VOLUMES = {
    "giant": (changed(dim=[3, 32767, 32767, 32767, 1, 1, 1, 1]), "too many"),
    "negative": (changed(dim=[3, -16, 18, 14, 1, 1, 1, 1]), ""),
    "flat": (changed(dim=[2, 16, 18, 1, 1, 1, 1, 1]), "no single volume"),
    "in time": (changed(dim=[4, 16, 18, 7, 2, 1, 1, 1]), "no single volume"),
    "far away": (changed(vox_offset=1e9), ""),
    "no kind": (changed(datatype=0), ""),
    "colours": (changed(datatype=128, bitpix=24), ""),
    "nowhere": (changed(srow_x=[np.nan] * 4, sform_code=1), "no usable orientation"),
    "flattened": (changed(srow_x=[0] * 4, sform_code=1), "no usable orientation"),
    "constant": (NIFTI[:352] + bytes(len(NIFTI) - 352), "the same level"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", VOLUMES)
def test_hostile_volumes(tmp_path, name):
    content, why = VOLUMES[name]
    (tmp_path / "a.nii").write_bytes(content)
    found = slices_of(tmp_path / "a.nii")
    assert isinstance(found, str) and why in found, found


def test_a_volume_that_unpacks_without_end_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(voxels, "BYTES", 2**20)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(NIFTI + bytes(2**23)))
    assert "unpacks to more" in slices_of(tmp_path / "a.nii.gz")


def test_voxels_that_are_no_numbers_are_named(tmp_path):
    values = np.random.default_rng(0).normal(size=(16, 18, 14)).astype(np.float32)
    values[3, 3, 3] = np.nan
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "a.nii")
    assert "no numbers" in slices_of(tmp_path / "a.nii")


def test_a_folder_of_broken_files_is_counted_and_named(tmp_path):
    """All harm at once, as a user's folder: the share decides, and what is left out stands in the report."""
    data = tmp_path / "data" / "a"
    data.mkdir(parents=True)
    for k in range(60):
        Image.fromarray(np.roll(PICTURE, 7 * k)).save(data / f"good {k}.png")
    for name, (content, _) in HOSTILE.items():
        (data / name).write_bytes(content)
    (tmp_path / "recipe.yaml").write_text(f"title: test\ndata: {{size: 32}}\n{MODEL}\n")
    with pytest.raises(UserError, match=f"{len(HOSTILE) - 1} more of {60 + len(HOSTILE)} files"):
        datasets.load(Study(str(tmp_path), str(tmp_path / "data")))
    mine = Study(str(tmp_path), str(tmp_path / "data"), "data.skip=0.2")
    assert len(datasets.load(mine)) == 60
    left_out = next(one for one in datasets.findings(mine) if one["check"] == "files left out")
    assert left_out["count"] == len(HOSTILE) and all(
        any(name in line for line in left_out["examples"]) for name in HOSTILE
    )


# Honest files of every kind --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind, mode",
    [(kind, mode) for kind in ("PNG", "TIFF", "BMP", "WEBP") for mode in ("L", "RGB", "P", "1")
     if (kind, mode) != ("WEBP", "P")],  # WebP has no palettes
)  # fmt: skip
def test_every_kind_is_read_without_loss(tmp_path, kind, mode):
    image = Image.fromarray(PICTURE).convert(mode)
    (tmp_path / "a").write_bytes(encoded(kind, image, **({"lossless": True} if kind == "WEBP" else {})))
    expected = np.asarray(Image.fromarray(PICTURE).convert("1").convert("L")) if mode == "1" else PICTURE
    np.testing.assert_array_equal(reading.read(tmp_path / "a", 48)[..., 0], expected)
    colour = reading.read(tmp_path / "a", 48, channels=3)
    assert colour.shape == (48, 48, 3) and (colour == expected[..., None]).all()


def test_sixteen_bits(tmp_path):
    wide = np.random.default_rng(0).integers(0, 65536, (48, 48)).astype(np.uint16)
    Image.fromarray(wide).save(tmp_path / "a.png")
    np.testing.assert_array_equal(reading.read(tmp_path / "a.png", 48)[..., 0], wide >> 8)
    twelve = (wide >> 4).astype(np.uint16)
    Image.fromarray(twelve).save(tmp_path / "b.tif")
    image = reading.picture(str(tmp_path / "b.tif"), white=4095)[0]
    np.testing.assert_array_equal(np.asarray(image), twelve >> 4)


def test_what_is_transparent_lies_on_black(tmp_path):
    pixels = np.full((48, 48, 4), 200, np.uint8)
    pixels[:24, :, 3], pixels[24:, :, 3] = 0, 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = reading.read(tmp_path / "a.png", 48)
    assert image[:24].max() == 0 and image[24:].min() == 200


def test_colour_is_kept_or_becomes_luminance(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (48, 48, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(reading.read(tmp_path / "a.png", 48, channels=3), pixels)
    grey = reading.read(tmp_path / "a.png", 48)[..., 0]
    assert np.abs(grey - pixels @ [0.299, 0.587, 0.114]).max() <= 1
    assert reading.picture(str(tmp_path / "a.png"))[2] is True


def test_a_photograph_is_turned_as_its_camera_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter to the right
    smooth = Image.fromarray(np.add.outer(np.arange(48) * 4, np.arange(48)).astype(np.uint8))
    (tmp_path / "a.jpg").write_bytes(encoded("JPEG", smooth, exif=exif, quality=95))
    expected = np.asarray(smooth.transpose(Image.Transpose.ROTATE_270)).astype(int)
    assert np.abs(reading.read(tmp_path / "a.jpg", 48)[..., 0] - expected).mean() < 2


def test_pictures_that_are_not_square_lie_in_a_black_square(tmp_path):
    Image.fromarray(np.full((60, 48), 99, np.uint8)).save(tmp_path / "a.png")
    image = reading.read(tmp_path / "a.png", 40)[..., 0]
    assert (image[:, 4:36] == 99).all() and not image[:, :4].any() and not image[:, 36:].any()
    Image.fromarray(np.full((1, 4000), 99, np.uint8)).save(tmp_path / "b.png")
    assert reading.read(tmp_path / "b.png", 40).shape == (40, 40, 1)
