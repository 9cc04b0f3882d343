// SPDX-License-Identifier: Apache-2.0
#include "engine/cpuid/host_patch.h"

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace enclume::engine {
namespace {

constexpr std::uint32_t kEmulatedEax = 0x5647'5345;  // no processor's answer to leaf 0

// The plugin is scanned and nothing else, unless a test says otherwise.
int iterate_plugin(int (*callback)(dl_phdr_info*, std::size_t, void*), void* data) {
  struct Filter {
    int (*callback)(dl_phdr_info*, std::size_t, void*);
    void* data;
  } filter{callback, data};
  bool seen = false;
  struct Both {
    Filter* filter;
    bool* seen;
  } both{&filter, &seen};
  const int result = dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t size, void* opaque) {
        auto& b = *static_cast<Both*>(opaque);
        // The first object is passed on always: the counters come with it.
        const bool is_plugin = std::strcmp(info->dlpi_name, ENCLUME_TEST_CPUID_PLUGIN) == 0;
        if (is_plugin || !*b.seen) {
          *b.seen = true;
          return b.filter->callback(info, size, b.filter->data);
        }
        return 0;
      },
      &both);
  return result;
}

HostPatcher* g_patcher = nullptr;
std::atomic<int> g_traps{0};

// What the engine's SIGSEGV handler does, less the SGX.
void emulate_cpuid(int, siginfo_t*, void* opaque) {
  auto& registers = static_cast<ucontext_t*>(opaque)->uc_mcontext.gregs;
  const auto site = g_patcher->site_at(static_cast<std::uint64_t>(registers[REG_RIP]));
  if (!site) {
    signal(SIGSEGV, SIG_DFL);
    return;
  }
  registers[REG_RAX] = kEmulatedEax;
  registers[REG_RBX] = registers[REG_RCX] = registers[REG_RDX] = 0;
  registers[REG_RIP] += site->length;
  g_traps.fetch_add(1);
}

using Sample = std::uint32_t (*)(std::uint32_t leaf, std::uint32_t subleaf);

class HostPatch : public testing::Test {
 protected:
  void SetUp() override {
    configure(&iterate_plugin);
    g_patcher = &patcher_;
    g_traps = 0;
    struct sigaction action {};
    action.sa_sigaction = &emulate_cpuid;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGSEGV, &action, &old_action_);
  }
  void TearDown() override {
    if (plugin_ != nullptr) {
      dlclose(plugin_);
    }
    sigaction(SIGSEGV, &old_action_, nullptr);
  }

  void configure(decltype(HostPatchConfig::iterate) iterate) {
    patcher_.configure({.iterate = iterate,
                        .branches = decode::BranchRule::Intel,
                        .engine_address = reinterpret_cast<std::uint64_t>(&emulate_cpuid),
                        .linker_address = getauxval(AT_BASE),
                        .vdso_address = getauxval(AT_SYSINFO_EHDR)});
  }

  void load() {
    plugin_ = dlopen(ENCLUME_TEST_CPUID_PLUGIN, RTLD_NOW);
    ASSERT_NE(plugin_, nullptr) << dlerror();
  }
  void unload() {
    dlclose(plugin_);
    plugin_ = nullptr;
  }

  [[nodiscard]] std::uint64_t label(const char* name) const {
    return reinterpret_cast<std::uint64_t>(dlsym(plugin_, name));
  }
  [[nodiscard]] Sample sample(const char* name) const {
    return reinterpret_cast<Sample>(dlsym(plugin_, name));
  }
  [[nodiscard]] std::uint8_t byte_at(const char* name, int offset) const {
    return *reinterpret_cast<const volatile std::uint8_t*>(label(name) + static_cast<std::uint64_t>(offset));
  }

  HostPatcher patcher_;
  void* plugin_ = nullptr;
  struct sigaction old_action_ {};
};

TEST_F(HostPatch, InstructionsTrapAndAreEmulated) {
  ASSERT_NO_FATAL_FAILURE(load());
  const HostPatchReport report = patcher_.refresh();
  EXPECT_EQ(report.patched, report.scanned.proven);
  EXPECT_EQ(report.refused, 0u);
  EXPECT_EQ(sample("sample_plain")(0, 0), kEmulatedEax);
  EXPECT_EQ(sample("sample_prefixed")(0, 0), kEmulatedEax);
  EXPECT_EQ(sample("sample_behind_data")(0, 0), kEmulatedEax);
  EXPECT_EQ(g_traps, 3);
}

TEST_F(HostPatch, BytesThatAreNoInstructionStay) {
  ASSERT_NO_FATAL_FAILURE(load());
  patcher_.refresh();
  EXPECT_EQ(sample("sample_immediate")(0, 0), 0x05a2'0f5au);
  for (const char* name : {"site_in_data", "site_overlapping", "site_unknown"}) {
    EXPECT_EQ(byte_at(name, 1), 0xa2) << name;
    EXPECT_EQ(patcher_.site_at(label(name)), std::nullopt) << name;
  }
}

TEST_F(HostPatch, OnlyTheLastByteChanges) {
  ASSERT_NO_FATAL_FAILURE(load());
  const auto* begin = reinterpret_cast<const std::uint8_t*>(label("sample_plain"));
  const std::vector<std::uint8_t> before(begin, begin + 16);
  patcher_.refresh();
  std::vector<std::uint8_t> expected = before;
  expected[label("site_plain") - label("sample_plain") + 1] = kTrap;
  EXPECT_EQ(std::vector<std::uint8_t>(begin, begin + 16), expected);
}

TEST_F(HostPatch, TextKeepsItsProtectionAndItsMapping) {
  ASSERT_NO_FATAL_FAILURE(load());
  const auto lines_with_plugin = [] {
    std::vector<std::string> lines;
    FILE* maps = fopen("/proc/self/maps", "re");
    char line[512];
    while (maps != nullptr && fgets(line, sizeof line, maps) != nullptr) {
      if (std::strstr(line, "cpuid_plugin") != nullptr) {
        lines.emplace_back(line);
      }
    }
    if (maps != nullptr) {
      fclose(maps);
    }
    return lines;
  };
  const auto before = lines_with_plugin();
  patcher_.refresh();
  EXPECT_EQ(lines_with_plugin(), before);
}

TEST_F(HostPatch, SitesAreFoundByTheirFirstByteOnly) {
  ASSERT_NO_FATAL_FAILURE(load());
  patcher_.refresh();
  const auto site = patcher_.site_at(label("site_prefixed"));
  ASSERT_TRUE(site.has_value());
  EXPECT_EQ(site->length, 4);
  for (int i = 1; i < 4; ++i) {
    EXPECT_EQ(patcher_.site_at(label("site_prefixed") + static_cast<std::uint64_t>(i)), std::nullopt);
  }
}

TEST_F(HostPatch, NothingNewMeansNothingDone) {
  ASSERT_NO_FATAL_FAILURE(load());
  patcher_.refresh();
  const HostPatchReport again = patcher_.refresh();
  EXPECT_EQ(again.objects_scanned, 0u);
  EXPECT_EQ(again.patched, 0u);
  EXPECT_EQ(patcher_.totals().patched, patcher_.totals().scanned.proven);
}

TEST_F(HostPatch, UnloadedSitesAreForgotten) {
  ASSERT_NO_FATAL_FAILURE(load());
  const std::uint32_t patched = patcher_.refresh().patched;
  const std::uint64_t site = label("site_plain");
  EXPECT_TRUE(patcher_.site_at(site).has_value());
  unload();
  const HostPatchReport report = patcher_.refresh();
  EXPECT_EQ(report.forgotten, patched);
  EXPECT_EQ(patcher_.site_at(site), std::nullopt);
}

TEST_F(HostPatch, LibraryLoadedAgainIsPatchedAgain) {
  for (int round = 0; round < 20; ++round) {
    ASSERT_NO_FATAL_FAILURE(load());
    EXPECT_GT(patcher_.refresh().patched, 0u);
    EXPECT_EQ(sample("sample_plain")(0, 0), kEmulatedEax);
    unload();
    if (round % 2 == 0) {  // every other time the patcher sees only the successor
      patcher_.refresh();
    }
  }
}

TEST_F(HostPatch, SitesOfOtherLibrariesSurviveAnUnload) {
  configure([](auto callback, void* data) { return dl_iterate_phdr(callback, data); });
  ASSERT_NO_FATAL_FAILURE(load());
  patcher_.refresh();
  const std::uint64_t site = label("site_plain");
  void* other = dlopen("libcrypto.so.3", RTLD_NOW | RTLD_LOCAL);
  patcher_.refresh();
  if (other != nullptr) {
    dlclose(other);
  }
  EXPECT_EQ(patcher_.refresh().objects_scanned, 0u) << "an unload brings nothing to scan";
  EXPECT_TRUE(patcher_.site_at(site).has_value());
  EXPECT_EQ(sample("sample_plain")(0, 0), kEmulatedEax);
}

TEST_F(HostPatch, ObjectsToLeaveAloneAreLeftAlone) {
  configure([](auto callback, void* data) { return dl_iterate_phdr(callback, data); });
  const std::uint8_t* own = nullptr;
  __asm__("lea 1f(%%rip), %0\n\tjmp 2f\n1:\n\tcpuid\n2:" : "=r"(own)::"rax", "rbx", "rcx", "rdx");
  patcher_.refresh();
  EXPECT_EQ(own[1], 0xa2) << "the object that holds the engine";
  EXPECT_EQ(patcher_.site_at(reinterpret_cast<std::uint64_t>(own)), std::nullopt);
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* opaque) {
        auto& patcher = *static_cast<HostPatcher*>(opaque);
        if (info->dlpi_addr == getauxval(AT_BASE)) {
          const ObjectImage linker(info->dlpi_addr, {info->dlpi_phdr, info->dlpi_phnum}, info->dlpi_name);
          MappedArray<HostSite> sites;
          MappedArray<std::uint64_t> unproven;
          EXPECT_GT(scan_object(linker, ScanRequest{}, sites, unproven).proven, 0u);
          for (const HostSite& site : sites) {
            EXPECT_EQ(patcher.site_at(site.address), std::nullopt);
          }
        }
        return 0;
      },
      &patcher_);
}

TEST_F(HostPatch, TextThatADebuggerChangedIsNotPatched) {
  ASSERT_NO_FATAL_FAILURE(load());
  const std::uint64_t site = label("site_plain");
  void* page = reinterpret_cast<void*>(site & ~std::uint64_t{4095});
  ASSERT_EQ(mprotect(page, 4096, PROT_READ | PROT_WRITE | PROT_EXEC), 0);
  *reinterpret_cast<volatile std::uint8_t*>(site) = 0xcc;
  ASSERT_EQ(mprotect(page, 4096, PROT_READ | PROT_EXEC), 0);
  patcher_.refresh();
  EXPECT_EQ(byte_at("site_plain", 0), 0xcc);
  EXPECT_EQ(byte_at("site_plain", 1), 0xa2);
  EXPECT_EQ(patcher_.site_at(site), std::nullopt);
  EXPECT_EQ(sample("sample_prefixed")(0, 0), kEmulatedEax) << "the others are patched all the same";
}

TEST_F(HostPatch, AForkedChildEmulatesToo) {
  ASSERT_NO_FATAL_FAILURE(load());
  patcher_.refresh();
  const pid_t child = fork();
  if (child == 0) {
    patcher_.reset_in_child();
    const bool emulated = sample("sample_plain")(0, 0) == kEmulatedEax;
    const bool refreshes = patcher_.refresh().patched == 0;
    _exit(emulated && refreshes ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

// Threads run through the instruction all the time while it is patched: each time it is either CPUID or a
// trap.
TEST_F(HostPatch, ThreadsMayRunThroughTheInstructionMeanwhile) {
  for (int round = 0; round < 10; ++round) {
    ASSERT_NO_FATAL_FAILURE(load());
    std::uint32_t real = 0;
    real = sample("sample_plain")(0, 0);
    std::atomic<bool> stop{false};
    std::atomic<int> wrong{0};
    std::atomic<int> running{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i) {
      threads.emplace_back([&, call = sample("sample_plain")] {
        running.fetch_add(1);
        while (!stop.load()) {
          const std::uint32_t eax = call(0, 0);
          if (eax != real && eax != kEmulatedEax) {
            wrong.fetch_add(1);
          }
        }
      });
    }
    while (running.load() < 3) {
      std::this_thread::yield();
    }
    patcher_.refresh();
    EXPECT_EQ(sample("sample_plain")(0, 0), kEmulatedEax);
    stop = true;
    for (std::thread& thread : threads) {
      thread.join();
    }
    EXPECT_EQ(wrong, 0);
    unload();
  }
}

}  // namespace
}  // namespace enclume::engine
