#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The oracle judges the processor; published vectors judge the oracle."""

import unittest

import aes
import mrenclave


class Aes(unittest.TestCase):
    def test_fips_197_appendix_c(self):
        key = bytes(range(16))
        plain = bytes.fromhex("00112233445566778899aabbccddeeff")
        self.assertEqual(aes.encryptor(key)(plain).hex(), "69c4e0d86a7b0430d8cdb78070b4c55a")

    def test_rfc_4493(self):
        key = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
        message = bytes.fromhex(
            "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
            "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710")
        for length, mac in ((0, "bb1d6929e95937287fa37d129b756746"), (16, "070a16b46b4d4144f79bdd9dd04a287c"),
                            (40, "dfa66747de9ae63030ca32611497c827"), (64, "51f0bebf7e3b9d92fc49741779363cfe")):
            self.assertEqual(aes.cmac(key, message[:length]).hex(), mac)


class Mrenclave(unittest.TestCase):
    def test_blocks_have_64_bytes(self):
        self.assertEqual(len(mrenclave.block("EADD", bytes(16))), 64)

    def test_every_event_counts(self):
        chunk = "00" * 256
        lines = ["create 1 8192", "add 0 513", "extend 0 " + chunk]
        digests = {mrenclave.measure(lines[:n]) for n in (1, 2, 3)}
        self.assertEqual(len(digests), 3)


if __name__ == "__main__":
    unittest.main()
