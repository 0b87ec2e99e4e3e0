"""How good reconstructions and codes are: SSIM, foreground SSIM, PSNR, perplexity, and intervals over people."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy.ndimage import correlate1d, maximum_filter
from skimage.metrics import structural_similarity

FOREGROUND = 0.05  # a pixel of the input brighter than this is foreground
SCORES = ("ssim", "ssim_foreground", "psnr")
PSNR_CAP = 100.0  # dB; the PSNR of equal images is infinite


def unit(images, name):
    """Images as float32 in [0, 1]: uint8 grey levels are divided by 255, floats are checked; (N, H, W, C) stays.

    Args:
        name: what an error calls them.

    Raises:
        ValueError: the shape has not four axes, or floats lie outside [0, 1] by more than rounding.
    """
    images = np.asarray(images)
    if images.ndim != 4:
        raise ValueError(f"{name} must have shape (N, H, W, C), not {images.shape}")
    if images.dtype == np.uint8:
        return images.astype(np.float32) / 255
    if images.size and (images.min() < -1e-3 or images.max() > 1 + 1e-3):
        raise ValueError(
            f"{name} must be uint8 or lie in [0, 1], but reach from {images.min():.3g} to {images.max():.3g}"
        )
    return images.astype(np.float32)


def in_parts(function, *arrays, size=256):
    """`function` of `size` images at a time, put together, so that what it needs on its way stays small.

    Args:
        function: gets the same rows of each of `arrays`, and returns an array with a row for each of them.
    """
    count = len(arrays[0])
    if any(len(array) != count for array in arrays):
        raise ValueError(f"{[len(array) for array in arrays]} images cannot be compared one with one")
    return np.concatenate([function(*(a[i : i + size] for a in arrays)) for i in range(0, max(count, 1), size)])


def levels(images):
    """The nearest grey levels, uint8, of images with intensities in [0, 1], (N, H, W, C)."""
    return in_parts(lambda some: np.round(some * 255).astype(np.uint8), images)


def ssim(inputs, outputs):
    """Structural similarity of each image with its input: plain and over the foreground.

    The protocol of Wang et al. (2004): intensities in [0, 1], a Gaussian window with sigma = 1.5, population
    covariances. The plain score is scikit-image's mean (its borders cropped); the foreground score is the mean of the
    uncropped SSIM map where the *input* is brighter than `FOREGROUND`, NaN for an image without foreground.

    Args:
        inputs, outputs: (N, H, W, C), uint8 or floats in [0, 1].

    Returns:
        Two float64 arrays of shape (N,).
    """
    if np.shape(inputs) != np.shape(outputs):
        raise ValueError(f"inputs {np.shape(inputs)} and outputs {np.shape(outputs)} differ in shape")

    def one(pair):
        score, similarity = _ssim_map(*pair)
        mask = (pair[0] > FOREGROUND).any(axis=-1)
        return score, similarity[mask].mean() if mask.any() else np.nan

    def part(x, y):
        pairs = zip(unit(x, "inputs"), unit(y, "outputs"), strict=True)
        return np.array(list(pool.map(one, pairs)), dtype=np.float64).reshape(-1, 2)

    with ThreadPoolExecutor(2) as pool:
        scores = in_parts(part, inputs, outputs)
    return scores[:, 0], scores[:, 1]


def _ssim_map(x, y):
    # scikit-image's own, and not a third user of the code below, so that a score means what readers can recompute:
    # `_similarity` keeps the two terms apart for MS-SSIM, and `structure.ssim_map` has a gradient on every backend.
    # The tests hold each against a library that is not ours.
    return structural_similarity(
        x, y, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, channel_axis=-1, full=True
    )


def ssim_by_class(inputs, outputs, classes, count):
    """Mean of each image's SSIM map over the pixels of each class: float64 (N, count), NaN where there are none.

    Args:
        inputs, outputs: as for `ssim`.
        classes: int (N, H, W), below `count`.
    """

    def one(image):
        x, y, mask = image
        similarity = _ssim_map(x, y)[1].mean(axis=-1)
        return [similarity[mask == k].mean() if (mask == k).any() else np.nan for k in range(count)]

    def part(x, y, masks):
        triples = zip(unit(x, "inputs"), unit(y, "outputs"), masks, strict=True)
        return np.array(list(pool.map(one, triples))).reshape(-1, count)

    with ThreadPoolExecutor(2) as pool:
        return in_parts(part, inputs, outputs, classes)


def psnr(inputs, outputs):
    """Peak signal-to-noise ratio of each image in dB, 10 log10(1 / MSE), capped at `PSNR_CAP`; shape (N,)."""

    def part(x, y):
        return np.square(unit(x, "inputs").astype(np.float64) - unit(y, "outputs")).mean(axis=(1, 2, 3))

    error = in_parts(part, inputs, outputs)
    return np.minimum(-10 * np.log10(np.maximum(error, 1e-30)), PSNR_CAP)


def scores(inputs, outputs):
    """`ssim` and `psnr` of each image: `{ssim, ssim_foreground, psnr: (N,)}`, PSNR in dB."""
    plain, foreground = ssim(inputs, outputs)
    return dict(zip(SCORES, (plain, foreground, psnr(inputs, outputs)), strict=True))


def interval(values, people, draws=2000, seed=0):
    """Mean of `values` with a 95% bootstrap interval over people: `{"mean", "low", "high"}`.

    People, not slices, are drawn with replacement, since the slices of a person are alike. A person weighs as much
    as they have slices; NaN values (an empty slice has no foreground) are left out.
    """
    values, people = np.asarray(values, np.float64), np.asarray(people)
    kept = ~np.isnan(values)
    _, index = np.unique(people[kept], return_inverse=True)
    sums, counts = np.bincount(index, values[kept]), np.bincount(index)
    if not counts.size:
        raise ValueError("no values to average")
    chosen = np.random.default_rng(seed).integers(0, counts.size, (draws, counts.size))
    means = sums[chosen].sum(axis=1) / counts[chosen].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return {"mean": float(sums.sum() / counts.sum()), "low": float(low), "high": float(high)}


def perplexity(codes, size):
    """exp of the entropy of the codes' frequencies: how many codes are in use as if evenly; 1 to `size`."""
    frequency = np.bincount(np.ravel(codes), minlength=size) / np.size(codes)
    frequency = frequency[frequency > 0]
    return float(np.exp(-(frequency * np.log(frequency)).sum()))


def usage(codes, size):
    """Share of the `size` codes that occur at all."""
    return float(np.unique(codes).size / size)


def foreground_cells(images, grid):
    """Cells of the code grid whose patch of pixels has any input above `FOREGROUND`: bool, (N, h, w)."""
    images = np.asarray(images)
    n, height, width, channels = images.shape
    h, w = grid
    limit = FOREGROUND * 255 if images.dtype == np.uint8 else FOREGROUND
    return (images.reshape(n, h, height // h, w, width // w, channels) > limit).any(axis=(2, 4, 5))


def black_cells(images, grid, receptive_field):
    """Cells whose receptive field, as far as it lies inside the image, is all zero: one code would do; (N, h, w).

    No other pixel can change their codes. Those at the border may still have others than the rest, since layers see
    their padding there.

    Args:
        images: uint8, (N, H, W, C).
        grid: (h, w) of the codes.
        receptive_field: (low, high), in pixels from the first pixel of a cell's own patch to the first and the last
            pixel that its code can see.
    """
    low, high = receptive_field
    size = high - low + 1
    n, height, width, _ = np.shape(images)
    lit = np.any(np.asarray(images) > 0, axis=-1)
    step = (height // grid[0], width // grid[1])
    reach = np.stack(  # maximum_filter centres its window: shift it to [low, high]
        [
            maximum_filter(image, size=size, origin=-(low + size // 2), mode="constant")[:: step[0], :: step[1]]
            for image in lit
        ]
    )
    return ~reach


def perplexity_cap(black_share, size):
    """The highest perplexity of `size` codes when a share of the cells have one code.

    One code holds `black_share` b of the cells and the others share the rest evenly:
    exp(-b ln b - (1-b) ln((1-b)/(size-1))), or `size` where b < 1/size.
    """
    b = float(black_share)
    if b <= 1 / size:
        return float(size)
    if b >= 1:
        return 1.0
    return float(np.exp(-b * np.log(b) - (1 - b) * np.log((1 - b) / (size - 1))))


MS_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang, Simoncelli and Bovik (2003), finest scale first
WINDOW = 11  # side of the Gaussian window, in pixels


def scales(side):
    """How many scales MS-SSIM has at this image side: three up to 128 pixels, five above, fewer where none fits."""
    wanted = 3 if side <= 128 else 5
    return max(min(wanted, int(np.log2(side / WINDOW)) + 1), 1)


def ms_ssim(inputs, outputs, levels=None):
    r"""Multi-scale structural similarity of each image with its partner (Wang, Simoncelli and Bovik 2003, equation 7).

    MS-SSIM = l_M^{w_M} \prod_j cs_j^{w_j}: contrast and structure at every scale, luminance at the coarsest alone, each
    scale half as large as the one before. With all five scales this is TensorFlow's; with fewer, the first weights are
    scaled to sum to one.

    Args:
        inputs, outputs: (N, H, W, C), uint8 or floats in [0, 1].
        levels: number of scales; None: `scales` of the side.

    Returns:
        float64, (N,).
    """
    inputs, outputs = unit(inputs, "inputs"), unit(outputs, "outputs")
    if inputs.shape != outputs.shape:
        raise ValueError(f"inputs {inputs.shape} and outputs {outputs.shape} differ in shape")
    levels = levels or scales(min(inputs.shape[1:3]))
    weights = np.array(MS_WEIGHTS[:levels]) / sum(MS_WEIGHTS[:levels])
    results = np.ones(len(inputs))
    for start in range(0, len(inputs), 32):
        x, y = (images[start : start + 32].astype(np.float64) for images in (inputs, outputs))
        product = np.ones((len(x), x.shape[-1]))
        for level, weight in enumerate(weights):
            luminance, contrast = _similarity(x, y)
            whole = luminance * contrast if level == levels - 1 else contrast
            product *= np.maximum(whole.mean(axis=(1, 2)), 0) ** weight
            x, y = _halved(x), _halved(y)
        results[start : start + 32] = product.mean(axis=-1)
    return results


def _similarity(x, y):
    """The luminance and the contrast-structure term of SSIM at every place where the window fits."""
    offsets = np.arange(WINDOW) - WINDOW // 2
    window = np.exp(-(offsets**2) / (2 * 1.5**2))
    window /= window.sum()

    def blurred(z):
        half = WINDOW // 2
        z = correlate1d(correlate1d(z, window, axis=1), window, axis=2)
        return z[:, half : z.shape[1] - half, half : z.shape[2] - half]

    c1, c2 = 0.01**2, 0.03**2
    mean_x, mean_y = blurred(x), blurred(y)
    product, squares = 2 * mean_x * mean_y, mean_x**2 + mean_y**2
    contrast = (2 * blurred(x * y) - product + c2) / (blurred(x * x + y * y) - squares + c2)
    return (product + c1) / (squares + c1), contrast


def _halved(z):
    """Means over 2x2 pixels; an odd last row or column counts twice."""
    z = np.pad(z, ((0, 0), (0, z.shape[1] % 2), (0, z.shape[2] % 2), (0, 0)), mode="symmetric")
    n, height, width, channels = z.shape
    return z.reshape(n, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))


def pair_similarity(images, groups=None, pairs=200, seed=0):
    """Mean MS-SSIM of random pairs of images: how alike they are among themselves. Lower is more diverse.

    Args:
        images: (N, H, W, C), uint8 or floats in [0, 1].
        groups: (N,) whom an image is of; the two of a pair then differ in it. None: every image is of its own.

    Returns:
        `{"mean", "low", "high"}`, a 95% interval; see `dyadic_interval`.
    """
    groups = np.arange(len(images)) if groups is None else np.unique(groups, return_inverse=True)[1]
    if np.unique(groups).size < 2:
        raise ValueError("a pair needs images of two different groups")
    rng = np.random.default_rng(seed)
    chosen = np.empty((0, 2), np.int64)
    while len(chosen) < pairs:
        drawn = rng.integers(0, len(images), (4 * pairs, 2))
        chosen = np.concatenate([chosen, drawn[groups[drawn[:, 0]] != groups[drawn[:, 1]]]])
    first, second = chosen[:pairs].T
    values = ms_ssim(np.asarray(images[first]), np.asarray(images[second]))
    return dyadic_interval(values, groups[first], groups[second])


def dyadic_interval(values, first, second):
    r"""Mean of values of pairs, with a 95% interval that allows for pairs that have a member in common.

    s² = 1/P² Σ_{p,q} e_p e_q over all P² combinations of pairs p, q that share a member (or are the same), e the
    values less their mean (Aronow, Samii and Assenova 2015, arXiv 1312.3398), and at least what
    independent pairs would have. A bootstrap over the members of so few pairs gives intervals that are too wide: it
    often draws a pair several times or not at all.

    Args:
        values: (P,). first, second: (P,), the members of each pair.

    Returns:
        `{"mean", "low", "high"}`, mean ± 1.96 s.
    """
    rest = values - values.mean()
    shared = (first[:, None] == first) | (second[:, None] == second) | (first[:, None] == second)
    shared |= shared.T
    variance = max(rest @ shared @ rest, rest @ rest) / len(values) ** 2
    half = 1.96 * np.sqrt(variance)
    mean = float(values.mean())
    return {"mean": mean, "low": float(mean - half), "high": float(mean + half)}


def difference(first, second):
    """The difference of two independent means with intervals, `first` less `second`: `{"mean", "low", "high"}`.

    Its interval is as wide as the root of the two widths' squares, which is exact for normal errors.
    """
    mean = first["mean"] - second["mean"]
    half = np.hypot(first["high"] - first["low"], second["high"] - second["low"]) / 2
    return {"mean": mean, "low": float(mean - half), "high": float(mean + half)}


def verdict(difference, below="less", above="more", neither="cannot be told apart"):
    """What the interval of a difference says: `below` or `above` where it does not hold 0, else `neither`."""
    return below if difference["high"] < 0 else above if difference["low"] > 0 else neither
