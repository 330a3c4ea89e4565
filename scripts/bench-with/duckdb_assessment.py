"""The assessment report as a good engineer would write it for DuckDB: queries make the line of every row, Python writes
them.

usage: duckdb_assessment.py DATA BATCHES OUT THREADS      (BATCHES: a file with one batch id a line)
"""

import sys

import duckdb_common
import lines

data, batches, out, threads = sys.argv[1:]
db = duckdb_common.connect(data, batches, threads)

# Attempts that count: of a batch and its course, at a content of the type. Contents get numbers as well.
db.execute("CREATE TABLE assessment AS SELECT identifier, name FROM content WHERE contentType = 'SelfAssess' ORDER BY 1")
db.execute(
    """
    CREATE TABLE attempt AS
    SELECT asked.b, a.user_id AS userid, c.rowid::INTEGER AS content, a.attempt_id, a.grand_total,
        a.total_score, a.total_max_score, a.last_attempted_on
    FROM assessment_aggregator AS a
    JOIN asked ON asked.batchid = a.batch_id AND asked.courseid = a.course_id
    JOIN assessment AS c ON c.identifier = a.content_id
    """
)
# One column for each assessment with such an attempt, whoever made it.
taken = {}
for b, content, identifier, name in db.execute(
    "SELECT DISTINCT b, content, c.identifier, c.name FROM attempt JOIN assessment AS c ON c.rowid = content"
).fetchall():
    taken.setdefault(b, {})[identifier] = (content, name)
asked = [b for (b,) in db.execute("SELECT b FROM asked ORDER BY b").fetchall()]
headings, places = {}, []
for b in asked:
    found = taken.get(b, {})
    identifiers, headings[b] = lines.assessment_columns([(identifier, name) for identifier, (_, name) in found.items()])
    places += [(b, found[identifier][0], place) for place, identifier in enumerate(identifiers)]
db.execute("CREATE TABLE place (b INTEGER, content INTEGER, place INTEGER)")
if places:
    db.execute("INSERT INTO place SELECT unnest($1), unnest($2), unnest($3)", [list(column) for column in zip(*places)])
most = max((place for _, _, place in places), default=-1) + 1

# Only learners with such an attempt are listed.
db.execute(
    """
    CREATE TABLE enrolled AS
    SELECT DISTINCT asked.b, e.userid
    FROM user_enrolments AS e JOIN asked ON asked.batchid = e.batchid AND asked.courseid = e.courseid
    WHERE e.active AND (asked.b, e.userid) IN (SELECT b, userid FROM attempt)
    """
)
duckdb_common.learners(db, "enrolled", block=False)

# `score/maximum` in per cent, rounded up; each spelling once. Whole millionths: nothing is lost.
db.execute(
    """
    CREATE TABLE score AS
    SELECT grand_total, CASE WHEN m > 0 THEN (100 * s + m - 1) // m END AS percent FROM (
        SELECT grand_total, (1000000 * try_cast(trim(split_part(grand_total, '/', 1)) AS DECIMAL(18, 6)))::BIGINT AS s,
            (1000000 * try_cast(trim(split_part(grand_total, '/', 2)) AS DECIMAL(18, 6)))::BIGINT AS m
        FROM (SELECT DISTINCT grand_total FROM attempt)
    )
    """
)
# Of a learner's attempts at one assessment the best counts: by score, then time, then attempt id.
columns = "".join(
    f", max(s.percent) FILTER (place = {n}) AS percent{n}" for n in range(most)
)
db.execute(
    f"""
    CREATE TABLE total AS
    WITH best AS (
        SELECT a.b, p.rowid::INTEGER AS u, a.content, max(struct_pack(
            score := coalesce((a.total_score * 1000000)::BIGINT, -1), at := coalesce(epoch_ms(a.last_attempted_on), 0),
            id := a.attempt_id, most := coalesce((a.total_max_score * 1000000)::BIGINT, 0),
            grand_total := a.grand_total)) AS best
        FROM attempt AS a
        JOIN person AS p ON p.userid = a.userid
        GROUP BY ALL
    )
    SELECT b, u, sum(greatest(best.score, 0)) AS score, sum(best.most) AS most {columns}
    FROM best JOIN place USING (b, content) LEFT JOIN score AS s ON s.grand_total = best.grand_total
    GROUP BY b, u
    """
)
# `concat` takes all parts at once, and NULL as nothing; `||` would copy the line again for each part.
parts = "".join(f", CASE WHEN m.n > {n} THEN ',' END, t.percent{n} || '%'" for n in range(most))
duckdb_common.write(
    db, out, headings,
    f"""
    WITH counted AS (SELECT b, count(*) AS n FROM place GROUP BY b)
    SELECT t.b, concat(
        {duckdb_common.own("asked.channel", block=False)} {parts}, ',',
        (100 * t.score + t.most - 1)::HUGEINT // nullif(t.most, 0)::HUGEINT || '%', chr(10)) AS line
    FROM enrolled AS e
    JOIN person AS p USING (userid)
    JOIN total AS t ON t.b = e.b AND t.u = p.rowid
    JOIN asked ON asked.b = t.b
    JOIN counted AS m ON m.b = t.b
    ORDER BY t.b, t.u
    """,
)
