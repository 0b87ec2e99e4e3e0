"""The model as a drawing: a box for each layer, as publications have it."""

import math

from matplotlib.patches import Rectangle

from vq_lib.plots.style import COLOURS, WIDTH, new

IN_A_ROW = 9  # boxes whose labels read from left to right; where there are more, labels stand on end
TALL = 1.0  # inches: the box of the largest grid


def layers(model):
    """`[(name, output shape, parameters)]` of a Keras model's layers that have weights or change the shape, in turn."""
    boxes, before = [], tuple(model.input_shape[1:])
    for layer in model.layers:
        shape, count = tuple(layer.output.shape[1:]), layer.count_params()
        name, kernel = type(layer).__name__, getattr(layer, "kernel_size", None)
        if kernel:
            name += f"\n{kernel[0]}×{kernel[1]}" + f", stride {layer.strides[0]}" * (layer.strides[0] > 1)
        boxes += [(name, shape, count)] if count or shape != before else []
        before = shape
    return boxes


def diagram(image, encoder, grid, codes, dim, decoder, codebook=True):
    """Encoder, grid of codes and decoder, of `layers`: boxes as high as the grid and as wide as its channels are many.

    By the square root. Below each box: the layer, its output (height × width × channels) and its parameters. `image`:
    (H, W, C); `grid`: (h, w), of `codes` with `dim` numbers each, parameters where there is a `codebook`.
    """
    first = [("image", image, 0, "baseline"), *((*layer, "train") for layer in encoder)]
    middle = [(f"grid of codes\nK = {codes}", (*grid, dim), codes * dim * codebook, "validation")]
    whole = [*first, *middle, *((*layer, "test") for layer in decoder)]
    rows = [whole] if len(whole) <= IN_A_ROW else [[*first, *middle], whole[len(first) :]]
    high, deep, slot = max(box[1][0] for box in whole), max(box[1][2] for box in whole), WIDTH / max(map(len, rows))
    standing = slot < WIDTH / IN_A_ROW
    room = 1.75 if standing else 0.8  # inches for the labels
    figure, grid_of_axes = new(WIDTH, len(rows) * (TALL + room + 0.1), len(rows), squeeze=False)
    for axes, boxes in zip(grid_of_axes[:, 0], rows, strict=True):
        axes.set(xlim=(0, WIDTH), ylim=(-room, TALL + 0.05))
        axes.set_axis_off()
        end = 0.0
        for place, (name, shape, parameters, colour) in enumerate(boxes):
            height, width = TALL * math.sqrt(shape[0] / high), slot * (0.12 + 0.6 * math.sqrt(shape[2] / deep))
            centre = slot * (place + 0.5)
            left = centre - width / 2
            axes.add_patch(Rectangle((left, (TALL - height) / 2), width, height, color=COLOURS[colour], lw=0))
            if place:  # an arrow from the box before
                line = {"arrowstyle": "->", "color": "#444444", "shrinkA": 0, "shrinkB": 0, "lw": 0.8}
                axes.annotate("", (left, TALL / 2), (end, TALL / 2), arrowprops=line)
            end = left + width
            lines = [*name.split("\n"), "×".join(map(str, shape)), *[f"{parameters:,}"] * (parameters > 0)]
            if standing:
                lines = [" ".join(lines[:-2]), ", ".join(lines[-2:])] if len(lines) > 2 else lines
            look = {"rotation": 90, "ma": "right"} if standing else {}
            axes.text(centre, -0.06, "\n".join(lines), ha="center", va="top", fontsize=7, **look)
    return figure
