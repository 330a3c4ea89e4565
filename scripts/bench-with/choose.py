"""Chooses which batches are asked for: half of all whose course exists, in no order, and one of about 300 learners.

usage: choose.py DATA BATCHES SMALL
"""

import sys

import duckdb

data, batches, small = sys.argv[1:]
db = duckdb.connect()
db.execute(f"CREATE VIEW batch AS SELECT b.batchid, b.courseid FROM '{data}/course_batch.parquet' AS b")
db.execute(f"CREATE VIEW course AS SELECT identifier FROM '{data}/content.parquet'")
rows = db.execute(
    """
    SELECT batchid FROM batch JOIN course ON identifier = courseid
    ORDER BY md5(batchid) LIMIT (SELECT count(*) // 2 FROM batch)
    """
).fetchall()
with open(batches, "w") as file:
    file.writelines(f"{batch}\n" for (batch,) in rows)
(batch,) = db.execute(
    f"""
    SELECT e.batchid FROM '{data}/user_enrolments.parquet' AS e JOIN batch USING (batchid, courseid)
    JOIN course ON identifier = courseid
    GROUP BY e.batchid ORDER BY abs(count(*) - 300), e.batchid LIMIT 1
    """
).fetchone()
with open(small, "w") as file:
    file.write(f"{batch}\n")
