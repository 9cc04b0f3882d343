// SPDX-License-Identifier: Apache-2.0
// What front doors use of libc's <signal.h> and need not ask the dynamic linker for.
#include <cerrno>
#include <csignal>

namespace {

constexpr int kLastSignal = 64;

template <typename Change>
int change_set(sigset_t* set, int signo, Change&& change) {
  constexpr int kSigcancel = 32;
  constexpr int kSigsetxid = 33;
  if (signo < 1 || signo > kLastSignal || signo == kSigcancel || signo == kSigsetxid) {
    errno = EINVAL;
    return -1;
  }
  change(set->__val[0], 1UL << (signo - 1));
  return 0;
}

}  // namespace

extern "C" {

// As libc has them, which keeps two signals for itself.
int sigemptyset(sigset_t* set) {
  *set = {};
  return 0;
}
int sigaddset(sigset_t* set, int signo) {
  return change_set(set, signo, [](unsigned long& word, unsigned long bit) { word |= bit; });
}
int sigdelset(sigset_t* set, int signo) {
  return change_set(set, signo, [](unsigned long& word, unsigned long bit) { word &= ~bit; });
}
int sigismember(const sigset_t* set, int signo) {
  if (signo < 1 || signo > kLastSignal) {
    errno = EINVAL;
    return -1;
  }
  return static_cast<int>(set->__val[0] >> (signo - 1) & 1);
}

}  // extern "C"
