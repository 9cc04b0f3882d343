// SPDX-License-Identifier: Apache-2.0
// Finds the program to run, and finds out before it starts whether the engine can live in it.
#pragma once

#include <string>

namespace enclume::cli {

// The file that execvp(3) would run for `name`: itself if it contains a slash, else the first that can be
// executed in $PATH. Throws Failure: kNotFound if there is none, kCannotRun if there are only files that may
// not be executed.
[[nodiscard]] std::string find_program(const std::string& name);

// How the engine gets into a program.
enum class ProgramForm {
  kDynamic,  // the dynamic linker loads it
  kStatic,   // enclume-load does
};

// Throws Failure, with what is wrong and what to do about it, if the file cannot be run under the engine:
// kCannotRun if it cannot be executed at all, is made for another machine, or gains privileges when executed
// (the dynamic linker then ignores preloads); kNotFound if the file or its interpreter is missing. A script
// is judged by its interpreter. A file that may be executed but not read passes unseen, as kDynamic.
ProgramForm check_program(const std::string& path);

// Throws Failure (kInternal) unless `path` is a shared object that the program's loader can preload.
void check_engine(const std::string& path);

}  // namespace enclume::cli
