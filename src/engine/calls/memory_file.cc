// SPDX-License-Identifier: Apache-2.0
#include "engine/calls/memory_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <string_view>

#include "base/fd_path.h"
#include "base/format.h"
#include "base/syscall.h"
#include "engine/engine.h"
#include "engine/entry/entry.h"
#include "engine/sgx.h"
#include "engine/signals/mask.h"
#include "kernel/device/debug_access.h"

namespace enclume::engine {

namespace {

// One bit a descriptor number; numbers beyond share the last one.
constexpr std::size_t kHinted = 65536;
std::array<std::atomic<std::uint64_t>, kHinted / 64> hints{};

std::size_t hint_of(int fd) {
  return static_cast<std::size_t>(fd) < kHinted ? static_cast<std::size_t>(fd) : kHinted - 1;
}

/// Whether the descriptor is open on this process's memory now: a child that inherits one has its parent's.
bool is_own_memory(int fd) {
  std::array<char, 64> target;
  const long n =
      sys::raw(__NR_readlink, sys::arg(FdPath(fd).c_str()), sys::arg(target.data()), target.size());
  if (n <= 0) {
    return false;
  }
  std::array<char, 32> own;
  LineBuffer directory{std::span(own)};
  directory.text("/proc/").dec(sys::getpid()).text("/");
  const std::string_view path(target.data(), static_cast<std::size_t>(n));
  return path.starts_with(directory.view()) && path.ends_with("/mem");
}

bool open_for(int fd, Transfer transfer) {
  const long mode = sys::raw(__NR_fcntl, fd, F_GETFL) & O_ACCMODE;
  return mode == O_RDWR || mode == (transfer == Transfer::Read ? O_RDONLY : O_WRONLY);
}

/// At most a page of an enclave's memory, by way of a buffer: the program's pointer may be anything, and
/// debug access holds the enclave's lock.
SysResult<std::size_t> debug_access(std::uint64_t address, std::byte* data, std::size_t size,
                                    Transfer transfer) {
  std::array<std::byte, kPageSize> buffer;
  size = std::min(size, buffer.size());
  const kernel::Kernel& kernel = engine().sgx->kernel();
  if (transfer == Transfer::Write) {
    if (enclume_guarded_copy(buffer.data(), data, size) != 0) {
      return fail(Errno::Fault);
    }
    const SignalsBlocked blocked;
    const auto done = kernel::debug_write(kernel, LinearAddress(address), buffer.data(), size);
    engine().sgx->content_changed(LinearAddress(address));
    engine().sgx->content_changed(LinearAddress(address + size - 1));
    return done ? done : fail(Errno::Io);
  }
  SysResult<std::size_t> done = fail(Errno::Io);
  {
    const SignalsBlocked blocked;
    done = kernel::debug_read(kernel, LinearAddress(address), buffer.data(), size);
  }
  if (!done) {
    return fail(Errno::Io);
  }
  if (enclume_guarded_copy(data, buffer.data(), *done) != 0) {
    return fail(Errno::Fault);
  }
  return done;
}

}  // namespace

void hint_memory_file(int fd) {
  const std::size_t n = hint_of(fd);
  hints[n / 64].fetch_or(1ULL << (n % 64), std::memory_order_relaxed);
}

bool may_be_memory_file(int fd) {
  if (fd < 0) {
    return false;
  }
  const std::size_t n = hint_of(fd);
  return (hints[n / 64].load(std::memory_order_relaxed) >> (n % 64) & 1) != 0;
}

std::optional<SysResult<long>> memory_file_io(int fd, void* data, std::size_t size,
                                              std::optional<std::uint64_t> offset, Transfer transfer) {
  if (!engine().active || !is_own_memory(fd)) {
    return std::nullopt;
  }
  engine().sync_after_fork();
  std::uint64_t at = offset ? *offset : static_cast<std::uint64_t>(sys::raw(__NR_lseek, fd, 0, SEEK_CUR));
  const kernel::VmaTable& vmas = engine().sgx->kernel().vmas;
  size = std::min(size, ~at);
  if (!vmas.overlaps({LinearAddress(at), LinearAddress(at + size)})) {
    return std::nullopt;
  }
  if (!open_for(fd, transfer)) {
    return fail(Errno::BadFile);
  }

  auto* bytes = static_cast<std::byte*>(data);
  std::size_t done = 0;
  while (done < size) {
    const auto vma = vmas.find_from(LinearAddress(at));
    SysResult<std::size_t> part = fail(Errno::Io);
    std::size_t wanted = size - done;
    if (vma && vma->range.contains(LinearAddress(at))) {
      wanted = std::min(wanted, kPageSize);  // mem_rw() goes by so much, from wherever it begins
      part = debug_access(at, bytes + done, wanted, transfer);
    } else {
      if (vma) {
        wanted = std::min(wanted, vma->range.begin - LinearAddress(at));
      }
      const long n = sys::raw(transfer == Transfer::Read ? __NR_pread64 : __NR_pwrite64, fd,
                              sys::arg(bytes + done), static_cast<long>(wanted), static_cast<long>(at));
      part = n < 0 ? SysResult<std::size_t>(fail(static_cast<Errno>(-n))) : static_cast<std::size_t>(n);
    }
    if (!part) {
      if (done == 0 || part.error() == Errno::Fault) {
        return fail(part.error());
      }
      break;
    }
    done += *part;
    at += *part;
    if (*part < wanted) {
      break;
    }
  }
  if (!offset) {
    sys::raw(__NR_lseek, fd, static_cast<long>(at), SEEK_SET);
  }
  return static_cast<long>(done);
}

}  // namespace enclume::engine
