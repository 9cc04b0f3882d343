// SPDX-License-Identifier: Apache-2.0
// A program of supervisor leaves with operands of the input's choice. Nothing may crash, and the books must
// balance after every leaf.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "arch/encls/encls.h"
#include "arch/epc/epcm.h"
#include "arch/structs/einittoken.h"
#include "arch/structs/pageinfo.h"
#include "arch/structs/pcmd.h"
#include "arch/structs/secinfo.h"
#include "arch/structs/secs.h"
#include "arch/structs/sigstruct.h"
#include "support/fake_machine.h"

using namespace enclume;

namespace {

constexpr std::size_t kPages = 6;

void require(bool condition) {
  if (!condition) {
    std::abort();
  }
}

/// The input, read value by value; zeros after its end.
class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : data_(data), left_(size) {}
  [[nodiscard]] bool empty() const { return left_ == 0; }
  template <typename T>
  T take() {
    T value{};
    const std::size_t n = left_ < sizeof(T) ? left_ : sizeof(T);
    std::memcpy(&value, data_, n);
    data_ += n;
    left_ -= n;
    return value;
  }

 private:
  const std::uint8_t* data_;
  std::size_t left_;
};

class Program {
 public:
  explicit Program(Input input)
      : input_(input),
        machine_(kPages),
        pageinfo_(machine_.allocate<arch::Pageinfo>()),
        secinfo_(machine_.allocate<arch::Secinfo>()),
        pcmd_(machine_.allocate<arch::Pcmd>()),
        page_(machine_.allocate_pages(1)) {
    auto& secs = *reinterpret_cast<arch::Secs*>(page_);
    secs.size = 0x10000;
    secs.ssa_frame_size = 1;
    secs.attributes = {arch::attribute::kMode64Bit | arch::attribute::kDebug, 3};
  }

  void run() {
    for (int steps = 0; !input_.empty() && steps < 200; ++steps) {
      step();
      check();
    }
  }

 private:
  // Mostly something that could work, sometimes the input's own number.
  LinearAddress address() {
    const auto choice = input_.take<std::uint8_t>();
    switch (choice >> 5) {
      case 0:
        return LinearAddress(input_.take<std::uint64_t>());
      case 1:
        return LinearAddress::of(page_) + (choice & 0x1fU) * 8U;
      case 2:
        return LinearAddress();
      default:
        return machine_.epc_address(choice % kPages) + ((choice & 8) != 0 ? 8U * (choice & 7) : 0U);
    }
  }
  void fill_pageinfo() {
    const auto choice = input_.take<std::uint8_t>();
    pageinfo_.linaddr = (choice & 1) != 0 ? (choice >> 4) * kPageSize : address().value();
    pageinfo_.srcpge = (choice & 2) != 0 ? LinearAddress::of(page_).value() : address().value();
    pageinfo_.secinfo =
        (choice & 4) != 0 ? LinearAddress::of(&secinfo_).value() : LinearAddress::of(&pcmd_).value();
    pageinfo_.secs = address().value();
  }
  void fill_secinfo() {
    secinfo_ = {};
    secinfo_.flags = input_.take<std::uint16_t>();
  }

  void step() {
    const arch::Machine& m = machine_.machine();
    const LinearAddress rbx = LinearAddress::of(&pageinfo_);
    const LinearAddress info = LinearAddress::of(&secinfo_);
    std::uint64_t value = 0;
    arch::LeafResult r = arch::leaf_success();
    switch (input_.take<std::uint8_t>() % 18) {
      case 0:
        fill_secinfo();
        fill_pageinfo();
        r = arch::ecreate(m, machine_, rbx, address());
        break;
      case 1:
        fill_secinfo();
        fill_pageinfo();
        r = arch::eadd(m, machine_, rbx, address());
        break;
      case 2:
        r = arch::eextend(m, machine_, address(), address());
        break;
      case 3:
        r = arch::einit(m, machine_, {}, address(), address(), address());
        break;
      case 4:
        r = arch::eremove(m, machine_, address());
        break;
      case 5:
        r = arch::eblock(m, machine_, address());
        break;
      case 6:
        r = arch::etrack(m, machine_, address());
        break;
      case 7:
        r = arch::epa(m, machine_, input_.take<std::uint8_t>(), address());
        break;
      case 8:
        fill_pageinfo();
        r = arch::ewb(m, machine_, rbx, address(), address());
        break;
      case 9:
        fill_pageinfo();
        r = arch::eldu(m, machine_, rbx, address(), address());
        break;
      case 10:
        fill_pageinfo();
        r = arch::eldb(m, machine_, rbx, address(), address());
        break;
      case 11:
        fill_pageinfo();
        r = arch::eaug(m, machine_, rbx, address());
        break;
      case 12:
        fill_secinfo();
        r = arch::emodpr(m, machine_, info, address());
        break;
      case 13:
        fill_secinfo();
        r = arch::emodt(m, machine_, info, address());
        break;
      case 14:
        r = arch::edbgrd(m, machine_, address(), value);
        break;
      case 15:
        r = arch::edbgwr(m, machine_, address(), input_.take<std::uint64_t>());
        break;
      case 16: {  // in place of an EINIT that nobody can sign
        const arch::EpcPage page = machine_.epc_page(input_.take<std::uint8_t>() % kPages);
        const arch::EpcmState s = page.epcm->load();
        if (s.valid && s.type == arch::PageType::Secs) {
          arch::secs_of(page).set_initialised();
        }
        break;
      }
      default: {
        const auto at = input_.take<std::uint16_t>() % kPageSize;
        page_[at] = input_.take<std::byte>();
        break;
      }
    }
    if (!r.has_value()) {
      const arch::Vector v = r.error().vector;
      require(v == arch::Vector::GP || v == arch::Vector::PF);
    } else {
      require((r->code == arch::LeafCode::Success) == (!r->zf && !r->cf));
    }
  }

  void check() {
    std::uint32_t children[kPages] = {};
    for (std::size_t i = 0; i < kPages; ++i) {
      const arch::EpcPage page = machine_.epc_page(i);
      const arch::EpcmState s = page.epcm->load();
      require(page.epcm->lock == 0);
      require(s.valid || s == arch::EpcmState{});
      require(s.r || !s.w);
      if (s.valid && s.type != arch::PageType::Secs && s.type != arch::PageType::Va) {
        const arch::EpcPage secs = machine_.page(arch::EpcAddress{page.epcm->enclave_secs});
        require(static_cast<bool>(secs));
        const arch::EpcmState owner = secs.epcm->load();
        require(owner.valid && owner.type == arch::PageType::Secs);
        ++children[secs.address.value / kPageSize - 1];
      }
    }
    for (std::size_t i = 0; i < kPages; ++i) {
      const arch::EpcPage page = machine_.epc_page(i);
      const arch::EpcmState s = page.epcm->load();
      if (s.valid && s.type == arch::PageType::Secs) {
        require(arch::secs_of(page).children() == children[i]);
      }
    }
  }

  Input input_;
  test::FakeMachine machine_;
  arch::Pageinfo& pageinfo_;
  arch::Secinfo& secinfo_;
  arch::Pcmd& pcmd_;
  std::byte* page_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Program(Input(data, size)).run();
  return 0;
}
