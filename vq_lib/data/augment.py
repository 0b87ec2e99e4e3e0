"""Random changes of training images: shift, small rotation, left-right flip, intensity."""

import numpy as np
from PIL import Image


def augment(images, rng, shift=0.0, rotation=0.0, flip=False, intensity=0.0):
    """Each image changed at random, uint8 (B, H, W, C) → the same; what comes in from outside is black.

    With side n, an image shows at the point p from its centre what was at R(-θ)(p - d), interpolated linearly, where
    θ is uniform in ±rotation degrees and each part of d in ±shift·n pixels; before that, left and right are changed
    with probability 1/2. A level g becomes min(a g, 255), a uniform in 1 ± intensity: black stays black. The same state
    of the NumPy generator `rng` gives the same images."""
    if images.dtype != np.uint8:
        raise ValueError(f"augment takes uint8 grey levels 0-255, not {images.dtype}")
    count, height, width, channels = images.shape
    turn = np.deg2rad(rng.uniform(-rotation, rotation, count))
    move = rng.uniform(-shift, shift, (count, 2)) * (width, height)
    mirrored = flip & (rng.random(count) < 0.5)
    gain = rng.uniform(1 - intensity, 1 + intensity, count)
    result = np.where(mirrored[:, None, None, None], images[:, :, ::-1], images)
    centre = np.array([width, height]) / 2
    for i in range(count) if shift or rotation else ():
        back = np.array([[np.cos(turn[i]), np.sin(turn[i])], [-np.sin(turn[i]), np.cos(turn[i])]])
        offset = centre - back @ (centre + move[i])
        picture = Image.fromarray(result[i, ..., 0] if channels == 1 else result[i])
        matrix = (*back[0], offset[0], *back[1], offset[1])
        picture = picture.transform(picture.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
        result[i] = np.asarray(picture).reshape(height, width, channels)
    table = np.minimum(np.round(np.arange(256) * gain[:, None]), 255).astype(np.uint8)
    return table[np.arange(count)[:, None, None, None], result] if intensity else result
