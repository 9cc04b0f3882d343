# SPDX-License-Identifier: Apache-2.0
"""`enclume mem`."""

import json
import os
import subprocess
import unittest
import xml.etree.ElementTree

from watched_program import ENCLUME, NOBODY, WatchedTest

SVG = "{http://www.w3.org/2000/svg}"


class MemTest(WatchedTest):
    def snapshot(self, program):
        result = self.enclume("mem", "--json", program.pid)
        self.assertEqual(result.returncode, 0, result.stderr)
        return json.loads(result.stdout)


class Json(MemTest):
    def test_ranges_cover_the_pages_of_the_enclave(self):
        program = self.start(1, 40)
        snapshot = self.snapshot(program)
        self.assertEqual(snapshot["pid"], program.pid)
        self.assertEqual(snapshot["epc_size"], 256 << 20)
        [enclave] = snapshot["enclaves"]
        self.assertEqual(enclave["number"], 1)
        self.assertTrue(enclave["initialised"])
        self.assertFalse(enclave["lost"])
        self.assertEqual(sum(r["pages"] for r in enclave["ranges"]), enclave["pages"])
        # SECS and one version array.
        self.assertEqual(enclave["epc_pages"], enclave["pages"] + 2)
        heap = [r for r in enclave["ranges"] if r["permissions"] == "rw-" and r["pages"] >= 40]
        self.assertTrue(heap, enclave["ranges"])

    def test_says_which_thread_is_inside(self):
        program = self.start()
        [enclave] = self.snapshot(program)["enclaves"]
        threads = [r["thread"] for r in enclave["ranges"] if r["type"] == "TCS"]
        self.assertEqual(len(threads), 1)
        self.assertIn(str(threads[0]), os.listdir(f"/proc/{program.pid}/task"))

    def test_code_is_not_writable(self):
        program = self.start()
        [enclave] = self.snapshot(program)["enclaves"]
        self.assertIn("r-x", {r["permissions"] for r in enclave["ranges"] if r["type"] == "REG"})

    def test_pages_that_nobody_touched(self):
        program = self.start(1, 40)
        [enclave] = self.snapshot(program)["enclaves"]
        heap = [r for r in enclave["ranges"] if r["pages"] >= 40]
        self.assertIn("untouched", heap[0]["state"])

    def test_evicted_pages_keep_their_permissions(self):
        program = self.start(1, 600, options=["--epc-size", "1M"])
        [enclave] = self.snapshot(program)["enclaves"]
        self.assertGreater(enclave["evicted"], 300)
        self.assertLessEqual(enclave["epc_pages"], 256)
        evicted = [r for r in enclave["ranges"] if "evicted" in r["state"] and r["pages"] > 100]
        self.assertEqual({r["permissions"] for r in evicted}, {"rw-"})

    def test_lost_epc(self):
        program = self.start(2)
        self.assertEqual(self.enclume("ctl", program.pid, "lose-epc", "--enclave", 2).returncode, 0)
        first, second = self.snapshot(program)["enclaves"]
        self.assertFalse(first["lost"])
        self.assertTrue(second["lost"])
        self.assertTrue(all("lost" in r["state"] for r in second["ranges"]))

    def test_without_enclaves(self):
        self.assertEqual(self.snapshot(self.start(0))["enclaves"], [])

    def test_of_a_process_that_is_stopped(self):
        program = self.start()
        self.stop(program)
        self.assertEqual(len(self.snapshot(program)["enclaves"]), 1)


class Text(MemTest):
    def test_has_a_line_for_each_range(self):
        program = self.start(2, 40)
        result = self.enclume("mem", program.pid)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertRegex(result.stdout, rf"^process {program.pid}: 2 enclaves, \d+K of EPC of 256M\n")
        self.assertRegex(result.stdout, r"\nenclave 2: initialised")
        self.assertRegex(result.stdout, r"\n  0x[0-9a-f]{12} +\+0x[0-9a-f]+ +4K TCS   ---   rw-   thread \d+ inside\n")
        ranges = sum(len(e["ranges"]) for e in self.snapshot(program)["enclaves"])
        self.assertEqual(sum(" +0x" in line for line in result.stdout.splitlines()), ranges)

    def test_again_and_again_until_the_process_ends(self):
        program = self.start()
        with subprocess.Popen([ENCLUME, "mem", "--watch", "0.05", str(program.pid)], text=True,
                              stdout=subprocess.PIPE) as watch:
            for _ in range(3):
                while not watch.stdout.readline().startswith("process"):
                    pass
            program.stdin.close()
            watch.stdout.read()
            self.assertEqual(watch.wait(timeout=60), 0)


class Picture(MemTest):
    def draw(self, program, option):
        name = self.home / "pages"
        result = self.enclume("mem", option, name, program.pid)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(result.stdout, "")
        return name.read_text()

    def test_svg_has_a_titled_square_for_each_range(self):
        program = self.start(2, 300)
        tree = xml.etree.ElementTree.fromstring(self.draw(program, "--svg"))
        titles = [t.text for t in tree.iter(f"{SVG}title")]
        for enclave in self.snapshot(program)["enclaves"]:
            for one in enclave["ranges"]:
                self.assertTrue(any(t.startswith(one["address"]) for t in titles), one)

    def test_large_enclaves_fit(self):
        program = self.start(1, 30000)
        tree = xml.etree.ElementTree.fromstring(self.draw(program, "--svg"))
        self.assertLess(int(tree.get("height")), 5000)

    def test_html_contains_it(self):
        page = self.draw(self.start(), "--html")
        self.assertTrue(page.startswith("<!DOCTYPE html>"))
        self.assertIn("<svg ", page)

    def test_a_file_that_cannot_be_written(self):
        program = self.start()
        self.refused(125, ["cannot write /nowhere/pages"], "mem", "--svg", "/nowhere/pages", program.pid)


class BadInput(MemTest):
    def test_not_under_enclume(self):
        with subprocess.Popen(["sleep", "60"]) as other:
            self.refused(1, ["does not run under Enclume"], "mem", other.pid)
            other.kill()

    def test_no_process(self):
        self.refused(2, ["which process?"], "mem")

    def test_watching_too_often(self):
        self.refused(2, ["--watch"], "mem", "--watch", "0", os.getpid())

    @unittest.skipUnless(os.geteuid() == 0, "needs another user")
    def test_of_another_user(self):
        program = self.start()
        self.refused(1, ["another user's"], "mem", program.pid, user=NOBODY, group=NOBODY)


if __name__ == "__main__":
    unittest.main()
