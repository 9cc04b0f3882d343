// SPDX-License-Identifier: Apache-2.0
#include "engine/start/valgrind.h"

#include <array>
#include <cstdint>

#include "engine/start/message.h"

namespace enclume::engine {

/// The simulated processor answers this sequence, which changes nothing on any other: Valgrind's manual, "The
/// client request mechanism". (VG_USERREQ__RUNNING_ON_VALGRIND in RAX's block; RDX is the answer.)
bool runs_under_valgrind() {
  const std::array<volatile std::uint64_t, 6> request = {0x1001, 0, 0, 0, 0, 0};
  std::uint64_t answer = 0;
  __asm__ volatile(
      "rolq $3, %%rdi; rolq $13, %%rdi; rolq $61, %%rdi; rolq $51, %%rdi\n\t"
      "xchgq %%rbx, %%rbx"
      : "+d"(answer)
      : "a"(&request)
      : "cc", "memory");
  return answer != 0;
}

bool is_valgrind(const KernelStack& stack, const char* name) {
  return load_variable(stack, "VALGRIND_LAUNCHER=") != nullptr &&
         std::string_view(name).ends_with("-amd64-linux");
}

void refuse_valgrind() {
  refuse(
      "this process runs under valgrind, whose simulated processor has no ENCLU and no enclaves; to look for "
      "memory errors build the program with -fsanitize=address, which works under enclume run");
}

}  // namespace enclume::engine
