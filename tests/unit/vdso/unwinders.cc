// SPDX-License-Identifier: Apache-2.0
#include "unit/vdso/unwinders.h"

#define UNW_LOCAL_ONLY
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <libunwind.h>
#include <unwind.h>

#include "unit/vdso/probe.h"

namespace enclume::test {
namespace {

std::uintptr_t probe_return() {
  return reinterpret_cast<std::uintptr_t>(&vdso_probe_return);
}

struct LibgccSearch {
  std::uintptr_t interrupted;
  bool at_interrupted = false;
  CallerFrame caller = {};
};

_Unwind_Reason_Code look_at(_Unwind_Context* context, void* argument) {
  constexpr int kRbx = 3;  // DWARF register numbers
  constexpr int kRbp = 6;
  auto& search = *static_cast<LibgccSearch*>(argument);
  const std::uintptr_t rip = _Unwind_GetIP(context);
  if (rip == probe_return() && (search.interrupted == 0 || search.at_interrupted)) {
    search.caller = {rip, _Unwind_GetCFA(context), _Unwind_GetGR(context, kRbx),
                     _Unwind_GetGR(context, kRbp)};
    return _URC_NORMAL_STOP;
  }
  search.at_interrupted = rip == search.interrupted;
  return _URC_NO_REASON;
}

// libunwind also defines the _Unwind functions, so linking it would put it in libgcc's place.
#define NAME_OF(function) NAME_OF_EXPANDED(function)
#define NAME_OF_EXPANDED(function) #function
#define LIBUNWIND(function) reinterpret_cast<decltype(&function)>(libunwind_symbol(NAME_OF(function)))

void* libunwind_symbol(const char* name) {
  static void* const library = dlopen("libunwind.so.8", RTLD_NOW | RTLD_LOCAL);
  EXPECT_NE(library, nullptr) << dlerror();
  void* symbol = dlsym(library, name);
  EXPECT_NE(symbol, nullptr) << dlerror();
  return symbol;
}

}  // namespace

CallerFrame unwind_with_libgcc(std::uintptr_t interrupted) {
  LibgccSearch search = {interrupted};
  _Unwind_Backtrace(look_at, &search);
  return search.caller;
}

CallerFrame unwind_with_libunwind(ucontext_t& context) {
  static const auto init = LIBUNWIND(unw_init_local2);
  static const auto step = LIBUNWIND(unw_step);
  static const auto get = LIBUNWIND(unw_get_reg);
  static const auto flush = LIBUNWIND(unw_flush_cache);
  static const auto space = *static_cast<unw_addr_space_t*>(libunwind_symbol(NAME_OF(unw_local_addr_space)));
  // Images come and go at the same addresses.
  flush(space, 0, 0);
  unw_cursor_t cursor;
  EXPECT_EQ(init(&cursor, &context, UNW_INIT_SIGNAL_FRAME), 0);
  EXPECT_GT(step(&cursor), 0);
  CallerFrame caller = {};
  EXPECT_EQ(get(&cursor, UNW_X86_64_RIP, &caller.rip), 0);
  EXPECT_EQ(get(&cursor, UNW_X86_64_RSP, &caller.rsp), 0);
  EXPECT_EQ(get(&cursor, UNW_X86_64_RBX, &caller.rbx), 0);
  EXPECT_EQ(get(&cursor, UNW_X86_64_RBP, &caller.rbp), 0);
  return caller;
}

}  // namespace enclume::test
