// SPDX-License-Identifier: Apache-2.0
// A machine, a process on it, and what tests do there: load enclaves by ioctl, run threads that enter them by
// the real leaves and touch pages as enclave code would.
#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <array>
#include <cstring>
#include <functional>
#include <memory>
#include <stdexcept>
#include <vector>

#include "arch/enclu/enclu.h"
#include "arch/structs/ssa.h"
#include "enclaves/enclave_image.h"
#include "enclaves/signer.h"
#include "fake_platform.h"
#include "kernel/device/ioctl.h"
#include "kernel/fault/page_fault.h"
#include "kernel/kernel.h"
#include "kernel/reclaim/reclaim.h"
#include "kernel/spaces.h"
#include "kernel/uapi/sgx.h"
#include "kernel/vma/effective_protection.h"
#include "kernel/vma/may_map.h"
#include "support/fake_machine.h"

namespace enclume {

template <typename T>
void PrintTo(const SysResult<T>& r, std::ostream* os) {
  if (!r) {
    *os << "errno " << static_cast<int>(r.error());
  } else if constexpr (!std::is_void_v<T>) {
    *os << *r;
  } else {
    *os << "success";
  }
}
inline void PrintTo(const std::unexpected<Errno>& e, std::ostream* os) {
  *os << "errno " << static_cast<int>(e.error());
}
inline void PrintTo(Errno e, std::ostream* os) {
  *os << "errno " << static_cast<int>(e);
}

namespace kernel {
inline void PrintTo(Protection p, std::ostream* os) {
  *os << (p.readable() ? 'r' : '-') << (p.writable() ? 'w' : '-') << (p.executable() ? 'x' : '-');
}
inline void PrintTo(FaultResolution r, std::ostream* os) {
  *os << std::array{"resolved", "SEGV_MAPERR", "SEGV_ACCERR", "SEGV_PKUERR", "SIGBUS"}.at(
      static_cast<std::size_t>(r));
}
}  // namespace kernel
}  // namespace enclume

namespace enclume::test {

using kernel::Enclave;
using kernel::Protection;
using kernel::uapi::Command;

inline constexpr std::uint64_t kTestBase = 0x7000'0000'0000;

/// Where the little test enclave has its parts.
namespace part {
inline constexpr std::uint64_t kTcs = 0;
inline constexpr std::uint64_t kSsa = 0x1000;  // two frames
inline constexpr std::uint64_t kCode = 0x3000;
inline constexpr std::uint64_t kData = 0x4000;
}  // namespace part

/// A page-aligned page of the program's own memory.
struct alignas(4096) UserPage {
  std::array<std::uint8_t, 4096> bytes{};
};

template <typename T>
LinearAddress address_of(const T& object) {
  return LinearAddress::of(&object);
}

inline Tcs test_tcs() {
  Tcs tcs{};
  tcs.ossa = part::kSsa;
  tcs.nssa = 2;
  tcs.oentry = part::kCode;
  return tcs;
}

/// TCS, SSA, a code page and `data_pages` pages of data, each filled with its own number.
inline EnclaveImage test_image(std::uint64_t size = 0x100000, std::uint64_t data_pages = 2,
                               const ImageOptions& options = {}) {
  EnclaveImage image(size, options);
  image.add_tcs(part::kTcs, test_tcs());
  image.add_page(part::kSsa, kPtReg | kR | kW, {});
  image.add_page(part::kSsa + kPage, kPtReg | kR | kW, {});
  image.add_page(part::kCode, kPtReg | kR | kX, {});
  for (std::uint64_t i = 0; i < data_pages; ++i) {
    PageBytes bytes;
    bytes.fill(static_cast<std::uint8_t>(i + 1));
    image.add_page(part::kData + i * kPage, kPtReg | kR | kW, bytes);
  }
  return image;
}

class KernelWorld {
 public:
  explicit KernelWorld(std::uint64_t epc_pages = 1024, const arch::MachineConfig& machine = default_config())
      : config(machine),
        shared(static_cast<kernel::KernelShared*>(mmap(nullptr, sizeof(kernel::KernelShared),
                                                       PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
                                                       0))),
        enclaves(platform, *shared),
        vmas(platform),
        kernel{platform, config, *shared, enclaves, vmas, mm} {
    shared->machine.boot_nonce.fill(std::byte{0x5a});
    shared->epc_total = epc_pages;
  }
  ~KernelWorld() {
    enclaves.for_each([this](Enclave& e) {
      const int fd = e.file().value;
      enclaves.release(e, e.identity());
      close(fd);
    });
    munmap(shared, sizeof(kernel::KernelShared));
  }
  KernelWorld(const KernelWorld&) = delete;
  KernelWorld& operator=(const KernelWorld&) = delete;

  /// open("/dev/sgx_enclave")
  Enclave& open_device() {
    const int fd = memfd_create("enclave", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, static_cast<off_t>(kernel::kFileLength)) != 0) {
      throw std::runtime_error("no memfd");
    }
    const auto enclave = enclaves.attach(identity_of(fd), {fd});
    if (!enclave) {
      throw std::runtime_error("attach failed");
    }
    return **enclave;
  }
  static kernel::FileIdentity identity_of(int fd) {
    struct stat s {};
    fstat(fd, &s);
    return {s.st_dev, s.st_ino};
  }

  SysResult<long> ioctl(Enclave& e, Command command, LinearAddress argument) {
    return sgx_ioctl(kernel, e, static_cast<unsigned>(command), argument);
  }
  template <typename T>
  SysResult<long> ioctl(Enclave& e, Command command, T& argument) {
    return ioctl(e, command, LinearAddress::of(&argument));
  }

  SysResult<long> create(Enclave& e, const Secs& secs) {
    kernel::uapi::EnclaveCreate arg{LinearAddress::of(&secs).value()};
    return ioctl(e, Command::Create, arg);
  }
  SysResult<long> add(Enclave& e, std::uint64_t offset, const ImagePage& page) {
    auto copy = std::make_unique<UserPage>();
    copy->bytes = page.bytes;
    const Secinfo secinfo{page.secinfo_flags, {}};
    kernel::uapi::EnclaveAddPages arg{LinearAddress::of(copy.get()).value(),
                                      offset,
                                      kPage,
                                      LinearAddress::of(&secinfo).value(),
                                      page.measured ? 1U : 0U,
                                      0};
    return ioctl(e, Command::AddPages, arg);
  }
  SysResult<long> init(Enclave& e, const EnclaveImage& image) {
    const Sigstruct sigstruct = signed_sigstruct(image);
    kernel::uapi::EnclaveInit arg{LinearAddress::of(&sigstruct).value()};
    return ioctl(e, Command::Init, arg);
  }
  /// Created and filled, not initialised.
  Enclave& build(const EnclaveImage& image, std::uint64_t base = kTestBase) {
    Enclave& e = open_device();
    must(create(e, image.secs(base)), "create");
    for (const auto& [offset, page] : image.pages()) {
      must(add(e, offset, page), "add");
    }
    return e;
  }
  /// Initialised, and mapped whole with all permissions that each page may have.
  Enclave& load(const EnclaveImage& image, std::uint64_t base = kTestBase) {
    Enclave& e = build(image, base);
    must(init(e, image), "init");
    map_pages(e);
    return e;
  }
  /// A VMA for each stretch of pages with one maximum; RWX where there is no page.
  void map_pages(Enclave& e) {
    std::uint64_t first = 0;
    while (first < e.pages()) {
      const auto prot_at = [&](std::uint64_t n) {
        return e.index().contains(n) ? e.page(n).load().max_prot : kernel::kProtAll;
      };
      std::uint64_t end = first + 1;
      while (end < e.pages() && prot_at(end) == prot_at(first)) {
        ++end;
      }
      map(e, {e.page_address(first), e.page_address(end)}, prot_at(first));
      first = end;
    }
  }
  void map(Enclave& e, LinearRange range, Protection prot) {
    kernel::VmaTable::Writer writer(vmas, platform.thread_id());
    const auto vma = may_mmap(kernel, e, {.range = range, .prot = prot.bits(), .flags = MAP_SHARED});
    if (!vma || !writer.remove(range) || !writer.insert(*vma)) {
      throw std::runtime_error("mmap failed");
    }
  }

  static void must(const SysResult<long>& r, const char* what) {
    if (!r) {
      throw std::runtime_error(std::string(what) + ": errno " + std::to_string(static_cast<int>(r.error())));
    }
  }

  /// What must always hold when nothing is under way.
  void expect_consistent() {
    std::uint64_t used = 0;
    enclaves.for_each([&](Enclave& e) {
      used += e.shared().epc_pages();
      EXPECT_EQ(e.record().epc_pages.load(), e.shared().epc_pages());
      if (!e.mapped()) {
        return;
      }
      std::uint64_t present = 0;
      std::uint64_t resident = 0;
      std::uint64_t slots = 0;
      for (std::uint64_t n = e.index().next(0); n != kernel::PageIndex::kNone; n = e.index().next(n + 1)) {
        const kernel::PageState state = e.page(n).load();
        ++present;
        resident += state.resident ? 1U : 0U;
        EXPECT_TRUE(state.present);
        EXPECT_EQ(state.resident, e.epc_page(n).epcm->load().valid) << "page " << n;
        EXPECT_EQ(state.resident, e.page(n).va_slot == 0) << "page " << n;
      }
      slots = present - resident + (e.shared().secs.load().resident ? 0U : 1U);
      std::uint64_t taken = 0;
      for (std::uint64_t va = 0; va < e.shared().va_pages; ++va) {
        for (std::uint64_t w = 0; w < 8; ++w) {
          taken += static_cast<std::uint64_t>(std::popcount(e.va_slots(va)[w].load()));
        }
      }
      EXPECT_EQ(taken, slots);
      EXPECT_EQ(e.shared().page_count, present + 1);
      EXPECT_EQ(e.shared().secs_children, resident);
    });
    EXPECT_EQ(shared->epc_used, used);
    EXPECT_LE(used, shared->epc_total);
  }

  FakePlatform platform;
  arch::MachineConfig config;
  kernel::KernelShared* shared;
  kernel::EnclaveTable enclaves;
  kernel::VmaTable vmas;
  kernel::MmContext mm;
  kernel::Kernel kernel;
};

/// How an access of enclave code, or an ENCLU, ended for the program.
using Outcome = kernel::FaultResolution;

/// A thread of the program, with a logical processor under it. Plays what the engine does.
class EnclaveThread {
 public:
  EnclaveThread(KernelWorld& world, Enclave& enclave, std::uint64_t tcs_offset = part::kTcs)
      : world_(world),
        enclave_(enclave),
        space_(world.kernel),
        tcs_(LinearAddress(enclave.base() + tcs_offset)) {
    lp_.id = static_cast<std::uint32_t>(gettid());
    cpu_.xsave = {xsave_.data(), static_cast<std::uint32_t>(xsave_.size()), world.config.xcr0, nullptr};
  }

  [[nodiscard]] bool inside() const { return lp_.enclave_mode; }

  /// EENTER, or ERESUME after leave(); page faults are handled as the kernel would.
  Outcome enter() {
    for (;;) {
      cpu_[arch::Reg::Rax] =
          static_cast<std::uint64_t>(left_by_aex_ ? arch::EncluLeaf::Eresume : arch::EncluLeaf::Eenter);
      cpu_[arch::Reg::Rbx] = tcs_.value();
      cpu_[arch::Reg::Rcx] = 0x5555'0000;
      cpu_.rip = 0x5555'0000;
      const auto result = arch::enclu(world_.kernel.machine(), lp_, cpu_, space_);
      if (result) {
        left_by_aex_ = false;
        return Outcome::Resolved;
      }
      if (result.error().vector != arch::Vector::PF) {
        throw std::runtime_error("EENTER faults with vector " +
                                 std::to_string(static_cast<int>(result.error().vector)));
      }
      const auto outcome =
          handle_enclave_fault(world_.kernel, result.error().address, result.error().error_code);
      if (outcome != Outcome::Resolved) {
        return outcome;
      }
    }
  }
  /// An interrupt: AEX, if the thread is inside.
  void leave() {
    if (inside()) {
      leave({});
    }
  }

  /// An access of enclave code at an offset of the enclave. `use` runs with the byte's address, at the moment
  /// when the access happens. Afterwards the thread is inside, unless a signal came of it.
  Outcome access(
      std::uint64_t offset, arch::Access kind,
      const std::function<void(std::byte*)>& use = [](std::byte*) {}) {
    const LinearAddress address(enclave_.base() + offset);
    for (;;) {
      if (!inside()) {
        if (const Outcome entered = enter(); entered != Outcome::Resolved) {
          return entered;
        }
      }
      const std::uint64_t evictions = world_.shared->evictions.load();
      const auto fault = try_access(address, kind, use);
      if (!fault) {
        return Outcome::Resolved;
      }
      last_fault = *fault;
      const LinearAddress cr2 = leave({true, arch::Vector::PF, fault->error_code, fault->address, true});
      const auto outcome = handle_enclave_fault(world_.kernel, cr2, fault->error_code, evictions);
      if (outcome != Outcome::Resolved) {
        return outcome;
      }
    }
  }
  std::uint8_t read(std::uint64_t offset) {
    std::uint8_t value = 0;
    EXPECT_EQ(
        access(offset, arch::Access::Read, [&](std::byte* p) { value = static_cast<std::uint8_t>(*p); }),
        Outcome::Resolved);
    return value;
  }
  void write(std::uint64_t offset, std::uint8_t value) {
    EXPECT_EQ(access(offset, arch::Access::Write, [&](std::byte* p) { *p = std::byte{value}; }),
              Outcome::Resolved);
  }

  /// ENCLU from inside, EACCEPT and the like: RBX = SECINFO in the data page, RCX as given.
  arch::LeafResult accept(std::uint64_t offset, std::uint64_t secinfo_flags) {
    for (;;) {
      write_secinfo(secinfo_flags);
      cpu_[arch::Reg::Rax] = static_cast<std::uint64_t>(arch::EncluLeaf::Eaccept);
      cpu_[arch::Reg::Rbx] = enclave_.base() + part::kData;
      cpu_[arch::Reg::Rcx] = enclave_.base() + offset;
      const auto result = arch::enclu(world_.kernel.machine(), lp_, cpu_, space_);
      if (result || result.error().vector != arch::Vector::PF) {
        return result;
      }
      const arch::Fault fault = result.error();
      const LinearAddress cr2 = leave({true, arch::Vector::PF, fault.error_code, fault.address, true});
      if (handle_enclave_fault(world_.kernel, cr2, fault.error_code) != Outcome::Resolved) {
        return result;
      }
    }
  }

  arch::Fault last_fault{};
  /// AEXs so far.
  int exits = 0;

 private:
  LinearAddress leave(const arch::AexEvent& event) {
    ++exits;
    left_by_aex_ = true;
    return arch::aex(world_.kernel.machine(), lp_, cpu_, event);
  }

  void write_secinfo(std::uint64_t flags) {
    Secinfo secinfo{flags, {}};
    for (std::size_t i = 0; i < sizeof secinfo; i += 64) {
      ASSERT_EQ(access(part::kData + i, arch::Access::Write,
                       [&](std::byte* p) { std::memcpy(p, reinterpret_cast<std::byte*>(&secinfo) + i, 64); }),
                Outcome::Resolved);
    }
  }

  /// The instruction itself: natively if permissions are there, else by the page walk and the EPCM, which
  /// give the permissions. Nothing: done.
  std::optional<arch::Fault> try_access(LinearAddress address, arch::Access kind,
                                        const std::function<void(std::byte*)>& use) {
    FakePlatform& p = world_.platform;
    const Protection needed = kind == arch::Access::Read    ? kernel::kProtRead
                              : kind == arch::Access::Write ? kernel::kProtWrite
                                                            : kernel::kProtExec;
    for (;;) {
      {
        const std::lock_guard guard(p.native_lock);
        const auto it = p.native.find(address.page().value());
        if (it != p.native.end() && it->second.covers(needed)) {
          use(enclave_.epc_page(enclave_.page_number(address)).data + address.page_offset());
          return std::nullopt;
        }
      }
      const auto operand = space_.walk(address, kind);
      if (!operand) {
        return operand.error();
      }
      if (const auto ok = arch::check_enclave_access(lp_, operand->epc, address, kind); !ok) {
        return ok.error();
      }
      const auto vma = world_.vmas.find(address);
      const std::lock_guard guard(p.native_lock);
      p.native[address.page().value()] =
          effective_protection(enclave_, enclave_.page_number(address), vma->prot);
    }
  }

  KernelWorld& world_;
  Enclave& enclave_;
  kernel::UserSpace space_;
  LinearAddress tcs_;
  arch::LogicalProcessor lp_;
  arch::CpuState cpu_;
  bool left_by_aex_ = false;
  alignas(64) std::array<std::byte, 16384> xsave_{};
};

}  // namespace enclume::test
