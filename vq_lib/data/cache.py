"""From recipe and data folder to slices: the check, and the cache that a report's notebooks share.

`run/slices/` holds `images.npy` (uint8, read through a memory map), `slices.csv` (the table) and `slices.json` (the
settings and files that they were made from). It is written whole or not at all, and trusted only where all three fit.
"""

import hashlib
import json
import os
import time
from pathlib import Path

import numpy as np

from vq_lib.data import cohort, oasis, reading
from vq_lib.data.slices import Slices, read_table, write_table
from vq_lib.errors import UserError
from vq_lib.files import digest, read_json, whole_folder, write_json
from vq_lib.recipe import People

# Layouts that are read from a folder. An adapter has EXPECTED (what lies where), find(folder) -> root or None,
# listing(root) -> table, tables(root) -> other files that the table depends on, and an ACKNOWLEDGEMENT for reports.
ADAPTERS = {"oasis": oasis}


def check(recipe, data_folder):
    """Whether recipe and data folder go together and every image is whole; nothing is decoded or written.

    Args:
        recipe: the `Recipe`.
        data_folder: path of the images, None or "" where the recipe makes its own.

    Returns:
        A signature that changes with the settings of `data:` and with any file's name, size or time.

    Raises:
        UserError: the folder is missing, empty, unwanted or of another layout, an image cannot be read, or a person is
            in two splits.
    """
    layout, root, table, signature = _survey(recipe, data_folder)
    if root is not None:
        reading.check([root / source for source in table["source"]])
    return signature


def load(study):
    """The slices of a report: from `run/slices/` where these fit recipe and data, else made and kept there.

    Prints one line that says which. `Slices.images` is memory-mapped and read-only.
    """
    layout, root, table, signature = _survey(study.recipe, study.data_folder)
    key = {"data": study.recipe.section("data"), "signature": signature}
    slices = _open(study.slices, key)
    if slices is not None:
        print(f"{len(slices):,} slices of {_people(slices)} people ({layout}), as made before.")
        return slices
    began = time.monotonic()
    size = study.recipe.data.size
    with whole_folder(study.slices) as folder:
        if root is None:
            people = (study.recipe.data.people or People()).model_dump()
            slices = cohort.make(people, study.recipe.data.slices, size, study.recipe.data.seed)
            np.save(folder / "images.npy", slices.images, allow_pickle=False)
        else:
            paths = [root / source for source in table["source"]]
            reading.check(paths)
            shape = (len(paths), size, size, 1)
            images = np.lib.format.open_memmap(folder / "images.npy", mode="w+", dtype=np.uint8, shape=shape)
            reading.read_all(paths, size, images)
            images.flush()
            slices = Slices(images=images, **table)
        write_table(slices, folder / "slices.csv")
        fingerprint = _fingerprint(slices.images, folder / "slices.csv")
        write_json(folder / "slices.json", {"key": key, "fingerprint": fingerprint, "layout": layout})
    slices = _open(study.slices, key)
    print(f"{len(slices):,} slices of {_people(slices)} people ({layout}), made in {time.monotonic() - began:.1f} s.")
    return slices


def opened(study):
    """The slices that notebook 01 or 02 left in `run/slices/`, for those that need the same ones.

    Raises:
        UserError: there are none, or they were made with other settings or from other files.
    """
    key = {"data": study.recipe.section("data")}
    if study.data_folder is not None or study.recipe.data.layout == "cohort":
        key["signature"] = _survey(study.recipe, study.data_folder)[3]
    slices = _open(study.slices, key)
    if slices is None:
        state = "were made with other settings or from other files" if study.slices.exists() else "are missing"
        raise UserError(f"The slices in {study.slices} {state}: run notebook 01 first "
                        f"(make report REPORT={study.name}, or papermill on 01_data_exploration.ipynb).")  # fmt: skip
    return slices


def acknowledgement(study):
    """What every report on these slices must say about where they come from; plain text."""
    layout = read_json(study.slices / "slices.json", "notebook 01")["layout"]
    return (cohort if layout == "cohort" else ADAPTERS[layout]).ACKNOWLEDGEMENT


def _survey(recipe, data_folder):
    """Layout, root of the images (None for the cohort), table and signature; opens no image."""
    wanted = recipe.data.layout
    section = recipe.section("data")
    if wanted == "cohort":
        if data_folder:
            raise UserError(f"This recipe makes its own people (data.layout: cohort) and cannot use {data_folder}: "
                            "leave DATA (or --data) out, or take a recipe for images, as oasis-best.")  # fmt: skip
        return "cohort", None, None, f"cohort:{digest([section, cohort.VERSION])}"
    if not data_folder:
        raise UserError(f"This recipe needs a folder of images ({wanted or 'any known layout'}): "
                        "name it with DATA=folder (or --data folder).")  # fmt: skip
    folder = Path(data_folder)
    if not folder.is_dir():
        raise UserError(f"The data folder {folder} {'is not a folder' if folder.exists() else 'does not exist'}.")
    if not any(folder.iterdir()):
        raise UserError(f"The data folder {folder} is empty.")
    adapters = {wanted: ADAPTERS[wanted]} if wanted else ADAPTERS
    found = {layout: root for layout, adapter in adapters.items() if (root := adapter.find(folder))}
    if not found:
        expected = " or ".join(adapter.EXPECTED for adapter in adapters.values())
        raise UserError(f"The data folder {folder} holds no slices of the layout {' or '.join(adapters)}: "
                        f"expected {expected}.")  # fmt: skip
    layout, root = next(iter(found.items()))
    table = ADAPTERS[layout].listing(root)
    _people_apart(table)
    names = [*table["source"].tolist(), *(os.path.relpath(path, root) for path in ADAPTERS[layout].tables(root))]
    states = [(name, state.st_size, state.st_mtime_ns) for name in names for state in [(root / name).stat()]]
    return layout, root, table, f"{layout}:{digest([section, states])}"


def _people_apart(table):
    splits = {}
    for person, split in zip(table["person"].tolist(), table["split"].tolist(), strict=True):
        splits.setdefault(person, set()).add(split)
    both = sorted(person for person, found in splits.items() if len(found) > 1)
    if both:
        raise UserError(f"{len(both)} people have slices in two splits, so every score would be worthless: "
                        f"{', '.join(both[:5])}{', …' if both[5:] else ''}. Move each person into one.")  # fmt: skip


def _open(folder, key):
    """The cached slices, or None where they are missing, broken, or made from anything but `key`."""
    try:
        about = json.loads((folder / "slices.json").read_text(encoding="utf-8"))
        if any(about["key"].get(name) != value for name, value in key.items()):
            return None
        images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
        slices = Slices(images=images, **read_table(folder / "slices.csv"), fingerprint=about["fingerprint"])
    except (OSError, EOFError, ValueError, TypeError, KeyError, AttributeError):  # missing, cut off, or not by us
        return None
    side = key["data"]["size"]
    return slices if images.shape[1:] == (side, side, 1) and len(slices) else None


def _fingerprint(images, table):
    sha = hashlib.sha256(table.read_bytes())
    for start in range(0, len(images), 512):
        sha.update(np.ascontiguousarray(images[start : start + 512]))
    return sha.hexdigest()


def _people(slices):
    return f"{len(np.unique(slices.person)):,}"
