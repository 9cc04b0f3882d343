// SPDX-License-Identifier: Apache-2.0
#include "engine/start/vdso.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <sys/mman.h>

#include <array>
#include <cstring>
#include <expected>
#include <initializer_list>
#include <optional>
#include <span>

#include "base/format.h"
#include "base/syscall.h"
#include "base/types.h"
#include "engine/debugger.h"
#include "engine/entry/layout.h"
#include "engine/fast/entry.h"
#include "engine/front/real.h"
#include "engine/start/alone.h"
#include "engine/start/message.h"
#include "engine/start/vdso_place_size.h"
#include "engine/start/withdraw_symbol.h"
#include "kernel/vdso/image.h"
#include "kernel/vdso/machine_vdso.h"

/// vdso_place.S
extern "C" [[gnu::visibility("hidden")]] std::byte enclume_vdso_place[ENCLUME_VDSO_PLACE_SIZE];

namespace enclume::engine {

namespace {

std::uint64_t address = 0;
LinearRange gate;
void* enter_function = nullptr;
void* image_handle = nullptr;
/// The machine's, and the design of ours.
std::span<const std::byte> machine;
kernel::ExceptionDesign image_design = kernel::ExceptionDesign::Vdso;

// Rules in DWARF's words (version 5, section 6.4.2): registers by their numbers in the System V ABI, and the
// places in a frame in quadwords, negative as the CIE counts them.
constexpr std::uint8_t kDefCfa = 0x0c;
constexpr std::uint8_t kOffsetExtendedSf = 0x11;
constexpr std::uint8_t kRbp = 6;
struct SavedRegister {
  std::uint8_t number, place;
};
constexpr std::array<SavedRegister, 17> kSavedRegisters = {{{0, UC_RAX},
                                                            {1, UC_RDX},
                                                            {2, UC_RCX},
                                                            {3, UC_RBX},
                                                            {4, UC_RSI},
                                                            {5, UC_RDI},
                                                            {6, UC_RBP},
                                                            {7, UC_RSP},
                                                            {8, UC_R8},
                                                            {9, UC_R9},
                                                            {10, UC_R10},
                                                            {11, UC_R11},
                                                            {12, UC_R12},
                                                            {13, UC_R13},
                                                            {14, UC_R14},
                                                            {15, UC_R15},
                                                            {16, UC_RIP}}};

/// enclume_execute() makes the program's calls with RBP at the frame, in which the ucontext follows a word.
constexpr auto kGateCfi = [] {
  std::array<std::byte, 3 + 3 * kSavedRegisters.size()> cfi{};
  std::size_t at = 0;
  const auto put = [&](std::initializer_list<int> bytes) {
    for (const int byte : bytes) {
      cfi[at++] = static_cast<std::byte>(byte);
    }
  };
  put({kDefCfa, kRbp, 8});
  for (const SavedRegister& saved : kSavedRegisters) {
    put({kOffsetExtendedSf, saved.number, 0x80 - saved.place / 8});  // SLEB128 of one byte
  }
  return cfi;
}();

/// The auxiliary vector lies behind the environment's terminating null pointer.
Elf64_auxv_t* auxiliary_vector(char** environment) {
  while (*environment != nullptr) {
    ++environment;
  }
  return reinterpret_cast<Elf64_auxv_t*>(environment + 1);
}

Elf64_auxv_t* find_vdso_entry(char** environment) {
  for (Elf64_auxv_t* entry = auxiliary_vector(environment); entry->a_type != AT_NULL; ++entry) {
    if (entry->a_type == AT_SYSINFO_EHDR) {
      return entry;
    }
  }
  return nullptr;
}

/// ld.so loads an image from a file in memory, so that dlsym(), dl_iterate_phdr(), unwinders and debuggers
/// know it as they know any library.
std::optional<std::uint64_t> load(std::span<const std::byte> image) {
  const auto fd = sys::call(__NR_memfd_create, "linux-vdso.so.1", MFD_CLOEXEC);
  if (!fd) {
    return std::nullopt;
  }
  sys::write_all(static_cast<int>(*fd), reinterpret_cast<const char*>(image.data()), image.size());
  // By a name that means the same to a debugger, who opens it when ld.so tells of it; /proc/self would be its
  // own, and might be a pipe to wait for.
  char path[64];
  LineBuffer name(path);
  name.text("/proc/")
      .dec(sys::getpid())
      .text("/fd/")
      .dec(static_cast<int>(*fd))
      .text(std::string_view("\0", 1));
  void* handle = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  sys::raw(__NR_close, *fd);
  link_map* map = nullptr;
  if (handle == nullptr || dlinfo(handle, RTLD_DI_LINKMAP, &map) != 0) {
    return std::nullopt;
  }
  // From now on as on any Linux.
  map->l_name = const_cast<char*>("linux-vdso.so.1");
  image_handle = handle;
  return map->l_addr;
}

/// What the design has in the vDSO. In the others than Linux's there never was a __vdso_sgx_enter_enclave,
/// and a runtime that misses it falls back to what it did before (docs/exception-designs.md).
std::optional<kernel::EntryCode> entry_of(kernel::ExceptionDesign design) {
  switch (design) {
    case kernel::ExceptionDesign::Vdso:
      return kernel::enter_enclave_code();
    case kernel::ExceptionDesign::VdsoRegisters:
      return kernel::enclu_code();
    case kernel::ExceptionDesign::PerMm:
    case kernel::ExceptionDesign::Signals:
      break;
  }
  return std::nullopt;
}

std::expected<kernel::VdsoImage, kernel::VdsoError> build(std::span<std::byte> out,
                                                          LinearAddress entry_elsewhere = {}) {
  kernel::VdsoOptions options{.entry = entry_of(image_design), .entry_elsewhere = entry_elsewhere};
  if (enclume_fast_on != 0) {
    options.direct_entry = LinearAddress::of(enter_places().begin);
  }
  if (!has_libc()) {
    options.gate_cfi = kGateCfi;
  }
  return kernel::build_vdso_image(machine, LinearAddress::of(machine.data()), options, out);
}

/// An image and where it is.
struct Placed {
  kernel::VdsoImage image;
  std::uint64_t at;
};

/// Of all that an image is made from but the addresses. A vDSO has its tables and its build id at its
/// beginning.
std::uint64_t key_of_image() {
  const std::uint64_t made_by =
      static_cast<std::uint64_t>(image_design) << 2 | (enclume_fast_on != 0 ? 2 : 0) | (has_libc() ? 1 : 0);
  const std::uint64_t size = machine.size();
  return hash_of(machine.first(kPageSize), made_by << 32 | size);
}

std::uint64_t checksum_of(const KeptImage& kept) {
  const std::span<const std::byte> bytes(enclume_vdso_place, kept.about.size);
  return hash_of(std::as_bytes(std::span(&kept.about, 1)), hash_of(bytes, kept.key ^ kept.machine));
}

/// In place, from another process's or anew.
std::expected<kernel::VdsoImage, kernel::VdsoError> adopt_or_build(StartFacts& facts) {
  KeptImage& kept = facts.image;
  const auto here = reinterpret_cast<std::uint64_t>(machine.data());
  const std::uint64_t key = key_of_image();
  if (kept.key == key && kept.about.size <= ENCLUME_VDSO_PLACE_SIZE && kept.checksum == checksum_of(kept)) {
    kernel::move_vdso_image(kept.about, here - kept.machine, LinearAddress::of(enter_places().begin),
                            enclume_vdso_place);
    return kept.about;
  }
  const auto image = build(enclume_vdso_place);
  if (image && image->movable) {
    kept = {.key = key, .checksum = 0, .machine = here, .about = *image};
    kept.checksum = checksum_of(kept);
    facts.changed = true;
  } else {
    kept = {};
  }
  return image;
}

/// Within the engine. Unwinders know the function of Linux's design there; where there is no ld.so, they know
/// of no image anyway.
std::optional<Placed> place(StartFacts& facts) {
  if (image_design != kernel::ExceptionDesign::Vdso && has_libc()) {
    return std::nullopt;
  }
  const auto image = adopt_or_build(facts);
  if (!image || !sys::call(__NR_mprotect, enclume_vdso_place, image->size, PROT_READ | PROT_EXEC)) {
    return std::nullopt;  // too large, or a policy against code that was data
  }
  return Placed{*image, reinterpret_cast<std::uint64_t>(enclume_vdso_place)};
}

alignas(kPageSize) std::byte storage[kernel::kMaxVdsoImageSize];

/// By ld.so; says why if that can't be done.
std::optional<Placed> build_and_load() {
  const auto image = build(storage);
  if (!image) {
    warn(kernel::describe(image.error()));
    return std::nullopt;
  }
  const auto at = load(std::span(storage).first(image->size));
  if (!at) {
    const char* why = dlerror();
    warn(why != nullptr ? why : "the vDSO image could not be loaded");
    return std::nullopt;
  }
  return Placed{*image, *at};
}

/// From the machine's vDSO, to which `entry` leads. A message says why there is none.
std::optional<Placed> make_image(const Elf64_auxv_t* entry, StartFacts& facts) {
  if (entry == nullptr) {
    warn("this process has no vDSO (vdso=0?); programs will not find __vdso_sgx_enter_enclave");
    return std::nullopt;
  }
  const auto* start = reinterpret_cast<const std::byte*>(entry->a_un.a_val);
  const auto size = kernel::vdso_size({start, kPageSize});
  if (!size) {
    warn(kernel::describe(size.error()));
    return std::nullopt;
  }
  machine = {start, *size};
  const auto image = place(facts);
  if (!image && !has_libc()) {
    warn("the vDSO image could not be put in place; programs will not find __vdso_sgx_enter_enclave");
  }
  return image || !has_libc() ? image : build_and_load();
}

}  // namespace

std::uint64_t vdso_address() {
  return address;
}

LinearRange vdso_gate() {
  return gate;
}

void* vdso_handle() {
  if (image_handle == nullptr && enter_function != nullptr) {
    if (const auto image = build(storage, LinearAddress::of(enter_function))) {
      (void)load(std::span(storage).first(image->size));
    }
  }
  return image_handle;
}

std::span<std::byte> vdso_place() {
  return enclume_vdso_place;
}

std::optional<kernel::FixupSite> install_vdso(char** environment, kernel::ExceptionDesign design,
                                              StartFacts& facts) {
  Elf64_auxv_t* entry = find_vdso_entry(environment);
  image_design = design;
  const auto image = make_image(entry, facts);
  if (has_libc() && (!image || LinearAddress(image->at) != LinearAddress::of(enclume_vdso_place))) {
    withdraw_symbol(kernel::kEnterEnclaveName);
  }
  if (!image) {
    return std::nullopt;
  }
  const auto& [offsets, at] = *image;
  const LinearAddress base(at);
  address = at;
  if (offsets.gate != 0) {
    gate = {base + offsets.gate, base + offsets.gate + kernel::kVdsoGateSize};
  }
  entry->a_un.a_val = address;
  if (offsets.enter == 0) {
    return std::nullopt;
  }
  if (offsets.direct_slot != 0) {
    enclume_debugger.direct_slot = (base + offsets.direct_slot).value();
    enclume_debugger.direct_enclu = (base + offsets.enclu).value();
  }
  enter_function = reinterpret_cast<void*>((base + offsets.enter).value());
  return kernel::FixupSite{base + offsets.enclu, base + offsets.fixup};
}

}  // namespace enclume::engine
