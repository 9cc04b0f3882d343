// SPDX-License-Identifier: Apache-2.0
#include "cli/doctor/machine_facts.h"

#include <cpuid.h>
#include <dlfcn.h>
#include <gnu/libc-version.h>
#include <sys/auxv.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <fstream>

#include "cli/doctor/probes.h"
#include "cli/engine_location.h"
#include "cli/failure.h"
#include "cli/program.h"
#include "cli/settings.h"

namespace enclume::cli {
namespace {

constexpr unsigned long kHwcap2Fsgsbase = 1UL << 1;  // <asm/hwcap2.h>
constexpr unsigned long kAtMinsigstksz = 51;         // <linux/auxvec.h>

struct Registers {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

// CPUID, all zero for a leaf that the processor does not have.
Registers cpuid(unsigned leaf, unsigned subleaf = 0) {
  Registers r;
  if (__get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx) == 0) return {};
  return r;
}

std::string brand_string() {
  std::array<char, 49> text{};
  for (unsigned i = 0; i < 3; ++i) {
    const auto r = cpuid(0x80000002U + i);
    std::memcpy(text.data() + 16 * i, &r, sizeof r);
  }
  std::string brand(text.data());
  brand.erase(0, brand.find_first_not_of(' '));
  brand.erase(brand.find_last_not_of(' ') + 1);
  return brand.empty() ? "unknown" : brand;
}

std::uint64_t read_xcr0() {
  constexpr unsigned kOsxsave = 1U << 27;
  if ((cpuid(1).ecx & kOsxsave) == 0) return 3;
  unsigned low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return std::uint64_t{high} << 32 | low;
}

std::optional<std::int64_t> sysctl(const char* name) {
  std::ifstream file(std::string("/proc/sys/") + name);
  std::int64_t value = 0;
  if (!(file >> value)) return std::nullopt;
  return value;
}

void gather_processor(MachineFacts& facts) {
  const auto features = cpuid(7);
  facts.processor = brand_string();
  facts.cpu_sgx = (features.ebx >> 2 & 1) != 0;
  facts.cpu_pku = (features.ecx >> 3 & 1) != 0;
  facts.cpu_sha = (features.ebx >> 29 & 1) != 0;
  facts.cpu_aes = (cpuid(1).ecx >> 25 & 1) != 0;
  facts.xcr0 = read_xcr0();
}

void gather_kernel(MachineFacts& facts) {
  utsname name{};
  ::uname(&name);
  facts.kernel_release = name.release;
  std::sscanf(name.release, "%u.%u", &facts.kernel.major, &facts.kernel.minor);
  facts.sgx_device = ::access("/dev/sgx_enclave", F_OK) == 0;
  if (void* vdso = ::dlopen("linux-vdso.so.1", RTLD_LAZY | RTLD_NOLOAD)) {
    facts.sgx_vdso = ::dlsym(vdso, "__vdso_sgx_enter_enclave") != nullptr;
    ::dlclose(vdso);
  }
  facts.fsgsbase = (::getauxval(AT_HWCAP2) & kHwcap2Fsgsbase) != 0;
  facts.min_signal_stack = ::getauxval(kAtMinsigstksz);
  facts.max_map_count = sysctl("vm/max_map_count");
  facts.overcommit_memory = sysctl("vm/overcommit_memory");
  facts.memfd_noexec = sysctl("vm/memfd_noexec");
  facts.perf_event_paranoid = sysctl("kernel/perf_event_paranoid");
  facts.ptrace_scope = sysctl("kernel/yama/ptrace_scope");
}

void gather_userland(MachineFacts& facts) {
  facts.glibc_version = ::gnu_get_libc_version();
  try {
    const auto path = engine_path();
    check_engine(path);
    facts.engine = path;
  } catch (const Failure& failure) {
    facts.engine_problem = failure.what();
  }
  const char* settings = std::getenv(std::string(kSettingsVariable).c_str());
  facts.runs_emulated = settings != nullptr && parse_settings(settings).has_value();
}

}  // namespace

MachineFacts gather_facts() {
  MachineFacts facts;
  gather_processor(facts);
  gather_kernel(facts);
  facts.protection_keys = protection_keys_work();
  facts.cpuid_faulting = cpuid_faulting_works();
  facts.user_dispatch = user_dispatch_works();
  if (facts.user_dispatch) facts.raw_call_costs = raw_call_costs();
  facts.read_watch = read_watch_works();
  facts.executable_memfd = executable_memfd_works();
  gather_userland(facts);
  return facts;
}

}  // namespace enclume::cli
