// SPDX-License-Identifier: Apache-2.0
// SGX_IOC_ENCLAVE_ADD_PAGES (Linux: sgx_ioc_enclave_add_pages(), sgx_encl_add_page()).
#include <algorithm>

#include "kernel/device/command.h"
#include "kernel/enclave_lock.h"
#include "kernel/encls.h"
#include "kernel/uapi/sgx.h"
#include "kernel/va_slots.h"

namespace enclume::kernel {

namespace {

/// Pages whose memory is asked for at once when they come one by one.
constexpr std::uint64_t kPagesAhead = 16;

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

/// The pages to add, read from the program some at a time: a copy of one page costs a system call.
class Source {
 public:
  Source(const Kernel& kernel, const Enclave& enclave, LinearRange range) noexcept
      : kernel_(kernel), buffer_(enclave.scratch().pages), range_(range) {}

  /// The bytes of the page at `address`, which goes up by a page from call to call. Errors, as Linux finds
  /// them: Fault (no mapping), Access (mapping of a noexec file system), Fault (not readable; memory of a
  /// device, such as an enclave).
  [[nodiscard]] SysResult<const std::byte*> page(LinearAddress address) noexcept {
    if (!mapping_ || !mapping_->range.contains(address)) {
      mapping_ = kernel_.platform.source_mapping(address);
    }
    if (!mapping_) {
      return fail(Errno::Fault);
    }
    if (!mapping_->may_exec) {
      return fail(Errno::Access);
    }
    if (kernel_.vmas.find(address)) {
      return fail(Errno::Fault);
    }
    if (!buffered_.contains(address) && !fill(address)) {
      return fail(Errno::Fault);
    }
    return &buffer_[(address - buffered_.begin) / kPageSize][0];
  }

 private:
  bool fill(LinearAddress address) noexcept {
    const LinearAddress limit =
        std::min({address + IoctlScratch::kSourcePages * kPageSize, range_.end, mapping_->range.end});
    for (const LinearAddress end : {limit, address + kPageSize}) {
      if (kernel_.platform.copy_from_user(buffer_, address, end - address)) {
        buffered_ = {address, end};
        return true;
      }
    }
    return false;
  }

  const Kernel& kernel_;
  std::byte (*buffer_)[kPageSize];
  LinearRange range_;
  LinearRange buffered_{};
  std::optional<SourceMapping> mapping_;
};

class PageAdder {
 public:
  PageAdder(const Kernel& kernel, Enclave& enclave, const arch::Secinfo& secinfo, bool measure) noexcept
      : kernel_(kernel), enclave_(enclave), secinfo_(secinfo), measure_(measure) {}

  /// How far a batch got; `stopped` by an error, or by a signal that waits.
  struct Progress {
    std::uint64_t pages = 0;
    bool stopped = false;
    SysResult<void> result;
  };

  /// Adds up to `count` pages under one lock. At least one, unless it stops.
  [[nodiscard]] Progress add(std::uint64_t first, std::uint64_t count, Source& source,
                             LinearAddress from) noexcept {
    Progress progress;
    const auto stop = [&progress](SysResult<void> why) {
      progress.stopped = true;
      progress.result = why;
      return progress;
    };
    count = std::min<std::uint64_t>(count, IoctlScratch::kSourcePages);
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
    prefault(first, count);
    for (std::uint64_t i = 0; i < count; ++i) {
      if (i > 0 && (epc.available() < 2 || kernel_.platform.signal_pending())) {
        break;
      }
      if (auto r = add_one(first + i, source, from + i * kPageSize, epc); !r) {
        return stop(r);
      }
      ++progress.pages;
    }
    return progress;
  }

 private:
  /// Asks for the memory of the pages that come in one call instead of many faults; a page that follows the
  /// one before is taken for one of many.
  void prefault(std::uint64_t first, std::uint64_t count) noexcept {
    PageWindow& window = enclave_.populated;
    if (first >= window.begin && first + count <= window.end) {
      return;
    }
    const bool follows = first > 0 && enclave_.index().contains(first - 1);
    const std::uint64_t ahead = align_down(first + kPagesAhead, kPagesAhead);
    const std::uint64_t end = std::min({follows ? std::max(first + count, ahead) : first + count,
                                        enclave_.pages(), enclave_.index().next(first)});
    if (end < first + 2) {
      return;
    }
    drop_unused_pages(kernel_, enclave_);
    window = {first, end};
    kernel_.platform.prefault(enclave_.file(), kEpcOffset + first * kPageSize, enclave_.epc_page(first).data,
                              (end - first) * kPageSize);
  }

  [[nodiscard]] SysResult<void> add_one(std::uint64_t number, Source& source, LinearAddress from,
                                        EpcReservation& epc) noexcept {
    if (enclave_.index().contains(number)) {
      return fail(Errno::Busy);
    }
    const auto bytes = source.page(from);
    if (!bytes) {
      return fail(bytes.error());
    }
    if (auto r = grow(kernel_, enclave_, epc); !r) {
      return r;
    }
    if (!execute(number, *bytes)) {
      shrink(enclave_);
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
    return {};
  }

  /// EADD and the EEXTENDs. What a failed EEXTEND measured before stays measured, as in Linux.
  bool execute(std::uint64_t number, const std::byte* bytes) noexcept {
    Encls encls(kernel_, enclave_);
    if (!succeeded(encls.eadd(number, bytes, secinfo_))) {
      return false;
    }
    if (measure_ && !succeeded(encls.eextend_page(number))) {
      (void)encls.eremove(enclave_.epc_page(number));
      kernel_.platform.discard(enclave_.epc_page(number).data, kPageSize);
      return false;
    }
    return true;
  }

  const Kernel& kernel_;
  Enclave& enclave_;
  const arch::Secinfo& secinfo_;
  bool measure_;
};

}  // namespace

void drop_unused_pages(const Kernel& kernel, Enclave& enclave) noexcept {
  const PageWindow window = enclave.populated;
  enclave.populated = {};
  for (std::uint64_t page = window.begin; page < window.end;) {
    if (enclave.index().contains(page)) {
      ++page;
      continue;
    }
    const std::uint64_t end = std::min(enclave.index().next(page), window.end);
    kernel.platform.discard(enclave.epc_page(page).data, (end - page) * kPageSize);
    page = end;
  }
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

  const LinearAddress src(arg.src);
  Source source(kernel, enclave, {src, src + arg.length});
  PageAdder adder(kernel, enclave, secinfo, (arg.flags & uapi::kPageMeasure) != 0);
  SysResult<long> result = 0;
  std::uint64_t done = 0;
  while (done < arg.length) {
    const auto progress =
        adder.add((arg.offset + done) / kPageSize, (arg.length - done) / kPageSize, source, src + done);
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
