"""For some minutes ext4 goes out of its way to take no inode again that was given back. Making files and directories takes
several times as long meanwhile, and a program that makes thousands suffers most. So nothing is removed while something is
measured, and whoever measures next waits until that is forgotten."""

import pathlib
import time

# Seconds: Linux's RECENTCY_MIN and RECENTCY_DIRTY together.
REMEMBERED = 360


def marker(place):
    """Its modification time says when something was last removed in a place."""
    return pathlib.Path(place) / ".swept"


def removed(place):
    """To be called after something was removed there."""
    marker(place).touch()


def wait(place):
    """Until nothing is remembered of what was removed there."""
    then = marker(place).stat().st_mtime if marker(place).exists() else 0
    seconds = then + REMEMBERED - time.time()
    if seconds > 0:
        print(f"waiting {seconds:.0f} seconds: the file system still remembers what the last measure removed", flush=True)
        time.sleep(seconds)
