// SPDX-License-Identifier: Apache-2.0
#include "engine/start/gate.h"

#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/syscall.h"
#include "engine/engine.h"
#include "engine/entry/entry.h"

namespace enclume::engine {

namespace {

constexpr std::array<unsigned char, 3> kSyscallAndRet = {0x0f, 0x05, 0xc3};

struct TextSearch {
  LinearAddress inside;
  LinearRange found;
};

/// The executable segment that contains an address.
int look_at_object(struct dl_phdr_info* object, std::size_t size, void* argument) {
  (void)size;
  auto& search = *static_cast<TextSearch*>(argument);
  for (int i = 0; i < object->dlpi_phnum; ++i) {
    const ElfW(Phdr)& segment = object->dlpi_phdr[i];
    const LinearAddress begin(object->dlpi_addr + segment.p_vaddr);
    const LinearRange range{begin, begin + segment.p_memsz};
    if (segment.p_type == PT_LOAD && (segment.p_flags & PF_X) != 0 && range.contains(search.inside)) {
      search.found = range;
      return 1;
    }
  }
  return 0;
}

/// The first SYSCALL and RET in [begin, end), or null. What the bytes belong to does not matter.
const unsigned char* find_gate(const unsigned char* begin, const unsigned char* end) {
  const auto* found = std::search(begin, end, kSyscallAndRet.begin(), kSyscallAndRet.end());
  return found != end ? found : nullptr;
}

}  // namespace

LinearRange own_gate() {
  const LinearAddress gate = LinearAddress::of(enclume_own_gate);
  return {gate, gate + kSyscallAndRet.size()};
}

LinearRange move_gate_to(LinearRange gate) {
  const std::uint64_t address = gate.begin.value();
  std::memcpy(&enclume_system_call, &address, sizeof(address));
  return engine().gate = gate;
}

LinearRange move_gate_to_libc() {
  // Not by dlopen(): libc is not initialised yet, and would be then, without its environment.
  const void* in_libc = dlsym(RTLD_DEFAULT, "gnu_get_libc_version");
  TextSearch search{LinearAddress::of(in_libc), {}};
  if (in_libc == nullptr || dl_iterate_phdr(&look_at_object, &search) == 0) {
    return {};
  }
  const void* getpid = dlsym(RTLD_NEXT, "getpid");  // nothing but MOV, SYSCALL and RET
  if (!search.found.contains(LinearAddress::of(getpid))) {
    getpid = in_libc;  // another library has one, too
  }
  constexpr std::size_t kLongestGetpid = 32;
  const auto* function = static_cast<const unsigned char*>(getpid);
  const auto* begin = reinterpret_cast<const unsigned char*>(search.found.begin.value());
  const auto* end = reinterpret_cast<const unsigned char*>(search.found.end.value());
  const auto near = std::min<std::size_t>(kLongestGetpid, static_cast<std::size_t>(end - function));
  const unsigned char* gate = find_gate(function, function + near);
  if (gate == nullptr) {
    gate = find_gate(begin, end);
  }
  if (gate == nullptr) {
    return {};
  }
  move_gate_to({LinearAddress::of(gate), LinearAddress::of(gate) + kSyscallAndRet.size()});
  return search.found;
}

}  // namespace enclume::engine
