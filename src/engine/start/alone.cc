// SPDX-License-Identifier: Apache-2.0
#include "engine/start/alone.h"

#include <asm/prctl.h>
#include <sys/mman.h>

#include <span>

#include "base/syscall.h"
#include "base/types.h"
#include "engine/engine.h"
#include "engine/load/initial_stack.h"
#include "engine/load/relocate_self.h"
#include "engine/start/canary.h"
#include "engine/start/load.h"
#include "engine/start/message.h"

extern "C" {
extern const char __ehdr_start[] __attribute__((visibility("hidden")));
extern const Elf64_Dyn _DYNAMIC[] __attribute__((visibility("hidden")));
}

namespace enclume::engine {

namespace {

constinit bool libc_is_there = true;

/// In place of libc's functions.
[[noreturn]] void missing() {
  refuse("the engine has called a function of libc in a process that has none; please report it");
}

/// PT_GNU_RELRO, as ld.so does it: whole pages only.
void protect_relocated() {
  const auto base = reinterpret_cast<std::uint64_t>(__ehdr_start);
  const auto& header = *reinterpret_cast<const Elf64_Ehdr*>(__ehdr_start);
  const std::span segments(reinterpret_cast<const Elf64_Phdr*>(base + header.e_phoff), header.e_phnum);
  for (const Elf64_Phdr& segment : segments) {
    if (segment.p_type == PT_GNU_RELRO) {
      const std::uint64_t begin = align_down(base + segment.p_vaddr, kPageSize);
      const std::uint64_t end = align_down(base + segment.p_vaddr + segment.p_memsz, kPageSize);
      sys::raw(__NR_mprotect, static_cast<long>(begin), static_cast<long>(end - begin), PROT_READ);
    }
  }
}

/// The constructors, ours among them, with what ld.so gives them.
void run_constructors(const KernelStack& stack) {
  using Constructor = void(int, char**, char**);
  const auto base = reinterpret_cast<std::uint64_t>(__ehdr_start);
  std::uint64_t begin = 0;
  std::uint64_t size = 0;
  for (const Elf64_Dyn* entry = _DYNAMIC; entry->d_tag != DT_NULL; ++entry) {
    if (entry->d_tag == DT_INIT_ARRAY) {
      begin = base + entry->d_un.d_ptr;
    } else if (entry->d_tag == DT_INIT_ARRAYSZ) {
      size = entry->d_un.d_val;
    }
  }
  for (Constructor* const constructor :
       std::span(reinterpret_cast<Constructor* const*>(begin), size / sizeof(Constructor*))) {
    constructor(static_cast<int>(stack.argc()), stack.argv(), stack.environment());
  }
}

}  // namespace

void touch_data() {
  const auto end = reinterpret_cast<std::uint64_t>(&enclume_system_call);
  for (auto at = align_down(reinterpret_cast<std::uint64_t>(&engine()), kPageSize); at < end;
       at += kPageSize) {
    __asm__ volatile("lock orb $0, %0" : "+m"(*reinterpret_cast<char*>(at)));
  }
}

bool has_libc() {
  return libc_is_there;
}

}  // namespace enclume::engine

using namespace enclume::engine;  // the name below is the assembly's

extern "C" [[noreturn]] [[gnu::visibility("hidden")]] void enclume_start_alone(std::uint64_t* words) {
  touch_data();
  relocate_self(reinterpret_cast<std::uint64_t>(__ehdr_start), _DYNAMIC,
                reinterpret_cast<std::uint64_t>(&missing));
  protect_relocated();
  libc_is_there = false;
  // What is built with the stack protector looks for its canary there.
  enclume::sys::raw(__NR_arch_prctl, ARCH_SET_FS, enclume::sys::arg(canary_block()));
  const KernelStack stack{words};
  run_constructors(stack);
  enclume_load_program(stack.argv());
  refuse("this is a part of Enclume: a library that `enclume run` loads into programs");
}
