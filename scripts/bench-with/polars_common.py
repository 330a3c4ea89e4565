"""What both reports have in common in Polars: the batches that are asked for, and the learners' own columns.

As in DuckDB's scripts everything is brought to small numbers early (`b` a batch, `u` a learner, both in the order of their
ids), so that only one join for each large table compares texts.
"""

import polars as pl

import lines

pl.Config.set_engine_affinity("streaming")
SEPARATOR = "\x1f"


def asked(data, batches):
    """The batches that are asked for, numbered in the order of their ids."""
    wanted = pl.LazyFrame({"batchid": lines.batches(batches)}, schema={"batchid": pl.String}).unique()
    content = pl.scan_parquet(f"{data}/content.parquet").select("identifier", "channel", leaves="leafNodesCount")
    return (
        pl.scan_parquet(f"{data}/course_batch.parquet").select("batchid", "courseid")
        .join(wanted, on="batchid", how="semi")
        .join(content, left_on="courseid", right_on="identifier")
        .sort("batchid").with_row_index("b").collect()
    )


def enrolments(data, asked):
    """Enrolments of these batches and their courses that are active, with `b`."""
    of_these = pl.col("batchid").is_in(asked["batchid"].implode())
    return pl.scan_parquet(f"{data}/user_enrolments.parquet").filter(of_these, "active").join(
        asked.lazy().select("b", "batchid", "courseid"), on=["batchid", "courseid"]
    )


def cell(text):
    """Text as a cell of CSV: with a ' before it if a spreadsheet would run it, in quotes only if it needs them."""
    guarded = text.str.contains(r"^ *[=+@\t\r\n-]") & ~text.str.contains(f"^(?:{lines.NUMBER})$")
    text = pl.when(guarded).then("'" + text).otherwise(text)
    quoted = '"' + text.str.replace_all('"', '""', literal=True) + '"'
    return pl.when(text.str.contains(r'[,"\r\n]')).then(quoted).otherwise(text).fill_null("")


def plain(text):
    """The same where it is known that all that may need care is commas: the parts of the cell."""
    quote = pl.when(text.str.contains(",", literal=True)).then(pl.lit('"')).otherwise(pl.lit("")).fill_null("")
    return [quote, text.fill_null(""), quote]


def joined(columns, parts):
    """Cells one behind the other, a comma before each."""
    return pl.concat_str([part for name in columns for part in [pl.lit(","), *parts(pl.col(name))]])


def learners(data, wanted, block):
    """The learners `wanted (userid)`, sorted by user id and numbered, each with its part of the line before and after what
    privacy may hide."""
    names = ["firstname", "lastname", "maskedemail", "maskedphone", "externalid", "orgname", "schoolname",
             "schooludisecode", "state", "district", "block", "userchannel"]
    users = pl.scan_parquet(f"{data}/user.parquet").select("userid", *names)
    rows = users.filter(pl.col("userid").is_in(wanted["userid"].unique().implode())).collect()
    # Of two rows the one whose columns compare greatest.
    twice = rows.filter(pl.col("userid").is_duplicated())
    if twice.height:
        greatest = twice.sort(names, nulls_last=False).unique("userid", keep="last", maintain_order=True)
        rows = pl.concat([rows.join(twice.select("userid"), on="userid", how="anti"), greatest])
    shown = ["userid", "name", "maskedemail", "maskedphone", "orgname", "state", "district"]
    school = ["schooludisecode", "schoolname"] + (["block"] if block else [])
    # Commas are in most lines, so they are looked for in each text. Whatever else needs care is rare: one search in all of
    # a learner's texts at once tells it.
    fields = ["externalid", *shown, *school]
    together = pl.concat_str([part for name in fields for part in [pl.lit(SEPARATOR), pl.col(name).fill_null("")]])
    signs = ['"', "\r", "\n", *(SEPARATOR + sign for sign in " =+-@\t")]
    rows = rows.lazy().with_columns(
        name=pl.concat_str("firstname", "lastname", separator=" ", ignore_nulls=True)
    ).with_columns(careful=together.str.contains_any(signs)).collect()

    def rendered(rows, parts):
        return rows.select(
            "userid", "userchannel", external=pl.concat_str(parts(pl.col("externalid"))),
            shown=joined(shown, parts), school=joined(school, parts),
        )

    careful = rendered(rows.filter("careful"), lambda text: [cell(text)])
    return pl.concat([rendered(rows.filter(~pl.col("careful")), plain), careful]).sort("userid").with_row_index("u")


def own(hidden):
    """The learners' own part of the line: without what privacy hides where the channel is not the course's."""
    same = (pl.col("userchannel") == pl.col("channel")).fill_null(False)
    external = pl.when(same).then("external").otherwise(pl.lit(""))
    return [external, "shown", pl.when(same).then("school").otherwise(pl.lit(hidden))]


def write(out, asked, headings, rows):
    """Writes the files. headings: batch id → line of headings; rows: (b, line), sorted."""
    counts = dict(rows.group_by("b").len().iter_rows())
    names = dict(asked.select("b", "batchid").iter_rows())
    text = rows["line"].rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    lines.write(out, {name: headings[name] for name in names.values()}, {names[b]: n for b, n in counts.items()}, text)
