"""Slices: grey images of people, with what is known about each of them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from vq_lib.errors import UserError

SPLITS = ("train", "validation", "test")
COLUMNS = ("person", "position", "label", "split", "source")


@dataclass(frozen=True)
class Slices:
    """N slices in the order of the table."""

    images: np.ndarray  # uint8, (N, height, width, channels), possibly memory-mapped
    person: np.ndarray  # (N,) str, who the slice is of
    position: np.ndarray  # (N,) int, the slice's place in its volume, from 0, -1 where unknown
    label: np.ndarray  # (N,) str, class of the person, empty where unknown
    split: np.ndarray  # (N,) str, one of `SPLITS`; all slices of a person are in one, unless the recipe allows leaks
    source: np.ndarray  # (N,) str, the file it was read from, as named on disk
    thumbnails: np.ndarray | None = None  # uint8, (N, 64, 64), small grey copies that checks and neighbours compare
    fingerprint: str = ""  # SHA-256 of what decides images and table, for provenance and to key what is made from them

    def __post_init__(self):
        if self.images.dtype != np.uint8 or self.images.ndim != 4:
            raise TypeError(f"images must be uint8 of shape (N, H, W, C), not {self.images.dtype} {self.images.shape}")
        for name in [*COLUMNS, *(["thumbnails"] if self.thumbnails is not None else [])]:
            if len(getattr(self, name)) != len(self.images):
                raise ValueError(f"{name} has {len(getattr(self, name))} entries for {len(self.images)} images")

    @classmethod
    def of(cls, table: pd.DataFrame, images: np.ndarray, **more) -> "Slices":
        """Slices from their table."""
        columns = (table[name].to_numpy(dtype=np.int64 if name == "position" else str) for name in COLUMNS)
        return cls(images, *columns, **more)

    def __len__(self):
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(height, width, channels) of each image."""
        return self.images.shape[1:]

    @property
    def table(self) -> pd.DataFrame:
        """What is known about each slice: a row a slice, the columns person, position, label, split and source."""
        return pd.DataFrame({name: getattr(self, name) for name in COLUMNS})

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
        people = self.table.groupby("split").person.agg(["size", "nunique"]).reindex(SPLITS, fill_value=0)
        return {split: {"images": int(n), "people": int(m)} for split, n, m in people.itertuples()}

    def conditions(self, wanted) -> tuple[tuple[str, ...], int, np.ndarray]:
        """What a prior may know of each slice; see `conditions`."""
        return conditions(wanted, self.table)


def conditions(wanted, table: pd.DataFrame) -> tuple[tuple[str, ...], int, np.ndarray]:
    """Labels and positions as numbers, for a prior that is told what `prior.condition` (`wanted`) says: names of the
    labels, number of positions, and int32 (N, 2): label, position, -1 where the training slices (of split "train" or
    "") do not show it. `UserError` where they show none at all."""
    train = table[table["split"].isin(["", "train"])]
    labels = tuple(sorted(set(train["label"]) - {""})) if "label" in wanted else ()
    count = int(train["position"].max()) + 1 if "position" in wanted and len(train) else 0
    for name, known, cure in (("label", labels, ", or give a subjects.csv that has some"), ("position", count, "")):
        if name in wanted and not known:
            raise UserError(f"prior.condition names '{name}', but the slices have no {name}s: leave it out{cure}.")
    label = pd.Index(labels, dtype=object).get_indexer(table["label"])
    position = table["position"].where(table["position"] < count, -1)
    return labels, count, np.stack([label, position], axis=1).astype(np.int32)


def table_of(rows) -> pd.DataFrame:
    """The table that `folders.Row`s make."""
    return pd.DataFrame([(*row[1:5], row.file.name) for row in rows], columns=COLUMNS)
