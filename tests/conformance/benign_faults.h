// SPDX-License-Identifier: Apache-2.0
//
// What the tests of page faults that nobody gets share: an enclave that looks at its own SSA frame.
#pragma once

#include <gtest/gtest.h>

#include "conformance/support.h"

namespace enclume::test {

class BenignFaultTest : public ::testing::Test {
 protected:
  static ProbeOptions options(std::uint32_t miscselect, std::uint64_t heap_pages) {
    ProbeOptions options;
    options.heap_pages = heap_pages;
    options.minimum_size = 0x80000;
    options.image.miscselect = miscselect;
    return options;
  }
  static LoadOptions load() {
    LoadOptions load;
    load.map_holes = true;
    return load;
  }
  explicit BenignFaultTest(std::uint32_t miscselect = kMiscselectExinfo, std::uint64_t heap_pages = 40)
      : probe_(options(miscselect, heap_pages), load()) {
    forget();
  }

  std::uint64_t frame() const { return probe_.tcs() + PROBE_SSA + probe_.frame_size(); }
  std::uint64_t rip_at() const { return frame() - sizeof(Gprsgx) + offsetof(Gprsgx, rip); }
  std::uint64_t exitinfo_at() const { return frame() - sizeof(Gprsgx) + offsetof(Gprsgx, exitinfo); }
  std::uint64_t exinfo_at() const { return frame() - sizeof(Gprsgx) - sizeof(Exinfo); }

  // Runs all code that the tests use once more, so that no page of it is missing, and wipes what the last
  // exit has left in frame 0. The tail of EXITINFO's word is reserved bytes and AEXNOTIFY.
  void forget() {
    for (int round = 0; round < 2; ++round) {
      probe_.read(probe_.scratch());
      probe_.write(exitinfo_at(), 0);
      probe_.write(exinfo_at(), 0);
      probe_.write(exinfo_at() + 8, 0);
      probe_.write(rip_at(), 0);
    }
  }
  bool has_left() const { return probe_.read(rip_at()) != 0; }
  std::uint32_t exitinfo() const { return static_cast<std::uint32_t>(probe_.read(exitinfo_at())); }
  std::uint64_t maddr() const { return probe_.read(exinfo_at()); }
  std::uint32_t errcd() const { return static_cast<std::uint32_t>(probe_.read(exinfo_at() + 8)); }
  std::uint64_t heap(std::uint64_t page) const { return probe_.heap() + page * kPage; }
  // A page that is not there yet.
  std::uint64_t hole() const { return probe_.base() + 0x60000; }

  bool has_sgx2() const {
    sgx_enclave_remove_pages nothing{};
    return remove_pages(probe_.fd(), nothing) != ENODEV;
  }
  ProbeEnclave probe_;
};

// With more pages than this run's EPC has.
class EvictedPageTest : public BenignFaultTest {
 protected:
  static constexpr std::uint64_t kPages = 600;
  EvictedPageTest() : BenignFaultTest(kMiscselectExinfo, kPages) {}

  // Uses all the others, so that this page is driven out.
  void evict(std::uint64_t page) const {
    for (std::uint64_t other = 0; other < kPages; ++other) {
      if (other != page) probe_.write(heap(other), other);
    }
  }
};

}  // namespace enclume::test
