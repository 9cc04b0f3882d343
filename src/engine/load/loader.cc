// SPDX-License-Identifier: Apache-2.0
// enclume-load: what is executed in place of a static program. It maps the engine's library and enters it by
// its entry point (start/alone.cc); the engine then maps the program, and this one goes. There is no dynamic
// linker and no libc in it: those would take longer than all the rest, and the program has no use for them.
//
// It has no variables, nor anything else that could be written or would have to be relocated: each page that
// is written costs the start of every static program a copy (loader.ld sees to it).
//
// It is not the engine's own file that is executed, because as long as that is mapped the kernel takes no
// other for /proc/PID/exe.
#include <fcntl.h>

#include <array>
#include <cstring>
#include <string_view>

#include "base/syscall.h"
#include "engine/load/initial_stack.h"
#include "engine/load/program_file.h"
#include "engine/load/static_image.h"

extern "C" {
[[noreturn]] void enclume_go_on(std::uint64_t* stack, std::uint64_t entry);
}

namespace enclume::engine {

namespace {

/// The engine, mapped; 0 if that can't be done. Nothing is left to chance where the user's rights are not the
/// effective ones.
std::uint64_t map_engine(const KernelStack& stack) {
  const char* const path = load_variable(stack, "LD_PRELOAD=");
  const std::uint64_t* const secure = auxiliary_value(stack.auxv(), AT_SECURE);
  if (path == nullptr || secure == nullptr || *secure != 0) {
    return 0;
  }
  const auto fd = sys::call(__NR_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
  if (!fd) {
    return 0;
  }
  std::uint64_t entry = 0;
  ProgramFile engine_file;
  if (read_program_headers(static_cast<int>(*fd), engine_file) && engine_file.kind == ProgramKind::Static &&
      engine_file.header.e_type == ET_DYN && engine_file.header.e_entry != 0) {
    if (const auto image = map_static_image(static_cast<int>(*fd), engine_file, Neighbours::Any)) {
      entry = image->entry;
    }
  }
  sys::raw(__NR_close, *fd);
  return entry;
}

/// By way of the dynamic linker then, which has its own opinion of all this; main.c says the rest.
[[noreturn]] void execute_linked(const KernelStack& stack) {
  std::array<char, 4096 + kLinkedSuffix.size() + 1> path;
  const std::uint64_t* const name = auxiliary_value(stack.auxv(), AT_EXECFN);
  const auto* const self = name != nullptr ? reinterpret_cast<const char*>(*name) : "";
  const std::size_t length = std::strlen(self);
  if (length + kLinkedSuffix.size() < path.size()) {
    std::memcpy(path.data(), self, length);
    std::memcpy(&path[length], kLinkedSuffix.data(), kLinkedSuffix.size());
    path[length + kLinkedSuffix.size()] = '\0';
    sys::raw(__NR_execve, sys::arg(path.data()), sys::arg(stack.argv()), sys::arg(stack.environment()));
  }
  constexpr std::string_view kText =
      "enclume-load: this is a part of Enclume, started by `enclume run` for static programs; its other "
      "part, "
      "enclume-load-linked, is missing\n";
  sys::write_all(2, kText.data(), kText.size());
  sys::exit_group(126);
}

}  // namespace

}  // namespace enclume::engine

using namespace enclume::engine;  // the name below is the assembly's

extern "C" [[noreturn]] [[gnu::visibility("hidden")]] void enclume_load_engine(std::uint64_t* words) {
  const KernelStack stack{words};
  if (const std::uint64_t entry = map_engine(stack); entry != 0) {
    enclume_go_on(words, entry);
  }
  execute_linked(stack);
}
