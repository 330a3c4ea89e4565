"""What both reports have in common in DuckDB: the batches that are asked for, and the learners' own columns.

Everything is brought to small numbers early (`b` a batch, `u` a learner, both in the order of their ids), so that only one
join for each large table compares texts.
"""

import duckdb
import pyarrow

import lines


def connect(data, batches, threads):
    """A connection with the tables as views and `asked`: the batches that are asked for, numbered in the order of ids."""
    db = duckdb.connect(config={"threads": int(threads)})
    db.execute("SET TimeZone = 'UTC'")
    for table in ["course_batch", "content", "content_hierarchy", "user_enrolments", "user_activity_agg",
                  "assessment_aggregator"]:
        db.execute(f"CREATE VIEW {table} AS SELECT * FROM '{data}/{table}.parquet'")
    db.execute(f"CREATE VIEW users AS SELECT * FROM '{data}/user.parquet'")
    db.execute(
        """
        CREATE TABLE asked AS
        SELECT (row_number() OVER (ORDER BY b.batchid))::INTEGER AS b, b.batchid, 'cb:' || b.batchid AS context_id,
               b.courseid, c.channel, c.leafNodesCount AS leaves
        FROM course_batch AS b JOIN content AS c ON c.identifier = b.courseid
        WHERE b.batchid IN (SELECT unnest($1))
        """,
        [lines.batches(batches)],
    )
    # Text that a spreadsheet would run gets a ' before it, a plain number does not; quotes only where they are needed.
    db.execute(
        rf"""
        CREATE MACRO quoted(x) AS CASE WHEN x IS NULL THEN '' WHEN regexp_matches(x, '[,"\r\n]')
            THEN '"' || replace(x, '"', '""') || '"' ELSE x END;
        CREATE MACRO cell(x) AS quoted(CASE WHEN regexp_matches(x, '^ *[=+@\t\r\n-]')
            AND NOT regexp_full_match(x, '{lines.NUMBER}') THEN '''' || x ELSE x END);
        -- The same where it is known that all that may need care is commas.
        CREATE MACRO plain(x) AS CASE WHEN contains(x, ',') THEN concat('"', x, '"') ELSE x END;
        """
    )
    return db


def learners(db, wanted, block):
    """Makes `person`: the learners of the table `wanted (userid)`, each with its part of the line before and after what
    privacy may hide. Its rowid is in the order of user ids."""
    columns = ["firstname", "lastname", "maskedemail", "maskedphone", "externalid", "orgname", "schoolname",
               "schooludisecode", "state", "district", "block", "userchannel"]
    greatest = ", ".join(f"{column} DESC NULLS LAST" for column in columns)
    shown = ["userid", "name", "maskedemail", "maskedphone", "orgname", "state", "district"]
    school = ["schooludisecode", "schoolname"] + (["block"] if block else [])

    def joined(names, each):
        parts = ", ".join(f"',', {each.format(name)}" for name in names)
        return f"concat({parts})"

    together = ", ".join(f"chr(31), {name}" for name in ["externalid", *shown, *school])
    # Commas are in most lines, so they are looked for in each text. Whatever else needs care is rare: searches for fixed
    # texts in all of a learner's at once tell it, in a fraction of what a regular expression for each text takes.
    care = " OR ".join(
        [f"contains(together, {sign})" for sign in ["'\"'", "chr(13)", "chr(10)"]]
        + [f"contains(together, chr(31) || {sign})" for sign in ["' '", "'='", "'+'", "'-'", "'@'", "chr(9)"]]
    )
    db.execute(
        rf"""
        CREATE TABLE person AS
        WITH wanted AS (
            SELECT * FROM users WHERE userid IN (SELECT userid FROM {wanted})
        ), twice AS (
            SELECT userid FROM wanted GROUP BY userid HAVING count(*) > 1
        ), one AS (
            SELECT * FROM wanted WHERE userid NOT IN (FROM twice)
            UNION ALL
            -- Of two rows the one whose columns compare greatest.
            (SELECT * FROM wanted WHERE userid IN (FROM twice)
             QUALIFY row_number() OVER (PARTITION BY userid ORDER BY {greatest}) = 1)
        ), careful AS (
            SELECT *, {care} AS careful FROM (SELECT *, concat({together}) AS together FROM (
                SELECT *, coalesce(firstname || ' ' || lastname, firstname, lastname) AS name FROM one
            ))
        )
        SELECT userid, userchannel,
            CASE WHEN careful THEN cell(externalid) ELSE plain(externalid) END AS external,
            CASE WHEN careful THEN {joined(shown, "cell({})")} ELSE {joined(shown, "plain({})")} END AS shown,
            CASE WHEN careful THEN {joined(school, "cell({})")} ELSE {joined(school, "plain({})")} END AS school
        FROM careful ORDER BY userid
        """
    )


def own(channel, block):
    """The learners' own part of the line, as parts for `concat`: without what privacy hides where the channel differs."""
    same = f"p.userchannel = {channel}"
    hidden = ",,," if block else ",,"
    return f"CASE WHEN {same} THEN p.external END, p.shown, CASE WHEN {same} THEN p.school ELSE '{hidden}' END"


def write(db, out, headings, query):
    """Runs a query for (b, line), sorted, and writes the files. headings: b → line of headings."""
    table = db.sql(query).to_arrow_table().combine_chunks()
    counts = {row["values"]: row["counts"] for row in table.column(0).value_counts().to_pylist()}
    names = dict(db.execute("SELECT b, batchid FROM asked ORDER BY b").fetchall())
    # More than 2 GiB are several chunks until their offsets are larger.
    chunks = [chunk.cast("large_string") for chunk in table.column(1).chunks]
    text = (chunks[0] if len(chunks) == 1 else pyarrow.concat_arrays(chunks)) if table.num_rows else None
    lines.write(out, {names[b]: headings[b] for b in names}, {names[b]: n for b, n in counts.items()}, text)
