# SPDX-License-Identifier: Apache-2.0
"""samples/kv: what it has confirmed is there after restarts and kills, and what was tampered with is refused.

ENCLUME_LAUNCHER: the words in front of a program with enclaves, or nothing on a machine with SGX. ENCLUME_KV: the
program. ENCLUME_KV_IMAGE: its enclave. ENCLUME_ORACLE: tests/oracle."""

import os
import pathlib
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.environ["ENCLUME_ORACLE"])
import aes  # noqa: E402
import keys  # noqa: E402

LAUNCHER = os.environ["ENCLUME_LAUNCHER"].split()
COMMAND = [*LAUNCHER, os.environ["ENCLUME_KV"], os.environ["ENCLUME_KV_IMAGE"]]
LABEL = b"kv state 1"
HEADER = struct.Struct("<8sIHHHHIQQQ16s32s32s12sI16s")


def gcm(key, nonce, additional, encrypted):
    """Tag and plaintext, as SP 800-38D says it."""
    block = aes.encryptor(key)
    h = int.from_bytes(block(bytes(16)), "big")

    def times_h(x):
        product, v = 0, h
        for bit in range(127, -1, -1):
            if x >> bit & 1:
                product ^= v
            v = v >> 1 ^ (0xE1 << 120 if v & 1 else 0)
        return product

    def padded(data):
        return data + bytes(-len(data) % 16)

    state = 0
    hashed = padded(additional) + padded(encrypted) + struct.pack(">QQ", 8 * len(additional), 8 * len(encrypted))
    for at in range(0, len(hashed), 16):
        state = times_h(state ^ int.from_bytes(hashed[at:at + 16], "big"))
    stream = b"".join(block(nonce + struct.pack(">I", 2 + i)) for i in range((len(encrypted) + 15) // 16))
    mask = int.from_bytes(block(nonce + struct.pack(">I", 1)), "big")
    return (state ^ mask).to_bytes(16, "big"), bytes(a ^ b for a, b in zip(encrypted, stream))


class Kv(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.directory = pathlib.Path(temporary.name)
        self.state = self.directory / "state"
        # A machine of its own, where machines are made up.
        self.environment = {**os.environ, "XDG_STATE_HOME": temporary.name}

    def kv(self, *words, status=0):
        result = subprocess.run([*COMMAND, str(self.state), *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                text=True, timeout=100, check=False, env=self.environment)
        self.assertEqual(result.returncode, status, result.stdout + result.stderr)
        return result.stdout if status == 0 else result.stderr

    def refused(self, reason):
        """The state is, and it stays as it is."""
        before = self.state.read_bytes()
        for words in (["count"], ["put", "colour", "red"]):
            self.assertIn(reason, self.kv(*words, status=1))
        self.assertEqual(self.state.read_bytes(), before)

    def test_what_was_put_is_there_after_a_restart(self):
        self.assertEqual(self.kv("get", "colour"), "(none)\n")
        self.kv("put", "colour", "green")
        self.kv("put", "size", "XL")
        self.kv("put", "colour", "blue")
        self.assertEqual(self.kv("get", "colour"), "blue\n")
        self.assertEqual(self.kv("count"), "2 entries\n")
        for hidden in (b"colour", b"blue", b"green"):
            self.assertNotIn(hidden, self.state.read_bytes())

    def test_threads_lose_nothing(self):
        self.assertIn("0 failures, 1200 entries", self.kv("load", "6", "200"))
        self.assertEqual(self.kv("count"), "1200 entries\n")
        self.assertEqual(self.kv("get", "key 5.199"), "value of key 5.199\n")

    def test_what_was_confirmed_survives_a_kill(self):
        for pause in (0.05, 0.3, 0.6):
            with subprocess.Popen([*COMMAND, str(self.state), "load", "4", "100000"], stdout=subprocess.PIPE, text=True,
                                  env=self.environment) as program:
                first = program.stdout.readline()
                time.sleep(pause)
                program.send_signal(signal.SIGKILL)
                lines = [first, *program.stdout.readlines()]
            safe = {}
            for line in lines:
                if found := re.fullmatch(r"thread (\d+): (\d+) are safe\n", line):
                    safe[int(found[1])] = int(found[2])
            self.assertTrue(safe)
            for thread, number in safe.items():
                key = f"key {thread}.{number - 1}"
                self.assertEqual(self.kv("get", key), f"value of {key}\n")

    def test_a_state_with_a_changed_byte_is_refused(self):
        self.kv("put", "colour", "green")
        whole = self.state.read_bytes()
        for at in (64, 100, 130, 150, HEADER.size, len(whole) - 1):
            damaged = bytearray(whole)
            damaged[at] ^= 1
            self.state.write_bytes(damaged)
            self.refused("another signer" if 96 <= at < 128 else "the sealed data were altered")
        self.state.write_bytes(whole)
        self.assertEqual(self.kv("get", "colour"), "green\n")

    def test_a_truncated_state_is_refused(self):
        self.kv("put", "colour", "green")
        whole = self.state.read_bytes()
        for size in (len(whole) - 1, HEADER.size):
            self.state.write_bytes(whole[:size])
            self.refused("cut short")
        for size in (HEADER.size - 1, 0):
            self.state.write_bytes(whole[:size])
            self.refused("no sealed data")

    def test_a_state_that_cannot_be_read_is_not_replaced(self):
        self.state.mkdir()
        self.assertIn("Is a directory", self.kv("put", "colour", "red", status=1))

    def test_one_process_has_the_state_at_a_time(self):
        with subprocess.Popen([*COMMAND, str(self.state), "load", "2", "100000"], stdout=subprocess.PIPE, text=True,
                              env=self.environment) as program:
            program.stdout.readline()
            self.assertIn("unavailable", self.kv("count", status=1))
            program.kill()

    def test_too_much_is_refused_and_the_rest_stays(self):
        self.kv("put", "colour", "green")
        self.assertIn("too small", self.kv("put", "k" * 257, "v", status=1))
        self.assertIn("too small", self.kv("put", "k", "v" * 4097, status=1))
        self.assertEqual(self.kv("get", "colour"), "green\n")

    def test_the_key_is_the_one_of_the_manual(self):
        """The state, opened with nothing but the machine's secret, its own header, and tests/oracle."""
        self.kv("put", "colour", "green")
        secret = self.directory / "enclume" / "machine-secret"
        if not secret.exists():
            self.skipTest("a real processor keeps its secret")
        state = self.state.read_bytes()
        (magic, version, policy, product, svn, config_svn, _, attributes, size, additional, cpusvn, keyid, identity,
         nonce, _, tag) = HEADER.unpack_from(state)
        self.assertEqual((magic, version, policy, additional), (b"EncSeal\0", 1, 2, len(LABEL)))
        key = keys.egetkey(dict(
            secret=secret.read_bytes(), req_keyname=keys.SEAL, req_isvsvn=svn, req_cpusvn=cpusvn,
            req_maskflags=0xFF0000000000000B, req_maskxfrm=0, req_miscmask=0xF0000000, req_policy=policy,
            req_configsvn=config_svn, req_keyid=keyid, secs_flags=attributes, secs_xfrm=3, secs_miscselect=0,
            secs_isvprodid=product, secs_mrsigner=identity))
        found, text = gcm(key, nonce, state[:HEADER.size - 16] + LABEL, state[HEADER.size:])
        self.assertEqual(found, tag)
        self.assertEqual(len(text), size)
        self.assertEqual(text, struct.pack("<QII", 1, 6, 5) + b"colourgreen")


if __name__ == "__main__":
    unittest.main()
