r"""The embedded cohort: synthetic people from a real anatomy, made without a download.

nilearn carries the MNI152 T1 template with its grey and white matter. A point $x$ of a synthetic person shows it at
$\phi(x) = (\mathrm{id} + v)^3 \circ (\mathrm{id} + u_2) \circ (\mathrm{id} + u_1) \circ S (x)$: $S$ scales, turns and
shifts the head, $u_1$ (broad) and $u_2$ (fine) are smooth random displacements, $v$ widens or narrows the ventricles.
$\mathrm{id} + u$ cannot fold where $u$ has a Lipschitz constant below 1; each of them is kept below `STEEPEST`.
"""

import functools
import itertools

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.ndimage import label as connected
from scipy.sparse import csr_array

from vq_lib.data.folders import File, Row
from vq_lib.data.reading import Picture, on_all_cores
from vq_lib.data.slices import Slices, table_of

VERSION = 1  # to be raised with every change of what a person looks like: caches of the old ones are then made again
ACKNOWLEDGEMENT = (
    "These people are synthetic: random deformations of one real anatomy, the MNI152 template (ICBM 2009a; Fonov et "
    "al., NeuroImage 2011, 54, 313–327) that nilearn carries. Scores on them show how the method works and say nothing "
    "about patients."
)
FRAME = 200.0  # side of the square image, mm
LOW, HIGH = np.array([-102.0, -126.0, -36.0]), np.array([102.0, 90.0, 78.0])  # the box that is sampled, MNI mm
CENTRE = np.array([0.0, -17.0, 0.0])  # the middle of the image
HEIGHTS = (-6.0, 42.0)  # lowest and highest slice: basal ganglia to above the ventricles, MNI mm
NODE = 6.0  # spacing of the grid that displacements are drawn on, mm
STEEPEST = 0.9  # Lipschitz bound of a displacement
WAVES = ((16.0, 2.2), (7.0, 1.1))  # (smoothing, standard deviation) of the displacements, mm
REPEAT = 3  # how often the ventricles' displacement is applied: each alone is limited
VENTRICLES = {"control": (-0.8, 0.6), "atrophy": (1.2, 2.6)}  # total widening, in units of the greatest single one
NOISE = 0.01  # standard deviation of scanner noise, full scale is 1


def rows(people: dict[str, int], slices: int) -> list[Row]:
    """A row for each slice of `{split: count}` people, numbered through the splits in this order, labels in turn."""
    split = np.repeat(list(people), list(people.values())).tolist()
    return [Row(File("", "", 0, 0), f"synthetic-{n + 1:03d}", k, list(VENTRICLES)[n % 2], split[n], "")
            for n in range(len(split)) for k in range(slices)]  # fmt: skip


def make(people: dict[str, int], slices: int = 16, size: int = 64, seed: int = 0, progress: bool = True) -> Slices:
    """`slices` axial slices, evenly spaced over `HEIGHTS`, of each of `{split: count}` synthetic people, both labels
    equally often; square images of side `size`, nose up, background exactly 0."""
    table = table_of(rows(people, slices))
    images = on_all_cores(lambda n: person(n, slices, size, seed, table["label"][n * slices]),
                          range(len(table) // slices), "making synthetic people", progress)  # fmt: skip
    return Slices.of(table, np.concatenate(images)[..., None])


def pictures(number: int, slices: int, size: int, seed: int, label: str) -> list[Picture]:
    """The slices of one person as if read from a file."""
    images = person(number, slices, size, seed, label)
    return [Picture(Image.fromarray(image), "L", False, 0) for image in images]


def person(number: int, slices: int, size: int, seed: int, label: str) -> np.ndarray:
    """One synthetic person: uint8 (slices, size, size). The same arguments give the same bytes."""
    rng = np.random.default_rng([seed, number])
    pixel = FRAME / size
    across = (np.arange(size) + 0.5) * pixel - FRAME / 2
    z = np.linspace(*HEIGHTS, slices) if slices > 1 else np.array([np.mean(HEIGHTS)])
    z, y, x = np.meshgrid(z, CENTRE[1] - across, across, indexing="ij")  # rows from nose to neck, MNI mm
    points = np.stack([x, y, z]).reshape(3, -1)
    at = deformation(rng, label)(points) - LOW[:, None]  # the template's voxels are 1 mm
    intensity, grey, white, inside = interpolate(_template(pixel), at)
    # Contrast: cerebrospinal fluid near black as in T1, then each tissue a little brighter or darker than the template.
    image = np.maximum(intensity - rng.uniform(0.18, 0.24), 0) + rng.normal(0, 0.03, 2) @ (grey, white)
    image = np.maximum(image * rng.uniform(1.1, 1.28), 0) ** rng.uniform(1.0, 1.25)
    scaled = (points - CENTRE[:, None]) / 100
    image *= np.exp(rng.normal(0, 0.05, 3) @ scaled + rng.normal(0, 0.05, 3) @ scaled**2)  # bias field
    image = np.where(inside > 0.5, image + rng.normal(0, NOISE, image.shape), 0)
    return np.round(255 * np.clip(image, 0, 1)).astype(np.uint8).reshape(slices, size, size)


def deformation(rng, label):
    """A random map from a person's space to the template's: (3, n) mm -> (3, n) mm, without folding."""
    turn = np.deg2rad(rng.normal(0, 2.0))
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    linear = rotation / np.clip(rng.normal(1.0, 0.025, 3), 0.94, 1.06)[:, None]
    shift = CENTRE + rng.normal(0, [1.0, 1.0, 3.0])
    displacements = [_wave(rng, *wave) for wave in WAVES]
    displacements += [_widening() * (rng.uniform(*VENTRICLES[label]) / REPEAT)] * REPEAT

    def to_template(points):
        points = linear @ (points - CENTRE[:, None]) + shift[:, None]
        for displacement in displacements:
            points = points + interpolate(displacement, (points - LOW[:, None]) / NODE)
        return points

    return to_template


def steepness(displacement):
    r"""A Lipschitz constant of a displacement (X, Y, Z, 3) in mm, interpolated linearly between its nodes. A bound: in
    a cell each slope lies between those on its four edges, and $\|D\|_2 \le \sqrt{\|D\|_1 \|D\|_\infty}$."""
    slopes = []
    for axis in range(3):
        cells = [2 - (axis == other) for other in range(3)]
        slope = sliding_window_view(np.abs(np.diff(displacement, axis=axis)) / NODE, cells, axis=(0, 1, 2))
        slopes.append(slope.max(axis=(-3, -2, -1)))
    jacobian = np.stack(slopes)  # axis, cells, component
    return float(np.sqrt((jacobian.sum(0).max(-1) * jacobian.sum(-1).max(0)).max()))


def _wave(rng, smoothing, deviation):
    shape = np.round((HIGH - LOW) / NODE).astype(int) + 1
    field = gaussian_filter(rng.standard_normal((*shape, 3), np.float32), smoothing / NODE, mode="wrap", axes=(0, 1, 2))
    field *= deviation / field.std()
    return field * min(1.0, STEEPEST / steepness(field))


def interpolate(volume, at):
    """Values of `volume` (X, Y, Z, C) at `at` (3, n), in voxels: (C, n), linear, the border going on outside; several
    times faster than `map_coordinates`."""
    shape = np.array(volume.shape[:3], np.int32)[:, None]
    at = np.clip(at, 0, shape - 1).astype(np.float32)
    low = np.minimum(at.astype(np.int32), shape - 2)
    share = np.stack([low + 1 - at, at - low]).astype(np.float32)  # of the lower and of the upper neighbour
    corners = np.array(list(itertools.product((0, 1), repeat=3)), np.int32)
    weights = np.stack([share[i, 0] * share[j, 1] * share[k, 2] for i, j, k in corners], axis=-1)
    strides = np.array([volume.shape[1] * volume.shape[2], volume.shape[2], 1], np.int32)
    voxels = (strides @ low)[:, None] + corners @ strides
    ends = np.arange(0, weights.size + 1, 8, dtype=np.int32)
    matrix = csr_array((weights.ravel(), voxels.ravel(), ends), shape=(len(weights), shape.prod()))
    return (matrix @ volume.reshape(-1, volume.shape[3])).T


@functools.lru_cache(maxsize=2)
def _template(pixel):
    """Intensity, grey matter, white matter and head: float32 (X, Y, Z, 4), 1 mm, from `LOW` to `HIGH`, averaged over
    about a pixel (mm): sampled as it is, fine detail would alias."""
    sigma = 0.45 * np.sqrt(max(pixel**2 - 1.0, 0.0))  # the template's own voxels are 1 mm
    volumes = [*_volumes(), (_volumes()[0] > 0).astype(np.float32)]
    return np.stack([gaussian_filter(volume, sigma) if sigma else volume for volume in volumes], axis=-1)


@functools.cache
def _volumes():
    from nilearn import datasets

    loaders = datasets.load_mni152_template, datasets.load_mni152_gm_template, datasets.load_mni152_wm_template
    images = [load(resolution=1) for load in loaders]
    first = np.round(LOW - images[0].affine[:3, 3]).astype(int) + 32
    box = tuple(map(slice, first, first + np.round(HIGH - LOW).astype(int) + 1))
    return [np.pad(image.get_fdata(dtype=np.float32), 32)[box] for image in images]  # it ends a little inside the box


@functools.cache
def _widening():
    r"""The displacement that widens the ventricles most, (X, Y, Z, 3) mm on the nodes: with $g$ these blurred,
    $v = k \nabla g$ makes each point look towards them, $k$ as large as `STEEPEST` allows; $-v$ narrows them."""
    x, y, z = np.ogrid[tuple(map(slice, LOW, HIGH + 1))]
    deep = (abs(x) < 36) & (y > -52) & (y < 34) & (z > -4) & (z < 34)
    parts, _ = connected((_volumes()[0] > 0) & (_volumes()[0] < 0.5) & deep)
    ventricles = parts == np.bincount(parts[parts > 0]).argmax()
    blurred = gaussian_filter(ventricles.astype(np.float32), 6.0)[:: int(NODE), :: int(NODE), :: int(NODE)]
    field = np.stack(np.gradient(blurred, NODE), axis=-1)
    return field * (STEEPEST / steepness(field))
