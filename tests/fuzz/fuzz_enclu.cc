// SPDX-License-Identifier: Apache-2.0
// ENCLU and AEX on whatever state registers, EPCM, SECS, TCS, SSA and page tables can be brought into. Holds
// of every input: nothing crashes, a fault changes nothing, a page fault blames an operand or an SSA page, no
// lock stays taken, and the TCS is active exactly while the logical processor is inside.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>

#include "unit/arch_enclu/world.h"

namespace {

using namespace enclume;
using arch::Reg;
using test::World;

/// Values taken from the front of the input; zeros when it is used up.
class Input {
 public:
  explicit Input(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}
  [[nodiscard]] bool empty() const { return bytes_.empty(); }
  template <typename T>
  T take() {
    T value{};
    const std::size_t n = std::min(sizeof(T), bytes_.size());
    if (n != 0) {
      std::memcpy(&value, bytes_.data(), n);
    }
    bytes_ = bytes_.subspan(n);
    return value;
  }
  std::uint32_t below(std::uint32_t bound) { return take<std::uint16_t>() % bound; }

 private:
  std::span<const std::uint8_t> bytes_;
};

void require(bool condition) {
  if (!condition) {
    std::abort();
  }
}

// An address that is likely to mean something.
std::uint64_t address(Input& in) {
  const auto page = in.below(32) * kPageSize;
  switch (in.below(6)) {
    case 0:
      return test::kBase + page;
    case 1:
      return test::kBase + test::at::kSsa + page;
    case 2:
      return test::kBase + page + in.below(kPageSize);
    case 3:
      return test::kBase + page + in.below(64) * 64;
    case 4:
      return test::kBase + test::kSize + page;
    default:
      return in.take<std::uint64_t>();
  }
}

void change_state(World& w, Input& in) {
  const std::size_t index = in.below(static_cast<std::uint32_t>(w.fake.epc_pages()));
  arch::EpcmEntry& entry = *w.page(index).epcm;
  switch (in.below(10)) {
    case 0:
      entry.state ^= 1U << in.below(16);
      break;
    case 1:
      entry.enclave_address = address(in) & ~kPageMask;
      break;
    case 2:
      entry.enclave_secs = in.below(26) * kPageSize;
      break;
    case 3:
      entry.blocked_epoch = in.below(4);
      break;
    case 4: {
      const std::uint64_t value = in.take<std::uint64_t>();
      std::memcpy(w.page(index).data + in.below(512) * 8, &value, 8);
      break;
    }
    case 5:
      w.page(index).data[in.below(kPageSize)] ^= static_cast<std::byte>(1U << in.below(8));
      break;
    case 6:
      w.cpu.gpr[in.below(16)] = address(in);
      break;
    case 7:
      w.cpu.rflags = (w.cpu.rflags & 0x202) | (in.take<std::uint32_t>() & 0x3f7dd5);
      break;
    case 8:
      w.put<std::uint8_t>(in.below(576), in.take<std::uint8_t>());
      break;
    default:
      w.fake.map(LinearAddress(address(in) & ~kPageMask),
                 {w.page(index).data, in.below(4) != 0 ? index : test::Mapping::kNotEpc, in.below(8) != 0,
                  in.below(4) != 0, true});
      break;
  }
}

// Operands in the shape that the leaf wants, so that the fuzzer gets past the first check.
void aim(World& w, Input& in, std::uint32_t leaf) {
  if (leaf == 2 || leaf == 3) {
    w.cpu[Reg::Rbx] = test::kBase + test::at::kTcs;
    w.cpu[Reg::Rcx] = test::kAep;
    return;
  }
  for (const Reg r : {Reg::Rbx, Reg::Rcx, Reg::Rdx}) {
    w.cpu[r] = address(in);
  }
}

bool any_lock_taken(World& w) {
  for (std::size_t i = 0; i < w.fake.epc_pages(); ++i) {
    if (w.page(i).epcm->lock != 0) {
      return true;
    }
  }
  return false;
}

void run_leaf(World& w, Input& in) {
  const std::uint32_t leaf = in.below(11);
  if (in.below(4) != 0) {
    aim(w, in, leaf);
  }
  w.cpu[Reg::Rax] = leaf;
  const test::Snapshot before(w);
  const bool was_inside = w.lp.enclave_mode;
  const arch::LeafResult r = arch::enclu(w.fake.machine(), w.lp, w.cpu, w.fake);

  require(!any_lock_taken(w));
  if (!r.has_value()) {
    require(test::Snapshot(w) == before);
    const arch::Fault& f = r.error();
    require(f.vector == arch::Vector::GP || f.vector == arch::Vector::PF);
    require(f.vector == arch::Vector::GP ? f.error_code == 0 : (f.error_code & arch::pfec::kUser) != 0);
    return;
  }
  require(w.lp.enclave_mode == (leaf == 4 ? false : leaf == 2 || leaf == 3 ? true : was_inside));
  if (w.lp.enclave_mode) {
    require(arch::tcs_of(w.lp.tcs).state == arch::tcs_state::kActive || was_inside);
    require(w.lp.tcs.epcm->owner == w.lp.id);
    require(w.lp.ssa.gpr != nullptr && w.lp.ssa.xsave_page[0] != nullptr);
  }
  require(r->zf == (r->code != arch::LeafCode::Success));
}

void run_aex(World& w, Input& in) {
  if (!w.lp.enclave_mode) {
    return;
  }
  const arch::EpcPage tcs = w.lp.tcs;
  const arch::AexEvent event{.exception = in.below(4) != 0,
                             .vector = static_cast<arch::Vector>(in.below(32)),
                             .error_code = in.take<std::uint32_t>(),
                             .address = LinearAddress(address(in)),
                             .save_rf = in.below(2) != 0};
  arch::aex(w.fake.machine(), w.lp, w.cpu, event);
  require(!w.lp.enclave_mode && w.cpu[Reg::Rax] == 3 && w.cpu[Reg::Rcx] == w.cpu.rip);
  require(arch::tcs_of(tcs).state == arch::tcs_state::kInactive && tcs.epcm->owner == 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input in({data, size});
  constexpr std::uint64_t kXfrm[] = {3, 7, 0xe7, 0x602e7};
  test::WorldOptions options;
  options.xfrm = kXfrm[in.below(4)];
  options.ssa_frame_size = options.xfrm == 0x602e7 ? 4 : 1;
  options.miscselect = in.below(2);
  options.attributes |= in.take<std::uint8_t>() & 0xb0;
  World w(options);
  for (unsigned step = 0; step < 32 && !in.empty(); ++step) {
    switch (in.below(4)) {
      case 0:
        run_aex(w, in);
        break;
      case 1:
        change_state(w, in);
        break;
      default:
        run_leaf(w, in);
        break;
    }
  }
  return 0;
}
