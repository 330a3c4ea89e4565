"""Makes free memory stay with a virtual machine, until it is told to end.

    reserve.py GIB

A host that takes unused memory back (free page reporting) makes a guest wait for each page that it touches again, some
microseconds each: one and the same run then takes 4.5 or 6.5 s, and longer runs suffer more than short ones. This touches
memory and gives all of it back but one page in 64. What is free is then never a whole block of 2 MiB, which is what guests
report: it stays, for whoever is measured. Says `ready` when that is done."""

import mmap
import sys

PAGE = mmap.PAGESIZE
EVERY = 64
# Linux's numbers, which older versions of Python do not name.
NO_HUGE_PAGES, POPULATE = 15, 23

whole = int(sys.argv[1]) << 30
memory = mmap.mmap(-1, whole, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.madvise(NO_HUGE_PAGES)
memory.madvise(POPULATE)
for at in range(0, whole, EVERY * PAGE):
    memory.madvise(mmap.MADV_DONTNEED, at + PAGE, (EVERY - 1) * PAGE)
print("ready", flush=True)
sys.stdin.read()
