// SPDX-License-Identifier: Apache-2.0
// SGX_IOC_ENCLAVE_ADD_PAGES (Linux: sgx_ioc_enclave_add_pages(), sgx_encl_add_page()).
#include <algorithm>
#include <cstring>

#include "kernel/device/command.h"
#include "kernel/enclave_lock.h"
#include "kernel/encls.h"
#include "kernel/paging_journal.h"
#include "kernel/uapi/sgx.h"
#include "kernel/va_slots.h"

namespace enclume::kernel {

namespace {

/// Pages that are added under one lock.
constexpr std::uint64_t kBatch = 64;

/// Pages whose memory is asked for at once when they come one by one.
constexpr std::uint64_t kPagesAhead = 16;

/// Fewer pages of zeros in a row are copied with those around them.
constexpr std::uint64_t kWorthwhileZeros = 4;

/// Whether a page holds anything is told by its beginning, as a rule.
constexpr std::uint64_t kGlance = 64;

bool only_zeros(const std::byte* bytes, std::uint64_t size) noexcept {
  std::uint64_t any = 0;
  for (std::uint64_t at = 0; at < size; at += sizeof any) {
    std::uint64_t word;
    std::memcpy(&word, bytes + at, sizeof word);
    any |= word;
  }
  return any == 0;
}

/// sgx_validate_secinfo()
bool secinfo_valid(const arch::Secinfo& secinfo) {
  using namespace arch::secinfo_flags;
  const std::uint64_t prot = secinfo.flags & kRwx;
  const arch::PageType type = secinfo.type();
  if (type != arch::PageType::Reg && type != arch::PageType::Tcs) {
    return false;
  }
  if (secinfo.writable_unreadable()) {
    return false;
  }
  // The processor would clear them without a word, and the measurement would be another one.
  if (type == arch::PageType::Tcs && prot != 0) {
    return false;
  }
  if ((secinfo.flags & ~(kRwx | kTypeMask)) != 0) {
    return false;
  }
  return arch::all_zero(secinfo.reserved);
}

/// sgx_encl_page_alloc(): SECINFO's R, W, X have mmap's bits.
Protection max_protection(const arch::Secinfo& secinfo) {
  return secinfo.type() == arch::PageType::Tcs ? kProtReadWrite
                                               : Protection::of(static_cast<unsigned>(secinfo.flags & 7));
}

/// The program's pages to add.
class Source {
 public:
  Source(const Kernel& kernel, LinearAddress begin) noexcept : kernel_(kernel), begin_(begin) {}

  [[nodiscard]] LinearAddress at(std::uint64_t offset) const noexcept { return begin_ + offset; }

  /// Whether the page at `offset` may be read. Errors, as Linux finds them: Fault (no mapping from there on),
  /// Access (mapping of a noexec file system, or the next one above: find_vma()), Fault (not mapped, not
  /// readable, or memory of a device, such as an enclave).
  [[nodiscard]] SysResult<void> check(std::uint64_t offset) noexcept {
    const LinearAddress address = at(offset);
    if (!mapping_.range.contains(address)) {
      const auto found = kernel_.platform.source_mapping(address);
      if (!found) {
        return fail(Errno::Fault);
      }
      mapping_ = *found;
    }
    if (!mapping_.may_exec) {
      return fail(Errno::Access);
    }
    if (!mapping_.range.contains(address) || !mapping_.readable || kernel_.vmas.find(address)) {
      return fail(Errno::Fault);
    }
    return {};
  }

  /// How many pages from the one at `offset` on, `count` at most, may be read.
  [[nodiscard]] std::uint64_t readable(std::uint64_t offset, std::uint64_t count) noexcept {
    std::uint64_t pages = 0;
    while (pages < count && check(offset + pages * kPageSize)) {
      ++pages;
    }
    return pages;
  }

  /// Whether the page at `offset` may be read and holds nothing but zeros. `buffer` has room for a page.
  [[nodiscard]] bool is_zeros(std::uint64_t offset, std::byte* buffer) noexcept {
    const auto zeros = [&](std::uint64_t begin, std::uint64_t size) {
      return kernel_.platform.copy_from_user(buffer, at(offset + begin), size) && only_zeros(buffer, size);
    };
    return check(offset) && zeros(0, kGlance) && zeros(kGlance, kPageSize - kGlance);
  }

 private:
  const Kernel& kernel_;
  LinearAddress begin_;
  SourceMapping mapping_{};  ///< the last one asked for; empty at first
};

class PageAdder {
 public:
  PageAdder(const Kernel& kernel, Enclave& enclave, const arch::Secinfo& secinfo, bool measure,
            Source& source) noexcept
      : kernel_(kernel), enclave_(enclave), secinfo_(secinfo), measure_(measure), source_(source) {}

  /// How far a batch got; `stopped` by an error, or by a signal that waits.
  struct Progress {
    std::uint64_t pages = 0;
    bool stopped = false;
    SysResult<void> result;
  };

  /// Adds up to `count` pages under one lock, the first from `offset` in the source. At least one, unless it
  /// stops.
  [[nodiscard]] Progress add(std::uint64_t first, std::uint64_t count, std::uint64_t offset) noexcept {
    Progress progress;
    const auto stop = [&progress](SysResult<void> why) {
      progress.stopped = true;
      progress.result = why;
      return progress;
    };
    count = std::min(count, kBatch);
    if (kernel_.platform.signal_pending()) {
      return stop({});
    }
    EpcReservation epc(kernel_, enclave_);
    epc.prefer(count + 1);  // and a VA page, perhaps
    // Only this ioctl adds pages before INIT, so the answer holds until the lock is taken.
    if (auto r = epc.ensure(growth_needs_va_page(enclave_) ? 2 : 1, true); !r) {
      return stop(r);
    }
    const EnclaveLock lock(kernel_, enclave_);
    holes_ = {first, first + zeros(first, count, offset)};
    if (holes_.end != first) {
      count = holes_.end - first;
    } else {
      count = contents(first, count, offset);
      read(first, count, offset);
    }
    for (std::uint64_t i = 0; i < count; ++i) {
      if (i > 0 && (epc.available() < 2 || kernel_.platform.signal_pending())) {
        break;
      }
      if (auto r = add_one(first + i, offset + i * kPageSize, epc); !r) {
        return stop(r);
      }
      ++progress.pages;
    }
    return progress;
  }

 private:
  /// How many pages from `first` on, `count` at most, are all zeros and have no memory, which reads as zeros:
  /// nothing needs to be written for them.
  [[nodiscard]] std::uint64_t zeros(std::uint64_t first, std::uint64_t count, std::uint64_t offset) noexcept {
    std::uint64_t pages = 0;
    while (pages < count && has_no_memory(first + pages) &&
           source_.is_zeros(offset + pages * kPageSize, enclave_.scratch().page)) {
      ++pages;
    }
    return pages;
  }

  /// How many pages from `first` on, `count` at most, come before zeros.
  [[nodiscard]] std::uint64_t contents(std::uint64_t first, std::uint64_t count,
                                       std::uint64_t offset) noexcept {
    for (std::uint64_t pages = 1, last = 0; pages < count; ++pages) {
      last = zeros(first + pages, 1, offset + pages * kPageSize) != 0 ? last + 1 : 0;
      if (last == kWorthwhileZeros) {
        return pages + 1 - last;
      }
    }
    return count;
  }

  /// A page that the enclave has not got has no memory either, but for those that were read or asked for
  /// ahead. A TCS is never without: EADD writes to it.
  [[nodiscard]] bool has_no_memory(std::uint64_t number) const noexcept {
    return secinfo_.type() == arch::PageType::Reg && enclave_.is_hole(number);
  }

  /// Reads what can be read of the pages at once, into the EPC, or asks for the memory of those that come one
  /// by one instead of taking many faults. The second of two that came so is taken for one of many: what is
  /// asked for in vain has to be cleared and given back.
  void read(std::uint64_t first, std::uint64_t count, std::uint64_t offset) noexcept {
    const PageWindow window = enclave_.populated();
    loaded_ = {};
    const bool follows = first == enclave_.single.end && first != 0;
    enclave_.single = count == 1 ? PageWindow{first, first + 1} : PageWindow{};
    if (first >= window.begin && first + count <= window.end) {
      return;
    }
    const std::uint64_t room = std::min(enclave_.pages(), enclave_.index().next(first));
    const std::uint64_t ahead = align_down(first + kPagesAhead, kPagesAhead);
    std::uint64_t end = std::min(count == 1 && follows ? ahead : first + count, room);
    if (end < first + 2) {
      return;
    }
    drop_unused_pages(kernel_, enclave_);
    enclave_.set_populated({first, end});  // before there is anything in it
    std::byte* where = enclave_.epc_page(first).data;
    const std::uint64_t place = kEpcOffset + first * kPageSize;
    if (count == 1) {
      kernel_.platform.prefault(enclave_.file(), place, where, (end - first) * kPageSize);
    } else {
      end = first + source_.readable(offset, end - first);
      const std::uint64_t loaded = kernel_.platform.load_from_user(
          enclave_.file(), place, where, source_.at(offset), (end - first) * kPageSize);
      loaded_ = {first, first + loaded / kPageSize};
    }
    enclave_.set_populated({first, end});
  }

  [[nodiscard]] SysResult<void> add_one(std::uint64_t number, std::uint64_t offset,
                                        EpcReservation& epc) noexcept {
    if (enclave_.index().contains(number)) {
      return fail(Errno::Busy);
    }
    std::byte* const page = enclave_.epc_page(number).data;
    const bool is_hole = holes_.contains(number);
    if (!is_hole && !loaded_.contains(number)) {
      if (auto r = source_.check(offset); !r) {
        return r;
      }
      if (!kernel_.platform.copy_from_user(page, source_.at(offset), kPageSize)) {
        kernel_.platform.discard(page, kPageSize);
        return fail(Errno::Fault);
      }
    }
    if (auto r = grow(kernel_, enclave_, epc); !r) {
      kernel_.platform.discard(page, kPageSize);
      return r;
    }
    const Journaled journaled = Journaled::change(enclave_, number);
    if (!execute(number, is_hole)) {
      shrink(enclave_);
      kernel_.platform.discard(page, kPageSize);
      return fail(Errno::Io);
    }
    epc.use();
    enclave_.shared().secs_children.fetch_add(1);
    enclave_.page(number).store({.max_prot = max_protection(secinfo_),
                                 .present = true,
                                 .resident = true,
                                 .untouched = kernel_.maps_on_touch,
                                 .type = secinfo_.type()});
    enclave_.index().insert(number);
    kernel_.platform.count_pages(Platform::PageEvent::Added, 1);
    return {};
  }

  /// EADD and the EEXTENDs. What a failed EEXTEND measured before stays measured, as in Linux.
  bool execute(std::uint64_t number, bool is_hole) noexcept {
    Encls encls(kernel_, enclave_);
    if (!succeeded(encls.eadd(number, secinfo_))) {
      return false;
    }
    if (measure_ && !succeeded(encls.eextend_page(number, is_hole))) {
      (void)encls.eremove(enclave_.epc_page(number));
      return false;
    }
    return true;
  }

  const Kernel& kernel_;
  Enclave& enclave_;
  const arch::Secinfo& secinfo_;
  bool measure_;
  Source& source_;
  PageWindow loaded_;  ///< pages whose contents are in the EPC already
  PageWindow holes_;   ///< pages of zeros, for which nothing is written
};

}  // namespace

void drop_unused_pages(const Kernel& kernel, Enclave& enclave) noexcept {
  const PageWindow window = enclave.populated();
  for (std::uint64_t page = window.begin; page < window.end;) {
    if (enclave.index().contains(page)) {
      ++page;
      continue;
    }
    const std::uint64_t end = std::min(enclave.index().next(page), window.end);
    kernel.platform.discard(enclave.epc_page(page).data, (end - page) * kPageSize);
    page = end;
  }
  enclave.set_populated({});
}

SysResult<long> ioctl_add_pages(const Kernel& kernel, Enclave& enclave, LinearAddress argument) noexcept {
  if (!enclave.created() || enclave.initialized()) {
    return fail(Errno::Invalid);
  }
  uapi::EnclaveAddPages arg;
  if (!read_user(kernel, arg, argument)) {
    return fail(Errno::Fault);
  }
  if (arg.src % kPageSize != 0) {
    return fail(Errno::Invalid);
  }
  if (auto r = check_range(enclave, arg.offset, arg.length); !r) {
    return fail(r.error());
  }
  alignas(arch::kSecinfoAlignment) arch::Secinfo secinfo;
  if (!read_user(kernel, secinfo, LinearAddress(arg.secinfo))) {
    return fail(Errno::Fault);
  }
  if (!secinfo_valid(secinfo)) {
    return fail(Errno::Invalid);
  }

  Source source(kernel, LinearAddress(arg.src));
  PageAdder adder(kernel, enclave, secinfo, (arg.flags & uapi::kPageMeasure) != 0, source);
  SysResult<long> result = 0;
  std::uint64_t done = 0;
  while (done < arg.length) {
    const auto progress = adder.add((arg.offset + done) / kPageSize, (arg.length - done) / kPageSize, done);
    done += progress.pages * kPageSize;
    if (progress.stopped) {
      if (!progress.result) {
        result = fail(progress.result.error());
      } else if (done == 0) {
        result = fail(Errno::Restart);
      }
      break;  // a signal later than that: success with a short count
    }
  }
  arg.count = done;
  if (!write_user(kernel, argument, arg)) {
    return fail(Errno::Fault);
  }
  return result;
}

}  // namespace enclume::kernel
