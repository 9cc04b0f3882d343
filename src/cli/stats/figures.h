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

// Sums over all processes of a run.
struct Figures {
  std::vector<std::uint64_t> counts;  // by engine::Count
  std::vector<std::uint64_t> aex;     // by vector
  std::uint64_t processes = 0;        // that the engine has run in
  double seconds = 0;                 // from the start to the end of the program
  double seconds_inside = 0;          // of all threads together
  double seconds_in_engine = 0;

  [[nodiscard]] std::uint64_t of(engine::Count what) const {
    return counts.at(static_cast<std::size_t>(what));
  }
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
