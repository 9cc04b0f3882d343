# SPDX-License-Identifier: Apache-2.0
"""What the start of an enclave runs lies close together, since the first touch of each page is a page fault.

ENCLUME_UNSIGNED: an enclave with its symbols."""

import os
import subprocess
import unittest

PAGE = 4096
START = ("enclume_entry", "enclume_entry_end", "enclume_serve", "memcpy", "memset", "::layout()", "::relocate()",
         "::prepare_thread()", "::run_constructors()", "::handler_state()", "::learn_range()", "::is_outside(",
         "::copy_in(", "::copy_out(", "::start_heap()", "::learn_whether_debug()")


class StartCode(unittest.TestCase):
    def test_it_lies_in_two_pages_at_most(self):
        listed = subprocess.run(["nm", "--demangle", "--print-size", os.environ["ENCLUME_UNSIGNED"]],
                                stdout=subprocess.PIPE, check=True, text=True).stdout
        pages, found = set(), set()
        for line in listed.splitlines():
            parts = line.split(" ")
            if len(parts[1]) == 16:
                size, kind, name = int(parts[1], 16), parts[2], " ".join(parts[3:])
            else:
                size, kind, name = 1, parts[1], " ".join(parts[2:])
            for wanted in START:
                if kind in "tT" and (name == wanted or (wanted.startswith("::") and wanted in name)):
                    found.add(wanted)
                    first = int(parts[0], 16)
                    pages.update({first // PAGE, (first + size - 1) // PAGE})
        self.assertEqual(found, set(START))
        self.assertLessEqual(len(pages), 2)


if __name__ == "__main__":
    unittest.main()
