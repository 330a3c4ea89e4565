"""Reads reports as CSV, JSON lines, Parquet and xlsx, and compares every cell and its type with the CSV.

Usage: formats.py (report.csv report.jsonl report.parquet report.xlsx)...
"""

import csv
import datetime
import gzip
import json
import re
import sys

import openpyxl
import pyarrow.parquet
from openpyxl.utils.escape import unescape

DATES = ("Enrolment Date", "Completion Date")
NUMBERS = ("Course Progress", "Total Score")
FIXED = (
    "External ID", "User ID", "User Name", "Email ID", "Mobile Number", "Organisation Name", "State Name",
    "District Name", "School UDISE Code", "School Name", "Block Name", "Course ID", "Certificate Status",
)


def opened(path):
    opener = gzip.open if path.endswith(".gz") else open
    return opener(path, "rt", encoding="utf-8", newline="")


def meant(heading, cell):
    """What a cell of the CSV is, by the contract."""
    if cell == "":
        return None
    if heading in DATES:
        return datetime.datetime.strptime(cell, "%d/%m/%Y").date()
    if heading in NUMBERS or heading not in FIXED:  # modules and assessments
        return int(cell.removesuffix("%"))
    return cell


def same(what, found, expected):
    if found != expected or [[type(cell) for cell in row] for row in found] != [
        [type(cell) for cell in row] for row in expected
    ]:
        sys.exit(f"{what}:\n  found    {found}\n  expected {expected}")


def compare(csv_path, json_path, parquet_path, xlsx_path):
    with opened(csv_path) as file:
        headings, *lines = csv.reader(file, strict=True)
    expected = [[meant(*pair) for pair in zip(headings, line, strict=True)] for line in lines]

    with opened(json_path) as file:
        objects = [json.loads(line) for line in file.read().split("\n")[:-1]]
    for one in objects:
        assert list(one) == headings, (list(one), headings)
    rows = [list(one.values()) for one in objects]
    for row in rows:
        for at, heading in enumerate(headings):
            if heading in DATES and row[at] is not None:
                assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", row[at]), row[at]
                row[at] = datetime.date.fromisoformat(row[at])
    same("json", rows, expected)

    table = pyarrow.parquet.read_table(parquet_path)
    assert table.column_names == headings, table.column_names
    for field in table.schema:
        kind = "date32[day]" if field.name in DATES else "string" if field.name in FIXED else "int64"
        assert str(field.type) == kind and field.nullable, field
    same("parquet", [list(row) for row in zip(*(column.to_pylist() for column in table.columns))], expected)

    sheet = openpyxl.load_workbook(xlsx_path).active
    assert sheet.freeze_panes == "A2", sheet.freeze_panes
    first, *below = sheet.iter_rows(min_row=1, max_row=len(expected) + 1, max_col=len(headings))
    assert sheet.max_row == len(expected) + 1, sheet.max_row
    assert [unescape(cell.value) for cell in first] == headings and all(cell.font.b for cell in first)
    rows = []
    for line in below:
        row = []
        for heading, cell in zip(headings, line, strict=True):
            value = cell.value
            assert cell.data_type != "f", (cell.coordinate, value)
            if isinstance(value, str):
                value = unescape(value)
            if isinstance(value, datetime.datetime):
                assert cell.number_format == "dd/mm/yyyy" and value.time() == datetime.time(), (value, cell.number_format)
                value = value.date()
            row.append(value)
        rows.append(row)
    same("xlsx", rows, expected)


paths = sys.argv[1:]
assert paths and len(paths) % 4 == 0, paths
for at in range(0, len(paths), 4):
    compare(*paths[at : at + 4])
