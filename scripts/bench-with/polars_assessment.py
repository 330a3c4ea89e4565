"""The assessment report as a good engineer would write it for Polars.

usage: polars_assessment.py DATA BATCHES OUT THREADS      (BATCHES: a file with one batch id a line)
"""

import os
import sys

data, batches, out, threads = sys.argv[1:]
os.environ["POLARS_MAX_THREADS"] = threads

import polars as pl

import lines
import polars_common

asked = polars_common.asked(data, batches)
# Attempts that count: of a batch and its course, at a content of the type. Contents get numbers as well.
assessment = (
    pl.scan_parquet(f"{data}/content.parquet").filter(pl.col("contentType") == "SelfAssess")
    .select("identifier", "name").sort("identifier").with_row_index("content").collect()
)
# Scores in whole millionths: nothing is lost.
attempts = (
    pl.scan_parquet(f"{data}/assessment_aggregator.parquet")
    .filter(pl.col("batch_id").is_in(asked["batchid"].implode()))
    .join(asked.lazy(), left_on=["batch_id", "course_id"], right_on=["batchid", "courseid"])
    .join(assessment.lazy().select("content", "identifier"), left_on="content_id", right_on="identifier")
    .select("b", "content", "attempt_id", "grand_total", at="last_attempted_on", userid="user_id",
            score=(pl.col("total_score") * 1_000_000).round().cast(pl.Int64),
            most=(pl.col("total_max_score") * 1_000_000).round().cast(pl.Int64))
    .collect()
)
# One column for each assessment with such an attempt, whoever made it.
taken = {}
pairs = attempts.select("b", "content").unique().join(assessment, on="content")
for b, content, identifier, name in pairs.select("b", "content", "identifier", "name").iter_rows():
    taken.setdefault(b, {})[identifier] = (content, name)
headings, places = {}, []
for b, batch in asked.select("b", "batchid").iter_rows():
    found = taken.get(b, {})
    identifiers, headings[batch] = lines.assessment_columns([(identifier, name) for identifier, (_, name) in found.items()])
    places += [(b, found[identifier][0], place) for place, identifier in enumerate(identifiers)]
place = pl.DataFrame(places, schema={"b": pl.UInt32, "content": pl.UInt32, "place": pl.Int32}, orient="row")
most = max((place for _, _, place in places), default=-1) + 1

# Only learners with such an attempt are listed.
enrolled = (
    polars_common.enrolments(data, asked).select("b", "userid")
    .join(attempts.lazy(), on=["b", "userid"], how="semi").unique().collect()
)
person = polars_common.learners(data, enrolled.select("userid"), block=False)
numbers = person.select("u", "userid")
listed = enrolled.join(numbers, on="userid").select("b", "u")

# `score/maximum` in per cent, rounded up; each spelling once.
halves = pl.col("grand_total").str.splitn("/", 2)
millionths = [
    (halves.struct.field(f"field_{n}").str.strip_chars().cast(pl.Float64, strict=False) * 1_000_000).round().cast(pl.Int64)
    for n in range(2)
]
score = attempts.select("grand_total").unique().select(
    "grand_total", percent=pl.when(millionths[1] > 0).then((100 * millionths[0] + millionths[1] - 1) // millionths[1])
)
# Of a learner's attempts at one assessment the best counts: by score, then time, then attempt id.
candidates = (
    attempts.lazy().join(numbers.lazy(), on="userid").drop("userid")
    .join(listed.lazy(), on=["b", "u"], how="semi")
    .join(place.lazy(), on=["b", "content"]).drop("content")
    .with_columns(several=pl.struct("b", "u", "place").is_duplicated())
    .collect()
)
chosen = ["b", "u", "place", "score", "most", "grand_total"]
best = pl.concat([
    candidates.filter(~pl.col("several")).select(chosen),
    candidates.filter("several")
    .sort("b", "u", "place", "score", "at", "attempt_id", "most", "grand_total", nulls_last=False)
    .filter((pl.struct("b", "u", "place") != pl.struct("b", "u", "place").shift(-1)).fill_null(True)).select(chosen),
]).join(score, on="grand_total", how="left")
total = best.lazy().group_by("b", "u").agg(
    pl.col("score").sum(), pl.col("most").sum(),
    *(pl.when(pl.col("place") == n).then("percent").max().alias(f"percent{n}") for n in range(most)),
).sort("b", "u").collect()

course = asked.select("b", "channel").join(place.group_by("b").len("n"), on="b")
comma, nothing = pl.lit(","), pl.lit("")
sign = "%"
parts = []
for n in range(most):
    cell = (pl.col(f"percent{n}").cast(pl.String) + sign).fill_null("")
    parts += [pl.when(pl.col("n") > n).then(comma).otherwise(nothing), cell]
overall = pl.when(pl.col("most") > 0).then((100 * pl.col("score") + pl.col("most") - 1) // pl.col("most"))
rows = (
    total.lazy()
    .join(course.lazy(), on="b", how="left", maintain_order="left")
    .join(person.lazy().drop("userid"), on="u", how="left", maintain_order="left")
    .select("b", line=pl.concat_str(
        *polars_common.own(",,"), *parts, comma, (overall.cast(pl.String) + sign).fill_null(""), pl.lit("\n")
    ))
    .collect()
)
polars_common.write(out, asked, headings, rows)
