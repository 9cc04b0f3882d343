// SPDX-License-Identifier: Apache-2.0
// mmap, mprotect, mremap of enclaves.
#include <gtest/gtest.h>

#include "kernel_world.h"

namespace enclume::test {
namespace {

using kernel::may_mmap;
using kernel::may_mprotect;
using kernel::MmapRequest;

LinearAddress at(std::uint64_t offset) {
  return LinearAddress(kTestBase + offset);
}
LinearRange range(std::uint64_t begin, std::uint64_t end) {
  return {at(begin), at(end)};
}

class MayMapTest : public ::testing::Test {
 protected:
  SysResult<void> mmap_as(MmapRequest request) {
    const auto r = may_mmap(w.kernel, *e, request);
    return r ? SysResult<void>{} : fail(r.error());
  }
  SysResult<void> mmap_at(LinearRange where, Protection prot) {
    return mmap_as({.range = where, .prot = prot.bits(), .flags = MAP_SHARED});
  }

  KernelWorld w;
  Enclave* e = &w.open_device();
  EnclaveImage image = test_image();
};

TEST_F(MayMapTest, BeforeCreateAnythingGoes) {
  EXPECT_TRUE(mmap_at({LinearAddress(0x10000), LinearAddress(1ULL << 40)}, kernel::kProtAll));
}

TEST_F(MayMapTest, KindsOfMapping) {
  MmapRequest request{.range = range(0, kPage), .prot = PROT_READ | PROT_WRITE, .flags = MAP_SHARED};
  EXPECT_TRUE(mmap_as(request));
  request.flags = MAP_SHARED_VALIDATE | MAP_FIXED;
  EXPECT_TRUE(mmap_as(request));
  request.flags = MAP_PRIVATE;
  EXPECT_EQ(mmap_as(request), fail(Errno::Invalid));
  EXPECT_EQ(kernel::may_choose_address(MAP_PRIVATE | MAP_FIXED), fail(Errno::Invalid));
  request.flags = 0;
  EXPECT_EQ(mmap_as(request), fail(Errno::Invalid));

  request.flags = MAP_SHARED;
  request.fd_writable = false;
  EXPECT_EQ(mmap_as(request), fail(Errno::Access));
  request.prot = PROT_READ;
  EXPECT_TRUE(mmap_as(request));
  request.fd_readable = false;
  EXPECT_EQ(mmap_as(request), fail(Errno::Access));

  request = {.range = range(0, kPage), .prot = PROT_READ, .flags = MAP_SHARED, .read_implies_exec = true};
  EXPECT_EQ(mmap_as(request), fail(Errno::Access));
}

TEST_F(MayMapTest, PagesLimitWhatTheirRangesMayHave) {
  e = &w.build(image);
  EXPECT_TRUE(mmap_at(range(part::kCode, part::kCode + kPage), kernel::kProtRead | kernel::kProtExec));
  EXPECT_EQ(mmap_at(range(part::kCode, part::kCode + kPage), kernel::kProtReadWrite), fail(Errno::Access));
  EXPECT_TRUE(mmap_at(range(part::kCode, part::kCode + kPage), kernel::kProtNone));
  // One page of the range is enough to refuse it.
  EXPECT_EQ(mmap_at(range(0, 0x100000), kernel::kProtReadWrite), fail(Errno::Access));
  EXPECT_TRUE(mmap_at(range(0, 0x100000), kernel::kProtRead));
  // A TCS is RW to the kernel.
  EXPECT_TRUE(mmap_at(range(part::kTcs, part::kTcs + kPage), kernel::kProtReadWrite));
  EXPECT_EQ(mmap_at(range(part::kTcs, part::kTcs + kPage), kernel::kProtExec), fail(Errno::Access));
  // Where there is no page there is no limit.
  EXPECT_TRUE(mmap_at(range(0x80000, 0x90000), kernel::kProtAll));
  // Before INIT also beyond the enclave.
  EXPECT_TRUE(mmap_at({LinearAddress(kTestBase - kPage), at(kPage)}, kernel::kProtRead));
}

TEST_F(MayMapTest, AfterInitOnlyInside) {
  e = &w.load(image);
  EXPECT_EQ(mmap_at({LinearAddress(kTestBase - kPage), at(kPage)}, kernel::kProtNone), fail(Errno::Access));
  EXPECT_EQ(mmap_at(range(0xff000, 0x101000), kernel::kProtNone), fail(Errno::Access));
  EXPECT_TRUE(mmap_at(range(0, 0x100000), kernel::kProtNone));
}

TEST_F(MayMapTest, MprotectStopsWhereLinuxStops) {
  e = &w.build(image);
  w.map(*e, range(part::kTcs, part::kSsa), kernel::kProtRead);
  w.map(*e, range(part::kSsa, part::kCode), kernel::kProtRead);
  w.map(*e, range(part::kCode, part::kData), kernel::kProtRead);
  w.map(*e, range(part::kData, part::kData + kPage), kernel::kProtRead);

  auto verdict = may_mprotect(w.kernel, range(0, part::kCode), PROT_READ | PROT_WRITE, false);
  EXPECT_FALSE(verdict.error);
  EXPECT_EQ(verdict.allowed_end, at(part::kCode));

  verdict = may_mprotect(w.kernel, range(0, part::kData + kPage), PROT_READ | PROT_WRITE, false);
  EXPECT_EQ(verdict.error, Errno::Access);
  EXPECT_EQ(verdict.allowed_end, at(part::kCode));  // what is before is changed, and stays so

  verdict = may_mprotect(w.kernel, {LinearAddress(0x1000), LinearAddress(0x9000)}, PROT_WRITE, false);
  EXPECT_FALSE(verdict.error);

  verdict = may_mprotect(w.kernel, range(0, kPage), PROT_READ, true);
  EXPECT_EQ(verdict.error, Errno::Access);
}

TEST_F(MayMapTest, MprotectOfADescriptorOpenedForReading) {
  e = &w.build(image);
  const auto vma = may_mmap(w.kernel, *e,
                            {.range = range(part::kData, part::kData + kPage),
                             .prot = PROT_READ,
                             .flags = MAP_SHARED,
                             .fd_writable = false});
  ASSERT_TRUE(vma);
  {
    kernel::VmaTable::Writer writer(w.vmas, w.platform.thread_id());
    ASSERT_TRUE(writer.insert(*vma));
  }
  EXPECT_EQ(may_mprotect(w.kernel, vma->range, PROT_WRITE, false).error, Errno::Access);
  EXPECT_FALSE(may_mprotect(w.kernel, vma->range, PROT_NONE, false).error);
}

TEST(MayMremapTest, NeverGrows) {
  EXPECT_TRUE(kernel::may_mremap(2 * kPage, kPage));
  EXPECT_TRUE(kernel::may_mremap(kPage, kPage));
  EXPECT_TRUE(kernel::may_mremap(kPage - 1, kPage));
  EXPECT_EQ(kernel::may_mremap(kPage, kPage + 1), fail(Errno::Fault));
}

TEST(ProtectionRunsTest, CoverTheRangeMaximallyAndAgreeWithEachPage) {
  KernelWorld w;
  EnclaveImage image = test_image(0x100000, 20);
  image.add_page(0x60000, kPtReg | kR, {});
  image.add_page(0x61000, kPtReg | kR | kW | kX, {});
  Enclave& e = w.build(image);
  const auto state_of = [&](std::uint64_t page, auto change) {
    arch::EpcmEntry& entry = *e.epc_page(page).epcm;
    arch::EpcmState s = entry.load();
    change(s);
    entry.store(s);
  };
  state_of(8, [](auto& s) { s.blocked = true; });
  state_of(9, [](auto& s) { s.pending = true; });
  state_of(10, [](auto& s) { s.modified = true; });
  state_of(12, [](auto& s) { s.pr = true; });  // only EACCEPT minds
  state_of(13, [](auto& s) { s.type = arch::PageType::Trim; });
  kernel::PageState aged = e.page(14).load();
  aged.aged = true;
  e.page(14).store(aged);

  for (unsigned vma = 0; vma < 8; ++vma) {
    const Protection prot = Protection::of(vma);
    for (const auto& [first, end] :
         {std::pair<std::uint64_t, std::uint64_t>{0, e.pages()}, {3, 12}, {200, 300}}) {
      kernel::ProtectionRuns runs(e, first, end, prot);
      std::uint64_t next = first;
      std::optional<Protection> before;
      while (const auto run = runs.next()) {
        ASSERT_EQ(run->first, next);
        ASSERT_GT(run->count, 0);
        ASSERT_NE(before, run->prot);
        before = run->prot;
        for (; next < run->first + run->count; ++next) {
          ASSERT_EQ(effective_protection(e, next, prot), run->prot) << next;
        }
      }
      EXPECT_EQ(next, end);
    }
  }
  EXPECT_EQ(effective_protection(e, 0, kernel::kProtRead), kernel::kProtNone);  // the TCS
  EXPECT_EQ(effective_protection(e, 3, kernel::kProtRead), kernel::kProtRead);
  EXPECT_EQ(effective_protection(e, 3, kernel::kProtReadWrite), kernel::kProtNone);  // beyond the maximum
  EXPECT_EQ(effective_protection(e, 12, kernel::kProtReadWrite), kernel::kProtReadWrite);
  for (const std::uint64_t page : {8U, 9U, 10U, 13U, 14U, 50U}) {
    EXPECT_EQ(effective_protection(e, page, kernel::kProtRead), kernel::kProtNone) << page;
  }
}

}  // namespace
}  // namespace enclume::test
