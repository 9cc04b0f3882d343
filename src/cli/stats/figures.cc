// SPDX-License-Identifier: Apache-2.0
#include "cli/stats/figures.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>
#include <x86intrin.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <iterator>
#include <nlohmann/json.hpp>
#include <span>
#include <string_view>
#include <utility>

#include "cli/failure.h"
#include "trace/names.h"

namespace enclume::cli {
namespace {

using engine::Count;
using engine::Slow;

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
constexpr Name kEngine[] = {
    {Count::Signals, "signals", "signals, its own traps among them"},
    {Count::RawCalls, "raw_calls", "system calls without libc"},
    {Count::Ioctls, "ioctls", "ioctls"},
    {Count::ReadsLost, "reads_lost", "reads by an enclave that saw a jump of the engine's"}};

struct Reason {
  Slow why;
  const char* key;
  const char* words;
};

// docs/fast-paths.md has them at length.
constexpr Reason kReasons[] = {
    {Slow::FastOff, "fast_off", "--fast off"},
    {Slow::Strict, "strict", "--strict"},
    {Slow::Traced, "traced", "--trace tells of each leaf"},
    {Slow::Injected, "injected", "--inject counts entries"},
    {Slow::NoDescriptor, "no_descriptor", "no set_thread_area for a thread, or a seccomp filter"},
    {Slow::PerfEvent, "perf_event", "a breakpoint by perf_event_open"},
    {Slow::OtherEnclu, "other_enclu", "not by the vDSO function"},
    {Slow::Debugger, "debugger", "a debugger has the vDSO's ENCLU"},
    {Slow::SingleStep, "single_step", "single-stepped (TF)"},
    {Slow::OptIn, "opt_in", "the TCS has opted in to debugging"},
    {Slow::Forked, "forked", "first one of a forked process"},
    {Slow::NewThread, "new_thread", "first one of a thread"},
    {Slow::SharedFs, "shared_fs", "two threads have one FS base"},
    {Slow::OtherFs, "other_fs", "FS is not libc's, or has changed"},
    {Slow::OtherStack, "other_stack", "from a stack not seen before"},
    {Slow::NoCounters, "no_counters", "more threads than --stats can count"},
    {Slow::NewTcs, "new_tcs", "first one by this TCS, or by too many in turn"},
    {Slow::OtherFrame, "other_frame", "first one with this SSA frame"},
    {Slow::Changed, "changed", "mappings, permissions or pages have changed"},
    {Slow::FrameLayout, "frame_layout", "SSA frame over several pages, or laid out otherwise"},
    {Slow::ProtectionKey, "protection_key", "under a protection key of the program's, or closes key 0"},
    {Slow::AexNotify, "aex_notify", "AEX-Notify"},
    {Slow::PageHeld, "page_held", "the page shows its own bytes to a handler"},
    {Slow::Disturbed, "disturbed", "a signal came, or another thread was in the way"},
    {Slow::NoDoor, "no_door", "entered in a way that can't be left directly"},
    {Slow::NewSite, "new_site", "first one from there"},
    {Slow::NewSelector, "new_selector", "a thread's first ones"},
    {Slow::NoSelectors, "no_selectors", "no modify_ldt here, or a seccomp filter"},
    {Slow::Unwatched, "unwatched", "no protection keys, and no perf_event_open here"},
    {Slow::TooManyThreads, "too_many_threads", "more threads than the LDT has room for"},
    {Slow::NoLoad, "no_load", "no `mov $4, %eax` in front of it"},
    {Slow::Undecided, "undecided", "what is in front of it may be a part of another instruction"},
    {Slow::BranchedInto, "branched_into", "a branch may lead between it and what is in front"},
    {Slow::Writable, "writable", "its page is writable"},
    {Slow::NotWatched, "not_watched", "its page can't be patched"},
    {Slow::TooManySites, "too_many_sites", "too many in its page or its process"},
    {Slow::NoRoom, "no_room", "no memory near the enclave"},
    {Slow::LaidTooOften, "laid_too_often", "its page has changed too often"},
    {Slow::NoDebugRegister, "no_debug_register",
     "no debug register to watch it with, or a debugger is there"},
    {Slow::Read, "read", "the enclave has read it"},
};
static_assert(std::size(kReasons) == static_cast<std::size_t>(Slow::kNumber));

const Reason& reason(Slow why) {
  return *std::ranges::find(kReasons, why, &Reason::why);
}

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

// One line for each reason, behind a title that comes once.
void append_slow(std::string& out, const char*& title, std::span<const std::uint64_t> counts,
                 const char* what) {
  for (const Reason& reason : kReasons) {
    if (const std::uint64_t n = counts[static_cast<std::size_t>(reason.why)]; n != 0) {
      out += fmt::format("  {:<12} {:>14}  {}: {}\n", title, n, what, reason.words);
      title = "";
    }
  }
}

nlohmann::json slow_object(std::span<const std::uint64_t> counts) {
  nlohmann::json out = nlohmann::json::object();
  for (const Reason& reason : kReasons) {
    if (const std::uint64_t n = counts[static_cast<std::size_t>(reason.why)]; n != 0) out[reason.key] = n;
  }
  return out;
}

void add_site(std::vector<SlowExit>& sites, const engine::SlowSite& from) {
  const std::uint64_t offset_and_one = from.offset_and_one.load();
  if (offset_and_one == 0) return;
  const SlowExit site{from.enclave, offset_and_one - 1, engine::reason_in(from.key.load()),
                      from.count.load()};
  const auto known = std::ranges::find_if(sites, [&](const SlowExit& other) {
    return other.enclave == site.enclave && other.offset == site.offset && other.why == site.why;
  });
  if (known == sites.end()) {
    sites.push_back(site);
  } else {
    known->count += site.count;
  }
}

// As the first bytes of MRENCLAVE are written.
std::string enclave_name(std::uint64_t first_bytes) {
  return fmt::format("{:016x}", __builtin_bswap64(first_bytes));
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
  figures.slow_entries.resize(static_cast<std::size_t>(Slow::kNumber));
  figures.slow_exits.resize(static_cast<std::size_t>(Slow::kNumber));
  figures.processes = shared_->processes.load();
  for (const auto& group : shared_->groups) {
    if (group.process.load() == 0) continue;
    for (const auto& cell : group.cells) {
      for (std::size_t i = 0; i < figures.counts.size(); ++i) figures.counts[i] += cell.counts.at(i).load();
      for (std::size_t i = 0; i < figures.aex.size(); ++i) figures.aex[i] += cell.aex.at(i).load();
      for (std::size_t i = 0; i < figures.slow_exits.size(); ++i) {
        figures.slow_entries[i] += cell.slow_entries.at(i).load();
        figures.slow_exits[i] += cell.slow_exits.at(i).load();
      }
    }
    for (const auto& thread : group.direct) {
      figures.direct_eenter += thread.eenter.load();
      figures.direct_eresume += thread.eresume.load();
      figures.direct_eexit += thread.eexit.load();
      figures.of(Count::TicksInside) += thread.ticks_inside.load();
    }
    for (const auto& site : group.slow_sites) add_site(figures.slow_sites, site);
  }
  figures.of(Count::Eenter) += figures.direct_eenter;
  figures.of(Count::Eresume) += figures.direct_eresume;
  figures.of(Count::Eexit) += figures.direct_eexit;
  std::ranges::sort(figures.slow_sites, std::greater{}, &SlowExit::count);
  // The processes count in ticks of the time-stamp counter; how long one is, the run itself has shown.
  figures.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  const double seconds_per_tick = figures.seconds / static_cast<double>(__rdtsc() - ticks_);
  figures.seconds_inside = static_cast<double>(figures.of(Count::TicksInside)) * seconds_per_tick;
  figures.seconds_in_engine = static_cast<double>(figures.of(Count::TicksEngine)) * seconds_per_tick;
  figures.seconds_paging = static_cast<double>(figures.of(Count::TicksPaging)) * seconds_per_tick;
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
  const std::pair<std::uint64_t, const char*> direct[] = {{figures.direct_eenter, "EENTER"},
                                                          {figures.direct_eresume, "ERESUME"},
                                                          {figures.direct_eexit, "EEXIT"}};
  const char* title = "direct";
  for (const auto& [count, name] : direct) {
    if (count == 0) continue;
    out += fmt::format("  {:<12} {:>14}  {} without a trap\n", title, count, name);
    title = "";
  }
  title = "trapped";
  append_slow(out, title, figures.slow_entries, "entry");
  append_slow(out, title, figures.slow_exits, "EEXIT");
  title = "slow sites";
  for (const SlowExit& site : figures.slow_sites) {
    out += fmt::format("  {:<12} {:>14}  EEXIT at {:#x} of enclave {}…: {}\n", title, site.count, site.offset,
                       enclave_name(site.enclave), reason(site.why).words);
    title = "";
  }
  append(out, "faults", figures, kExceptions);
  append(out, "pages", figures, kPages);
  if (figures.seconds_paging != 0) {
    out += fmt::format("  {:<12} {:>14.3f}  s of evicting and loading\n", "", figures.seconds_paging);
  }
  append(out, "engine", figures, kEngine);
  return out;
}

nlohmann::json to_json(const Figures& figures) {
  nlohmann::json aex = nlohmann::json::object();
  for (std::size_t vector = 0; vector < figures.aex.size(); ++vector) {
    if (figures.aex[vector] != 0) aex[vector_name(vector)] = figures.aex[vector];
  }
  nlohmann::json sites = nlohmann::json::array();
  for (const SlowExit& site : figures.slow_sites) {
    sites.push_back({{"mrenclave_begins", enclave_name(site.enclave)},
                     {"offset", site.offset},
                     {"reason", reason(site.why).key},
                     {"count", site.count}});
  }
  return {{"processes", figures.processes},
          {"seconds", figures.seconds},
          {"seconds_inside", figures.seconds_inside},
          {"seconds_in_engine", figures.seconds_in_engine},
          {"seconds_paging", figures.seconds_paging},
          {"transitions", object(figures, kTransitions)},
          {"direct",
           {{"eenter", figures.direct_eenter},
            {"eresume", figures.direct_eresume},
            {"eexit", figures.direct_eexit}}},
          {"trapped",
           {{"entries", slow_object(figures.slow_entries)},
            {"exits", slow_object(figures.slow_exits)},
            {"sites", std::move(sites)}}},
          {"aex", std::move(aex)},
          {"faults", object(figures, kExceptions)},
          {"pages", object(figures, kPages)},
          {"engine", object(figures, kEngine)}};
}

}  // namespace enclume::cli
