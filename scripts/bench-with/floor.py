"""What no program can avoid for the course report: decoding the columns that it needs, alone, and writing its bytes, alone.
Prints a line for each part: its name, wall and CPU seconds.

usage: floor.py DATA REPORTS PLACE THREADS      (REPORTS: the files that are written again, to a directory in PLACE)
"""

import pathlib
import subprocess
import sys
import tempfile
import threading
import time

import pyarrow
import pyarrow.parquet

data, reports, place, threads = sys.argv[1:]
out = place
pyarrow.set_cpu_count(int(threads))
COLUMNS = {
    "user_enrolments": ["batchid", "userid", "courseid", "active", "enrolleddate", "completedon", "certificates",
                        "issued_certificates"],
    "user_activity_agg": ["activity_id", "user_id", "context_id", "agg", "agg_last_updated"],
    "user": ["userid", "firstname", "lastname", "maskedemail", "maskedphone", "externalid", "orgname", "schoolname",
             "schooludisecode", "state", "district", "block", "userchannel"],
}


def timed(part, work):
    wall, cpu = time.monotonic(), time.process_time()
    work()
    print(part, f"{time.monotonic() - wall:.3f} {time.process_time() - cpu:.3f}", flush=True)


def decode():
    # One row group after the other, its columns on all threads: as little memory as a program that goes on with them.
    for table, columns in COLUMNS.items():
        file = pyarrow.parquet.ParquetFile(f"{data}/{table}.parquet")
        for group in range(file.num_row_groups):
            file.read_row_group(group, columns=columns, use_threads=True)


files = [(file.name, file.read_bytes()) for file in sorted(pathlib.Path(reports).rglob("reports-*.csv"))]


def fresh():
    global out
    # Not where files have just been removed: ext4 is slow there.
    out = tempfile.mkdtemp(dir=place)
    # What others left to be written is not ours to wait for.
    subprocess.run(["sync", "-f", out], check=True)


def write():
    def some(part):
        for name, content in part:
            with open(f"{out}/{name}", "wb", buffering=0) as file:
                file.write(content)

    workers = [threading.Thread(target=some, args=[files[n :: int(threads)]]) for n in range(int(threads))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def write_and_sync():
    write()
    # All of the file system at once, cheaper than file by file.
    subprocess.run(["sync", "-f", out], check=True)


timed("decoding the needed columns (pyarrow)", decode)
fresh()
timed("writing the files", write)
fresh()
timed("writing the files, then syncing the file system", write_and_sync)
