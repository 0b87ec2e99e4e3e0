"""What is wrong with the slices: leaks between splits, masks among images, odd pictures, mixed kinds.

A finding is a dict: `check` (its name), `count`, `sentence` (empty where nothing was found), `examples`, and `kind`:
"leak" stops the run unless the recipe allows it, "warning" stands in the report in red, "note" in its table only.
"""

import numpy as np
import pandas as pd

from vq_lib.data import duplicates

SHOWN = 20  # examples kept of each finding


def finding(check: str, kind: str, examples: list[str], what: str, then: str = "") -> dict:
    """One finding: "`what`: count, such as the first example`then`", or no sentence where there is none."""
    count = len(examples)
    text = f"{what}: {count:,}, such as {examples[0]}{then}" if count else ""
    return {"check": check, "kind": kind, "count": count, "sentence": text, "examples": list(examples[:SHOWN])}


def leaks(slices) -> pd.DataFrame:
    """Pictures that are on both sides, a row a pair: first, second (names), correlation, identical (bool), how."""
    pairs, values, how = duplicates.copies(slices.thumbnails, slices.split)
    same = [value > 0.9999 and not way and np.array_equal(slices.images[a], slices.images[b])
            for (a, b), value, way in zip(pairs.tolist(), values.tolist(), how, strict=True)]  # fmt: skip
    several = pd.Series(slices.source).duplicated(keep=False).to_numpy() | (slices.source == "")
    names = [f"{source or person}{f' (slice {position})' if more else ''}" for source, person, position, more
             in zip(slices.source, slices.person, slices.position, several, strict=True)]  # fmt: skip
    return pd.DataFrame({"first": [names[a] for a in pairs[:, 0]], "second": [names[b] for b in pairs[:, 1]],
                         "correlation": values, "identical": np.array(same, bool), "how": how})  # fmt: skip


def pictures(slices, noted: np.ndarray | None = None) -> list[dict]:
    """Findings about the pictures themselves.

    Args:
        slices: with thumbnails.
        noted: what `reading.read_all` noted, or None where nothing was read.
    """
    names = slices.source if noted is not None else slices.person
    found = []

    def add(check, kind, mask, what, then=""):
        found.append(finding(check, kind, names[np.flatnonzero(mask)].tolist(), what, then))

    flat = slices.thumbnails.reshape(len(slices), -1)
    low, high = flat.min(axis=1), flat.max(axis=1)
    constant = low == high
    inside = np.pad(np.zeros((62, 62), bool), 1, constant_values=True).ravel()
    border = np.median(flat[:, inside], axis=1)
    inverted = ~constant & (border > 191) & ((border < 64).mean() >= 0.75)
    if noted is not None:
        labels = noted["labels"]
        # A folder of nothing but drawings in few colours is what its user says it is.
        add("masks among the images", "leak" if labels.mean() < 0.9 else "warning", labels,
            "Pictures of so few levels, or such flat regions, that they are segmentation masks")  # fmt: skip
    add("constant", "warning", constant, "Slices that are all one level")
    add("nearly black", "warning", ~constant & (high < 32), "Slices that never reach an eighth of white",
        "; where 16-bit files hold fewer bits, data.white says which level is white")  # fmt: skip
    add("saturated", "warning", ~constant & ~inverted & ((flat >= 254).mean(axis=1) > 0.25),
        "Slices that are white over more than a quarter")  # fmt: skip
    add("inverted", "warning", inverted, "Slices that are bright where the others are black",
        ": black and white may be swapped")  # fmt: skip
    if noted is not None:
        sizes = pd.Series([f"{width}x{height}" for width, height in noted[["width", "height"]].tolist()])
        for check, values in (("sizes", sizes), ("modes", pd.Series(noted["mode"]))):
            kinds = values.value_counts()
            examples = [f"{kind} ({count:,})" for kind, count in kinds.items()] if len(kinds) > 1 else []
            found.append(finding(f"mixed {check}", "note", examples, f"Different {check} of the pictures"))
        if slices.image_shape[-1] == 1:
            add("colour read as grey", "warning", noted["colour"], "Pictures with colour, read as their luminance",
                "; data.channels: 3 keeps it")  # fmt: skip
    return found
