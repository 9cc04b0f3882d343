// SPDX-License-Identifier: Apache-2.0
// An enclave, built by hand in a fake machine's EPC, and a logical processor in front of it: the state in
// which every test of ENCLU begins. No ENCLS leaf takes part, so what is wrong here is ENCLU's fault.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ostream>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

#include "arch/cpu_state.h"
#include "arch/enclu/enclu.h"
#include "arch/epc/epcm.h"
#include "arch/epc/tracking.h"
#include "arch/fault.h"
#include "arch/logical_processor.h"
#include "arch/structs/secinfo.h"
#include "arch/structs/secs.h"
#include "arch/structs/ssa.h"
#include "arch/structs/tcs.h"
#include "base/types.h"
#include "support/fake_machine.h"

namespace enclume::arch {

// GoogleTest finds these by name. NOLINTBEGIN(readability-identifier-naming)
inline void PrintTo(const Fault& f, std::ostream* os) {
  *os << "#" << static_cast<int>(f.vector) << " error 0x" << std::hex << f.error_code << " at 0x"
      << f.address.value() << std::dec;
}
inline void PrintTo(const LeafStatus& s, std::ostream* os) {
  *os << "RAX " << static_cast<unsigned>(s.code) << " ZF " << s.zf << " CF " << s.cf;
}
// NOLINTEND(readability-identifier-naming)

}  // namespace enclume::arch

namespace enclume::test {

inline constexpr std::uint64_t kBase = 0x7f40'0000'0000;
inline constexpr std::uint64_t kSize = 0x40'0000;
inline constexpr std::uint64_t kAep = 0x5555'5555'4000;
inline constexpr std::uint64_t kEncluAt = 0x5555'5555'3ffd;
inline constexpr std::uint32_t kThreadId = 4711;

/// Where the parts of the enclave lie, as offsets in ELRANGE.
namespace at {
inline constexpr std::uint64_t kTcs = 0x1000;
inline constexpr std::uint64_t kFsBase = 0x2000;
inline constexpr std::uint64_t kGsBase = 0x3000;
inline constexpr std::uint64_t kSsa = 0x10000;
inline constexpr std::uint64_t kCode = 0x4000;
inline constexpr std::uint64_t kEntry = kCode + 0x120;
inline constexpr std::uint64_t kData = 0x8000;
inline constexpr std::uint64_t kOtherData = 0x9000;
inline constexpr std::uint64_t kPending = 0xa000;
inline constexpr std::uint64_t kEmpty = 0xc000;  ///< in ELRANGE, no page
}  // namespace at

struct WorldOptions {
  std::uint64_t xfrm = 3;
  std::uint32_t ssa_frame_size = 1;
  std::uint32_t nssa = 3;
  std::uint32_t miscselect = arch::miscselect::kExinfo;
  std::uint64_t attributes = arch::attribute::kInit | arch::attribute::kDebug | arch::attribute::kMode64Bit;
  arch::MachineConfig config = default_config();
};

class World {
 public:
  explicit World(const WorldOptions& options = {}) : fake(24, options.config) {
    secs_index = next_++;
    arch::EpcmEntry& entry = *page(secs_index).epcm;
    entry.store({.valid = true, .type = arch::PageType::Secs});
    arch::Secs& s = secs();
    s.size = kSize;
    s.base_addr = kBase;
    s.ssa_frame_size = options.ssa_frame_size;
    s.miscselect = options.miscselect;
    s.attributes = {options.attributes, options.xfrm};
    s.internal.eid = 1;

    tcs_index = add(at::kTcs, {.valid = true, .type = arch::PageType::Tcs});
    arch::Tcs& t = tcs();
    t.ossa = at::kSsa;
    t.nssa = options.nssa;
    t.oentry = at::kEntry;
    t.ofsbase = at::kFsBase;
    t.ogsbase = at::kGsBase;

    const arch::EpcmState rw{.valid = true, .r = true, .w = true, .type = arch::PageType::Reg};
    add(at::kFsBase, rw);
    add(at::kGsBase, rw);
    add(at::kCode, {.valid = true, .r = true, .x = true, .type = arch::PageType::Reg});
    add(at::kData, rw);
    add(at::kOtherData, rw);
    for (std::uint64_t i = 0; i < options.nssa * options.ssa_frame_size; ++i) {
      add(at::kSsa + i * kPageSize, rw);
    }

    cpu.rip = kEncluAt;
    cpu.rflags = 0x202;
    cpu.fs_base = 0x1111'2222'3000;
    cpu.gs_base = 0x4444'5555'6000;
    for (std::size_t i = 0; i < cpu.gpr.size(); ++i) {
      cpu.gpr[i] = 0x0101'0101'0101'0101 * (i + 1);
    }
    cpu[arch::Reg::Rbx] = kBase + at::kTcs;
    cpu[arch::Reg::Rcx] = kAep;
    cpu[arch::Reg::Rsp] = 0x7ffc'0000'1000;
    cpu[arch::Reg::Rbp] = 0x7ffc'0000'1040;
    cpu.xsave = {xsave_.data(), static_cast<std::uint32_t>(xsave_.size()), options.config.xcr0, nullptr};
    put<std::uint16_t>(0, 0x037f);
    put<std::uint32_t>(24, 0x1f80);
    put<std::uint32_t>(28, 0xffff);
    put<std::uint64_t>(512, 3);
    lp.id = kThreadId;
  }

  /// A new EPC page of the enclave, mapped at `offset` of ELRANGE. Returns its number.
  std::size_t add(std::uint64_t offset, arch::EpcmState state) {
    const std::size_t index = next_++;
    arch::EpcmEntry& entry = *page(index).epcm;
    entry.enclave_secs = page(secs_index).address.value;
    entry.enclave_address = kBase + offset;
    entry.store(state);
    fake.map_epc(LinearAddress(kBase + offset), index);
    return index;
  }

  [[nodiscard]] arch::EpcPage page(std::size_t index) { return fake.epc_page(index); }
  /// The EPC page mapped at an offset of ELRANGE, with its contents.
  [[nodiscard]] arch::EpcPage page_at(std::uint64_t offset) {
    return fake.walk(LinearAddress(kBase + offset), arch::Access::Read)->epc;
  }
  [[nodiscard]] arch::EpcmEntry& epcm_at(std::uint64_t offset) { return *page_at(offset).epcm; }
  /// Changes the EPCM entry of the page at an offset.
  template <typename F>
  void edit_epcm(std::uint64_t offset, F edit) {
    arch::EpcmEntry& entry = epcm_at(offset);
    arch::EpcmState s = entry.load();
    edit(s);
    entry.store(s);
  }
  template <typename T>
  [[nodiscard]] T& object_at(std::uint64_t offset) {
    return *reinterpret_cast<T*>(fake.walk(LinearAddress(kBase + offset), arch::Access::Read)->data);
  }

  [[nodiscard]] arch::Secs& secs() { return arch::secs_of(page(secs_index)); }
  [[nodiscard]] arch::Tcs& tcs() { return arch::tcs_of(page(tcs_index)); }
  [[nodiscard]] std::uint64_t frame_size() { return kPageSize * secs().ssa_frame_size; }
  [[nodiscard]] std::uint64_t frame_offset(std::uint32_t index) { return at::kSsa + frame_size() * index; }
  [[nodiscard]] arch::Gprsgx& gprsgx(std::uint32_t index) {
    return object_at<arch::Gprsgx>(frame_offset(index) + frame_size() - sizeof(arch::Gprsgx));
  }
  [[nodiscard]] arch::Exinfo& exinfo(std::uint32_t index) {
    return object_at<arch::Exinfo>(frame_offset(index) + frame_size() - sizeof(arch::Gprsgx) -
                                   sizeof(arch::Exinfo));
  }
  /// Value at a byte offset of a frame. Frames' pages are neighbours in this EPC only by accident, so no more
  /// than what lies in one page at a time.
  template <typename T>
  [[nodiscard]] T frame_value(std::uint32_t index, std::uint64_t offset) {
    T value;
    std::memcpy(&value, &object_at<std::byte>(frame_offset(index) + offset), sizeof(T));
    return value;
  }
  template <typename T>
  void set_frame_value(std::uint32_t index, std::uint64_t offset, T value) {
    std::memcpy(&object_at<std::byte>(frame_offset(index) + offset), &value, sizeof(T));
  }

  /// Fields of the XSAVE image that the leaves see.
  template <typename T>
  [[nodiscard]] T get(std::size_t offset) const {
    T value;
    std::memcpy(&value, xsave_.data() + offset, sizeof(T));
    return value;
  }
  template <typename T>
  void put(std::size_t offset, std::type_identity_t<T> value) {
    std::memcpy(xsave_.data() + offset, &value, sizeof(T));
  }
  [[nodiscard]] std::span<std::byte> xsave() { return xsave_; }

  // The leaves, on this world's state.
  arch::LeafResult run(arch::EncluLeaf leaf) {
    cpu[arch::Reg::Rax] = static_cast<std::uint64_t>(leaf);
    return arch::enclu(fake.machine(), lp, cpu, fake);
  }
  arch::LeafResult eenter() {
    aim_at_tcs();
    return run(arch::EncluLeaf::Eenter);
  }
  arch::LeafResult eresume() {
    aim_at_tcs();
    return run(arch::EncluLeaf::Eresume);
  }
  arch::LeafResult eexit(std::uint64_t target) {
    cpu[arch::Reg::Rbx] = target;
    return run(arch::EncluLeaf::Eexit);
  }
  LinearAddress aex(const arch::AexEvent& event = {}) { return arch::aex(fake.machine(), lp, cpu, event); }
  /// A leaf of the enclave with its operands in RBX, RCX, RDX.
  arch::LeafResult inside(arch::EncluLeaf leaf, std::uint64_t rbx, std::uint64_t rcx, std::uint64_t rdx = 0) {
    cpu[arch::Reg::Rbx] = rbx;
    cpu[arch::Reg::Rcx] = rcx;
    cpu[arch::Reg::Rdx] = rdx;
    return run(leaf);
  }

  FakeMachine fake;
  arch::LogicalProcessor lp;
  arch::CpuState cpu;
  std::size_t secs_index = 0;
  std::size_t tcs_index = 0;

 private:
  void aim_at_tcs() {
    cpu.rip = kEncluAt;
    cpu[arch::Reg::Rbx] = kBase + at::kTcs;
    cpu[arch::Reg::Rcx] = kAep;
  }

  std::size_t next_ = 0;
  alignas(64) std::array<std::byte, 11264> xsave_{};
};

/// Everything that a leaf could change, for "on a fault nothing has changed".
class Snapshot {
 public:
  explicit Snapshot(World& w)
      : gpr_(w.cpu.gpr),
        registers_(w.cpu.rip, w.cpu.rflags, w.cpu.fs_base, w.cpu.gs_base, w.cpu.pending_single_step),
        flags_(w.lp.enclave_mode, w.lp.dbgoptin, w.lp.save_tf, w.lp.id, w.lp.entry_epoch),
        places_(w.lp.secs.address.value, w.lp.tcs.address.value, w.lp.tcs_address.value(), w.lp.xfrm,
                w.lp.host_fs_base, w.lp.host_gs_base, w.lp.elrange.begin.value(), w.lp.elrange.end.value()),
        ssa_(w.lp.ssa.gpr, w.lp.ssa.misc, w.lp.ssa.xsave_page),
        xsave_(image_of(w.xsave())) {
    epc_.reserve(w.fake.epc_pages() * kPageSize);
    for (std::size_t i = 0; i < w.fake.epc_pages(); ++i) {
      const arch::EpcPage p = w.page(i);
      epcm_.emplace_back(p.epcm->state, p.epcm->lock, p.epcm->enclave_secs, p.epcm->enclave_address,
                         p.epcm->blocked_epoch, p.epcm->owner);
      const auto* const data = reinterpret_cast<const unsigned char*>(p.data);
      epc_.insert(epc_.end(), data, data + kPageSize);
    }
  }
  friend bool operator==(const Snapshot&, const Snapshot&) = default;

 private:
  // unsigned char, because the library compares these by memcmp.
  static std::vector<unsigned char> image_of(std::span<const std::byte> bytes) {
    const auto* const data = reinterpret_cast<const unsigned char*>(bytes.data());
    return {data, data + bytes.size()};
  }

  std::array<std::uint64_t, 16> gpr_;
  std::tuple<std::uint64_t, std::uint64_t, std::uint64_t, std::uint64_t, bool> registers_;
  std::tuple<bool, bool, bool, std::uint32_t, std::uint32_t> flags_;
  std::tuple<std::uint64_t, std::uint64_t, std::uint64_t, std::uint64_t, std::uint64_t, std::uint64_t,
             std::uint64_t, std::uint64_t>
      places_;
  std::tuple<std::byte*, std::byte*, std::array<std::byte*, arch::kMaxXsavePages>> ssa_;
  std::vector<unsigned char> xsave_;
  std::vector<
      std::tuple<std::uint32_t, std::uint32_t, std::uint64_t, std::uint64_t, std::uint32_t, std::uint32_t>>
      epcm_;
  std::vector<unsigned char> epc_;
};

}  // namespace enclume::test
