// SPDX-License-Identifier: Apache-2.0
#include "engine/cpuid/host_patch.h"

#include <linux/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <string_view>

#include "base/syscall.h"
#include "base/types.h"
#include "engine/cpuid/site_cache.h"
#include "engine/cpuid/text_residency.h"
#include "engine/cpuid/text_writer.h"

namespace enclume::engine {
namespace {

constexpr std::uint8_t kEscape = 0x0f;

/// Of glibc before 2.34, which came in parts: what its threads library does is libc's business, too.
constexpr std::array<std::string_view, 7> kPartsOfLibc = {
    "libc.so", "libc-", "libpthread.so", "libpthread-", "librt.so", "librt-", "libthread_db"};

// The site's opcode, apart from the escape byte before it; nothing if that has changed.
std::optional<std::uint8_t> opcode_of(const HostSite& site) noexcept {
  auto* last = reinterpret_cast<std::uint8_t*>(site.last_byte());
  if (std::atomic_ref(last[-1]).load(std::memory_order_relaxed) != kEscape) {
    return std::nullopt;
  }
  return std::atomic_ref(*last).load(std::memory_order_relaxed);
}

std::string_view file_name(const ObjectImage& image) noexcept {
  std::string_view name(image.path() != nullptr ? image.path() : "");
  name.remove_prefix(name.rfind('/') + 1);  // npos + 1 is 0
  return name;
}

// A rebuilt library at the same address has other headers.
std::uint64_t fingerprint_of(const ObjectImage& image) noexcept {
  return hash_of(std::as_bytes(image.headers()));
}

int protection_of(const ObjectImage& image, std::uint64_t address) noexcept {
  int protection = PROT_READ | PROT_EXEC;
  for (const Elf64_Phdr& header : image.headers()) {
    if (header.p_type == PT_LOAD && address - (image.load_bias() + header.p_vaddr) < header.p_memsz &&
        (header.p_flags & PF_W) != 0) {
      protection |= PROT_WRITE;
    }
  }
  return protection;
}

// The last byte of the sites that follow the first one so closely that their pages are better made writable
// together. All lie in its segment.
std::uint64_t end_of_cluster(std::span<const HostSite> sites, const ObjectImage& image) noexcept {
  constexpr std::uint64_t kClose = 16 * kPageSize;
  const auto segment = image.executable_around(sites.front().address);
  std::uint64_t end = sites.front().last_byte();
  for (const HostSite& site : sites.subspan(1)) {
    if (site.last_byte() - end > kClose || !segment || site.last_byte() >= segment->end) {
      break;
    }
    end = site.last_byte();
  }
  return end;
}

}  // namespace

// One refresh(). What it collects replaces the patcher's state at the end, so that a fork in between leaves
// the child with the old state, which the table and the bytes themselves complete.
struct HostPatcher::Session {
  explicit Session(HostPatcher& owner) noexcept : patcher(owner), writer(owner.config_.undisturbed) {}

  void begin(const dl_phdr_info& info) noexcept {
    loads = info.dlpi_adds;
    unloads = info.dlpi_subs;
    unchanged = loads == patcher.loads_seen_ && unloads == patcher.unloads_seen_;
    if (!unchanged) {
      sites_before = patcher.table_.sites().size();
    }
  }

  HostPatcher& patcher;
  int tid = sys::gettid();
  bool locked = false;
  bool unchanged = false;
  bool complete = true;  // false once there was no memory to keep a site that is patched
  std::uint64_t loads = 0;
  std::uint64_t unloads = 0;
  std::size_t sites_before = 0;
  std::size_t sites_kept = 0;
  static constexpr std::size_t kMostSites = 48;  // in a static program
  std::array<KnownObject, kMostObjects> known_storage;
  std::array<HostSite, kMostSites> sites_storage;
  std::array<HostSite, kMostSites> fresh_storage;
  MappedArray<KnownObject> known{known_storage};
  MappedArray<HostSite> sites{sites_storage};  // of all objects seen, patched
  MappedArray<HostSite> fresh{fresh_storage};  // of the object at hand, not yet patched
  MappedArray<std::uint64_t> unproven;
  TextWriter writer;
  HostPatchReport report;
};

HostPatchReport HostPatcher::refresh() noexcept {
  Session session(*this);
  config_.iterate(&visit_object, &session);
  if (session.locked) {
    if (!session.unchanged && session.complete) {
      finish(session);
    }
    lock_.unlock();
  }
  return session.report;
}

int HostPatcher::visit_object(dl_phdr_info* info, std::size_t, void* opaque) {
  auto& session = *static_cast<Session*>(opaque);
  HostPatcher& patcher = session.patcher;
  if (!session.locked) {
    if (patcher.lock_.held_by(session.tid)) {
      return 1;  // a handler that interrupted us
    }
    // What a dead owner left is what a fork leaves: see Session.
    static_cast<void>(patcher.lock_.lock(session.tid));
    session.locked = true;
    session.begin(*info);
    if (session.unchanged) {
      return 1;
    }
  }
  const ObjectImage image(info->dlpi_addr, {info->dlpi_phdr, info->dlpi_phnum}, info->dlpi_name);
  if (!patcher.is_left_alone(image)) {
    patcher.visit(session, image);
  }
  return 0;
}

bool HostPatcher::is_left_alone(const ObjectImage& image) const noexcept {
  const auto contains = [&](std::uint64_t address) { return address != 0 && image.contains(address); };
  return contains(config_.engine_address) || contains(config_.linker_address) ||
         contains(config_.vdso_address) || contains(config_.image_address);
}

bool HostPatcher::is_part_of_libc(const ObjectImage& image) const noexcept {
  if (config_.libc_address != 0 && image.contains(config_.libc_address)) {
    return true;
  }
  return std::ranges::any_of(kPartsOfLibc,
                             [&](std::string_view part) { return file_name(image).starts_with(part); });
}

void HostPatcher::visit(Session& session, const ObjectImage& image) noexcept {
  // Sites from before that are still ours. A library loaded again has its original bytes back.
  std::size_t recorded = 0;
  std::size_t intact = 0;
  for (const HostSite& site : table_.sites()) {
    if (image.contains(site.address)) {
      ++recorded;
      if (image.readable(site.address, site.length) && opcode_of(site) == kTrap) {
        ++intact;
        session.complete = session.sites.push_back(site) && session.complete;
      }
    }
  }

  const KnownObject object = {.bias = image.load_bias(),
                              .headers = reinterpret_cast<std::uint64_t>(image.headers().data()),
                              .fingerprint = fingerprint_of(image)};
  const auto known = known_.view();
  const bool was_known = std::find(known.begin(), known.end(), object) != known.end();
  if (!was_known || intact != recorded) {
    session.fresh.clear();
    ++session.report.objects_scanned;
    const ScanRequest request{.branches = config_.branches,
                              .cpuid = config_.cpuid,
                              .untrapped_max_leaf = config_.untrapped_max_leaf,
                              .traps_call = is_part_of_libc(image) ? nullptr : config_.traps_call,
                              .constants = config_.constant_cpuid != nullptr && config_.undisturbed};
    const bool looks = request.cpuid || request.traps_call != nullptr;
    const std::optional<ScanCounts> kept =
        looks && config_.cache != nullptr ? config_.cache->find(image, request, session.fresh) : std::nullopt;
    if (kept) {
      session.report.scanned += *kept;
    } else if (looks) {
      TextResidency residency(image, scanned_text_kept_);
      const ScanCounts counts = scan_object(image, request, session.fresh, session.unproven);
      residency.restore();
      session.report.scanned += counts;
      if (config_.cache != nullptr) {
        config_.cache->keep(image, request, session.fresh.view(), counts);
      }
    }
    lay_stubs(session, image);
    patch_fresh(session, image);
  }
  session.sites_kept += intact;
  static_cast<void>(session.known.push_back(object));  // without memory: scanned again next time
}

// Lays the stubs, and takes their sites out of `fresh`: the others are to trap.
void HostPatcher::lay_stubs(Session& session, const ObjectImage& image) noexcept {
  const std::span<HostSite> fresh = session.fresh.view();
  const auto first = std::ranges::find(fresh, SiteKind::ConstantCpuid, &HostSite::kind);
  if (first == fresh.end()) {
    return;
  }
  if (protection_of(image, first->address) == (PROT_READ | PROT_EXEC)) {
    stubs_.lay(image, fresh, config_.constant_cpuid, session.writer);
  }
  const auto rest = std::remove_if(fresh.begin(), fresh.end(),
                                   [](const HostSite& site) { return site.kind == SiteKind::ConstantCpuid; });
  session.fresh.truncate(static_cast<std::size_t>(rest - fresh.begin()));
}

void HostPatcher::patch_fresh(Session& session, const ObjectImage& image) noexcept {
  if (session.fresh.empty()) {
    return;
  }
  // A thread can run into the first patched site at once: the table must know them before.
  MappedArray<HostSite> merged;
  bool complete = true;
  std::span<const HostSite> all = session.fresh.view();  // ascending
  if (!table_.sites().empty()) {
    for (const HostSite& site : table_.sites()) {
      complete = complete && merged.push_back(site);
    }
    for (const HostSite& site : session.fresh) {
      complete = complete && merged.push_back(site);
    }
    // The table may still hold sites of a former life of this object.
    std::ranges::sort(merged.view(), {}, &HostSite::address);
    merged.truncate(static_cast<std::size_t>(std::unique(merged.begin(), merged.end()) - merged.begin()));
    all = merged.view();
  }
  if (!complete || !table_.publish(all).has_value()) {
    session.report.refused += static_cast<std::uint32_t>(session.fresh.size());
    return;
  }
  const bool has_calls = std::ranges::any_of(
      session.fresh.view(), [](const HostSite& site) { return site.kind == SiteKind::Syscall; });
  if (has_calls) {
    traps_calls_.store(true, std::memory_order_relaxed);
    if (session.report.patched_calls == 0) {
      const std::string_view name = file_name(image);
      name.copy(session.report.caller.data(), session.report.caller.size() - 1);
    }
  }
  const std::span<const HostSite> fresh = session.fresh.view();
  for (std::size_t i = 0; i < fresh.size(); ++i) {
    const HostSite& site = fresh[i];
    if (config_.undisturbed && !session.writer.is_announced(site.last_byte())) {
      session.writer.announce(site.last_byte(), end_of_cluster(fresh.subspan(i), image),
                              protection_of(image, site.last_byte()));
    }
    // A debugger may have changed the text since it was scanned.
    if (opcode_of(site) != site.opcode() || !session.sites.push_back(site)) {
      ++session.report.refused;
    } else if (session.writer.write(site.last_byte(), kTrap, protection_of(image, site.last_byte()))) {
      ++session.report.patched;
      session.report.patched_calls += site.kind == SiteKind::Syscall ? 1 : 0;
    } else {
      // It must not stay in the table, lest the same bytes there one day be taken for ours.
      session.sites.pop_back();
      ++session.report.refused;
    }
  }
}

void HostPatcher::finish(Session& session) noexcept {
  std::ranges::sort(session.sites.view(), {}, &HostSite::address);
  if (!std::ranges::equal(session.sites.view(), table_.sites()) &&
      !table_.publish(session.sites.view()).has_value()) {
    return;  // no memory: the old table has all that is needed, and the next refresh tries again
  }
  session.report.forgotten = static_cast<std::uint32_t>(session.sites_before - session.sites_kept);
  known_.adopt(session.known);
  loads_seen_ = session.loads;
  unloads_seen_ = session.unloads;
  totals_ += session.report;
}

}  // namespace enclume::engine
