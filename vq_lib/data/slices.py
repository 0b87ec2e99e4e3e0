"""Slices: grey images of people, with what is known about each of them."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SPLITS = ("train", "validation", "test")
COLUMNS = ("person", "position", "label", "split", "source")


@dataclass(frozen=True)
class Slices:
    """N slices in the order of the table.

    Attributes:
        images: uint8, (N, height, width, channels), possibly memory-mapped.
        person: (N,) str, who the slice is of.
        position: (N,) int, the slice's place in its volume, from 0, -1 where unknown.
        label: (N,) str, class of the person, empty where unknown.
        split: (N,) str, one of `SPLITS`; all slices of a person are in one, unless the recipe allows leaks.
        source: (N,) str, the file it was read from, as named on disk.
        thumbnails: uint8, (N, 64, 64), small grey copies that checks and neighbours compare; None where not needed.
        fingerprint: SHA-256 of what decides images and table, for provenance and to key what is made from them.
    """

    images: np.ndarray
    person: np.ndarray
    position: np.ndarray
    label: np.ndarray
    split: np.ndarray
    source: np.ndarray
    thumbnails: np.ndarray | None = None
    fingerprint: str = ""

    def __post_init__(self):
        if self.images.dtype != np.uint8 or self.images.ndim != 4:
            raise TypeError(f"images must be uint8 of shape (N, H, W, C), not {self.images.dtype} {self.images.shape}")
        for name in [*COLUMNS, *(["thumbnails"] if self.thumbnails is not None else [])]:
            if len(getattr(self, name)) != len(self.images):
                raise ValueError(f"{name} has {len(getattr(self, name))} entries for {len(self.images)} images")

    def __len__(self):
        return len(self.images)

    def where(self, split: str) -> np.ndarray:
        """Indices of the slices of one split, in order: (n,) int64."""
        if split not in SPLITS:
            raise ValueError(f"split (={split!r}) must be one of {SPLITS}")
        return np.flatnonzero(self.split == split)

    def names(self, rows: np.ndarray) -> list[str]:
        """What to call each of some slices in a figure: the person, and the position where it is known."""
        pairs = zip(self.person[rows], self.position[rows], strict=True)
        return [f"{person}, {position}" if position >= 0 else f"{person}" for person, position in pairs]

    def counts(self) -> dict[str, dict[str, int]]:
        """`{split: {"images": n, "people": m}}`, as `metrics.json` has it."""
        return {
            split: {"images": int(rows.size), "people": int(np.unique(self.person[rows]).size)}
            for split in SPLITS
            for rows in [self.where(split)]
        }


def write_table(slices: Slices, path: Path) -> None:
    """Write the table (not the images) as UTF-8 CSV."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(zip(*(getattr(slices, name).tolist() for name in COLUMNS), strict=True))


def read_table(path: Path) -> dict[str, np.ndarray]:
    """The columns of a table written by `write_table`, as a dict of arrays."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = {name: np.array([row[name] for row in rows], dtype=str) for name in COLUMNS}
    columns["position"] = columns["position"].astype(np.int64)
    return columns
