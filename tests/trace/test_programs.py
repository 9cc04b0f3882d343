# SPDX-License-Identifier: Apache-2.0
"""Tracing does nothing to a program, and survives what programs do to descriptors and processes."""

import os
import resource
import subprocess
import sys
import unittest

import traced_run


def python(script):
    return sys.executable, "-B", "-c", script


class Descriptors(unittest.TestCase):
    def test_the_programs_numbers_are_what_they_would_be(self):
        result, _ = traced_run.run(*python("import os; print(os.open('/dev/null', os.O_RDONLY))"))
        self.assertEqual(result.stdout, "3\n")

    def test_a_program_that_closes_everything_is_traced_on(self):
        result, lines = traced_run.run(*python(
            "import os; os.closerange(3, 4096); os.close(os.open('/dev/sgx_enclave', os.O_RDWR))"))
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn('open("/dev/sgx_enclave", O_RDWR|O_CLOEXEC) = 3', [line.text for line in lines])

    def test_a_file_of_the_program_with_the_traces_number_stays_empty(self):
        result, lines = traced_run.run(*python("""
import os, tempfile
with tempfile.TemporaryFile() as file:
    for number in range(90, 200):
        os.dup2(file.fileno(), number)
    os.open('/dev/sgx_enclave', os.O_RDWR)
    print(os.fstat(file.fileno()).st_size)
"""))
        self.assertEqual(result.stdout, "0\n", result.stderr)
        self.assertIn("open(", lines[-1].text)

    def test_a_low_limit_of_descriptors(self):
        result, lines = traced_run.run(traced_run.FIRST_FAULT,
                                       preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32)))
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("fixup", lines[-1].text)


class StandardError(unittest.TestCase):
    def test_dash_means_standard_error(self):
        result, _ = traced_run.run(traced_run.FIRST_FAULT, trace="-")
        self.assertEqual(result.returncode, 0)
        self.assertIn("fixup", traced_run.parse(result.stderr)[-1].text)
        self.assertNotIn("ENCLU", result.stdout)

    def test_stays_where_it_was_when_the_program_redirects_its_own(self):
        result, _ = traced_run.run(*python("""
import os
os.dup2(os.open('/dev/null', os.O_WRONLY), 2)
os.open('/dev/sgx_enclave', os.O_RDWR)
"""), trace="-")
        self.assertIn("open(", traced_run.parse(result.stderr)[-1].text)

    def test_a_reader_that_goes_away_does_not_end_the_program(self):
        reader, writer = os.pipe()
        os.close(reader)
        result = subprocess.run([traced_run.ENCLUME, "run", "--trace", "-", "--", traced_run.FIRST_FAULT],
                                stdout=subprocess.PIPE, stderr=writer, text=True, timeout=60, check=False,
                                restore_signals=True)
        os.close(writer)
        self.assertEqual(result.returncode, 0)
        self.assertIn("exception: vector 14", result.stdout)


class Processes(unittest.TestCase):
    def test_a_forked_child_and_an_exec_write_into_the_same_file(self):
        result, lines = traced_run.run(*python(f"""
import os
child = os.fork()
if child == 0:
    os.open('/dev/sgx_enclave', os.O_RDWR)
    os._exit(0)
os.waitpid(child, 0)
print(os.getpid(), child, flush=True)
os.execv({traced_run.FIRST_FAULT!r}, ['first-fault'])
"""))
        self.assertEqual(result.returncode, 0, result.stderr)
        parent, child = (int(word) for word in result.stdout.split()[:2])
        self.assertEqual({line.process for line in lines}, {parent, child})
        self.assertEqual([line.text.split("(")[0] for line in lines if line.process == child],
                         [f"fork of {parent}", "open"])
        starts = [line for line in lines if line.text.startswith("start ")]
        self.assertEqual([line.process for line in starts], [parent, parent])
        self.assertIn("/first-fault ", starts[1].text)
        self.assertIn("fixup", lines[-1].text)

    def test_a_thread_is_shown_beside_its_process(self):
        result, lines = traced_run.run(*python("""
import os, threading
def run():
    print(os.getpid(), threading.get_native_id())
    os.open('/dev/sgx_enclave', os.O_RDWR)
thread = threading.Thread(target=run)
thread.start()
thread.join()
"""))
        process, thread = (int(word) for word in result.stdout.split())
        self.assertNotEqual(process, thread)
        self.assertEqual((lines[-1].process, lines[-1].thread), (process, thread))

    def test_a_program_that_loses_sight_of_the_file_runs_untraced(self):
        result, lines = traced_run.run(*python(f"""
import os
settings = os.environ['ENCLUME_SETTINGS']
trace = next(field[6:] for field in settings.split(';') if field.startswith('trace='))
os.environ['ENCLUME_SETTINGS'] = settings.replace(trace, '/nonexistent/trace')
os.execv({traced_run.FIRST_FAULT!r}, ['first-fault'])
"""))
        self.assertEqual(result.returncode, 0)
        self.assertIn("exception: vector 14", result.stdout)
        self.assertEqual(result.stderr, "enclume: warning: cannot open the trace file; this program is not traced\n")
        self.assertEqual([line.text.split()[0] for line in lines], ["start"])


class Errors(unittest.TestCase):
    def test_a_bad_argument_shows_the_pointer_and_the_errno(self):
        result, lines = traced_run.run(*python("""
import ctypes, os
libc = ctypes.CDLL(None)
fd = os.open('/dev/sgx_enclave', os.O_RDWR)
libc.ioctl(fd, ctypes.c_ulong(0x4008a400), ctypes.c_void_p(0x10))
libc.ioctl(fd, ctypes.c_ulong(0xa4ff), ctypes.c_void_p(0x10))
"""))
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual([line.text for line in lines[-2:]],
                         ["ioctl(3, SGX_IOC_ENCLAVE_CREATE, 0x10) = -1 EFAULT", "ioctl(3, 0xa4ff, 0x10) = -1 ENOTTY"])

    def test_nothing_is_written_for_a_program_without_sgx(self):
        result, lines = traced_run.run("/bin/true")
        self.assertEqual(result.returncode, 0)
        self.assertEqual([line.text.split()[0] for line in lines], ["start"])


if __name__ == "__main__":
    unittest.main()
