// SPDX-License-Identifier: Apache-2.0
#include "base/panic.h"

#include <array>
#include <csignal>

#include "base/format.h"
#include "base/syscall.h"

namespace enclume {

void panic(const char* file, int line, std::string_view what, PanicValue a, PanicValue b, PanicValue c) {
  std::array<char, 512> storage;
  LineBuffer out(storage);
  out.text("enclume: internal error: ").text(what).text(" (").text(file).text(":").dec(line).text(")");
  for (const PanicValue& v : {a, b, c}) {
    if (!v.name.empty()) {
      out.text(" ").text(v.name).text("=").hex(v.value);
    }
  }
  out.text(", pid ").dec(sys::getpid()).text(", thread ").dec(sys::gettid()).text("\n");
  sys::write_all(2, out.view().data(), out.view().size());

  // Back to the default action whatever the program asked for, so that a core file shows this place.
  struct {
    void (*handler)(int);
    unsigned long flags;
    void (*restorer)();
    std::uint64_t mask;
  } default_action{SIG_DFL, 0, nullptr, 0};
  std::uint64_t abort_only = 1ULL << (SIGABRT - 1);
  sys::raw(__NR_rt_sigaction, SIGABRT, sys::arg(&default_action), 0, sizeof(std::uint64_t));
  sys::raw(__NR_rt_sigprocmask, SIG_UNBLOCK, sys::arg(&abort_only), 0, sizeof(std::uint64_t));
  sys::raw(__NR_tgkill, sys::getpid(), sys::gettid(), SIGABRT);
  sys::exit_group(134);
}

}  // namespace enclume
