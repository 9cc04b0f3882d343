// SPDX-License-Identifier: Apache-2.0
//
// What is mapped where an enclave was changes while threads are at those very pages. A mapping that takes the
// place of an enclave's is the program's alone, from its first moment on, and rights that were taken stay
// taken.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "conformance/support.h"

namespace enclume::test {
namespace {

constexpr unsigned kWriters = 2;  // and a TCS for the test
constexpr std::uint64_t kSlotPages = 2, kSlotSize = kSlotPages * kPage;
constexpr std::uint64_t kSlots = 64;
constexpr unsigned kEnough = 20;

std::byte* pointer(std::uint64_t address) {
  return reinterpret_cast<std::byte*>(address);
}

// Whether a page of zeros that may be read and not written isn't that any more. The kernel tells without a
// signal, and goes by protection keys, too.
bool is_disturbed(std::uint64_t address) {
  const bool readable = syscall(SYS_access, address, F_OK) != 0 && errno == ENOENT;  // the path ""
  return !readable || syscall(SYS_getrandom, address, 8, 0) == 8;
}

// An enclave with slots of heap, of which threads write to the one that is said to be in use; it may be gone.
class MappingRace : public ::testing::Test {
 protected:
  void SetUp() override {
    ProbeOptions options;
    options.threads = kWriters + 1;
    options.heap_pages = kSlots * kSlotPages;
    probe_ = std::make_unique<ProbeEnclave>(options);
    for (unsigned i = 0; i < kWriters; ++i) {
      writers_.emplace_back([this, i] {
        while (!stop_) {
          const std::uint64_t at = slot_ + (i % kSlotPages) * kPage;
          const CallResult result = probe_->call(PROBE_OP_WRITE, {at, ++values_[i]}, i);
          if (result.exited()) {
            ++written_;
          } else if (result.faulted()) {
            probe_->abandon(i);
          }
        }
      });
    }
  }
  void TearDown() override {
    stop_ = true;
    for (auto& writer : writers_) writer.join();
    if (guest_.joinable()) guest_.join();
  }
  std::uint64_t slot(std::uint64_t number) const { return probe_->heap() + number * kSlotSize; }
  // Two seconds, and longer where that is not enough.
  bool more(unsigned rounds) const {
    return std::chrono::steady_clock::now() < end_ || (rounds <= kEnough && !is_late());
  }
  bool is_late() const { return std::chrono::steady_clock::now() > end_ + std::chrono::minutes(1); }

  // Somebody else's mapping, which may be written to by nobody, wherever the slot in use leaves a gap.
  void invite_guest() {
    guest_ = std::thread([this] {
      while (!stop_) {
        const std::uint64_t want = slot_;
        void* const got = mmap(pointer(want), kSlotSize, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (got == MAP_FAILED) continue;
        const auto address = reinterpret_cast<std::uint64_t>(got);
        if (address == want) {
          ++guests_;
          for (int i = 0; i < 20; ++i) {
            if (is_disturbed(address) || is_disturbed(address + kPage)) ++overrun_;
          }
        }
        munmap(got, kSlotSize);
      }
    });
  }

  std::unique_ptr<ProbeEnclave> probe_;
  std::atomic<std::uint64_t> slot_ = 0;
  std::atomic<bool> stop_ = false;
  std::atomic<unsigned> written_ = 0, guests_ = 0, overrun_ = 0;

 private:
  const std::chrono::steady_clock::time_point end_ =
      std::chrono::steady_clock::now() + std::chrono::seconds(2);
  std::uint64_t values_[kWriters] = {};
  std::vector<std::thread> writers_;
  std::thread guest_;
};

TEST_F(MappingRace, OrdinaryMemoryMappedOverAnEnclaveKeepsItsPermissions) {
  slot_ = slot(0);
  unsigned rounds = 0, overrun = 0;
  for (; more(rounds); ++rounds) {
    ASSERT_EQ(mmap(pointer(slot_), kSlotSize, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
              pointer(slot_));
    for (std::uint64_t i = 0; i < kSlotPages; ++i) {
      overrun += is_disturbed(slot_ + i * kPage) ? 1U : 0U;
    }
    ASSERT_EQ(
        mmap(pointer(slot_), kSlotSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, probe_->fd(), 0),
        pointer(slot_));
    for (const unsigned before = written_; written_ == before && !is_late();) sched_yield();
  }
  EXPECT_EQ(overrun, 0u) << rounds;
  EXPECT_GT(rounds, kEnough);
}

TEST_F(MappingRace, RightsThatWereTakenDoNotComeBack) {
  slot_ = slot(0);
  unsigned rounds = 0, changed = 0;
  for (; more(rounds); ++rounds) {
    ASSERT_EQ(mprotect(pointer(slot_), kSlotSize, PROT_READ), 0);
    for (std::uint64_t i = 0; i < kSlotPages; ++i) {
      const std::uint64_t before = probe_->read(slot_ + i * kPage, kWriters);
      usleep(50);
      changed += probe_->read(slot_ + i * kPage, kWriters) != before ? 1U : 0U;
    }
    ASSERT_EQ(mprotect(pointer(slot_), kSlotSize, PROT_READ | PROT_WRITE), 0);
    for (const unsigned before = written_; written_ == before && !is_late();) sched_yield();
  }
  EXPECT_EQ(changed, 0u) << rounds;
  EXPECT_GT(rounds, kEnough);
}

TEST_F(MappingRace, EnclaveMappedOverItselfIsNeverMissing) {
  const std::uint64_t all = kSlots * kSlotSize;
  // None of the writes may fail: there is a mapping at each moment, with permissions enough.
  std::atomic<unsigned> failed = 0, done = 0;
  std::thread other([&] {
    for (std::uint64_t n = 0; !stop_; n = (n + 1) % (kSlots * kSlotPages)) {
      const CallResult result = probe_->call(PROBE_OP_WRITE, {probe_->heap() + n * kPage, 1}, kWriters);
      if (result.exited()) {
        ++done;
      } else {
        ++failed;
        probe_->abandon(kWriters);
      }
    }
  });
  unsigned rounds = 0;
  for (; more(rounds); ++rounds) {
    ASSERT_EQ(mmap(pointer(slot(0)), all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, probe_->fd(), 0),
              pointer(slot(0)));
    for (const unsigned before = done; done == before && !is_late();) sched_yield();
  }
  stop_ = true;
  other.join();
  EXPECT_EQ(failed, 0u) << rounds;
  EXPECT_GT(rounds, kEnough);
}

TEST_F(MappingRace, PlaceThatMunmapLeavesIsTheNextOnes) {
  invite_guest();
  for (std::uint64_t n = 0; more(guests_); n = (n + 1) % kSlots) {
    slot_ = slot(n);
    for (const unsigned before = written_; written_ == before && !is_late();) sched_yield();
    ASSERT_EQ(munmap(pointer(slot(n)), kSlotSize), 0);
    usleep(50);
    slot_ = slot((n + 1) % kSlots);
    // Until the guest has left.
    while (mmap(pointer(slot(n)), kSlotSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE,
                probe_->fd(), 0) == MAP_FAILED) {
      ASSERT_EQ(errno, EEXIST);
      sched_yield();
    }
  }
  EXPECT_EQ(overrun_, 0u) << guests_;
  EXPECT_GT(guests_, kEnough);
}

TEST_F(MappingRace, PlaceThatMremapLeavesIsTheNextOnes) {
  invite_guest();
  const auto map = [&](std::uint64_t n, int fixed) {
    return mmap(pointer(slot(n)), kSlotSize, PROT_READ | PROT_WRITE, MAP_SHARED | fixed, probe_->fd(), 0);
  };
  for (std::uint64_t n = 0; more(guests_); n = (n + 2) % kSlots) {
    // One mapping each, of which the second is moved over.
    ASSERT_NE(map(n, MAP_FIXED), MAP_FAILED);
    slot_ = slot(n);
    for (const unsigned before = written_; written_ == before && !is_late();) sched_yield();
    ASSERT_EQ(
        mremap(pointer(slot(n)), kSlotSize, kSlotSize, MREMAP_MAYMOVE | MREMAP_FIXED, pointer(slot(n + 1))),
        pointer(slot(n + 1)));
    usleep(50);
    ASSERT_EQ(probe_->read(slot(n + 1), kWriters), probe_->read(slot(n + 1), kWriters));
    slot_ = slot((n + 2) % kSlots);
    while (map(n, MAP_FIXED_NOREPLACE) == MAP_FAILED) {
      ASSERT_EQ(errno, EEXIST);
      sched_yield();
    }
  }
  EXPECT_EQ(overrun_, 0u) << guests_;
  EXPECT_GT(guests_, kEnough);
}

}  // namespace
}  // namespace enclume::test
