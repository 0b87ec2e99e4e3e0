"""A table of people: labels, age and sex joined to the slices, and the scans of one person brought together.

`subjects.csv` beside the slices (or another of `TABLES`, or what `data.subjects` names) has a row a person or a scan,
and columns as below, whatever their case and spaces (`MRI ID`, `M/F`), `age` and `CDR`. Commas, semicolons or tabs;
UTF-8, UTF-16 or Latin-1; Excel where openpyxl is installed.
"""

import functools
import io
import re
import zipfile
from pathlib import Path

import pandas as pd

from vq_lib.data import words
from vq_lib.data.folders import Listing
from vq_lib.errors import UserError

TABLES = ("subjects.csv", "participants.tsv", "oasis_cross-sectional.csv", "oasis_longitudinal.csv")
PERSON = ["person", "subject", "subjectid", "patient", "patientid", "participant", "participantid", "ptid"]
IDS = ["case", "id", "scan", "scanid", "mriid", "imagedataid", "imageid", "file", "filename", "oasis1id", *PERSON]
LABEL = ["label", "class", "diagnosis", "dx", "group", "researchgroup"]
SEX = ["sex", "gender", "mf"]


def read(path: Path) -> pd.DataFrame:
    """The rows of the table as text, "" where empty, under plain column names (lower case, letters and digits);
    `UserError` where it is no readable table, or has no column that names anybody."""
    excel = path.suffix.lower() in (".xlsx", ".xls", ".ods")
    try:
        if excel:
            table = pd.read_excel(path, dtype=str, keep_default_na=False)
        else:
            content = path.read_bytes() or b"empty"
            try:
                text = content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
            except UnicodeDecodeError:
                text = content.decode("latin-1")
            separator = max(",;\t", key=text.partition("\n")[0].count)
            table = pd.read_csv(io.StringIO(text), sep=separator, dtype=str, keep_default_na=False, index_col=False)
    except (OSError, ValueError, ImportError, KeyError, zipfile.BadZipFile) as error:
        why = "save it as CSV" if excel else str(error).strip().rstrip(".")
        raise UserError(f"The table of people {path} cannot be read: {why}.") from None
    names = [str(name) for name in table.columns]
    table.columns = pd.Index([re.sub(r"[^a-z0-9]", "", name.lower()) for name in names])
    table = table.loc[:, ~table.columns.duplicated()].fillna("").apply(lambda column: column.str.strip())
    if table.columns.intersection(IDS).empty:
        raise UserError(f"The table of people {path} has no column that names people, such as case, id or subject; "
                        f"it has {', '.join(names)}.")  # fmt: skip
    return table


@functools.lru_cache(maxsize=65536)
def canonical(name: str) -> str:
    """One form for what tables write: `OAS1_0001_MR1`, `case_001`, `I218391` → `oas1_1_mr1`, `1`, `218391`."""
    name = name.strip().lower()
    if oasis := re.search(r"oas(\d)_0*(\d+)(_mr\d)?", name):
        return f"oas{oasis[1]}_{oasis[2]}{oasis[3] or ''}"
    number = re.fullmatch(r"(?:case_|sub-|i)?0*(\d+)", name)
    return number[1] if number else name


def label(row: pd.Series | dict, path: Path) -> str:
    """The class that a row gives: its own, or from the clinical dementia rating, CDR: `dementia` above 0, `control` at
    0, `unrated` where it is empty or nan (OASIS-1's young people)."""
    own = next((row[name] for name in LABEL if row.get(name)), "")
    if own or "cdr" not in row:
        return own
    try:
        rating = float(row["cdr"].replace(",", ".") or "nan")
    except ValueError:
        raise UserError(f"{path}: the CDR {row['cdr']!r} is no number.") from None
    return "unrated" if rating != rating else "dementia" if rating > 0 else "control"


def join(listing: Listing, path: Path) -> tuple[Listing, dict[str, dict[str, str]], list[str], list[str]]:
    """The listing with the table's labels and people, `{person: {"age", "sex"}}`, people without a row, and rows
    without slices. Labels of folders stay, and so do people's names on disk, unless these tell no more than scans."""
    table = read(path)
    ids, who = table[[name for name in IDS if name in table]], _first(table, PERSON)
    for name in ids:  # OASIS-1's own table has no column of people, but ids that tell them
        named, identity = words.people(table[name].tolist())
        who = who.where(who != "", named if identity == "person" else "")
    entries, sex = table.to_dict("records"), _first(table, SEX).str[:1].str.upper()
    keys = pd.DataFrame([(row.scan, row.person, row.file.parts[-1], row.file.name) for row in listing.rows])
    matched, rows, without = _match(ids, keys).tolist(), [], set()
    people: dict[str, dict[str, str]] = {}
    for row, entry in zip(listing.rows, matched, strict=True):
        if entry < 0:
            without.add(row.person or row.file.name)
        else:
            person = row.person if listing.identity == "person" else who[entry] or row.person
            row = row._replace(person=person, label=row.label or label(entries[entry], path))
            known = {"age": entries[entry].get("age"), "sex": sex[entry]}
            people.setdefault(person, {name: value for name, value in known.items() if value})
        rows.append(row)
    spare = _first(table[~table.index.isin(matched)], ids.columns)
    grouped = listing.identity == "person" or bool((who != "").all()) and not without
    listing = Listing(rows, "person" if grouped else listing.identity)
    return listing, people, sorted(without), spare[spare != ""].tolist()


def _first(table, columns):
    """For each row the first of some columns that says something, "" where none does."""
    some = table.reindex(columns=columns).astype(object).replace("", None)
    return some.bfill(axis=1).iloc[:, 0].fillna("")


def _match(ids, keys):
    """The row of the table that each slice belongs to, -1 where none: by equal names, else by `canonical` ones of which
    there is one only (`sub-1` and `sub-01` are two), else by those without the scan's `_MR1`."""

    def forms(names, form):
        names = names.str.strip().str.lower()
        several = names.groupby(names.map(canonical)).transform("nunique") > 1
        return names.map(form).mask(several & (form is not str), "")

    row = pd.Series(float("nan"), keys.index)
    for form in (str, canonical, lambda name: re.sub(r"_mr\d$", "", canonical(name))):
        known = pd.concat([forms(ids[column], form) for column in ids])
        known = pd.Series(known.index, known)[lambda some: ~some.index.duplicated() & (some.index != "")]
        for key in keys:
            row = row.fillna(forms(keys[key], form).map(known))
    return row.fillna(-1).astype(int)
