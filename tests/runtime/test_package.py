# SPDX-License-Identifier: Apache-2.0
"""find_package(enclume) from an installed tree, in a directory that has nothing but the sample's sources.

ENCLUME_BUILD, ENCLUME_SOURCE: this tree."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

BUILD = os.environ["ENCLUME_BUILD"]
SOURCE = pathlib.Path(os.environ["ENCLUME_SOURCE"])


class Package(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.root = pathlib.Path(temporary.name)
        self.prefix = self.root / "prefix"
        self.run_command("cmake", "--install", BUILD, "--prefix", self.prefix)
        # Nothing of this tree must be needed.
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("ENCLUME_")}

    def run_command(self, *command, **options):
        result = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                text=True, timeout=280, check=False, **options)
        self.assertEqual(result.returncode, 0, result.stdout)
        return result.stdout

    def build_sample(self, sample, name):
        directory = self.root / name
        shutil.copytree(SOURCE / "samples" / sample, directory)
        build = directory / "build"
        self.run_command("cmake", "-S", directory, "-B", build, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release",
                         f"-DCMAKE_PREFIX_PATH={self.prefix}", env=self.environment)
        self.run_command("cmake", "--build", build, env=self.environment)
        return build

    def test_the_sample_builds_runs_and_measures_the_same_anywhere(self):
        first = self.build_sample("hello", "one")
        enclume = self.prefix / "bin" / "enclume"
        said = self.run_command(enclume, "run", "--", first / "hello", first / "hello.enclave", env=self.environment)
        self.assertIn("sum: 17", said)
        second = self.build_sample("hello", "another")
        hashes = {self.run_command(enclume, "measure", build / "hello.enclave") for build in (first, second)}
        self.assertEqual(len(hashes), 1, hashes)
        self.assertLessEqual((first / "hello.enclave").stat().st_size, 64 * 1024)

    def test_a_key_stands_beside_the_sources(self):
        enclume = self.prefix / "bin" / "enclume"
        directory = self.root / "hello"
        shutil.copytree(SOURCE / "samples" / "hello", directory)
        self.run_command(enclume, "sign", "--new-key", directory / "mine.pem")
        lists = directory / "CMakeLists.txt"
        image = self.root / "elsewhere.enclave"
        lists.write_text(lists.read_text().replace("OUTPUT hello.enclave", f"OUTPUT {image} KEY mine.pem"))
        build = directory / "build"
        self.run_command("cmake", "-S", directory, "-B", build, "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={self.prefix}",
                         env=self.environment)
        self.run_command("cmake", "--build", build, "--target", "hello_enclave_image", env=self.environment)
        signed = self.root / "signed.enclave"
        self.run_command(enclume, "sign", "--key", directory / "mine.pem", "--output", signed, image)
        signers = [re.search("MRSIGNER +([0-9a-f]{64})", self.run_command(enclume, "inspect", file)).group(1)
                   for file in (image, signed)]
        self.assertEqual(signers[0], signers[1])

    def test_a_sample_that_fails_tells_where(self):
        build = self.build_sample("exceptions", "exceptions")
        said = self.run_command(self.prefix / "bin" / "enclume", "run", "--", build / "exceptions",
                                build / "exceptions.enclave", build / "exceptions_sample_enclave.unsigned",
                                env=self.environment)
        self.assertRegex(said, r"#1 0x[0-9a-f]+ .*fail_at")
        if (self.prefix / "lib" / "libenclume-lines.a").exists():
            self.assertRegex(said, r"fail_at.* at .*enclave\.cc:\d+")


if __name__ == "__main__":
    unittest.main()
