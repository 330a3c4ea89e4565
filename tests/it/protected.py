"""Opens protected files with programs that are not ours: pyzipper, 7-Zip, Python's own zipfile, unzip.

On standard input a JSON list of {"zip", "entry", "plain", "key", "method"}: an archive, the one entry it must have, a file
with the bytes that must be in it, the key, and "aes" or "legacy". The argument is the name of 7-Zip's program.
"""

import json
import shutil
import subprocess
import sys
import zipfile

import pyzipper

CHECKS = 0


def check(what, holds):
    global CHECKS
    CHECKS += 1
    if not holds:
        sys.exit(f"not so: {what}")


def refuses(what, read):
    try:
        content = read()
    except Exception as error:  # Each program has its own ways to say no.
        return check(what, str(error) != "")
    return check(f"{what}, it gave {len(content)} bytes", False)


def with_pyzipper(file, plain):
    with pyzipper.AESZipFile(file["zip"]) as archive:
        check("one entry", archive.namelist() == [file["entry"]])
        entry = archive.infolist()[0]
        check("it is encrypted", entry.flag_bits & 1 == 1)
        check("text is packed", entry.compress_size < entry.file_size or entry.file_size < 200)
        aes = getattr(entry, "wz_aes_version", None), getattr(entry, "wz_aes_strength", None)
        check(f"AE-2, 256 bits: {aes}", aes == (2, 3) if file["method"] == "aes" else aes == (None, None))
        check("no checksum of what is inside", entry.CRC == 0 or file["method"] == "legacy")
        refuses("no key", lambda: archive.read(entry))
        for wrong in (b"wrong key", file["key"].encode()[:-1], file["key"].encode() + b" ", file["key"].upper().encode() + b"."):
            refuses("a wrong key", lambda: archive.read(entry, wrong))
        check("the plain bytes", archive.read(entry, file["key"].encode()) == plain)
        check("its own test", archive.testzip() is None if archive.setpassword(file["key"].encode()) is None else False)


def output(*command):
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)


def with_seven_zip(program, file, plain):
    tested = output(program, "t", f"-p{file['key']}", file["zip"])
    check(f"7-Zip: {tested.stdout} {tested.stderr}", tested.returncode == 0 and b"Everything is Ok" in tested.stdout)
    for wrong in ("wrong key", file["key"] + "."):
        check("7-Zip with a wrong key", output(program, "t", f"-p{wrong}", file["zip"]).returncode != 0)
    check("7-Zip's plain bytes", output(program, "x", "-so", f"-p{file['key']}", file["zip"]).stdout == plain)


def with_old_programs(file, plain):
    with zipfile.ZipFile(file["zip"]) as archive:
        refuses("zipfile with a wrong key", lambda: archive.read(file["entry"], b"wrong key"))
        check("zipfile's plain bytes", archive.read(file["entry"], file["key"].encode()) == plain)
    if shutil.which("unzip"):
        check("unzip with a wrong key", output("unzip", "-P", "wrong key", "-p", file["zip"]).returncode != 0)
        check("unzip's plain bytes", output("unzip", "-P", file["key"], "-p", file["zip"]).stdout == plain)


def main():
    files = json.load(sys.stdin)
    for file in files:
        with open(file["plain"], "rb") as plain:
            plain = plain.read()
        with_pyzipper(file, plain)
        with_seven_zip(sys.argv[1], file, plain)
        if file["method"] == "legacy":
            with_old_programs(file, plain)
    print(f"ok: {CHECKS} checks of {len(files)} files")


main()
