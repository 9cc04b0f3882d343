# SPDX-License-Identifier: Apache-2.0
"""coexist_ctypes.py LIBRARY ENTRIES [crash]: threads that call the enclave by ctypes, with faulthandler on."""

import ctypes
import faulthandler
import sys
import threading

THREADS = 4


def work(library, rounds, number, faults):
    for i in range(rounds):
        if library.coexist_sum(i, number) != i + number:
            raise ArithmeticError("a wrong sum")
        if i % 4 == 0:
            library.coexist_fault(i // 4)
            faults[number] += 1


def main():
    faulthandler.enable()
    library = ctypes.CDLL(sys.argv[1])
    for name in ("coexist_sum", "coexist_entries", "coexist_exceptions"):
        getattr(library, name).restype = ctypes.c_uint64
    library.coexist_sum.argtypes = [ctypes.c_uint64, ctypes.c_uint64]
    rounds = int(sys.argv[2]) // THREADS * 2 // 3
    faults = [0] * THREADS
    threads = [threading.Thread(target=work, args=(library, rounds, n, faults)) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    good = library.coexist_exceptions() == sum(faults) == THREADS * ((rounds + 3) // 4)
    good = good and library.coexist_entries() == THREADS * rounds + 2 * sum(faults)
    print("good" if good else "WRONG", library.coexist_entries(), "entries", flush=True)
    if sys.argv[3:] == ["crash"]:
        ctypes.string_at(0)
    sys.exit(0 if good else 1)


main()
