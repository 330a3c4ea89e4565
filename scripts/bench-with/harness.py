"""What every measure needs: the environment with the competitors, the data, running and measuring processes, comparing
what they made, and writing figures into docs/performance.md."""

import atexit
import datetime
import functools
import hashlib
import itertools
import json
import os
import pathlib
import platform
import shutil
import sqlite3
import statistics
import subprocess
import sys
import time

import inodes

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PAGE = ROOT / "docs" / "performance.md"
ENVIRONMENT = ROOT / "target" / "bench-python"
PYTHON = ENVIRONMENT / "bin" / "python"
PACKAGES = ["duckdb==2.0.1", "polars==2.1.0", "pyarrow==26.0.1", "numpy==2.4.6"]
SPARK = "pyspark==4.3.0"
THREADS = os.cpu_count() or 1
NOTHING = subprocess.DEVNULL
# How busy the machine was before anything began.
LOAD = os.getloadavg()[0]


def run(*command, **options):
    subprocess.run([str(part) for part in command], check=True, **options)


def say(text):
    print(text, flush=True)


def environment(spark):
    """Makes the Python environment with the competitors, or brings it to what is asked for."""
    if not PYTHON.exists():
        run(sys.executable, "-m", "venv", ENVIRONMENT)
    run(PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES, *([SPARK] if spark else []))


def program():
    """Our binary: the one that EXHAUSTD names, else a release build."""
    named = os.environ.get("EXHAUSTD")
    if named:
        return pathlib.Path(named).resolve()
    run("cargo", "build", "--release", "--quiet", "--bin", "exhaustd", cwd=ROOT)
    return ROOT / "target" / "release" / "exhaustd"


def sample(binary, place, scale):
    """The directory with the data of a scale, `data`, and the batches that are asked for: `batches.txt`, half of all, and
    `small.txt`, one of about 300 learners. Made once."""
    room = place / f"scale-{scale:g}"
    if not (room / "small.txt").exists():
        room.mkdir(parents=True, exist_ok=True)
        if not (room / "data").exists():
            say(f"making data of scale {scale:g}")
            # The other programs read the columns of 2020; so do older builds of this one, which write no others.
            told = subprocess.run([binary, "sample-data", "--help"], capture_output=True, text=True, check=True).stdout
            columns = ["--columns", "2020"] if "--columns" in told else []
            run(binary, "sample-data", "data", "--scale", f"{scale:g}", *columns, cwd=room, stdout=NOTHING)
        run(PYTHON, HERE / "choose.py", "data", "batches.txt", "small.txt", cwd=room)
    return room


@functools.cache
def reserve():
    """Keeps free memory with this machine while it measures, see reserve.py: half of it, at most 12 GiB. What programs write
    stays in the page cache, and takes of it as well."""
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    gib = min(12, available // 2 >> 30)
    keeper = subprocess.Popen(
        [sys.executable, HERE / "reserve.py", str(gib)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    atexit.register(keeper.communicate)
    if keeper.stdout.readline().strip() != "ready":
        sys.exit("reserve.py failed")


def warm(room):
    """Reads all of the data, so that nobody waits for the disk: before each run, since memory that nobody has used for some
    seconds is taken away on some machines."""
    for file in sorted((room / "data").rglob("*.parquet")):
        with open(file, "rb", buffering=0) as data:
            while data.read(1 << 24):
                pass


def measured(command, cwd):
    """Wall and CPU seconds and peak resident MB of a process (and what it waited for), from its start to its end."""
    start = time.monotonic()
    process = subprocess.Popen([str(part) for part in command], cwd=cwd, stdout=NOTHING)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


RUNS = itertools.count()
# Those with something to be removed in the end.
ROOMS = set()


def fresh(room):
    """A directory for what the next run makes. Nothing is removed before all is measured, see inodes.py. What the run
    before has left to be written to the disk is written first."""
    runs = room / "runs"
    directory = next(runs / str(n) for n in RUNS if not (runs / str(n)).exists())
    directory.mkdir(parents=True)
    ROOMS.add(room)
    os.sync()
    return directory


def sweep():
    """Removes what all runs have made."""
    for room in ROOMS:
        shutil.rmtree(room / "runs", ignore_errors=True)
        inodes.removed(room.parent)


atexit.register(sweep)


def quiet(place):
    """Waits for the file system to forget, and looks how busy the machine is then."""
    global LOAD
    inodes.wait(place)
    LOAD = os.getloadavg()[0]


class Exhaustd:
    """Our program with requests, each a list of batch ids, in a fresh table and an empty store."""

    def __init__(self, binary, room, job, requests, name="exhaustd", worker=""):
        self.binary, self.room, self.job, self.requests = binary, room, job, requests
        self.name, self.worker, self.home = name, worker, None

    def prepare(self):
        self.home = fresh(self.room)
        jobs = "".join(
            f'[[job]]\nid = "{job}-report"\nreport = "{job}"\nmax_batches = 1000000\n' for job in ["course", "assessment"]
        )
        source = json.dumps(str(self.room / "data"))
        plain = f"[worker]\nthreads = {THREADS}\nclaim = 5000\n{self.worker}\n"
        worker = f'{plain}max_request_data = "4MiB"\n'
        (self.home / "jobs.toml").write_text(f"{jobs}[source]\nurl = {source}\n{worker}")
        if subprocess.run([self.binary, "check"], cwd=self.home, capture_output=True).returncode == 2:
            # A program of before it had bounds on requests.
            (self.home / "jobs.toml").write_text(f"{jobs}[source]\nurl = {source}\n{plain}")
        run(self.binary, "migrate", cwd=self.home, stdout=NOTHING)
        rows = json.dumps([json.dumps({"batchFilter": batches}) for batches in self.requests])
        with sqlite3.connect(self.home / "var" / "exhaust.db") as db:
            db.execute(
                "INSERT INTO job_request (tag, request_id, job_id, status, request_data, dt_job_submitted)"
                " SELECT 'bench', printf('r-%06d', key), ?, 'SUBMITTED', value, '2026-01-01 00:00:00' FROM json_each(?)",
                [f"{self.job}-report", rows],
            )
        db.close()

    def command(self):
        return [self.binary, "run", "--once"]

    def cwd(self):
        return self.home

    def output(self):
        return self.home / "var" / "reports"


class Script:
    """A competitor: a script of this directory."""

    def __init__(self, name, room, script, batches="batches.txt"):
        self.name, self.room, self.script, self.batches, self.home = name, room, script, batches, None

    def prepare(self):
        self.home = fresh(self.room)

    def command(self):
        return [PYTHON, HERE / self.script, "data", self.batches, self.output(), THREADS]

    def cwd(self):
        return self.room

    def output(self):
        return self.home / "out"


def digests(directory):
    """File name → SHA-256 of every report. A batch that is there several times must be the same each time."""
    found = {}
    for file in pathlib.Path(directory).rglob("reports-*.csv"):
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        if found.setdefault(file.name, digest) != digest:
            sys.exit(f"{file.name} is there twice under {directory}, and differs")
    return found


def size(directory):
    return sum(file.stat().st_size for file in pathlib.Path(directory).rglob("reports-*.csv"))


def compare(name, made, expected_name, expected):
    """Stops where two programs made other bytes."""
    differ = [file for file in sorted(made.keys() | expected.keys()) if made.get(file) != expected.get(file)]
    if differ or not made:
        sys.exit(f"{name} and {expected_name} differ in {len(differ)} of {len(expected)} files: {differ[:3]}")


def alternate(programs, runs, same=True):
    """Runs programs in turn. Returns name → medians of (wall, CPU, peak), and what the first one made: files and bytes.
    With `same` all must make the same bytes, which the first round looks at."""
    reserve()
    seen = {program.name: [] for program in programs}
    first = None
    for n in range(runs):
        for program in programs:
            program.prepare()
            warm(program.room)
            figures = measured(program.command(), program.cwd())
            seen[program.name].append(figures)
            say(f"run {n + 1}: {program.name}: {figures[0]:.2f} s wall, {figures[1]:.2f} s CPU, {figures[2]:.0f} MB")
            if n == 0:
                made = digests(program.output())
                if first is None:
                    first = program.name, made, size(program.output())
                elif same:
                    compare(program.name, made, first[0], first[1])
            let_go(program.output())
    medians = {name: [statistics.median(column) for column in zip(*results)] for name, results in seen.items()}
    return medians, len(first[1]), first[2]


def let_go(directory):
    """Takes files out of the page cache: memory is then as free for the next run as it was for this one."""
    os.sync()
    for file in pathlib.Path(directory).rglob("reports-*.csv"):
        with open(file, "rb") as opened:
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def table(medians, ours="exhaustd"):
    """A table of figures, and ours as a part of each competitor's."""
    mine = medians[ours]
    rows = ["| program | wall | CPU | peak memory | our wall | our CPU | our peak |"]
    rows.append("| --- | --- | --- | --- | --- | --- | --- |")
    for name, figures in medians.items():
        ratios = ["", "", ""] if name == ours else [f"{our / their:.2f}" for our, their in zip(mine, figures)]
        rows.append(f"| {name} | {figures[0]:.2f} s | {figures[1]:.2f} s | {figures[2]:.0f} MB | {' | '.join(ratios)} |")
    return "\n".join(rows)


def versions(spark):
    names = ["duckdb", "polars", "pyarrow", *(["pyspark"] if spark else [])]
    script = (
        "import importlib.metadata as m, sys\n"
        "for name in sys.argv[1:]:\n"
        "    try: print(name, m.version(name))\n"
        "    except m.PackageNotFoundError: pass\n"
    )
    found = subprocess.run([PYTHON, "-c", script, *names], check=True, capture_output=True, text=True).stdout.split("\n")
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True).stdout
    return ", ".join([f"tree {commit.strip() or 'unknown'}", *filter(None, found)])


def on(scale, runs, spark=False):
    """What something was measured on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    machine = f"{THREADS} cores, {memory:.0f} GiB, {platform.machine()}"
    times = f"medians of {runs} runs in turn" if runs > 1 else "one run"
    rough = f" **Rough: the machine was busy with other work (load {LOAD:.1f}).**" if LOAD > 0.3 * THREADS else ""
    return f"Scale {scale:g}; {times}; {machine}; {versions(spark)}; {datetime.date.today()}.{rough}"


def put(given, measure, text):
    """Prints a measure and, at scale 1, writes it into the page, between its own markers."""
    say(f"\n== {measure}\n{text}\n")
    if given.scale != 1:
        return
    begin, end = f"<!-- measured: {measure} -->", "<!-- until here -->"
    before, found, rest = PAGE.read_text().partition(begin)
    if not found:
        sys.exit(f"{PAGE} has no place for {measure}: {begin}")
    PAGE.write_text(f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}")
