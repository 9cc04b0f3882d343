# SPDX-License-Identifier: Apache-2.0
"""`enclume sign` and `enclume measure` from the outside.

ENCLUME_BINARY: the program under test. ENCLUME_IMAGE, ENCLUME_OTHER_IMAGE: two signed images. ENCLUME_CLI_TESTS: where
sgx_files.py is."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.environ["ENCLUME_CLI_TESTS"])
import sgx_files  # noqa: E402

ENCLUME = os.environ["ENCLUME_BINARY"]


class SignTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.keys = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.keys.cleanup)
        cls.key = pathlib.Path(cls.keys.name) / "key.pem"
        subprocess.run([ENCLUME, "sign", "--new-key", str(cls.key)], check=True, timeout=60)

    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.directory = pathlib.Path(temporary.name)
        self.image = self.directory / "app.enclave"
        shutil.copy(os.environ["ENCLUME_IMAGE"], self.image)

    def enclume(self, *arguments, status=0, environment=None):
        result = subprocess.run([ENCLUME, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                text=True, timeout=60, check=False, env={**os.environ, **(environment or {})})
        self.assertEqual(result.returncode, status, result.stdout + result.stderr)
        return result.stdout if status == 0 else result.stderr

    def inspect(self, file, status=0):
        result = subprocess.run([ENCLUME, "inspect", "--json", str(file)], stdout=subprocess.PIPE, text=True,
                                timeout=60, check=False)
        self.assertEqual(result.returncode, status, result.stdout)
        return json.loads(result.stdout)


class OneStep(SignTest):
    def test_the_signed_image_is_sound_and_says_what_was_asked_for(self):
        out = self.directory / "out"
        self.enclume("sign", "--key", self.key, "--product-id", 7, "--svn", 3, "--date", "20261124", "--output", out,
                     self.image)
        report = self.inspect(out)
        self.assertEqual(report["format"], "enclave image")
        (sigstruct,) = report["sigstructs"]
        self.assertEqual((sigstruct["isvprodid"], sigstruct["isvsvn"], sigstruct["date"]), (7, 3, "2026-11-24"))
        self.assertEqual(sigstruct["mrenclave"], report["image"]["mrenclave"])

    def test_the_key_is_the_owners_alone(self):
        self.assertEqual(self.key.stat().st_mode & 0o077, 0)

    def test_signing_does_not_change_the_measurement(self):
        before = self.enclume("measure", self.image)
        self.enclume("sign", "--key", self.key, "--svn", 9, self.image)
        self.assertEqual(self.enclume("measure", self.image), before)

    def test_the_same_day_gives_the_same_bytes(self):
        outs = [self.directory / name for name in ("a", "b")]
        for out in outs:
            self.enclume("sign", "--key", self.key, "--output", out, self.image,
                         environment={"SOURCE_DATE_EPOCH": "1000000000"})
        self.assertEqual(outs[0].read_bytes(), outs[1].read_bytes())
        self.assertEqual(self.inspect(outs[0])["sigstructs"][0]["date"], "2001-09-09")

    def test_production_forbids_debug(self):
        self.enclume("sign", "--key", self.key, self.image)
        self.assertNotIn("DEBUG", self.inspect(self.image)["sigstructs"][0]["attributemask"]["flag_names"])
        self.enclume("sign", "--key", self.key, "--production", self.image)
        self.assertIn("DEBUG", self.inspect(self.image)["sigstructs"][0]["attributemask"]["flag_names"])

    def test_a_key_of_another_kind_is_refused(self):
        other = self.directory / "other.pem"
        subprocess.run(["openssl", "genrsa", "-out", str(other), "2048"], stderr=subprocess.DEVNULL, check=True,
                       timeout=60)
        self.assertIn("not RSA-3072 with exponent 3", self.enclume("sign", "--key", other, self.image, status=2))

    def test_a_day_that_there_is_not_is_refused(self):
        for day in ("20261399", "20260230", "00000000", "2026112", "2026-1-1"):
            self.assertIn("is no day", self.enclume("sign", "--key", self.key, "--date", day, self.image, status=2))
        for epoch in ("tomorrow", "-1", "1e9", "99999999999999"):
            self.assertIn("SOURCE_DATE_EPOCH", self.enclume("sign", "--key", self.key, self.image, status=2,
                                                           environment={"SOURCE_DATE_EPOCH": epoch}))
        self.enclume("sign", "--key", self.key, self.image, environment={"SOURCE_DATE_EPOCH": ""})

    def test_an_encrypted_key_is_asked_for_its_passphrase(self):
        locked = self.directory / "locked.pem"
        subprocess.run(["openssl", "pkcs8", "-topk8", "-in", str(self.key), "-out", str(locked), "-passout",
                        "pass:secret"], check=True, timeout=60)
        for typed, status in (("secret", 0), ("wrong", 2)):
            # Without a terminal of its own it reads standard input.
            result = subprocess.run([ENCLUME, "sign", "--key", str(locked), str(self.image)], input=typed + "\n",
                                    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
                                    start_new_session=True)
            self.assertEqual(result.returncode, status, result.stderr)
        self.assertIn("is encrypted", result.stderr)

    def test_a_file_without_end_is_refused(self):
        self.assertIn("File too large", self.enclume("sign", "--key", self.key, "--output", self.directory / "out",
                                                     "/dev/zero", status=2))

    def test_what_is_wrong_with_an_image_is_told(self):
        data = bytearray(self.image.read_bytes())
        data[18] = 3  # EM_386
        self.image.write_bytes(data)
        self.assertIn("no 64-bit x86-64 ELF", self.enclume("sign", "--key", self.key, self.image, status=2))

    def test_a_file_that_is_no_enclave_is_refused(self):
        self.image.write_bytes(b"\x7fELF nothing")
        self.assertIn("app.enclave", self.enclume("sign", "--key", self.key, self.image, status=2))

    def test_an_sgxs_stream_gets_a_sigstruct_of_its_own(self):
        stream = self.directory / "app.sgxs"
        data, mrenclave = sgx_files.sgxs([(0, sgx_files.TCS, {}), (0x1000, sgx_files.REG, {0: (b"x" * 256, True)})])
        stream.write_bytes(data)
        self.assertEqual(self.enclume("measure", stream), mrenclave + "\n")
        self.enclume("sign", "--key", self.key, stream)
        (sigstruct,) = self.inspect(self.directory / "app.sgxs.sig")["sigstructs"]
        self.assertEqual(sigstruct["mrenclave"], mrenclave)


class TwoSteps(SignTest):
    def setUp(self):
        super().setUp()
        self.data, self.signature, self.public = (self.directory / n for n in ("data", "signature", "public.pem"))
        self.enclume("sign", "--prepare", self.data, "--svn", 5, self.image)
        self.openssl("dgst", "-sha256", "-sign", self.key, "-out", self.signature, self.data)
        self.openssl("pkey", "-in", self.key, "-pubout", "-out", self.public)

    def openssl(self, *arguments):
        subprocess.run(["openssl", *map(str, arguments)], check=True, timeout=60)

    def attach(self, image, key, status=0):
        return self.enclume("sign", "--prepared", self.data, "--signature", self.signature, "--key", key, image,
                            status=status)

    def test_give_a_sound_image(self):
        self.assertEqual(self.data.stat().st_size, 256)
        self.attach(self.image, self.public)
        self.assertEqual(self.inspect(self.image)["sigstructs"][0]["isvsvn"], 5)

    def test_a_signature_by_another_key_is_refused(self):
        other = self.directory / "other.pem"
        self.enclume("sign", "--new-key", other)
        self.assertIn("no signature", self.attach(self.image, other, status=1))

    def test_another_enclave_is_refused(self):
        shutil.copy(os.environ["ENCLUME_OTHER_IMAGE"], self.image)
        self.assertIn("another enclave", self.attach(self.image, self.public, status=1))


class Inspect(SignTest):
    def test_an_image_that_was_changed_after_signing_is_not_sound(self):
        data = bytearray(self.image.read_bytes())
        data[0x1400] ^= 1
        self.image.write_bytes(data)
        report = self.inspect(self.image, status=1)
        self.assertNotEqual(report["sigstructs"][0]["mrenclave"], report["image"]["mrenclave"])

    def test_the_numbers_of_an_image_are_shown(self):
        image = self.inspect(self.image)["image"]
        self.assertEqual((image["threads"], image["heap"], image["stack"]), (3, 1 << 20, 64 << 10))


if __name__ == "__main__":
    unittest.main()
