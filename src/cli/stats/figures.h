// SPDX-License-Identifier: Apache-2.0
// The figures of `enclume run --stats`: the counters' file, and what it comes to at the end.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "cli/file_descriptor.h"
#include "engine/stats/layout.h"

namespace enclume::cli {

// An EEXIT of an enclave that was trapped for a reason of its own, each time.
struct SlowExit {
  std::uint64_t enclave = 0;  // the first eight bytes of MRENCLAVE
  std::uint64_t offset = 0;   // of the ENCLU, from the enclave's base
  engine::Slow why{};
  std::uint64_t count = 0;
};

// Sums over all processes of a run.
struct Figures {
  std::vector<std::uint64_t> counts;  // by engine::Count; transitions with the direct ones
  std::vector<std::uint64_t> aex;     // by vector
  std::uint64_t direct_eenter = 0;    // without a trap
  std::uint64_t direct_eresume = 0;
  std::uint64_t direct_eexit = 0;
  std::vector<std::uint64_t> slow_entries;  // the others, by engine::Slow
  std::vector<std::uint64_t> slow_exits;
  std::vector<SlowExit> slow_sites;
  std::uint64_t processes = 0;  // that the engine has run in
  double seconds = 0;           // from the start to the end of the program
  double seconds_inside = 0;    // of all threads together
  double seconds_in_engine = 0;
  double seconds_paging = 0;  // in evicting pages and loading them

  [[nodiscard]] std::uint64_t of(engine::Count what) const {
    return counts.at(static_cast<std::size_t>(what));
  }
  [[nodiscard]] std::uint64_t& of(engine::Count what) { return counts.at(static_cast<std::size_t>(what)); }
};

// Made before the program starts. Throws Failure (kInternal) if there is no memory for it.
class StatsCollection {
 public:
  StatsCollection();
  ~StatsCollection();
  StatsCollection(const StatsCollection&) = delete;
  StatsCollection& operator=(const StatsCollection&) = delete;

  // By which the engine finds it, as long as this process lives.
  [[nodiscard]] std::string path() const;
  // What has been counted up to now.
  [[nodiscard]] Figures figures() const;

 private:
  FileDescriptor file_;
  engine::StatsFile* shared_ = nullptr;
  std::uint64_t ticks_;
  std::chrono::steady_clock::time_point start_;
};

[[nodiscard]] std::string to_text(const Figures& figures);
// Keys stay the same from version to version.
[[nodiscard]] nlohmann::json to_json(const Figures& figures);

}  // namespace enclume::cli
