"""The course report as a good engineer would write it for Spark: one job, small tables broadcast, one shuffle by learner
and one by batch; Spark writes a directory for each batch, whose file then gets its name.

usage: spark_course.py DATA BATCHES OUT THREADS      (BATCHES: a file with one batch id a line)
"""

import pathlib
import shutil
import sys

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

import lines

data, batches, out, threads = sys.argv[1:]
spark = (
    SparkSession.builder.master(f"local[{threads}]")
    .config("spark.driver.memory", "6g")
    .config("spark.ui.enabled", "false")
    .config("spark.ui.showConsoleProgress", "false")
    .config("spark.sql.session.timeZone", "UTC")
    .config("spark.sql.shuffle.partitions", str(4 * int(threads)))
    .getOrCreate()
)
spark.sparkContext.setLogLevel("ERROR")


def table(name):
    return spark.read.parquet(f"{data}/{name}.parquet")


def cell(name):
    """Text as a cell of CSV: with a ' before it if a spreadsheet would run it, in quotes only if it needs them."""
    text = F.col(name)
    guarded = text.rlike(r"^ *[=+@\t\r\n-]") & ~text.rlike(rf"^(?:{lines.NUMBER})\z")
    text = F.when(guarded, F.concat(F.lit("'"), text)).otherwise(text)
    quoted = F.concat(F.lit('"'), F.replace(text, F.lit('"'), F.lit('""')), F.lit('"'))
    return F.when(text.isNull(), "").when(text.rlike(r'[,"\r\n]'), quoted).otherwise(text)


wanted = spark.createDataFrame([(batch,) for batch in lines.batches(batches)], "batchid string")
columns = [F.col("identifier").alias("courseid"), "channel", F.col("leafNodesCount").alias("leaves")]
asked = (
    table("course_batch").select("batchid", "courseid").join(F.broadcast(wanted), "batchid")
    .join(table("content").select(*columns), "courseid").cache()
)
courses = asked.select(F.col("courseid").alias("identifier")).distinct()
modules = {
    row.identifier: lines.modules(row.hierarchy)
    for row in table("content_hierarchy").join(F.broadcast(courses), "identifier").collect()
}
places = max((len(found) for found in modules.values()), default=0)
leaves = [f"leaves{n}" for n in range(1, places + 1)]
course = spark.createDataFrame(
    [
        (row.batchid, row.courseid, row.channel, row.leaves, len(found := modules.get(row.courseid, [])),
         *(found[n][1] if n < len(found) else None for n in range(places)))
        for row in asked.collect()
    ],
    ", ".join(["batchid string, courseid string, channel string, leaves0 long, n int", *(f"{name} long" for name in leaves)]),
)
part = spark.createDataFrame(
    [
        (f"cb:{row.batchid}", row.batchid, identifier, place)
        for row in asked.collect()
        for place, identifier in enumerate([row.courseid, *(module for module, _ in modules.get(row.courseid, []))])
    ],
    "context_id string, batchid string, activity_id string, place int",
)

# Of two rows of a learner the one with the greatest date of enrolment, then of completion, then certificates. The legacy
# spelling of dates has a colon before the fraction.
enrolled = F.coalesce(
    F.try_to_timestamp("enrolleddate", F.lit("yyyy-MM-dd HH:mm:ss:SSSZ")),
    F.try_to_timestamp("enrolleddate", F.lit("yyyy-MM-dd'T'HH:mm:ss.SSSX")),
)
entries = [F.when(F.col(name).isNotNull(), F.size(name)).alias(name) for name in ["certificates", "issued_certificates"]]
listed = (
    table("user_enrolments").filter("active")
    .join(F.broadcast(asked.select("batchid", "courseid")), ["batchid", "courseid"])
    .select("batchid", "userid", F.struct(enrolled.alias("enrolled"), F.col("completedon").alias("completed"), *entries)
            .alias("row"))
    .groupBy("batchid", "userid").agg(F.max("row").alias("row")).select("batchid", "userid", "row.*")
)
# Of two rows of a learner the one whose columns compare greatest.
columns = ["firstname", "lastname", "maskedemail", "maskedphone", "externalid", "orgname", "schoolname", "schooludisecode",
           "state", "district", "block", "userchannel"]
comma = F.lit(",")


def joined(names):
    return F.concat(*(part for name in names for part in [comma, cell(name)]))


person = (
    table("user").select("userid", F.struct(*columns).alias("row")).groupBy("userid").agg(F.max("row").alias("row"))
    .select("userid", "row.*")
    .withColumn("name", F.coalesce(F.concat("firstname", F.lit(" "), "lastname"), "firstname", "lastname"))
    .select("userid", "userchannel", cell("externalid").alias("external"),
            joined(["userid", "name", "maskedemail", "maskedphone", "orgname", "state", "district"]).alias("shown"),
            joined(["schooludisecode", "schoolname", "block"]).alias("school"))
)
# The latest row of a learner's part counts, of those of one time the greatest: as one number, time before count.
SHIFT = 2097152
updated = F.unix_millis(F.try_element_at("agg_last_updated", F.lit("completedCount")))
done = F.try_element_at("agg", F.lit("completedCount"))
latest = F.coalesce(updated, F.lit(0)) * SHIFT + F.coalesce(done + 1, F.lit(0))
progress = (
    table("user_activity_agg").join(F.broadcast(part), ["context_id", "activity_id"])
    .select("batchid", F.col("user_id").alias("userid"), "place", latest.alias("latest"))
    .groupBy("batchid", "userid")
    .agg(*(F.max(F.when(F.col("place") == n, F.col("latest"))).alias(f"latest{n}") for n in range(places + 1)))
)


def percent(n):
    """Nothing where there is no row, no count or no leaf nodes."""
    value = F.expr(f"least(100, 100 * (latest{n} % {SHIFT} - 1) div nullif(leaves{n}, 0))")
    return F.coalesce(F.when((F.col(f"latest{n}") % SHIFT > 0) & (F.col(f"leaves{n}") > 0), value.cast("string")), F.lit(""))


def day(name):
    return F.coalesce(F.date_format(name, "dd/MM/yyyy"), F.lit(""))


same = F.coalesce(F.col("userchannel") == F.col("channel"), F.lit(False))
certified = F.coalesce(F.col("certificates") > 0, F.lit(False)) | F.coalesce(F.col("issued_certificates") > 0, F.lit(False))
line = F.concat(
    F.when(same, F.concat("external", "shown", "school")).otherwise(F.concat("shown", F.lit(",,,"))), comma,
    day("enrolled"), comma, cell("courseid"), comma, percent(0), comma, day("completed"), comma,
    F.when(certified, "Issued").otherwise(""),
    *(F.when(F.col("n") >= n, F.concat(comma, percent(n))).otherwise("") for n in range(1, places + 1)),
)
rows = (
    listed.join(person, "userid").join(progress, ["batchid", "userid"], "left").join(F.broadcast(course), "batchid")
    .select("batchid", "userid", line.alias("line"))
)
headings = spark.createDataFrame(
    [
        (row.batchid, None, lines.course_heading(identifier for identifier, _ in modules.get(row.courseid, [])))
        for row in asked.collect()
    ],
    "batchid string, userid string, line string",
)
parts = pathlib.Path(out) / "parts"
(
    rows.unionByName(headings).repartition("batchid").sortWithinPartitions("batchid", F.col("userid").asc_nulls_first())
    .select("line", "batchid").write.partitionBy("batchid").text(str(parts))
)
# The JVM is a child of ours: waited for, so that its CPU time and memory are counted.
gateway = spark.sparkContext._gateway
spark.stop()
gateway.shutdown()
gateway.proc.stdin.close()
gateway.proc.wait()
for file in parts.glob("batchid=*/part-*.txt"):
    file.rename(pathlib.Path(out) / f"reports-{file.parent.name.removeprefix('batchid=')}.csv")
shutil.rmtree(parts)
