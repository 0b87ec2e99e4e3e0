"""A table of people: labels, age and sex joined to the slices, and the scans of one person brought together.

`subjects.csv` beside the slices (or what `data.subjects` names) has a row a person or a scan. Known columns, whatever
their case and spaces: an id (`case`, `id`, `scan`, `MRI ID`, `Image Data ID`, `file`, …), a person (`person`,
`subject`, `PTID`, …), a label (`label`, `group`, `diagnosis`, …, or `CDR`), `age`, and `sex` (or `M/F`).
"""

import csv
import functools
import math
import re
from pathlib import Path

from vq_lib.data.folders import Listing, Row
from vq_lib.errors import UserError

PERSON = ("person", "subject", "subjectid", "patient", "patientid", "participantid", "ptid")
IDS = ("case", "id", "scan", "scanid", "mriid", "imagedataid", "imageid", "file", "filename", "oasis1id", *PERSON)
LABEL = ("label", "class", "diagnosis", "dx", "group", "researchgroup")
SEX = ("sex", "gender", "mf")


def read(path: Path) -> list[dict[str, str]]:
    """The rows of the table, as dicts with plain column names.

    Raises:
        UserError: it is no readable table, or has no column that names anybody.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",")
            names = {name: re.sub(r"[^a-z0-9]", "", (name or "").lower()) for name in reader.fieldnames or []}
            rows = [{names[k]: (v or "").strip() for k, v in row.items() if k in names} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"The table of people {path} cannot be read: {error}.") from None
    if not set(IDS) & set(names.values()):
        raise UserError(f"The table of people {path} has no column that names people, such as case, id or subject; "
                        f"it has {', '.join(map(str, names)) or 'none'}.")  # fmt: skip
    return rows


@functools.lru_cache(maxsize=4096)
def canonical(name: str) -> str:
    """One form for what tables write: `OAS1_0001_MR1`, `case_001`, `I218391` → `oas1_1_mr1`, `1`, `218391`."""
    name = name.strip().lower()
    if oasis := re.search(r"oas(\d)_0*(\d+)(_mr\d)?", name):
        return f"oas{oasis[1]}_{oasis[2]}{oasis[3] or ''}"
    number = re.fullmatch(r"(?:case_|sub-|i)?0*(\d+)", name)
    return number[1] if number else name


def label(row: dict[str, str], path: Path) -> str:
    """The class that a row gives: its own, or from the clinical dementia rating, CDR: `dementia` above 0, `control` at
    0, `unrated` where it is empty or nan (OASIS-1's young people)."""
    own = next((row[name] for name in LABEL if row.get(name)), "")
    if own or "cdr" not in row:
        return own
    try:
        rating = float(row["cdr"] or "nan")
    except ValueError:
        raise UserError(f"{path}: the CDR {row['cdr']!r} is no number.") from None
    return "unrated" if math.isnan(rating) else "dementia" if rating > 0 else "control"


def join(listing: Listing, path: Path) -> tuple[Listing, dict[str, dict[str, str]], list[str], list[str]]:
    """The listing with the table's labels and people, `{person: {"age", "sex"}}`, and who has no counterpart.

    A label that a folder gave stays. People keep the names that they have on disk; only where names tell no more than
    scans, or nothing, the table's take their place.

    Returns:
        listing, people, names of people without a row, rows without slices.
    """
    table: dict[int, dict[str, str]] = {}
    owner: dict[str, int] = {}
    for number, row in enumerate(read(path)):
        for name in IDS:
            if row.get(name):
                key = canonical(row[name])
                for form in (key, re.sub(r"_mr\d$", "", key)):
                    owner.setdefault(form, number)
        table[number] = row
    rows: list[Row] = []
    people: dict[str, dict[str, str]] = {}
    found: set[int] = set()
    without: set[str] = set()
    for slice_ in listing.rows:
        keys = (slice_.scan, slice_.person, slice_.file.parts[-1], slice_.file.name)
        mine = next((owner[key] for key in map(canonical, keys) if key in owner), None)
        if mine is None:
            without.add(slice_.person or slice_.file.name)
            rows.append(slice_)
            continue
        found.add(mine)
        row, person = table[mine], slice_.person
        if listing.identity != "person":
            person = next((row[name] for name in PERSON if row.get(name)), person)
        rows.append(slice_._replace(person=person, label=slice_.label or label(row, path)))
        about = {"age": row.get("age", ""), "sex": next((row[name][:1].upper() for name in SEX if row.get(name)), "")}
        people.setdefault(person, {name: value for name, value in about.items() if value})
    grouped = listing.identity == "person" or any(set(PERSON) & set(row) for row in table.values()) and not without
    spare = [next(row[name] for name in IDS if row.get(name)) for number, row in table.items()
             if number not in found and any(row.get(name) for name in IDS)]  # fmt: skip
    listing = listing._replace(rows=rows, identity="person" if grouped else listing.identity)
    return listing, people, sorted(without), spare
