"""What the codes mean."""

import numpy as np
from keras import ops
from scipy.spatial.distance import cdist

from vq_lib.report.evaluation.quality import CLASSES
from vq_lib.report.evaluation.shared import save, spread
from vq_lib.scores import baselines


def latent(study, slices, vqvae, codes, outputs, classes, names=CLASSES, steps=7):
    """`latent.npz`: each code as it is decoded in its places, where codes are used, and a walk between two people.

    Returns:
        dict of `patches` (K, 3p, 3p): means of the reconstruction around up to 32 places of each code, p pixels a cell,
        NaN for a code that the test slices do not use; `counts` (K,); `by_tissue` (classes, K) and `by_position` (P, K)
        counts; `positions` (P,); `pair` (2,): the rows that `apart` finds; `walk` (2, steps, H, W, C): between those
        two, by latents and by pixels.
    """
    test, size, (height, width) = slices.where("test"), vqvae.quantizer.codes, vqvae.grid
    mine, side = codes[test], outputs.shape[1] // height
    padded = np.pad(outputs.mean(axis=-1), ((0, 0), (side, side), (side, side)))
    patches = np.full((size, 3 * side, 3 * side), np.nan, np.float32)
    order = np.argsort(mine.ravel(), kind="stable")
    counts = np.bincount(mine.ravel(), minlength=size)
    for code, places in enumerate(np.split(order, np.cumsum(counts)[:-1])):
        if places.size:
            n, row, column = np.unravel_index(spread(places, 32), mine.shape)
            cut = [padded[a, b * side : (b + 3) * side, c * side : (c + 3) * side]
                   for a, b, c in zip(n, row, column, strict=True)]  # fmt: skip
            patches[code] = np.mean(cut, axis=0)
    middle = classes.reshape(len(test), height, side, width, side)[:, :, side // 2, :, side // 2]
    position = slices.position[test]
    by_tissue = np.stack([np.bincount(mine[middle == k], minlength=size) for k in range(len(names))])
    positions = np.unique(position)
    by_position = np.stack([np.bincount(mine[position == p].ravel(), minlength=size) for p in positions])
    pair = apart(slices, test)
    ends = np.asarray(slices.images[pair])
    vectors = np.asarray(vqvae.encoder.predict_on_batch(ends))
    share = np.linspace(0, 1, steps, dtype=np.float32).reshape(-1, 1, 1, 1)
    between = vectors[:1] * (1 - share) + vectors[1:] * share
    grids = ops.convert_to_numpy(vqvae.quantizer.encode(ops.convert_to_tensor(between)))
    walk = np.stack([vqvae.decode(grids), (ends[:1] * (1 - share) + ends[1:] * share) / 255])
    return save(study, "latent", patches=patches, counts=counts, by_tissue=by_tissue, by_position=by_position,
                 positions=positions, pair=pair, walk=walk.astype(np.float32))  # fmt: skip


def apart(slices, rows):
    """The two of `rows` that are most unlike, of different people at one position (of one person, if there is but one).

    Where positions are not known, all slices count as of one. Unlike is the Euclidean distance of thumbnails.
    """
    people, position = slices.person[rows], slices.position[rows]
    thumbnails, best, pair = baselines.thumbnails(slices.images, rows=rows), -1.0, rows[[0, 0]]
    for place in np.unique(position):
        here = spread(np.flatnonzero(position == place), 500)
        distance = cdist(thumbnails[here], thumbnails[here])
        if np.unique(people).size > 1:
            distance[people[here][:, None] == people[here]] = -1
        if distance.max() > best:
            best = distance.max()
            pair = rows[here[list(np.unravel_index(distance.argmax(), distance.shape))]]
    return pair
