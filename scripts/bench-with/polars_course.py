"""The course report as a good engineer would write it for Polars.

usage: polars_course.py DATA BATCHES OUT THREADS      (BATCHES: a file with one batch id a line)
"""

import os
import sys

data, batches, out, threads = sys.argv[1:]
os.environ["POLARS_MAX_THREADS"] = threads

import polars as pl

import lines
import polars_common

asked = polars_common.asked(data, batches)
hierarchies = (
    pl.scan_parquet(f"{data}/content_hierarchy.parquet").select("identifier", "hierarchy")
    .join(asked.lazy(), left_on="identifier", right_on="courseid", how="semi").collect()
)
modules = {course: lines.modules(hierarchy) for course, hierarchy in hierarchies.iter_rows()}
places = max((len(found) for found in modules.values()), default=0)
module = pl.DataFrame(
    [(course, module, n + 1, leaves) for course, found in modules.items() for n, (module, leaves) in enumerate(found)],
    schema={"courseid": pl.String, "identifier": pl.String, "place": pl.Int32, "leaves": pl.Int64}, orient="row",
)

# Enrolments that may count, as they are. The legacy spelling of dates has a colon before the fraction.
date = pl.col("enrolleddate")
enrolled = polars_common.enrolments(data, asked).select(
    "b", "userid",
    enrolled=pl.coalesce(date.str.to_datetime("%Y-%m-%d %H:%M:%S:%3f%z", time_unit="ms", strict=False),
                         date.str.to_datetime("%Y-%m-%dT%H:%M:%S%.3f%#z", time_unit="ms", strict=False)),
    completed="completedon",
    certificates=pl.col("certificates").list.len(), issued=pl.col("issued_certificates").list.len(),
).collect()
person = polars_common.learners(data, enrolled.select("userid"), block=True)
numbers = person.select("u", "userid")
# Of two rows of a learner the one with the greatest date of enrolment, then of completion, then certificates.
listed = (
    enrolled.lazy().join(numbers.lazy(), on="userid").drop("userid")
    .sort("b", "u", "enrolled", "completed", "certificates", "issued", nulls_last=False)
    .filter((pl.struct("b", "u") != pl.struct("b", "u").shift(-1)).fill_null(True))
    .select("b", "u", "enrolled", "completed", certified=((pl.col("certificates") > 0).fill_null(False)
        | (pl.col("issued") > 0).fill_null(False)))
    .collect()
)
# The latest row of a learner's part counts, of those of one time the greatest: as one number, time before count, that a
# plain max compares. Counts are far below two millions.
part = pl.concat([
    asked.join(module, on="courseid").select("b", "batchid", "identifier", "place"),
    asked.select("b", "batchid", identifier="courseid", place=pl.lit(0, pl.Int32)),
]).select("b", "place", "identifier", context_id="cb:" + pl.col("batchid"))
SHIFT = 2097152
latest = (
    pl.col("agg_last_updated").map.get("completedCount").dt.epoch("ms").fill_null(0) * SHIFT
    + (pl.col("agg").map.get("completedCount") + 1).fill_null(0)
)
progress = (
    pl.scan_parquet(f"{data}/user_activity_agg.parquet")
    .filter(pl.col("context_id").is_in(part["context_id"].unique().implode()))
    .join(part.lazy(), left_on=["context_id", "activity_id"], right_on=["context_id", "identifier"])
    .join(numbers.lazy(), left_on="user_id", right_on="userid")
    .select("b", "u", "place", latest=latest)
    .group_by("b", "u")
    .agg(pl.when(pl.col("place") == n).then("latest").max().alias(f"latest{n}") for n in range(places + 1))
    .collect()
)


def percent(latest, leaves):
    """Nothing where there is no row, no count or no leaf nodes."""
    done = pl.col(latest) % SHIFT - 1
    value = pl.min_horizontal(100 * done // pl.col(leaves), 100)
    return pl.when((done >= 0) & (pl.col(leaves) > 0)).then(value).cast(pl.String).fill_null("")


course = asked.select("b", "channel", "leaves", course=polars_common.cell(pl.col("courseid"))).with_columns(
    pl.Series(f"leaves{n}", [found[n - 1][1] if len(found := modules.get(course, [])) >= n else None
                             for course in asked["courseid"]], pl.Int64)
    for n in range(1, places + 1)
).with_columns(n=pl.Series([len(modules.get(course, [])) for course in asked["courseid"]]))
comma, nothing = pl.lit(","), pl.lit("")
parts = []
for n in range(1, places + 1):
    parts += [pl.when(pl.col("n") >= n).then(comma).otherwise(nothing), percent(f"latest{n}", f"leaves{n}")]
rows = (
    listed.lazy()
    .join(progress.lazy(), on=["b", "u"], how="left", maintain_order="left")
    .join(course.lazy(), on="b", how="left", maintain_order="left")
    .join(person.lazy().drop("userid"), on="u", how="left", maintain_order="left")
    .select("b", line=pl.concat_str(
        *polars_common.own(",,,"), comma,
        pl.col("enrolled").dt.strftime("%d/%m/%Y").fill_null(""), comma, "course", comma,
        percent("latest0", "leaves"), comma,
        pl.col("completed").dt.strftime("%d/%m/%Y").fill_null(""), comma,
        pl.when("certified").then(pl.lit("Issued")).otherwise(nothing), *parts, pl.lit("\n"),
    ))
    .collect()
)
headings = {
    batch: lines.course_heading(identifier for identifier, _ in modules.get(course, []))
    for batch, course in asked.select("batchid", "courseid").iter_rows()
}
polars_common.write(out, asked, headings, rows)
