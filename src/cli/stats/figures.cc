// SPDX-License-Identifier: Apache-2.0
#include "cli/stats/figures.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>
#include <x86intrin.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string_view>

#include "cli/failure.h"
#include "trace/names.h"

namespace enclume::cli {
namespace {

using engine::Count;

struct Name {
  Count count;
  const char* key;    // in JSON
  const char* words;  // in text
};

constexpr Name kTransitions[] = {{Count::Eenter, "eenter", "EENTER"},
                                 {Count::Eresume, "eresume", "ERESUME"},
                                 {Count::EntryFault, "entry_faults", "faults of these two"},
                                 {Count::Eexit, "eexit", "EEXIT"},
                                 {Count::OtherLeaf, "other_leaves", "other leaves inside"},
                                 {Count::AexInterrupt, "aex_interrupt", "AEX by a signal"},
                                 {Count::AexKick, "aex_kick", "AEX by the machine itself"}};
constexpr Name kExceptions[] = {{Count::FaultResolved, "resolved", "page faults that the kernel settled"},
                                {Count::FaultFixedUp, "fixed_up", "exceptions by fixup"},
                                {Count::FaultSignalled, "signalled", "exceptions as signals"}};
constexpr Name kPages[] = {{Count::PagesAdded, "added", "added (EADD)"},
                           {Count::PagesAugmented, "augmented", "added (EAUG)"},
                           {Count::PagesOut, "out", "evicted (EWB)"},
                           {Count::PagesIn, "in", "loaded (ELDU)"},
                           {Count::PagesRemoved, "removed", "removed"}};
constexpr Name kEngine[] = {{Count::Signals, "signals", "signals, its own traps among them"},
                            {Count::RawCalls, "raw_calls", "system calls without libc"},
                            {Count::Ioctls, "ioctls", "ioctls"}};

std::string vector_name(std::size_t vector) {
  const auto name = trace::vector_name(static_cast<std::uint8_t>(vector));
  return name.empty() ? fmt::format("{}", vector) : std::string(name);
}

template <std::size_t N>
void append(std::string& out, const char* title, const Figures& figures, const Name (&names)[N]) {
  for (const auto& name : names) {
    if (figures.of(name.count) != 0) {
      out += fmt::format("  {:<12} {:>14}  {}\n", title, figures.of(name.count), name.words);
      title = "";
    }
  }
}

template <std::size_t N>
nlohmann::json object(const Figures& figures, const Name (&names)[N]) {
  nlohmann::json out;
  for (const auto& name : names) out[name.key] = figures.of(name.count);
  return out;
}

}  // namespace

StatsCollection::StatsCollection()
    : file_(::memfd_create("enclume-stats", MFD_CLOEXEC)),
      ticks_(__rdtsc()),
      start_(std::chrono::steady_clock::now()) {
  const auto size = static_cast<off_t>(sizeof(engine::StatsFile));
  void* memory = MAP_FAILED;
  if (file_ && ::ftruncate(file_.get(), size) == 0) {
    memory = ::mmap(nullptr, sizeof(engine::StatsFile), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
                    file_.get(), 0);
  }
  if (memory == MAP_FAILED) {
    throw Failure(ExitStatus::kInternal,
                  fmt::format("no memory for the counters of --stats: {}", std::strerror(errno)));
  }
  shared_ = static_cast<engine::StatsFile*>(memory);
}

StatsCollection::~StatsCollection() {
  ::munmap(shared_, sizeof(engine::StatsFile));
}

std::string StatsCollection::path() const {
  return fmt::format("/proc/{}/fd/{}", ::getpid(), file_.get());
}

Figures StatsCollection::figures() const {
  Figures figures;
  figures.counts.resize(static_cast<std::size_t>(Count::kNumber));
  figures.aex.resize(32);
  figures.processes = shared_->processes.load();
  for (const auto& group : shared_->groups) {
    if (group.process.load() == 0) continue;
    for (const auto& cell : group.cells) {
      for (std::size_t i = 0; i < figures.counts.size(); ++i) figures.counts[i] += cell.counts.at(i).load();
      for (std::size_t i = 0; i < figures.aex.size(); ++i) figures.aex[i] += cell.aex.at(i).load();
    }
  }
  // The processes count in ticks of the time-stamp counter; how long one is, the run itself has shown.
  figures.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  const double seconds_per_tick = figures.seconds / static_cast<double>(__rdtsc() - ticks_);
  figures.seconds_inside = static_cast<double>(figures.of(Count::TicksInside)) * seconds_per_tick;
  figures.seconds_in_engine = static_cast<double>(figures.of(Count::TicksEngine)) * seconds_per_tick;
  return figures;
}

std::string to_text(const Figures& figures) {
  auto out =
      fmt::format("enclume: {} {}, {:.3f} s; {:.3f} s in enclaves and {:.3f} s in the engine, all threads\n",
                  figures.processes, figures.processes == 1 ? "process" : "processes", figures.seconds,
                  figures.seconds_inside, figures.seconds_in_engine);
  append(out, "transitions", figures, kTransitions);
  for (std::size_t vector = 0; vector < figures.aex.size(); ++vector) {
    if (figures.aex[vector] != 0) {
      out += fmt::format("  {:<12} {:>14}  AEX by {}\n", "", figures.aex[vector], vector_name(vector));
    }
  }
  append(out, "faults", figures, kExceptions);
  append(out, "pages", figures, kPages);
  append(out, "engine", figures, kEngine);
  return out;
}

nlohmann::json to_json(const Figures& figures) {
  nlohmann::json aex = nlohmann::json::object();
  for (std::size_t vector = 0; vector < figures.aex.size(); ++vector) {
    if (figures.aex[vector] != 0) aex[vector_name(vector)] = figures.aex[vector];
  }
  return {{"processes", figures.processes},
          {"seconds", figures.seconds},
          {"seconds_inside", figures.seconds_inside},
          {"seconds_in_engine", figures.seconds_in_engine},
          {"transitions", object(figures, kTransitions)},
          {"aex", std::move(aex)},
          {"faults", object(figures, kExceptions)},
          {"pages", object(figures, kPages)},
          {"engine", object(figures, kEngine)}};
}

}  // namespace enclume::cli
