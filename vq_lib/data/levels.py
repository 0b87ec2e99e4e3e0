"""What the levels of a file mean: which is background, which is white, and whether they are labels."""

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import maximum_filter

from vq_lib.errors import UserError

WINDOW = (0.5, 99.5)  # percentiles that become black and white
COMMON = 0.25  # share of the border that has one level, if that is the background's
FEW = 8  # two to so many levels: a segmentation, whatever its regions look like
MOST = 128  # levels of a parcellation, in one slice or in all
FLAT = 0.4  # share of the pixels that equal their neighbours: a parcellation (images: 0.02, in 16 levels 0.38)
BLURRED, NEAR = 0.02, 24  # share that is no edge of a mask (OASIS: over 0.1), and levels, of 255, that count as one
WHITE = 65535  # of 16-bit images, unless the recipe says otherwise


def to_white(levels: np.ndarray, white: float | None) -> np.ndarray:
    """Levels as uint8, 0 to 255, so that `white` becomes 255: `level * 256 // (white + 1)` of whole numbers, so that 16
    bits lose their lower eight, `level * 255 / white` of others. NaN at the border is background, see `window`."""
    if levels.dtype.kind == "f":
        levels = np.where(_outside(levels)[0], 0, levels) * (255 / (white or WHITE)) + 0.5
    else:
        levels = levels.astype(np.int64) * 256 // (int(white or WHITE) + 1)
    return np.clip(levels, 0, 255).astype(np.uint8)


def bright_enough(white: float | None, tops: Sequence[int], names: Sequence) -> None:
    """`UserError` where no `white` is given and 16-bit images, whose highest levels are `tops` (0: 8 bits), stay below
    an eighth of theirs: they hold fewer bits."""
    top, name = max(zip(tops, map(str, names), strict=True), default=(0, ""))
    if white is None and 0 < top < (WHITE + 1) // 8:
        raise UserError(f"The 16-bit images, such as {name}, hold no level above {top:,} of {WHITE:,} and are nearly "
                        f"black: set data.white to the level that is white, such as {2 ** int(top).bit_length() - 1} "
                        f"(or to {WHITE}, to read them as they are).")  # fmt: skip


def window(levels: np.ndarray) -> np.ndarray:
    """Levels of a volume or a slice, float, as uint8 of the same shape: the `WINDOW` becomes 0 to 255, its upper end
    that of the levels above the lower one. Background becomes 0: NaN that reaches the border, and the commonest level
    of the border, also where others lie below it, as in volumes standardised within a mask. `ValueError` where other
    levels are NaN or infinite."""
    outside, border = _outside(levels)
    values, counts = np.unique(border, return_counts=True, equal_nan=True)
    common = values[counts.argmax()] if counts.max() >= COMMON * counts.sum() else np.nan
    steps = tuple(slice(None, None, max(1, side // 96)) for side in levels.shape[: 2 * (levels.ndim > 2)])
    sample = levels[steps][~outside[steps]]
    others = sample[sample != common]
    if others.size and common > np.percentile(others, WINDOW[0]):
        outside, sample = outside | (levels == common), others
    low = np.percentile(sample, WINDOW[0]) if sample.size else 0.0
    if np.isnan(levels).any() and low > 0:
        low = 0.0  # where NaN takes the place of a background of zero
    bright = sample[sample > low]
    high = np.percentile(bright, WINDOW[1]) if bright.size else low + 1
    return np.clip((np.where(outside, low, levels) - low) * (255 / (high - low)), 0, 255).round().astype(np.uint8)


def _outside(levels):
    """Where levels are NaN, which reaches the border, and the levels of the border."""
    border = np.concatenate([levels.take(end, axis).ravel() for axis in range(levels.ndim) for end in (0, -1)])
    if np.isinf(levels).any() or (np.isnan(levels).any() and not np.isnan(border).any()):
        raise ValueError("it holds levels that are no numbers")
    return np.isnan(levels), border


def is_label_map(levels: np.ndarray, few: int = FEW, most: int = MOST) -> bool:
    """Whether levels, 2-D or 3-D, are labels: at most `few` of them, or at most `most` whole numbers in flat regions,
    where of the pixels that have neither the commonest level nor the highest (which may be saturated) the share `FLAT`
    or more equal their neighbours along the first two axes; or `_blurred` ones."""
    if len(np.unique(levels[len(levels) // 2])) <= (most if levels.ndim > 2 else 64):  # most images are known by a row
        values, counts = np.unique(levels, return_counts=True)
        if 2 <= len(values) <= few:  # whole or not: a file's slope makes 0.5 of 1
            return True
        if len(values) <= most and (values == np.round(values)).all():
            inner = levels[:-1, :-1]
            chosen = (inner != values[counts.argmax()]) & (inner != values[-1])
            flat = (inner == levels[1:, :-1]) & (inner == levels[:-1, 1:])
            if chosen.any() and flat[chosen].mean() >= FLAT:
                return True
    return _blurred(levels if levels.ndim == 2 else levels[..., levels.shape[2] // 2])


def _blurred(levels):
    """Whether a picture is a mask of two levels that JPEG or interpolation blurred: but for `BLURRED` of what is no
    background, all others lie between both, within a few pixels."""
    low, high = float(levels.min()), float(levels.max())
    if not 0 < high - low < np.inf:  # one level, or no numbers
        return False
    grey = ((levels - low) * (255 / (high - low))).astype(np.int16)
    counts, near = np.bincount(grey.ravel(), minlength=256), []
    for _ in range(2):  # the two commonest levels
        level = counts.argmax()
        counts[max(0, level - NEAR) : level + NEAR + 1] = 0
        near.append(abs(grey - level) <= NEAR)
    others, inside = ~(near[0] | near[1]), (~near[0]).sum()
    if not inside or others.sum() > 0.6 * inside:  # most images
        return False
    window = 2 * (max(levels.shape) // 100) + 5
    between = maximum_filter(near[0], window) & maximum_filter(near[1], window)
    return bool((others & ~between).sum() <= BLURRED * inside)
