// SPDX-License-Identifier: Apache-2.0
// A machine for tests of src/arch: an EPC of a few pages in ordinary memory, and page tables in a map.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <expected>
#include <map>
#include <memory>
#include <span>
#include <stdexcept>
#include <vector>

#include "arch/epc/epcm.h"
#include "arch/fault.h"
#include "arch/machine.h"
#include "arch/ports.h"
#include "arch/structs/attributes.h"
#include "base/types.h"

namespace enclume::test {

/// A processor with everything that the model knows, and the XSAVE layout that Intel's processors have.
inline arch::MachineConfig default_config() {
  arch::MachineConfig config;
  config.sgx2 = true;
  config.misc_supported = arch::miscselect::kExinfo;
  config.attributes_supported = arch::attribute::kDebug | arch::attribute::kMode64Bit |
                                arch::attribute::kProvisionKey | arch::attribute::kEinitTokenKey |
                                arch::attribute::kKss | arch::attribute::kAexNotify;
  config.xfrm_supported = 0x602e7;  // x87, SSE, AVX, AVX-512, PKRU, AMX
  config.xcr0 = 0x602e7;
  config.max_size_log2_64 = 47;
  config.xsave[2] = {576, 256};
  config.xsave[5] = {1088, 64};
  config.xsave[6] = {1152, 512};
  config.xsave[7] = {1664, 1024};
  config.xsave[9] = {2688, 8};
  config.xsave[17] = {2752, 64};
  config.xsave[18] = {2816, 8192};
  for (std::size_t i = 0; i < config.cpusvn.size(); ++i) {
    config.cpusvn[i] = static_cast<std::byte>(i < 4 ? 4 + i : 0);
  }
  for (std::size_t i = 0; i < config.secret.size(); ++i) {
    config.secret[i] = static_cast<std::byte>(0xa0 + i);
  }
  return config;
}

/// What a page-table entry says.
struct Mapping {
  std::byte* data = nullptr;
  std::size_t epc_index = kNotEpc;
  bool present = true;
  bool writable = true;
  bool executable = true;

  static constexpr std::size_t kNotEpc = ~std::size_t{0};
};

/// Pages of the EPC are also mapped, as in a kernel's direct map, at the address where they really lie, and
/// so is the memory that allocate() hands out. Everything else has to be mapped.
///
/// Leaves may run on any thread; map(), unmap() and allocate() may not run beside them.
class FakeMachine final : public arch::Epc, public arch::AddressSpace {
 public:
  explicit FakeMachine(std::size_t epc_pages = 64, const arch::MachineConfig& config = default_config())
      : config_(config),
        epc_pages_(epc_pages),
        epc_(aligned_pages(epc_pages)),
        epcm_(std::make_unique<arch::EpcmEntry[]>(epc_pages)),
        machine_{config_, shared_, *this} {
    shared_.boot_nonce.fill(std::byte{0x5a});
  }
  virtual ~FakeMachine() = default;
  FakeMachine(const FakeMachine&) = delete;
  FakeMachine& operator=(const FakeMachine&) = delete;

  [[nodiscard]] const arch::Machine& machine() const { return machine_; }
  [[nodiscard]] arch::MachineConfig& config() { return config_; }
  [[nodiscard]] arch::MachineShared& shared() { return shared_; }
  [[nodiscard]] std::size_t epc_pages() const { return epc_pages_; }

  /// EPC page by number, whatever its state.
  [[nodiscard]] arch::EpcPage epc_page(std::size_t index) {
    if (index >= epc_pages_) {
      throw std::out_of_range("no such EPC page");
    }
    return {&epcm_[index], epc_.get() + index * kPageSize, arch::EpcAddress{(index + 1) * kPageSize}};
  }
  /// Its address in the direct map: what ENCLS leaves take.
  [[nodiscard]] LinearAddress epc_address(std::size_t index) {
    return LinearAddress::of(epc_page(index).data);
  }

  /// Zeroed memory outside the EPC, mapped where it lies. Page aligned.
  template <typename T>
  [[nodiscard]] T& allocate() {
    static_assert(std::is_trivially_copyable_v<T>);
    return *reinterpret_cast<T*>(allocate_pages((sizeof(T) + kPageSize - 1) / kPageSize));
  }
  [[nodiscard]] std::byte* allocate_pages(std::size_t pages) {
    host_.push_back({aligned_pages(pages), pages});
    return host_.back().memory.get();
  }

  void map(LinearAddress page, const Mapping& mapping) { mappings_[page.value()] = mapping; }
  void map_epc(LinearAddress page, std::size_t index, bool writable = true, bool executable = true) {
    map(page, {epc_page(index).data, index, true, writable, executable});
  }
  void unmap(LinearAddress page) { mappings_.erase(page.value()); }

  // arch::Epc
  [[nodiscard]] arch::EpcPage page(arch::EpcAddress address) noexcept override {
    const std::uint64_t number = address.value / kPageSize;
    if (number == 0 || number > epc_pages_ || address.value % kPageSize != 0) {
      return {};
    }
    return epc_page(number - 1);
  }

  // arch::AddressSpace
  [[nodiscard]] std::expected<arch::Operand, arch::Fault> walk(LinearAddress address,
                                                               arch::Access access) noexcept override {
    const auto refuse = [&](std::uint32_t present) {
      std::uint32_t code = arch::pfec::kUser | present;
      if (access == arch::Access::Write) {
        code |= arch::pfec::kWrite;
      } else if (access == arch::Access::Execute) {
        code |= arch::pfec::kInstruction;
      }
      return std::unexpected(arch::Fault{arch::Vector::PF, code, address});
    };
    const std::uint64_t offset = address.page_offset();
    if (const auto it = mappings_.find(address.page().value()); it != mappings_.end()) {
      const Mapping& m = it->second;
      if (!m.present) {
        return refuse(0);
      }
      if ((access == arch::Access::Write && !m.writable) ||
          (access == arch::Access::Execute && !m.executable)) {
        return refuse(arch::pfec::kPresent);
      }
      arch::Operand operand{m.data + offset, {}};
      if (m.epc_index != Mapping::kNotEpc) {
        operand.epc = epc_page(m.epc_index);
      }
      return operand;
    }
    const std::uint64_t in_epc = address - LinearAddress::of(epc_.get());
    if (in_epc < epc_pages_ * kPageSize) {
      const std::size_t index = in_epc / kPageSize;
      return arch::Operand{epc_.get() + in_epc, epc_page(index)};
    }
    for (const HostPages& h : host_) {
      const std::uint64_t in_host = address - LinearAddress::of(h.memory.get());
      if (in_host < h.pages * kPageSize) {
        return arch::Operand{h.memory.get() + in_host, {}};
      }
    }
    return refuse(0);
  }

 private:
  struct Free {
    void operator()(std::byte* p) const { std::free(p); }
  };
  using Pages = std::unique_ptr<std::byte[], Free>;
  struct HostPages {
    Pages memory;
    std::size_t pages;
  };

  static Pages aligned_pages(std::size_t pages) {
    auto* memory = static_cast<std::byte*>(std::aligned_alloc(kPageSize, pages * kPageSize));
    if (memory == nullptr) {
      throw std::bad_alloc();
    }
    std::memset(memory, 0, pages * kPageSize);
    return Pages(memory);
  }

  arch::MachineConfig config_;
  arch::MachineShared shared_{};
  std::size_t epc_pages_;
  Pages epc_;
  std::unique_ptr<arch::EpcmEntry[]> epcm_;
  std::vector<HostPages> host_;
  std::map<std::uint64_t, Mapping> mappings_;
  arch::Machine machine_;
};

}  // namespace enclume::test
