#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The checks themselves, on examples that they must refuse."""

import pathlib
import subprocess
import tempfile
import unittest

import check_exports
import check_format
import check_includes
import check_links
import check_signal_symbols


class Directory(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.root = pathlib.Path(temporary.name)

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path


class Exports(unittest.TestCase):
    def test_a_name_that_is_not_libcs_is_refused(self):
        names = check_exports.exported(check_exports.libc())
        self.assertEqual(check_exports.check(check_exports.libc(), names), [])
        found = check_exports.check(check_exports.libc(), names - {"openat"})
        self.assertEqual(len(found), 1)
        self.assertIn("exports openat,", found[0])


class Includes(Directory):
    def test_lower_rooms_are_allowed(self):
        self.write("src/kernel/a.cc", '#include "arch/x.h"\n#include "base/y.h"\n#include <cstdint>\n')
        self.assertEqual(check_includes.check(self.root), [])

    def test_a_higher_room_is_refused_with_its_place(self):
        path = self.write("src/arch/epc/a.cc", '\n#include "kernel/device/ioctl.h"\n')
        self.assertEqual(check_includes.check(self.root),
                         [f"{path}:2: arch may not include kernel/device/ioctl.h"])

    def test_a_room_to_the_side_is_refused(self):
        self.write("src/trace/a.cc", '#  include <arch/x.h>\n')
        self.assertEqual(len(check_includes.check(self.root)), 1)

    def test_the_way_around_through_dots_is_refused(self):
        self.write("src/base/a.cc", '#include "../arch/x.h"\n')
        self.assertEqual(len(check_includes.check(self.root)), 1)

    def test_the_runtime_sees_public_headers_only(self):
        self.write("src/runtime/a.cc", '#include "enclume/host.h"\n#include "base/errno.h"\n')
        self.assertEqual(len(check_includes.check(self.root)), 1)

    def test_public_headers_see_no_room(self):
        self.write("src/base/a.cc", "")
        self.write("include/enclume/a.h", '#include "base/errno.h"\n')
        self.assertEqual(len(check_includes.check(self.root)), 1)

    def test_a_link_to_a_higher_room_is_refused(self):
        self.write("src/arch/a.cc", "")
        self.write("src/arch/CMakeLists.txt",
                   "# enclume_engine uses this\nenclume_room(arch SOURCES a.cc LINK enclume_kernel_device)\n")
        found = check_includes.check(self.root)
        self.assertEqual(len(found), 1)
        self.assertIn("enclume_kernel_device", found[0])

    def test_helper_targets_are_no_rooms(self):
        self.write("src/arch/a.cc", "")
        self.write("src/arch/CMakeLists.txt", "target_link_libraries(enclume_arch enclume_signal_safe)\n")
        self.assertEqual(check_includes.check(self.root), [])

    def test_an_unknown_room_is_refused(self):
        self.write("src/attic/a.cc", "")
        self.assertIn("no rule", check_includes.check(self.root)[0])

    def test_an_empty_tree_is_refused(self):
        (self.root / "src").mkdir()
        self.assertEqual(len(check_includes.check(self.root)), 1)


class SignalSymbols(Directory):
    def compile(self, name, source, *flags):
        self.write(name + ".cc", source)
        path = self.root / (name + ".o")
        subprocess.run(["c++", "-c", "-O1", "-fPIC", "-o", path, self.root / (name + ".cc"), *flags], check=True)
        return str(path)

    def archive(self, *objects):
        path = str(self.root / "lib.a")
        subprocess.run(["ar", "rcs", path, *objects], check=True)
        return path

    def check(self, *objects):
        return check_signal_symbols.check(objects, ["memcpy", "nettle_*", "_GLOBAL_OFFSET_TABLE_"])

    def test_listed_symbols_and_each_others_are_allowed(self):
        one = self.compile("one", 'extern "C" void nettle_x(); void two(); void one() { nettle_x(); two(); }')
        two = self.compile("two", '#include <cstring>\nvoid two() {} void c(char* d, char* s, int n)'
                                  ' { std::memcpy(d, s, n); }')
        self.assertEqual(self.check(self.archive(one, two)), [])
        self.assertEqual(self.check(one, two), [])

    def test_a_symbol_that_is_not_listed_is_refused(self):
        found = self.check(self.compile("bad", '#include <cstdlib>\nvoid* f() { return std::malloc(1); }'))
        self.assertEqual(len(found), 1)
        self.assertIn("malloc", found[0])

    def test_the_member_of_an_archive_is_named(self):
        bad = self.compile("bad", 'extern "C" int puts(const char*); void f() { puts("x"); }')
        found = self.check(self.archive(self.compile("good", "void g() {}"), bad))
        self.assertEqual(len(found), 1)
        self.assertIn("bad.o", found[0])

    def test_a_weak_reference_is_refused_too(self):
        self.assertEqual(len(self.check(self.compile(
            "bad", 'extern "C" __attribute__((weak)) int puts(const char*); bool f() { return puts != nullptr; }'))), 1)

    def test_errno_is_refused(self):
        found = self.check(self.compile("bad", "#include <cerrno>\nint f() { return errno; }"))
        self.assertTrue(any("__errno_location" in line and "never" in line for line in found), found)

    def test_thread_local_storage_is_refused_in_both_models(self):
        source = "static thread_local int counter; int f() { return ++counter; }"
        for model in "global-dynamic", "local-exec":
            with self.subTest(model):
                found = self.check(self.compile("bad", source, "-ftls-model=" + model, "-fno-PIC"))
                self.assertTrue(any("thread-local" in line for line in found), found)

    def test_a_foreign_thread_local_is_refused(self):
        found = self.check(self.compile("bad", "extern __thread int other; int f() { return other; }"))
        self.assertTrue(any("through thread-local storage" in line for line in found), found)

    def test_the_stack_protector_is_refused(self):
        found = self.check(self.compile("bad", "void g(char*); void f() { char b[64]; g(b); } void g(char*) {}",
                                        "-fstack-protector-all", "-fno-inline"))
        self.assertTrue(any("__stack_chk_fail" in line for line in found), found)

    def test_exceptions_are_refused_even_if_defined_in_the_set(self):
        bad = self.compile("bad", "void f() { throw 1; }")
        other = self.compile("other", 'extern "C" void __cxa_throw() {}')
        self.assertTrue(any("__cxa_throw" in line and "never" in line for line in self.check(bad, other)))

    def test_a_constructor_is_refused(self):
        found = self.check(self.compile("bad", "int g() { return 1; } int value = g() + (int)(long)&value;", "-O0"))
        self.assertTrue(any("constructor" in line for line in found), found)


class Format(Directory):
    def setUp(self):
        super().setUp()
        self.write(".clang-format", "BasedOnStyle: Google\n")

    def test_good_and_bad(self):
        good = f"// {check_format.LICENCE}\nint f() {{ return 1; }}\n"
        self.write("src/a.cc", good)
        self.assertEqual(check_format.check(self.root), [])
        bad = self.write("src/b.cc", good + "// a comment\nint  g() { return   1; }\n")
        (found,) = check_format.check(self.root)
        self.assertTrue(found.startswith(f"{bad.resolve()}: not formatted"), found)

    def test_a_missing_licence_is_refused(self):
        self.write("src/a.cc", "int f() { return 1; }\n")
        self.assertIn("SPDX", check_format.check(self.root)[0])


class Links(Directory):
    def test_links(self):
        self.write("docs/b.md", "")
        self.write("README.md", "[a](docs/b.md) [b](docs/b.md#here) [c](https://example.org/x) [d](#there)")
        self.assertEqual(list(check_links.broken_links(self.root)), [])
        self.write("docs/c.md", "[a](nowhere.md)")
        self.assertEqual(len(list(check_links.broken_links(self.root))), 1)

    def test_tests_named_in_the_fidelity_table(self):
        self.write("docs/fidelity.md",
                   "| behaviour | how | test | deviation |\n|---|---|---|---|\n"
                   "| `x` | y | `Eenter.*`, `cli.run` | none |\n| z | y | none yet | none |\n")
        known = ["Eenter.Works", "cli.run"]
        self.assertEqual(list(check_links.missing_tests(self.root, known)), [])
        self.assertEqual(len(list(check_links.missing_tests(self.root, ["cli.run"]))), 1)


if __name__ == "__main__":
    unittest.main()
