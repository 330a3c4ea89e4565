"""The course report as somebody would write it for DuckDB: one query makes the lines of every file, Python writes them.

usage: duckdb_course.py DATA BATCHES OUT THREADS      (BATCHES: a file with one batch id a line)
"""

import os
import sys

import duckdb

data, batches, out, threads = sys.argv[1:]
db = duckdb.connect(config={"threads": int(threads)})
db.execute("SET TimeZone = 'UTC'")
for table in ["course_batch", "content", "content_hierarchy", "user_enrolments", "user_activity_agg"]:
    db.execute(f"CREATE VIEW {table} AS SELECT * FROM '{data}/{table}.parquet'")
db.execute(f"CREATE VIEW users AS SELECT * FROM '{data}/user.parquet'")
# Text that a spreadsheet would run gets a ' before it, a plain number does not; quotes only where they are needed.
db.execute(
    r"""
    CREATE MACRO quoted(x) AS CASE WHEN x IS NULL THEN '' WHEN regexp_matches(x, '[,"\r\n]')
        THEN '"' || replace(x, '"', '""') || '"' ELSE x END;
    CREATE MACRO cell(x) AS quoted(CASE WHEN regexp_matches(x, '^ *[=+@\t\r\n-]')
        AND NOT regexp_full_match(x, '[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?') THEN '''' || x ELSE x END);
    CREATE MACRO percent(done, leaves) AS
        CASE WHEN done IS NOT NULL AND leaves <> 0 THEN least(100, 100 * done // leaves) END;
    """
)
db.execute(
    """
    CREATE TABLE asked AS
    SELECT b.batchid, b.courseid, c.channel, c.leafNodesCount AS leaves
    FROM read_csv($1, header = false, all_varchar = true, names = ['batchid']) AS wanted
    JOIN course_batch AS b USING (batchid) JOIN content AS c ON c.identifier = b.courseid
    """,
    [batches],
)
# Each module once, by its first node.
db.execute(
    """
    CREATE TABLE module AS
    SELECT courseid, identifier, leaves, row_number() OVER (PARTITION BY courseid ORDER BY identifier) AS place FROM (
        SELECT h.identifier AS courseid, node ->> 'identifier' AS identifier,
               (node ->> 'leafNodesCount')::BIGINT AS leaves,
               row_number() OVER (PARTITION BY h.identifier, node ->> 'identifier' ORDER BY n) AS nth
        FROM content_hierarchy AS h,
            unnest(from_json(h.hierarchy -> '$.children', '["JSON"]')) WITH ORDINALITY AS child(node, n)
        WHERE h.identifier IN (SELECT courseid FROM asked)
          AND lower(node ->> 'mimeType') = 'application/vnd.ekstep.content-collection'
          AND lower(node ->> 'contentType') = 'course' AND lower(node ->> 'visibility') = 'default'
    ) WHERE nth = 1
    """
)
places = db.execute("SELECT coalesce(max(place), 0) FROM module").fetchone()[0]
progress = "".join(f", max(done) FILTER (place = {n}) AS done{n}" for n in range(1, places + 1))
modules = "".join(
    f" || CASE WHEN m.n >= {n} THEN ',' || coalesce(percent(a.done{n}, m.leaves[{n}])::VARCHAR, '') ELSE '' END"
    for n in range(1, places + 1)
)
rows = db.execute(
    f"""
    WITH enrolment AS (
        SELECT e.batchid, e.userid,
               arg_max(struct_pack(
                   enrolled := e.enrolled, completed := e.completedon,
                   issued := len(e.certificates) > 0 OR len(e.issued_certificates) > 0
               ), (coalesce(e.enrolled, '-infinity'), coalesce(e.completedon, '-infinity'),
                   coalesce(e.certificates::VARCHAR, ''), coalesce(e.issued_certificates::VARCHAR, ''))) AS row
        FROM (SELECT *, regexp_replace(enrolleddate, '^(.{{19}}):', '\\1.')::TIMESTAMPTZ AS enrolled
              FROM user_enrolments WHERE active AND batchid IN (SELECT batchid FROM asked)) AS e
        JOIN asked AS b ON b.batchid = e.batchid AND b.courseid = e.courseid
        GROUP BY e.batchid, e.userid
    ), learner AS (
        -- Of two rows the one whose columns compare greatest.
        SELECT * FROM users WHERE userid IN (SELECT userid FROM enrolment)
        QUALIFY row_number() OVER (PARTITION BY userid ORDER BY firstname DESC NULLS LAST, lastname DESC NULLS LAST,
            maskedemail DESC NULLS LAST, maskedphone DESC NULLS LAST, externalid DESC NULLS LAST,
            orgname DESC NULLS LAST, schoolname DESC NULLS LAST, schooludisecode DESC NULLS LAST,
            state DESC NULLS LAST, district DESC NULLS LAST, block DESC NULLS LAST, userchannel DESC NULLS LAST) = 1
    ), activity AS (
        SELECT b.batchid, a.user_id, part.place,
               arg_max_null(a.agg['completedCount'], (coalesce(a.agg_last_updated['completedCount'], '-infinity'),
                   coalesce(a.agg['completedCount'], -1))) AS done
        FROM user_activity_agg AS a
        JOIN asked AS b ON a.context_id = 'cb:' || b.batchid
        JOIN (SELECT courseid, identifier, place FROM module
              UNION ALL SELECT DISTINCT courseid, courseid, 0 FROM asked) AS part
          ON part.courseid = b.courseid AND part.identifier = a.activity_id
        GROUP BY ALL
    ), progress AS (
        SELECT batchid, user_id, max(done) FILTER (place = 0) AS done0 {progress} FROM activity GROUP BY ALL
    ), modules AS (
        SELECT courseid, count(*) AS n, list(leaves ORDER BY place) AS leaves FROM module GROUP BY courseid
    ), line AS (
        SELECT b.batchid, u.userid,
            CASE WHEN u.userchannel = b.channel THEN cell(u.externalid) ELSE '' END || ',' || cell(u.userid) || ',' ||
            cell(coalesce(u.firstname || ' ' || u.lastname, u.firstname, u.lastname)) || ',' ||
            cell(u.maskedemail) || ',' || cell(u.maskedphone) || ',' || cell(u.orgname) || ',' || cell(u.state) || ',' ||
            cell(u.district) || ',' ||
            CASE WHEN u.userchannel = b.channel THEN cell(u.schooludisecode) || ',' || cell(u.schoolname) || ',' ||
                cell(u.block) ELSE ',,' END || ',' ||
            coalesce(strftime(e.row.enrolled, '%d/%m/%Y'), '') || ',' || cell(b.courseid) || ',' ||
            coalesce(percent(a.done0, b.leaves)::VARCHAR, '') || ',' ||
            coalesce(strftime(e.row.completed, '%d/%m/%Y'), '') || ',' ||
            CASE WHEN e.row.issued THEN 'Issued' ELSE '' END {modules} AS text
        FROM enrolment AS e
        JOIN asked AS b ON b.batchid = e.batchid
        JOIN learner AS u ON u.userid = e.userid
        LEFT JOIN modules AS m ON m.courseid = b.courseid
        LEFT JOIN progress AS a ON a.batchid = e.batchid AND a.user_id = e.userid
    )
    SELECT batchid, string_agg(text, chr(10) ORDER BY userid) FROM line GROUP BY batchid
    """
)
headings = dict(
    db.cursor()
    .execute(
        """
        SELECT b.batchid, 'External ID,User ID,User Name,Email ID,Mobile Number,Organisation Name,State Name,'
            || 'District Name,School UDISE Code,School Name,Block Name,Enrolment Date,Course ID,Course Progress,'
            || 'Completion Date,Certificate Status'
            || coalesce(string_agg(',' || cell(m.identifier || ' - Progress'), '' ORDER BY m.place)
                FILTER (WHERE m.identifier IS NOT NULL), '')
        FROM asked AS b LEFT JOIN module AS m USING (courseid) GROUP BY b.batchid
        """
    )
    .fetchall()
)
os.makedirs(out, exist_ok=True)


def write(batch, lines):
    with open(f"{out}/reports-{batch}.csv", "w", encoding="utf-8", newline="") as file:
        file.write(headings[batch] + "\n" + lines)


while chunk := rows.fetchmany(50):
    for batch, text in chunk:
        write(batch, text + "\n")
        del headings[batch]
for batch in list(headings):
    write(batch, "")
