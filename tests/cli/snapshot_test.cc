// SPDX-License-Identifier: Apache-2.0
// What `enclume mem` makes of shared memory that changes while it reads.
#include "cli/mem/snapshot.h"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <vector>

#include "arch/structs/secinfo.h"
#include "kernel/layout.h"
#include "kernel/shared.h"

namespace enclume::cli {
namespace {

using kernel::EnclavePage;
using kernel::EnclaveShared;
using kernel::kPcmdSize;

// An enclave of sixteen pages of which one, REG and rw-, is there.
class SnapshotTest : public ::testing::Test {
 protected:
  static constexpr std::uint64_t kPages = 16, kPage3 = 3;

  SnapshotTest() : layout_(kernel::MetadataLayout::of(kPages * kPageSize)), memory_(layout_.length / 8) {
    auto& header = at<EnclaveShared>(0);
    header.magic = kernel::kEnclaveMagic;
    header.flags = kernel::enclave_flag::kCreated | kernel::enclave_flag::kInitialized;
    header.base = 0x10000;
    header.size = kPages * kPageSize;
    header.secs.store(
        {.max_prot = kernel::kProtNone, .present = true, .resident = true, .type = arch::PageType::Secs});
    at<arch::EpcmEntry>(layout_.epcm + kPages * sizeof(arch::EpcmEntry))
        .store({.valid = true, .type = arch::PageType::Secs});
    for (std::size_t level = 0; level < 2; ++level) {
      at<std::uint64_t>(layout_.index + layout_.index_level[level] * 8) = level == 0 ? 1U << kPage3 : 1;
    }
  }

  template <typename T>
  T& at(std::uint64_t offset) {
    return *reinterpret_cast<T*>(reinterpret_cast<std::byte*>(memory_.data()) + offset);
  }
  EnclavePage& page() { return at<EnclavePage>(layout_.page_table + kPage3 * sizeof(EnclavePage)); }
  arch::EpcmEntry& entry() { return at<arch::EpcmEntry>(layout_.epcm + kPage3 * sizeof(arch::EpcmEntry)); }
  std::uint64_t& pcmd() { return at<std::uint64_t>(layout_.pcmd + kPage3 * kPcmdSize); }

  void load() {
    entry().store({.valid = true, .r = true, .w = true, .type = arch::PageType::Reg});
    page().va_slot = 0;
    pcmd() = 0;
  }
  void evict() {
    pcmd() = arch::secinfo_flags_of(arch::PageType::Reg, arch::secinfo_flags::kR | arch::secinfo_flags::kW);
    entry().store({});
    page().va_slot = 1;
  }

  // The page as it is seen if `then` comes behind the first read at `place`.
  PageKind seen_if(const std::function<void()>& then, std::uint64_t place = 0) {
    page().store({.max_prot = kernel::kProtReadWrite, .present = true, .type = arch::PageType::Reg});
    bool done = false;
    const auto view = view_enclave([&](std::uint64_t offset, void* to, std::size_t size) {
      std::memcpy(to, reinterpret_cast<const std::byte*>(memory_.data()) + offset, size);
      if (!done && offset == place) {
        done = true;
        then();
      }
      return true;
    });
    if (!view || view->ranges.size() != 1 || view->ranges[0].count != 1) {
      ADD_FAILURE() << "not one page";
      return {};
    }
    return view->ranges[0].kind;
  }

  kernel::MetadataLayout layout_;
  std::vector<std::uint64_t> memory_;
};

TEST_F(SnapshotTest, EvictedPageIsSeenWithItsPermissions) {
  evict();
  const PageKind kind = seen_if([] {});
  EXPECT_EQ(kind.residence, Residence::kEvicted);
  EXPECT_EQ(kind.permissions, kernel::kProtReadWrite);
}

TEST_F(SnapshotTest, PageThatIsLoadedMeanwhileHasPermissions) {
  evict();
  const PageKind kind = seen_if([this] { load(); }, layout_.epcm);
  EXPECT_EQ(kind.residence, Residence::kEpc);
  EXPECT_EQ(kind.permissions, kernel::kProtReadWrite);
}

TEST_F(SnapshotTest, PageThatIsEvictedMeanwhileIsNotLost) {
  load();
  const PageKind kind = seen_if([this] { evict(); }, layout_.page_table);
  EXPECT_EQ(kind.residence, Residence::kEvicted);
  EXPECT_EQ(kind.permissions, kernel::kProtReadWrite);
}

TEST_F(SnapshotTest, PageOfAnEnclaveThatHasLostItsEpcIsLost) {
  at<arch::EpcmEntry>(layout_.epcm + kPages * sizeof(arch::EpcmEntry)).store({});
  EXPECT_EQ(seen_if([] {}).residence, Residence::kLost);
}

}  // namespace
}  // namespace enclume::cli
