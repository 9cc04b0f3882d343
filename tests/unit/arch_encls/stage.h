// SPDX-License-Identifier: Apache-2.0
// The scene for tests of the supervisor leaves: two enclaves, a version array, free pages, and the operands
// of one leaf, all legal until a test spoils something.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ostream>
#include <stdexcept>
#include <string>
#include <vector>

#include "arch/encls/encls.h"
#include "arch/epc/epcm.h"
#include "arch/epc/tracking.h"
#include "arch/fault.h"
#include "arch/structs/pageinfo.h"
#include "arch/structs/pcmd.h"
#include "arch/structs/secinfo.h"
#include "arch/structs/secs.h"
#include "arch/structs/tcs.h"
#include "arch/structs/version_array.h"
#include "support/enclave_builder.h"
#include "support/fake_machine.h"

namespace enclume::arch {

inline void PrintTo(const Fault& f, std::ostream* os) {
  *os << "#" << static_cast<int>(f.vector) << " error 0x" << std::hex << f.error_code << " at 0x"
      << f.address.value() << std::dec;
}
inline void PrintTo(const LeafStatus& s, std::ostream* os) {
  *os << "RAX " << static_cast<unsigned>(s.code) << " ZF " << s.zf << " CF " << s.cf;
}
inline void PrintTo(const EpcmState& s, std::ostream* os) {
  *os << (s.valid ? "valid " : "free ") << (s.r ? "r" : "-") << (s.w ? "w" : "-") << (s.x ? "x" : "-")
      << (s.blocked ? " blocked" : "") << (s.pending ? " pending" : "") << (s.modified ? " modified" : "")
      << (s.pr ? " pr" : "") << " type " << static_cast<int>(s.type);
}

}  // namespace enclume::arch

namespace enclume::test {

/// LeafResult is the standard library's type, which PrintTo() can't reach.
inline std::string describe(const arch::LeafResult& r) {
  return r.has_value() ? ::testing::PrintToString(*r) : ::testing::PrintToString(r.error());
}

inline arch::LeafResult gp() {
  return arch::raise(arch::general_protection());
}
/// The EPCM's #PF.
inline arch::LeafResult epc_pf(LinearAddress address) {
  return arch::raise(arch::epcm_fault(address, arch::pfec::kWrite));
}
/// The page tables' #PF on an address where nothing is mapped.
inline arch::LeafResult walk_pf(LinearAddress address, bool write) {
  return arch::raise(
      arch::Fault{arch::Vector::PF, arch::pfec::kUser | (write ? arch::pfec::kWrite : 0), address});
}
inline arch::LeafResult code(arch::LeafCode c) {
  return arch::leaf_failure(c);
}
/// A code that comes with CF instead of ZF.
inline arch::LeafResult carry(arch::LeafCode c) {
  return arch::LeafStatus{c, false, true};
}

/// Nothing is ever mapped here.
inline constexpr LinearAddress kNowhere{0x1234'5678'a000};

class Stage {
 public:
  // Numbers of EPC pages.
  enum Page : std::size_t {
    kSecs,
    kTcs,
    kCode,
    kData,
    kVa,
    kFree,
    kOtherSecs,
    kOtherData,
    kSpare,
    kPages = 16,
  };
  // Their offsets in the enclave.
  static constexpr std::uint64_t kTcsAt = 0;
  static constexpr std::uint64_t kCodeAt = 0x1000;
  static constexpr std::uint64_t kDataAt = 0x2000;
  static constexpr std::uint64_t kFreeAt = 0x5000;

  explicit Stage(bool initialised = true, const arch::Secs& source = debug_secs(),
                 const arch::MachineConfig& config = default_config())
      : machine(kPages, config),
        enclave(machine, kSecs),
        other(machine, kOtherSecs),
        pageinfo(machine.allocate<arch::Pageinfo>()),
        secinfo(machine.allocate<arch::Secinfo>()),
        pcmd(machine.allocate<arch::Pcmd>()),
        buffer(machine.allocate_pages(1)) {
    must(enclave.create(source));
    must(enclave.add(kTcs, kTcsAt, arch::secinfo_flags_of(arch::PageType::Tcs, 0),
                     arch::bytes_of(fresh_tcs()), false));
    must(enclave.add(kCode, kCodeAt, reg(arch::secinfo_flags::kR | arch::secinfo_flags::kX), {}, false));
    must(enclave.add(kData, kDataAt, reg(arch::secinfo_flags::kR | arch::secinfo_flags::kW), {}, false));
    must(other.create(source));
    must(other.add(kOtherData, kDataAt, reg(arch::secinfo_flags::kR), {}, false));
    must(arch::epa(machine.machine(), machine, static_cast<std::uint64_t>(arch::PageType::Va), at(kVa)));
    if (initialised) {  // EINIT has tests of its own and takes long
      enclave.secs().set_initialised();
      other.secs().set_initialised();
    }
  }

  static arch::Secs debug_secs() {
    arch::Secs secs = default_secs();
    secs.attributes.flags |= arch::attribute::kDebug;
    return secs;
  }
  static arch::Tcs fresh_tcs() {
    arch::Tcs tcs{};
    tcs.ossa = 0x3000;
    tcs.nssa = 2;
    return tcs;
  }
  static std::uint64_t reg(std::uint64_t rwx) { return arch::secinfo_flags_of(arch::PageType::Reg, rwx); }

  [[nodiscard]] LinearAddress at(std::size_t index) { return machine.epc_address(index); }
  [[nodiscard]] arch::EpcmEntry& epcm(std::size_t index) { return *machine.epc_page(index).epcm; }
  [[nodiscard]] arch::EpcmState state(std::size_t index) { return epcm(index).load(); }
  void set_state(std::size_t index, const arch::EpcmState& s) { epcm(index).store(s); }
  template <typename Change>
  void change_state(std::size_t index, Change change) {
    arch::EpcmState s = state(index);
    change(s);
    set_state(index, s);
  }
  void lock(std::size_t index) { epcm(index).lock.store(1); }

  static std::uint64_t address_of(const void* p) { return LinearAddress::of(p).value(); }
  static void must(const arch::LeafResult& r) {
    if (r != arch::leaf_success()) {
      throw std::logic_error("the scene can't be set: " + describe(r));
    }
  }

  FakeMachine machine;
  EnclaveBuilder enclave;
  EnclaveBuilder other;
  // The operands of the leaf under test.
  arch::Pageinfo& pageinfo;
  arch::Secinfo& secinfo;
  arch::Pcmd& pcmd;
  std::byte* buffer;
  LinearAddress rbx{};
  LinearAddress rcx{};
  LinearAddress rdx{};
};

/// All that a failing leaf must leave alone: the EPCM, the contents of valid pages, the machine's counters.
class Snapshot {
 public:
  explicit Snapshot(Stage& s)
      : next_eid_(s.machine.shared().next_eid), next_version_(s.machine.shared().next_version) {
    for (std::size_t i = 0; i < Stage::kPages; ++i) {
      const arch::EpcmEntry& e = s.epcm(i);
      entries_.push_back({e.state, e.lock, e.enclave_secs, e.enclave_address, e.blocked_epoch, e.owner});
      if (s.state(i).valid) {
        const std::byte* data = s.machine.epc_page(i).data;
        contents_.emplace_back(data, data + kPageSize);
      } else {
        contents_.emplace_back();
      }
    }
  }
  friend bool operator==(const Snapshot&, const Snapshot&) = default;

 private:
  std::uint64_t next_eid_;
  std::uint64_t next_version_;
  std::vector<std::array<std::uint64_t, 6>> entries_;
  std::vector<std::vector<std::byte>> contents_;
};

}  // namespace enclume::test
