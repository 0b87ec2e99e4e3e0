"""What is wrong with the slices: leaks between splits, masks among images, odd pictures, mixed kinds.

A finding is a dict: `check` (its name), `count`, `sentence` (empty where nothing was found), `examples`, and `kind`:
"leak" stops the run unless the recipe allows it, "warning" stands in the report in red, "note" in its table only.
"""

import numpy as np
import pandas as pd

from vq_lib.data import duplicates, splits

SHOWN = 20  # examples kept of each finding


def finding(check: str, kind: str, examples: list[str], what: str, then: str = "") -> dict:
    """One finding: "`what`: count, such as the first example`then`", or no sentence where there is none."""
    count = len(examples)
    text = f"{what}: {count:,}, such as {examples[0]}{then}" if count else ""
    return {"check": check, "kind": kind, "count": count, "sentence": text, "examples": list(examples[:SHOWN])}


def people_apart(rows) -> dict:
    """The finding about people in two splits, by what names tell (`folders.Row`s)."""
    both = splits.shared(*np.array([(row.person, row.split) for row in rows]).reshape(-1, 2).T)
    return finding("people in two splits", "leak", [f"{who} ({' and '.join(where)})" for who, where in both.items()],
                   "People with slices in two splits")  # fmt: skip


def leaks(slices) -> tuple[pd.DataFrame, list[dict]]:
    """Pictures that are on both sides, a row a pair: first, second (names), correlation, identical (bool), how; and the
    findings about them."""
    pairs, values, how = duplicates.copies(slices.thumbnails, slices.split)
    names = slices.table["source"].where(slices.source != "", slices.person)
    place = names.duplicated(keep=False)
    names = names.where(~place, names + slices.table["position"].map(" (slice {})".format)).to_numpy()
    table = pd.DataFrame({"first": names[pairs[:, 0]], "second": names[pairs[:, 1]], "correlation": values,
                          "identical": [value > 0.9999 and not way and np.array_equal(*slices.images[pair])
                                        for pair, value, way in zip(pairs, values, how, strict=True)],
                          "how": how}).astype({"identical": bool})  # fmt: skip
    lines = {
        "identical": [f"{row.first} = {row.second}" for row in table[table["identical"]].itertuples()],
        "near-identical": [
            f"{row.first} ≈ {row.second} (correlation {row.correlation:.4f}{row.how and f', {row.how}'})"
            for row in table[~table["identical"]].itertuples()
        ],
    }
    return table, [finding(f"{kind} across splits", "leak", some, f"Pairs of {kind} pictures in two splits")
                   for kind, some in lines.items()]  # fmt: skip


def pictures(slices, noted: pd.DataFrame) -> list[dict]:
    """Findings about the pictures themselves; `noted`: what `reading.read_all` noted of each."""
    names = np.where(slices.source == "", slices.person, slices.source)
    flat = slices.thumbnails.reshape(len(slices), -1)
    low, high = flat.min(axis=1), flat.max(axis=1)
    constant = low == high
    border = np.median(flat[:, np.pad(np.zeros((62, 62), bool), 1, constant_values=True).ravel()], axis=1)
    inverted = ~constant & (border > 191) & ((border < 64).mean() >= 0.75)
    odd = (
        # A folder of nothing but drawings in few colours is what its user says it is.
        ("masks among the images", "leak" if noted["labels"].mean() < 0.9 else "warning", noted["labels"],
         "Pictures of so few levels, or such flat regions, that they are segmentation masks",
         "; data.files chooses which files are read"),
        ("constant", "warning", constant, "Slices that are all one level", ""),
        ("nearly black", "warning", ~constant & (high < 32), "Slices that never reach an eighth of white",
         "; where 16-bit files hold fewer bits, data.white says which level is white"),
        ("saturated", "warning", ~constant & ~inverted & ((flat >= 254).mean(axis=1) > 0.25),
         "Slices that are white over more than a quarter", ""),
        ("inverted", "warning", inverted, "Slices that are bright where the others are black",
         ": black and white may be swapped"),
        *[("colour read as grey", "warning", noted["colour"], "Pictures with colour, read as their luminance",
           "; data.channels: 3 keeps it")] * (slices.image_shape[-1] == 1),
    )  # fmt: skip
    found = [finding(check, kind, names[np.flatnonzero(mask)].tolist(), *text) for check, kind, mask, *text in odd]
    sizes = noted["width"].astype(str) + "x" + noted["height"].astype(str)
    for check, values in (("sizes", sizes), ("modes", noted["mode"])):
        kinds = values.value_counts()
        examples = [f"{kind} ({count:,})" for kind, count in kinds.items()] if len(kinds) > 1 else []
        found.append(finding(f"mixed {check}", "note", examples, f"Different {check} of the pictures"))
    return found
