// SPDX-License-Identifier: Apache-2.0
// The engine's beginning: before any other library's constructor (the linker sets DF_1_INITFIRST), so that
// the first CPUID, the first open() and the first handler of the program meet it.
#include <asm/prctl.h>
#include <dlfcn.h>
#include <elf.h>
#include <link.h>

#include <array>
#include <cstring>
#include <new>

#include "arch/identity/crypto_guard.h"
#include "arch/identity/page_seal.h"
#include "base/format.h"
#include "base/panic.h"
#include "base/syscall.h"
#include "engine/bases.h"
#include "engine/cpuid_emulation.h"
#include "engine/debugger.h"
#include "engine/engine.h"
#include "engine/entry/entry.h"
#include "engine/front/process.h"
#include "engine/load/initial_stack.h"
#include "engine/sgx.h"
#include "engine/shared_machine.h"
#include "engine/start/alone.h"
#include "engine/start/canary.h"
#include "engine/start/direct_paths.h"
#include "engine/start/gate.h"
#include "engine/start/host_code.h"
#include "engine/start/machine.h"
#include "engine/start/message.h"
#include "engine/start/processor.h"
#include "engine/start/program_notes.h"
#include "engine/start/settings.h"
#include "engine/start/trace.h"
#include "engine/start/valgrind.h"
#include "engine/start/vdso.h"

extern "C" {
extern const char __ehdr_start[] __attribute__((visibility("hidden")));
extern const char etext[] __attribute__((visibility("hidden")));

/// Exported, to be found by name.
extern const char enclume_engine_present[];
extern const char enclume_engine_present[] __attribute__((visibility("default"))) = "";
}

namespace enclume::engine {

namespace {

constexpr std::uint64_t kHwcap2Fsgsbase = 2;

std::uint64_t auxiliary_value(char** environment, std::uint64_t type) {
  while (*environment != nullptr) {
    ++environment;
  }
  for (auto* entry = reinterpret_cast<Elf64_auxv_t*>(environment + 1); entry->a_type != AT_NULL; ++entry) {
    if (entry->a_type == type) {
      return entry->a_un.a_val;
    }
  }
  return 0;
}

const char* variable(char** environment, std::string_view name) {
  for (; *environment != nullptr; ++environment) {
    if (starts_with(*environment, name) && (*environment)[name.size()] == '=') {
      return *environment + name.size() + 1;
    }
  }
  return nullptr;
}

/// A thread block for cryptography: FS has to lead somewhere readable, whatever the program has there.
alignas(64) constinit std::byte canary_storage[128];

std::uint64_t enter_crypto() noexcept {
  const std::uint64_t before = fs_base();
  if (const auto ours = reinterpret_cast<std::uint64_t>(canary_storage); before != ours) {
    set_fs_base(ours);  // guards nest
  }
  return before;
}
void leave_crypto(std::uint64_t before) noexcept {
  if (before != reinterpret_cast<std::uint64_t>(canary_storage)) {
    set_fs_base(before);
  }
}

bool probe_user_dispatch() {
  // Turning it off is allowed exactly where the kernel has it.
  return sys::call(__NR_prctl, 59, 0, 0, 0, 0).has_value();
}

bool enable_cpuid_faulting() {
  return sys::call(__NR_arch_prctl, ARCH_SET_CPUID, 0).has_value();
}

alignas(Sgx) std::byte sgx_storage[sizeof(Sgx)];
constinit NativeTables native_tables;

/// Whether `--front auto` is to watch all system calls of this program. (Else only those that are found by
/// start_host_code(), which needs no kernel's help and costs libc's calls nothing.)
bool watches_all(const Engine& e, char** environment) {
  if (!e.features.user_dispatch) {
    return false;
  }
  const auto* const headers = reinterpret_cast<const Elf64_Phdr*>(auxiliary_value(environment, AT_PHDR));
  const std::uint64_t count = auxiliary_value(environment, AT_PHNUM);
  return headers != nullptr && is_go_program({headers, count});
}

/// From here on the engine's own system calls are made where they never trap.
void open_front_door(Engine& e, FrontDoor door) {
  e.exempt = move_gate_to(own_gate());
  if (door != FrontDoor::Raw || !has_libc()) {  // a static program's calls are seen in any case
    return;
  }
  if (!e.features.user_dispatch) {
    refuse("--front raw needs syscall user dispatch, which this kernel lacks (Linux 5.11 and newer have it)");
  }
  const LinearRange libc = move_gate_to_libc();
  if (libc.size() == 0) {
    refuse("--front raw: this libc has no SYSCALL instruction that the engine could use");
  }
  e.exempt = libc;
  enclume_host_selector = SELECTOR_BLOCK;
}

/// Of this build of the engine.
std::uint64_t own_salt() {
  const auto& header = *reinterpret_cast<const Elf64_Ehdr*>(__ehdr_start);
  const auto* const segments = reinterpret_cast<const Elf64_Phdr*>(__ehdr_start + header.e_phoff);
  const ObjectImage self(reinterpret_cast<std::uint64_t>(__ehdr_start), {segments, header.e_phnum}, nullptr);
  return hash_of(build_id_of(self));
}

/// What other processes have found out and left in the user's cache.
CacheDirectory& cache_directory() {
  static constinit CacheDirectory directory("");
  return directory;
}
const SiteCache& site_cache(char** environment, std::uint64_t salt, StartFacts& facts) {
  // A full table changes in one process of some, so that nothing is written anew at each start.
  constexpr unsigned kSome = 8;
  const auto* dice = reinterpret_cast<const unsigned char*>(auxiliary_value(environment, AT_RANDOM));
  const bool replaces = dice != nullptr && *dice % kSome == 0;
  static const SiteCache sites(cache_directory(), salt, &facts.siteless, &facts.changed, replaces);
  return sites;
}

constinit Settings settings;

/// What `--debug` says of the start.
void tell_start(const Engine& e) {
  std::array<char, 512> storage;
  const auto yes_or_no = [](bool b) { return std::string_view(b ? "yes" : "no"); };
  LineBuffer line(storage);
  line.text("pid ").dec(sys::getpid()).text(": engine at ").hex(e.text.begin.value());
  line.text(", EPC ").dec(static_cast<std::int64_t>(settings.epc_size >> 20)).text(" MiB, SGX");
  line.text(settings.sgx2 ? "2" : "1").text(", fixup ").text(kernel::name_of(settings.fixup));
  tell(line.view());
  LineBuffer machine(storage);
  machine.text("syscall user dispatch ").text(yes_or_no(e.features.user_dispatch));
  machine.text(", CPUID faulting ").text(yes_or_no(e.features.cpuid_faulting));
  machine.text(", protection keys ").text(yes_or_no(e.features.pkeys));
  machine.text(", vDSO at ").hex(vdso_address());
  tell(machine.view());
  LineBuffer calls(storage);
  const HostPatchReport& code = host_patcher().totals();
  calls.text("system calls without libc: ");
  if (Engine::sees_raw_calls()) {
    calls.text(settings.front == FrontDoor::Raw ? "all, as --front says" : "all, since this is a Go program");
  } else if (host_patcher().traps_calls()) {
    const std::string_view first(code.caller.data());
    calls.dec(code.patched_calls).text(" instructions, the first in ");
    calls.text(first.empty() ? std::string_view("the program") : first);
  } else {
    calls.text("none");
  }
  calls.text(" (").dec(code.scanned.let_be).text(" let be, ").dec(code.scanned.unproven);
  calls.text(" places undecided)");
  tell(calls.view());
}

void start(char** environment) {
  Engine& e = engine();
  if (const char* text = variable(environment, "ENCLUME_SETTINGS"); text != nullptr) {
    if (const auto parsed = parse_settings(text, settings); !parsed) {
      refuse(parsed.error());
    }
  }
  if (runs_under_valgrind()) {
    refuse_valgrind();
  }
  e.text = {LinearAddress::of(__ehdr_start), LinearAddress::of(etext)};
  if ((auxiliary_value(environment, AT_HWCAP2) & kHwcap2Fsgsbase) == 0) {
    refuse(
        "this kernel does not let programs load their FS and GS bases, which the engine can't do without "
        "(Linux "
        "5.9 and newer do, if nofsgsbase is not among the kernel's parameters)");
  }
  e.features.user_dispatch = probe_user_dispatch();
  const bool finds_calls = has_libc() && settings.front == FrontDoor::Auto && !watches_all(e, environment);
  open_front_door(e, settings.front == FrontDoor::Auto && !finds_calls ? FrontDoor::Raw : settings.front);
  cache_directory() = CacheDirectory(settings.cache);
  const std::uint64_t salt = own_salt();
  StartFacts& facts =
      examine_processor(cache_directory(), salt, auxiliary_value(environment, AT_HWCAP),
                        auxiliary_value(environment, AT_HWCAP2), &probe_frame_features, vdso_place());
  const ProcessorFacts& processor = facts.processor;
  know_cpuid(std::span(processor.leaves).first(processor.leaf_count));
  e.features.pkeys = processor.pkeys;
  enclume_has_pkeys = e.features.pkeys ? 1 : 0;
  e.features.amd = processor.amd;
  e.features.dear_undefined = processor.hypervisor;
  e.features.xgetbv_in_use = processor.xgetbv_in_use;
  arch::set_crypto_hooks({&enter_crypto, &leave_crypto});
  arch::set_page_cipher(processor.page_cipher);

  configure_machine(settings, processor);
  e.start_process(has_libc());
  e.sgx = new (sgx_storage) Sgx(machine_config(), shared_machine_place(), native_tables);
  e.sgx->mm().design = settings.fixup;
  e.sgx->kernel().maps_on_touch = settings.benign_faults;
  e.actions.init();
  remember_environment(environment);
  remember_loader(settings.loader.data());
  // In enclume-load it is the name of the program that it will be.
  start_trace(settings, variable(environment, "ENCLUME_LOAD_NAME"));
  e.active = true;
  if (!e.adopt_kernel_mask() || (Engine::sees_raw_calls() && e.current_thread() == nullptr)) {
    refuse("there is not enough address space for the engine's thread stacks (ulimit -v or -d?)");
  }

  e.features.cpuid_faulting = enable_cpuid_faulting();
  e.sgx->watch_execution(settings.strict);
  e.injector.start(settings.injections);
  if (settings.stats[0] != '\0' && !e.stats.open(settings.stats.data())) {
    warn(
        "the counters of --stats can't be reached from here (another user, or enclume run has ended); this "
        "program "
        "is not counted");
  }
  start_direct_paths(settings);
  if (settings.fast && !settings.strict) {
    e.sgx->join_leaves();
  }
  // The image before the look at host code, which it then has no part in.
  const std::uint64_t machine_vdso = auxiliary_value(environment, AT_SYSINFO_EHDR);
  e.sgx->mm().vdso = install_vdso(environment, settings.fixup, facts);
  if (vdso_gate().size() != 0) {
    e.exempt = move_gate_to(vdso_gate());
  }
  // A static libc asks dozens of times as it starts, and each time a hypervisor would, in order to make it
  // fault.
  const bool patches_cpuid = !e.features.cpuid_faulting || (!has_libc() && processor.hypervisor);
  if (patches_cpuid || finds_calls) {
    start_host_code(
        {.linker_address = auxiliary_value(environment, AT_BASE),
         .vdso_address = machine_vdso,
         .image_address = vdso_address(),
         .cpuid = patches_cpuid,
         .untrapped_max_leaf = processor.quick_cpuid && !e.features.cpuid_faulting ? processor.max_leaf : 0,
         .calls = finds_calls,
         .cache = &site_cache(environment, salt, facts)});
  }
  keep_start_facts();
  e.debug = settings.debug;
  if (settings.debug) {
    tell_start(e);
  }
  enclume_debugger.vdso = vdso_address();
  enclume_debugger_event(DebuggerEvent::Started, 0);
}

/// A process can have two engines: one of another build inherited by LD_PRELOAD, or a copy that the user
/// preloads. The one whose functions the program finds is the machine; another stays asleep. (Awake, it would
/// also find its CPUID instructions patched by the first.)
bool is_second_engine(char** environment) {
  // In nearly all programs nothing but the vDSO stands between the program itself and this library.
  const std::uint64_t vdso = auxiliary_value(environment, AT_SYSINFO_EHDR);
  const link_map* before = _r_debug.r_map != nullptr ? _r_debug.r_map->l_next : nullptr;
  while (before != nullptr && before->l_addr == vdso) {
    before = before->l_next;
  }
  if (before != nullptr && before->l_ld == _DYNAMIC) {
    return false;
  }
  // As the program would: RTLD_DEFAULT begins with this library, which is linked symbolically.
  void* program = dlopen(nullptr, RTLD_NOW);
  const void* first = program != nullptr ? dlsym(program, "enclume_engine_present") : nullptr;
  return first != nullptr && first != enclume_engine_present;
}

[[gnu::constructor]] void constructor(int argc, char** argv, char** environment) {
  (void)argc;
  (void)argv;
  touch_data();
  if (engine().active || (has_libc() && is_second_engine(environment))) {
    return;
  }
  start(environment);
}

}  // namespace

std::byte* canary_block() {
  return canary_storage;
}

}  // namespace enclume::engine
