"""What the competitors' scripts share: headings, modules of a course, and writing lines into files.

A script's query makes one text of each row, CSV with its line end, sorted by batch and user id. Here these texts, which
lie one behind the other in memory, are cut by batch and written.
"""

import json
import os
import pathlib
import re
import threading

COMMON = ["External ID", "User ID", "User Name", "Email ID", "Mobile Number", "Organisation Name", "State Name",
    "District Name", "School UDISE Code", "School Name"]
COURSE = [*COMMON, "Block Name", "Enrolment Date", "Course ID", "Course Progress", "Completion Date", "Certificate Status"]
TOTAL = "Total Score"

# A plain number is no formula.
NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"


def batches(file):
    """The ids that are asked for."""
    return pathlib.Path(file).read_text().split()


def cell(text):
    """Text as a cell of CSV: with a ' before it if a spreadsheet would run it, in quotes only if it needs them."""
    if re.match(r" *[=+@\t\r\n-]", text) and not re.fullmatch(NUMBER, text):
        text = "'" + text
    return '"' + text.replace('"', '""') + '"' if re.search(r'[,"\r\n]', text) else text


def modules(hierarchy):
    """(identifier, leaf nodes) of each module of a course, ordered by identifier; of two nodes of one module the first."""
    found = {}
    for node in json.loads(hierarchy).get("children") or []:
        kind = [str(node.get(key)).lower() for key in ["mimeType", "contentType", "visibility"]]
        if kind == ["application/vnd.ekstep.content-collection", "course", "default"]:
            found.setdefault(node["identifier"], node.get("leafNodesCount"))
    return sorted(found.items())


def course_heading(identifiers):
    return ",".join([*COURSE, *(cell(f"{identifier} - Progress") for identifier in identifiers)])


def assessment_columns(contents):
    """Of (identifier, name or None) of the assessments in a batch: their identifiers in the order of the columns, and the
    line of headings. A name that equals another heading gets its identifier behind it."""
    contents = sorted(contents, key=lambda content: ((content[1] or content[0]).encode(), content[0].encode()))
    titles = [name or identifier for identifier, name in contents]
    taken = [*titles, *COMMON, TOTAL]
    headings = [
        f"{title} ({identifier})" if name and taken.count(title) > 1 else title
        for title, (identifier, name) in zip(titles, contents)
    ]
    return [identifier for identifier, _ in contents], ",".join([*COMMON, *map(cell, headings), TOTAL])


def write(out, headings, counts, lines):
    """Writes a file for each batch.

    headings: batch id → line of headings, in the order that `lines` are in; counts: batch id → how many lines;
    lines: an Arrow array of large_string, without a break; None if there are none.
    """
    os.makedirs(out, exist_ok=True)
    offsets, data, row = [0], memoryview(b""), 0
    if lines is not None and len(lines):
        offsets, data, row = memoryview(lines.buffers()[1]).cast("q"), memoryview(lines.buffers()[2]), lines.offset
    files = []
    for batch, heading in headings.items():
        end = row + counts.get(batch, 0)
        files.append((batch, heading, offsets[row], offsets[end]))
        row = end

    def some(files):
        for batch, heading, start, end in files:
            with open(f"{out}/reports-{batch}.csv", "wb", buffering=0) as file:
                file.write(heading.encode() + b"\n")
                while start < end:
                    # One call takes 2 GiB at most.
                    start += file.write(data[start : min(end, start + (1 << 30))])

    # Writing releases Python's lock: two threads do as much as two cores can.
    threads = [threading.Thread(target=some, args=[files[n::2]]) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
