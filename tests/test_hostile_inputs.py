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
    each = 3 if ".nii" in path.name else 1
    images = np.zeros((each, 32, 32, 1), np.uint8)
    source = functools.partial(reading.pictures, str(path), count=3, span=(0.3, 0.7))
    _, broken = reading.read_all([source], images, np.zeros((each, 64, 64), np.uint8), progress=False)
    return broken[0] if broken else images


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
    "flat": (changed(dim=[2, 16, 18, 1, 1, 1, 1, 1]), "one slice, and not a volume"),
    "thin": (changed(dim=[3, 16, 18, 3, 1, 1, 1, 1]), "no volume, nor a slice"),
    "in time": (changed(dim=[4, 16, 18, 7, 2, 1, 1, 1]), "it holds 2 volumes"),
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


# What levels mean ------------------------------------------------------------------------------------------------


def head(shape=(24, 26, 22)):
    """A ball of smooth texture on a background of exactly 0, float32 between 200 and 1000, and where it is."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    inside = x**2 + y**2 + z**2 < 0.6
    return np.where(inside, 600 + 400 * np.sin(5 * x + 1) * np.cos(4 * y) * np.cos(3 * z), 0).astype(np.float32), inside


def grey(path, values, **options):
    """uint8 (n, H, W): the slices of a volume that is saved first."""
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    return np.stack([np.asarray(each.image) for each in reading.pictures(path, **options)])


def test_nan_outside_the_brain_is_background(tmp_path):
    values, inside = head()
    expected = grey(tmp_path / "a.nii.gz", values)
    outside = np.where(inside, values, np.nan)
    np.testing.assert_array_equal(grey(tmp_path / "b.nii.gz", outside), expected)
    outside[:2], outside[2:5] = 0, np.nan  # a frame of zeros around a field of view
    assert grey(tmp_path / "c.nii.gz", outside)[:, :, :5].max() == 0
    values[12, 13, 11] = np.inf
    with pytest.raises(ValueError, match="no numbers"):
        grey(tmp_path / "d.nii.gz", values)


@pytest.mark.parametrize("outside", [0.0, np.nan])
def test_a_background_between_the_levels_becomes_black(tmp_path, outside):
    values, inside = head()
    scores = np.where(inside, (values - values[inside].mean()) / values[inside].std(), outside).astype(np.float32)
    images = grey(tmp_path / "a.nii.gz", scores, count=5)
    low, high = np.percentile(scores[inside], [0.5, 99.5])
    middle = np.clip((scores[:, ::-1, 11].T - low) / (high - low), 0, 1) * 255
    assert images[:, :, :2].max() == 0 and images[:, 0].max() == 0
    image = grey(tmp_path / "b.nii.gz", scores, count=1, span=(0.49, 0.51))[0].astype(float)
    chosen = inside[:, ::-1, 11].T
    assert (image[~chosen] == 0).all() and np.abs(image - middle)[chosen].max() < 6


def test_a_bright_frame_becomes_black_too(tmp_path):
    values, inside = head()
    images = grey(tmp_path / "a.nii.gz", np.where(inside, values, 1500).astype(np.float32))
    assert images[:, 0].max() == 0 and images.max() == 255


def test_one_contrast_of_several_is_chosen(tmp_path):
    first, inside = head()
    several = np.stack([first, np.where(inside, 1100 - first, 0)], axis=-1)
    with pytest.raises(ValueError, match="it holds 2 volumes, not one: data.volume"):
        grey(tmp_path / "a.nii.gz", several)
    with pytest.raises(ValueError, match="none of data.volume 2"):
        grey(tmp_path / "a.nii.gz", several, volume=2)
    for k in (0, 1):
        expected = grey(tmp_path / "b.nii.gz", several[..., k])
        np.testing.assert_array_equal(grey(tmp_path / "a.nii.gz", several, volume=k), expected)


def test_each_plane_stands_upright(tmp_path):
    """A block that is bright at the right, the front and the top: axes towards right, front and top."""
    values = np.zeros((20, 24, 30), np.float32)
    values[4:16, 4:20, 4:26] = 400
    values[10:16, 12:20, 15:26] = 1000
    middle = {"count": 1, "span": (0.6, 0.8)}
    shapes = {"axial": (24, 20), "coronal": (30, 20), "sagittal": (30, 24)}
    for plane, shape in shapes.items():
        image = grey(tmp_path / "a.nii.gz", values, plane=plane, **middle)[0]
        assert image.shape == shape
        y, x = np.nonzero(image == 255)
        assert y.mean() < shape[0] / 2 < shape[1] / 2 + shape[0] and x.mean() > shape[1] / 2  # upper right
    turned = nibabel.Nifti1Image(values[::-1, ::-1], np.diag([-1, -1, 1, 1]))  # stored the other way round
    nibabel.save(turned, tmp_path / "b.nii.gz")
    again = np.asarray(reading.pictures(tmp_path / "b.nii.gz", plane="axial", **middle)[0].image)
    np.testing.assert_array_equal(again, grey(tmp_path / "a.nii.gz", values, **middle)[0])


@pytest.mark.parametrize("shape", [(64, 32), (64, 32, 1)])
def test_a_slice_in_nifti_is_a_picture(tmp_path, shape):
    levels = np.random.default_rng(0).integers(0, 256, (64, 32))
    for kind in (np.uint8, np.float32):
        nibabel.save(nibabel.Nifti1Image(levels.reshape(shape).astype(kind), np.eye(4)), tmp_path / "a.nii.gz")
        image = reading.read(tmp_path / "a.nii.gz", 64, white=None if kind is np.uint8 else 255)[..., 0]
        np.testing.assert_array_equal(image[:, 16:48], levels)
        assert not image[:, :16].any() and not image[:, 48:].any()
    window = reading.read(tmp_path / "a.nii.gz", 64)[:, 16:48, 0]
    assert window.max() == 255 and np.corrcoef(window.ravel(), levels.ravel())[0, 1] > 0.999


def test_files_of_all_kinds_are_read_together(tmp_path):
    values, _ = head()
    grey(tmp_path / "sub-01.nii.gz", values)
    (tmp_path / "a.png").write_bytes(PNG)
    images, of = reading.read_any([tmp_path / "a.png", tmp_path / "sub-01.nii.gz"], 48, count=4)
    assert images.shape == (5, 48, 48, 1) and of.tolist() == [0, 1, 1, 1, 1]
    np.testing.assert_array_equal(images[0, ..., 0], PICTURE)


def test_twelve_bits_without_a_white_are_told_of(tmp_path):
    twelve = np.random.default_rng(0).integers(0, 4096, (48, 48)).astype(np.uint16)
    for name in "abc":
        Image.fromarray(np.roll(twelve, ord(name))).save(tmp_path / f"{name}.png")
    with pytest.raises(UserError, match=r"[abc]\.png, hold no level above 4,09. of 65,535 .* data.white .* as 4095 "):
        reading.read(tmp_path / "a.png", 48)
    np.testing.assert_array_equal(reading.read(tmp_path / "a.png", 48, white=4095)[..., 0], np.roll(twelve, 97) >> 4)
    assert reading.read(tmp_path / "a.png", 48, white=65535).max() == 15  # who wants that
    assert not reading.picture(tmp_path / "a.png").labels
    data = tmp_path / "data"
    for number in range(12):
        (data / "x").mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.roll(twelve, 5 * number)).save(data / "x" / f"{number}.png")
    (tmp_path / "recipe.yaml").write_text(f"title: test\ndata: {{size: 32}}\n{MODEL}\n")
    with pytest.raises(UserError, match="data.white"):
        datasets.load(Study(str(tmp_path), str(data)))
    assert datasets.load(Study(str(tmp_path), str(data), "data.white=4095")).images.max() > 200


def test_white_of_floats_and_of_sixteen_bits_a_colour(tmp_path):
    Image.fromarray(PICTURE / np.float32(255)).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(reading.read(tmp_path / "a.tif", 48, white=1)[..., 0], PICTURE)
    twelve = np.random.default_rng(0).integers(0, 4096, (48, 48, 3)).astype(np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in twelve)
    header = struct.pack(">IIBBBBB", 48, 48, 16, 2, 0, 0, 0)
    (tmp_path / "b.png").write_bytes(png(header, chunk(b"IDAT", zlib.compress(rows))))
    with pytest.raises(UserError, match="data.white"):
        reading.read(tmp_path / "b.png", 48, channels=3)
    np.testing.assert_array_equal(reading.read(tmp_path / "b.png", 48, channels=3, white=4095), twelve >> 4)


def regions(count, side, seed=0):
    """A disc of `count` regions on background 0: the labels of the nearest of as many points."""
    rng = np.random.default_rng(seed)
    points, at = rng.uniform(0, side, (count, 2)), np.stack(np.mgrid[:side, :side], axis=-1)
    labels = ((at[:, :, None] - points) ** 2).sum(axis=-1).argmin(axis=-1) + 1
    return np.where(((at - side / 2) ** 2).sum(axis=-1) < (0.42 * side) ** 2, labels, 0)


@pytest.mark.parametrize(("count", "side"), [(3, 48), (20, 64), (35, 64), (100, 128)])
def test_label_maps_are_known_by_their_levels(tmp_path, count, side):
    labels = regions(count, side)
    for name, values in (("a.png", labels), ("b.png", labels * (255 // count)), ("c.png", 300 * labels)):
        Image.fromarray(values.astype(np.uint16 if values.max() > 255 else np.uint8)).save(tmp_path / name)
        assert reading.picture(tmp_path / name).labels
    volume = np.repeat(labels[:, :, None], 20, axis=2)
    for kind in (np.int16, np.float32):
        nibabel.save(nibabel.Nifti1Image(volume.astype(kind), np.eye(4)), tmp_path / "d.nii.gz")
        assert all(each.labels for each in reading.pictures(tmp_path / "d.nii.gz"))


@pytest.mark.parametrize("side", [48, 128, 256])
def test_masks_that_were_blurred_are_known_by_their_levels(tmp_path, side):
    mask = Image.fromarray(np.where((regions(9, side) % 3 == 1), 255, 0).astype(np.uint8))
    mask.save(tmp_path / "a.jpg", quality=90)
    assert reading.picture(tmp_path / "a.jpg").labels
    for factor in (0.7, 2):
        mask.resize((int(factor * side),) * 2, Image.Resampling.BILINEAR).save(tmp_path / "a.png")
        assert reading.picture(tmp_path / "a.png").labels
    volume = np.repeat(np.asarray(mask)[:, :, None] / np.float32(510), 20, axis=2)  # 0 and 0.5
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "d.nii.gz")
    assert all(each.labels for each in reading.pictures(tmp_path / "d.nii.gz"))


def test_images_are_no_label_maps(tmp_path):
    values, _ = head((48, 48, 40))
    for scale in (1, 0.12):  # of 1000 levels, of 120
        nibabel.save(nibabel.Nifti1Image((scale * values).astype(np.int16), np.eye(4)), tmp_path / "a.nii.gz")
        assert not any(each.labels for each in reading.pictures(tmp_path / "a.nii.gz"))
    noisy = np.clip(values[:, :, 20] / 4 + np.random.default_rng(0).normal(0, 4, (48, 48)), 0, 255)
    for step in (1, 4, 12):  # all levels, a quarter of them, a twelfth
        Image.fromarray((noisy // step).astype(np.uint8)).save(tmp_path / "a.png")
        assert not reading.picture(tmp_path / "a.png").labels
    Image.fromarray(np.where(noisy > 100, 255, noisy).astype(np.uint8)).save(tmp_path / "a.png")  # saturated
    assert not reading.picture(tmp_path / "a.png").labels


@pytest.mark.parametrize("suffix", ["png", "nii.gz"])
def test_label_maps_of_unknown_names_stop_the_run(tmp_path, suffix):
    data = tmp_path / "data"
    data.mkdir()
    for who in range(8):
        values, inside = head((40, 40, 24))
        values = values * np.random.default_rng(who).uniform(0.5, 1, (40, 40, 1)).astype(np.float32)
        labels = np.where(inside, np.repeat(regions(20, 40, who)[:, :, None], 24, axis=2), 0)
        for kind, array in (("t1", values), ("atlas", labels)):
            path = data / f"sub-{who:02d}_{kind}.{suffix}"
            if suffix == "png":
                Image.fromarray(np.clip(array[:, :, 12] // (4 if kind == "t1" else 1), 0, 255).astype(np.uint8)).save(
                    path
                )
            else:
                nibabel.save(nibabel.Nifti1Image(array.astype(np.int16), np.eye(4)), path)
    (tmp_path / "recipe.yaml").write_text(f"title: test\ndata: {{size: 32, slices: 2}}\n{MODEL}\n")
    with pytest.raises(UserError, match=f"segmentation masks: {8 if suffix == 'png' else 16}, such as sub-00_atlas"):
        datasets.load(Study(str(tmp_path), str(data)))
