// SPDX-License-Identifier: Apache-2.0
#include "engine/cpuid/text_writer.h"

#include <linux/fcntl.h>
#include <linux/mman.h>

#include <atomic>

#include "base/syscall.h"
#include "base/types.h"

namespace enclume::engine {
namespace {

// The byte as the program sees it, read anew each time.
std::atomic_ref<std::uint8_t> byte_at(std::uint64_t address) {
  return std::atomic_ref(*reinterpret_cast<std::uint8_t*>(address));
}

}  // namespace

TextWriter::~TextWriter() {
  close_pages();
  if (memory_ >= 0) {
    sys::raw(__NR_close, memory_);
  }
}

bool TextWriter::write_through_proc(std::uint64_t address, std::uint8_t value) noexcept {
  if (memory_ == kNotOpened) {
    const auto opened = sys::call(__NR_openat, AT_FDCWD, "/proc/self/mem", O_RDWR | O_CLOEXEC, 0);
    memory_ = opened.has_value() ? *opened : kUnavailable;
  }
  if (memory_ < 0) {
    return false;
  }
  const long written = sys::raw(__NR_pwrite64, memory_, sys::arg(&value), 1, sys::arg(address));
  return written == 1 && byte_at(address).load(std::memory_order_relaxed) == value;
}

bool TextWriter::write_through_mprotect(std::uint64_t address, std::uint8_t value, int protection) noexcept {
  const std::uint64_t page = align_down(address, kPageSize);
  if (!sys::call(__NR_mprotect, page, kPageSize, protection | PROT_WRITE).has_value()) {
    return false;
  }
  byte_at(address).store(value, std::memory_order_release);
  sys::raw(__NR_mprotect, sys::arg(page), sys::arg(kPageSize), protection);
  return true;
}

void TextWriter::close_pages() noexcept {
  if (open_ != open_end_) {
    sys::raw(__NR_mprotect, sys::arg(open_), sys::arg(open_end_ - open_), protection_);
    open_ = open_end_ = 0;
  }
}

void TextWriter::announce(std::uint64_t first, std::uint64_t last, int protection) noexcept {
  close_pages();
  const std::uint64_t begin = align_down(first, kPageSize);
  const std::uint64_t end = align_down(last, kPageSize) + kPageSize;
  // It stays executable: a policy by which no memory may become so (PR_SET_MDWE) says no at once, not at the
  // end.
  if (undisturbed_ && sys::call(__NR_mprotect, begin, end - begin, protection | PROT_WRITE).has_value()) {
    open_ = begin;
    open_end_ = end;
    protection_ = protection;
  }
}

bool TextWriter::write(std::uint64_t address, std::uint8_t value, int protection) noexcept {
  if (undisturbed_ && !is_announced(address)) {
    announce(address, address, protection);
  }
  if (is_announced(address)) {
    byte_at(address).store(value, std::memory_order_relaxed);
    return true;
  }
  return write_through_proc(address, value) || write_through_mprotect(address, value, protection);
}

}  // namespace enclume::engine
