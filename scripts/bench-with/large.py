"""Makes a platform with one batch of millions out of a made-up one: everybody there many times over, all in one batch.

    large.py DATA COPIES OUT      (OUT gets `data` and `batches.txt`)

Learners come in no order, with an enrolment each, one in fifty inactive, and two rows of activity."""

import pathlib
import shutil
import sys

import duckdb

import lines

given, copies, out = pathlib.Path(sys.argv[1]), int(sys.argv[2]), pathlib.Path(sys.argv[3])
data = out / "data"
data.mkdir(parents=True)
for table in ["course_batch", "content", "content_hierarchy", "assessment_aggregator"]:
    shutil.copy(given / f"{table}.parquet", data)

db = duckdb.connect()
batch, course, hierarchy = db.execute(
    f"""SELECT b.batchid, b.courseid, h.hierarchy FROM '{given}/course_batch.parquet' AS b
        JOIN '{given}/content_hierarchy.parquet' AS h ON h.identifier = b.courseid ORDER BY b.batchid LIMIT 1"""
).fetchone()
modules = [identifier for identifier, _ in lines.modules(hierarchy)]
parts = [course] + modules[:1]
db.execute(
    """
    CREATE MACRO id(h) AS concat_ws('-', h[1:8], h[9:12], h[13:16], h[17:20], h[21:32]);
    CREATE MACRO day(n) AS DATE '2025-01-01' + (n % 300)::INTEGER;
    """
)
people = f"""SELECT * REPLACE (id(md5(concat(userid, ':', copy))) AS userid)
             FROM '{given}/user.parquet', (SELECT unnest(range({copies})) AS copy)"""


def write(table, query):
    db.execute(f"COPY ({query}) TO '{data}/{table}.parquet' (FORMAT parquet, COMPRESSION snappy, ROW_GROUP_SIZE 122880)")


write("user", people)
learners = f"(SELECT userid, hash(userid) AS h FROM '{data}/user.parquet')"
write(
    "user_enrolments",
    f"""SELECT '{batch}' AS batchid, userid, '{course}' AS courseid, h % 50 <> 0 AS active,
            strftime(day(h), '%Y-%m-%d') || ' 04:44:06:394+0000' AS enrolleddate,
            CASE WHEN h % 3 = 0 THEN (day(h) + 20)::TIMESTAMPTZ END AS completedon,
            CASE WHEN h % 6 = 0 THEN [MAP {{'identifier': 'c'}}] END AS certificates,
            NULL::MAP(VARCHAR, VARCHAR)[] AS issued_certificates
        FROM {learners}""",
)
write(
    "user_activity_agg",
    f"""SELECT 'Course' AS activity_type, part AS activity_id, userid AS user_id, 'cb:{batch}' AS context_id,
            MAP {{'completedCount': ((h // 7) % 30)::BIGINT}} AS agg,
            MAP {{'completedCount': day(h)::TIMESTAMPTZ}} AS agg_last_updated
        FROM {learners}, (SELECT unnest({parts}) AS part) ORDER BY hash(part, h)""",
)
(out / "batches.txt").write_text(f"{batch}\n")
