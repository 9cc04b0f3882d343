// SPDX-License-Identifier: Apache-2.0
#include "cli/doctor/probes.h"

#include <asm/prctl.h>
#include <cpuid.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "cli/file_descriptor.h"

namespace enclume::cli {
namespace {

// <linux/prctl.h>; older headers lack them.
constexpr int kPrSetSyscallUserDispatch = 59;
constexpr unsigned long kPrSysDispatchOn = 1;
constexpr unsigned char kSelectorAllow = 0;
constexpr unsigned char kSelectorBlock = 1;
// <bits/siginfo-consts.h>: the fault was a protection key's.
constexpr int kSegvPkuerr = 4;

constexpr long kPage = 4096;
constexpr int kYes = 0;
constexpr int kNo = 1;

volatile unsigned char selector = kSelectorAllow;

// Whether `experiment` ends its process with kYes.
bool succeeds_in_child(void (*experiment)()) {
  const pid_t child = ::fork();
  if (child < 0) return false;
  if (child == 0) {
    experiment();
    ::_exit(kNo);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == kYes;
}

void on_signal(int number, void (*handler)(int, siginfo_t*, void*)) {
  struct sigaction action {};
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO;
  ::sigaction(number, &action, nullptr);
}

void try_protection_key() {
  on_signal(SIGSEGV, [](int, siginfo_t* info, void*) { ::_exit(info->si_code == kSegvPkuerr ? kYes : kNo); });
  void* page = ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const int key = ::pkey_alloc(0, PKEY_DISABLE_ACCESS);
  if (page == MAP_FAILED || key < 0 || ::pkey_mprotect(page, kPage, PROT_READ | PROT_WRITE, key) != 0) return;
  static_cast<void>(*static_cast<volatile char*>(page));
}

void try_cpuid_faulting() {
  on_signal(SIGSEGV, [](int, siginfo_t*, void*) { ::_exit(kYes); });
  if (::syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0) != 0) return;
  unsigned a = 0, b = 0, c = 0, d = 0;
  __cpuid(0, a, b, c, d);
}

void try_user_dispatch() {
  on_signal(SIGSYS, [](int, siginfo_t*, void*) {
    selector = kSelectorAllow;
    ::_exit(kYes);
  });
  if (::prctl(kPrSetSyscallUserDispatch, kPrSysDispatchOn, 0, 0, &selector) != 0) return;
  selector = kSelectorBlock;
  ::syscall(SYS_getpid);
  selector = kSelectorAllow;
}

}  // namespace

bool protection_keys_work() {
  return succeeds_in_child(try_protection_key);
}

bool cpuid_faulting_works() {
  return succeeds_in_child(try_cpuid_faulting);
}

bool user_dispatch_works() {
  return succeeds_in_child(try_user_dispatch);
}

bool executable_memfd_works() {
  const FileDescriptor memory(::memfd_create("enclume-doctor", MFD_CLOEXEC));
  if (!memory || ::ftruncate(memory.get(), kPage) != 0) return false;
  void* page = ::mmap(nullptr, kPage, PROT_READ | PROT_EXEC, MAP_SHARED, memory.get(), 0);
  if (page == MAP_FAILED) return false;
  ::munmap(page, kPage);
  return true;
}

}  // namespace enclume::cli
