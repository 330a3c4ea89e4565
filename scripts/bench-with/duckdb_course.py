"""The course report as a good engineer would write it for DuckDB: queries make the line of every row, Python writes them.

usage: duckdb_course.py DATA BATCHES OUT THREADS      (BATCHES: a file with one batch id a line)
"""

import sys

import duckdb_common
import lines

data, batches, out, threads = sys.argv[1:]
db = duckdb_common.connect(data, batches, threads)

hierarchies = db.execute(
    "SELECT identifier, hierarchy FROM content_hierarchy WHERE identifier IN (SELECT courseid FROM asked)"
).fetchall()
modules = {course: lines.modules(hierarchy) for course, hierarchy in hierarchies}
places = max((len(found) for found in modules.values()), default=0)
db.execute("CREATE TABLE module (courseid VARCHAR, identifier VARCHAR, place INTEGER, leaves BIGINT)")
rows = [(course, module, n + 1, leaves) for course, found in modules.items() for n, (module, leaves) in enumerate(found)]
if rows:
    courses, identifiers, numbers, leaves = (list(column) for column in zip(*rows))
    db.execute("INSERT INTO module SELECT unnest($1), unnest($2), unnest($3), unnest($4)",
               [courses, identifiers, numbers, leaves])

# Enrolments that may count, as they are. The legacy spelling of dates has a colon before the fraction.
db.execute(
    """
    CREATE TABLE enrolled AS
    SELECT asked.b, e.userid,
        (CASE WHEN e.enrolleddate[20] = ':' THEN e.enrolleddate[:19] || '.' || e.enrolleddate[21:]
              ELSE e.enrolleddate END)::TIMESTAMPTZ AS enrolled,
        e.completedon AS completed, len(e.certificates) AS certificates, len(e.issued_certificates) AS issued
    FROM user_enrolments AS e JOIN asked ON asked.batchid = e.batchid AND asked.courseid = e.courseid
    WHERE e.active
    """
)
duckdb_common.learners(db, "enrolled", block=True)
# Of two rows of a learner the one with the greatest date of enrolment, then of completion, then certificates.
db.execute(
    """
    CREATE TABLE listed AS
    WITH one AS (
        SELECT e.b, p.rowid::INTEGER AS u, e.enrolled, e.completed, e.certificates, e.issued
        FROM enrolled AS e JOIN person AS p USING (userid)
    ), twice AS (
        SELECT b, u FROM one GROUP BY b, u HAVING count(*) > 1
    )
    SELECT b, u, enrolled, completed, certificates > 0 OR issued > 0 AS certified FROM (
        SELECT * FROM one WHERE (b, u) NOT IN (FROM twice)
        UNION ALL
        (SELECT * FROM one WHERE (b, u) IN (FROM twice)
         QUALIFY row_number() OVER (PARTITION BY b, u ORDER BY enrolled DESC NULLS LAST, completed DESC NULLS LAST,
             certificates DESC NULLS LAST, issued DESC NULLS LAST) = 1)
    )
    """
)
# The latest row of a learner's part counts, of those of one time the greatest: as one number, time before count, that a
# plain max compares. Counts are far below two millions.
columns = ", ".join(f"max(latest) FILTER (place = {n}) AS latest{n}" for n in range(places + 1))
db.execute(
    f"""
    CREATE TABLE progress AS
    SELECT b, u, {columns} FROM (
        SELECT part.b, p.rowid::INTEGER AS u, part.place,
            coalesce(epoch_ms(a.agg_last_updated['completedCount']), 0) * 2097152
                + coalesce(a.agg['completedCount'] + 1, 0) AS latest
        FROM user_activity_agg AS a
        JOIN (SELECT b, context_id, identifier, place FROM asked JOIN module USING (courseid)
              UNION ALL SELECT b, context_id, courseid, 0 FROM asked) AS part
          ON part.context_id = a.context_id AND part.identifier = a.activity_id
        JOIN person AS p ON p.userid = a.user_id
    ) GROUP BY b, u
    """
)


def percent(latest, leaves):
    # Nothing where there is no row, no count or no leaf nodes (`least` would pass over NULL).
    done = f"({latest} % 2097152 - 1)"
    return f"CASE WHEN {done} >= 0 AND {leaves} > 0 THEN least(100, 100 * {done} // {leaves}) END"


# `concat` takes all parts at once, and NULL as nothing; `||` would copy the line again for each part.
parts = "".join(
    f", CASE WHEN c.n >= {n} THEN ',' END, {percent(f'a.latest{n}', f'c.module_leaves[{n}]')}" for n in range(1, places + 1)
)
headings = {
    b: lines.course_heading(identifier for identifier, _ in modules.get(course, []))
    for b, course in db.execute("SELECT b, courseid FROM asked").fetchall()
}
duckdb_common.write(
    db, out, headings,
    f"""
    WITH modules AS (
        SELECT courseid, count(*) AS n, list(leaves ORDER BY place) AS leaves FROM module GROUP BY courseid
    ), course AS MATERIALIZED (
        SELECT asked.*, cell(courseid) AS id, m.n, m.leaves AS module_leaves
        FROM asked LEFT JOIN modules AS m USING (courseid)
    )
    SELECT l.b, concat(
        {duckdb_common.own("c.channel", block=True)}, ',', strftime(l.enrolled, '%d/%m/%Y'), ',', c.id, ',',
        {percent("a.latest0", "c.leaves")}, ',', strftime(l.completed, '%d/%m/%Y'), ',',
        CASE WHEN l.certified THEN 'Issued' END {parts}, chr(10)) AS line
    FROM listed AS l
    JOIN course AS c ON c.b = l.b
    JOIN person AS p ON p.rowid = l.u
    LEFT JOIN progress AS a ON a.b = l.b AND a.u = l.u
    ORDER BY l.b, l.u
    """,
)
