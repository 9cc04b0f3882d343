# SPDX-License-Identifier: Apache-2.0
"""For the test's gdb, after enclume-gdb.py: places that the tests need by name."""


def find_places():
    """$enclu: the vDSO's ENCLU. $tcs: the only enclave's TCS."""
    image = read(session.vdso, 4096)
    gdb.set_convenience_variable("enclu", session.vdso + image.index(ENCLU))
    for enclave in enclaves():
        for tcs, _ in enclave.threads():
            gdb.set_convenience_variable("tcs", tcs)


gdb.execute("break debuggee_loaded")
