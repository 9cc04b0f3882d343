// SPDX-License-Identifier: Apache-2.0
#include "engine/calls/tracee_maps.h"

#include <fcntl.h>
#include <sys/ptrace.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "arch/epc/epcm.h"
#include "arch/structs/attributes.h"
#include "arch/structs/secs.h"
#include "arch/structs/tcs.h"
#include "base/format.h"
#include "base/syscall.h"
#include "base/types.h"
#include "engine/entry/entry.h"
#include "kernel/layout.h"

namespace enclume::engine {

namespace {

struct Mapping {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::uint64_t offset = 0;
  std::uint64_t file = 0;  ///< device and inode, mixed
  bool enclave = false;

  [[nodiscard]] bool contains(std::uint64_t address) const { return address >= begin && address < end; }
  /// The mapping of pages at their linear addresses has the enclave's base here, the engine's own another
  /// value.
  [[nodiscard]] std::uint64_t base() const { return begin - offset; }
  [[nodiscard]] bool pages() const { return enclave && offset < kernel::kMetadataOffset; }
};

std::uint64_t take_hex(std::string_view& text) {
  std::uint64_t value = 0;
  std::size_t used = 0;
  for (; used < text.size(); ++used) {
    const char c = text[used];
    if (c >= '0' && c <= '9') {
      value = value * 16 + static_cast<std::uint64_t>(c - '0');
    } else if (c >= 'a' && c <= 'f') {
      value = value * 16 + static_cast<std::uint64_t>(c - 'a' + 10);
    } else {
      break;
    }
  }
  text.remove_prefix(used);
  return value;
}

/// "begin-end rwxp offset major:minor inode   path"
Mapping parse(std::string_view line) {
  Mapping m;
  const auto skip = [&](std::size_t n) { line.remove_prefix(std::min(n, line.size())); };
  m.begin = take_hex(line);
  skip(1);
  m.end = take_hex(line);
  skip(6);
  m.offset = take_hex(line);
  skip(1);
  const std::uint64_t major = take_hex(line);
  skip(1);
  const std::uint64_t minor = take_hex(line);
  skip(1);
  const std::uint64_t inode = take_hex(line);  // decimal digits; only its identity counts
  m.file = inode == 0 ? 0 : inode ^ major << 56 ^ minor << 40;
  m.enclave = line.find("/memfd:sgx_enclave") != std::string_view::npos;
  return m;
}

/// Calls f(Mapping) for each, until it returns false.
template <typename F>
void for_each_mapping(pid_t tid, F&& f) {
  std::array<char, 32> name;
  LineBuffer(std::span(name)).text("/proc/").dec(tid).text("/maps").text(std::string_view("\0", 1));
  const auto fd = sys::call(__NR_openat, AT_FDCWD, name.data(), O_RDONLY | O_CLOEXEC);
  if (!fd) {
    return;
  }
  // A path can be as long as a page; what does not fit is not looked at.
  static std::array<char, 8192> buffer;
  std::size_t used = 0;
  bool more = true;
  while (more) {
    const long n =
        sys::raw(__NR_read, *fd, sys::arg(buffer.data() + used), static_cast<long>(buffer.size() - used));
    if (n <= 0) {
      break;
    }
    used += static_cast<std::size_t>(n);
    std::string_view text(buffer.data(), used);
    for (std::size_t end = text.find('\n'); more && end != std::string_view::npos; end = text.find('\n')) {
      more = f(parse(text.substr(0, end)));
      text.remove_prefix(end + 1);
    }
    std::memmove(buffer.data(), text.data(), text.size());
    used = text.size() == buffer.size() ? 0 : text.size();
  }
  sys::raw(__NR_close, *fd);
}

// The extent of all enclaves of the tracee that was looked at last, so that other addresses cost nothing.
pid_t looked_at = 0;
std::uint64_t lowest = 0;
std::uint64_t highest = 0;

bool may_be_enclave(pid_t tid, std::uint64_t address) {
  if (looked_at != tid) {
    looked_at = tid;
    lowest = ~std::uint64_t{0};
    highest = 0;
    for_each_mapping(tid, [](const Mapping& m) {
      if (m.pages()) {
        lowest = std::min(lowest, m.begin);
        highest = std::max(highest, m.end);
      }
      return true;
    });
  }
  return address + 7 >= lowest && address < highest;
}

/// One enclave of a tracee, by the engine's mappings of it there.
class TraceeEnclave {
 public:
  TraceeEnclave(pid_t tid, const Mapping& linear) : tid_(tid), linear_(linear) {
    for_each_mapping(tid, [&](const Mapping& m) {
      // The header is mapped by itself, too.
      if (m.file == linear_.file && m.offset == kernel::kMetadataOffset &&
          m.end - m.begin > metadata_.end - metadata_.begin) {
        metadata_ = m;
      }
      return true;
    });
    std::uint64_t base = 0;
    std::uint64_t attributes = 0;
    if (metadata_.begin != 0 && peek(secs() + offsetof(arch::Secs, size), size_) &&
        peek(secs() + offsetof(arch::Secs, base_addr), base) &&
        peek(secs() + offsetof(arch::Secs, attributes), attributes)) {
      debug_ = size_ != 0 && base == linear_.base() && (attributes & arch::attribute::kDebug) != 0;
    }
  }

  /// EDBGRD or EDBGWR of an aligned word.
  [[nodiscard]] bool access(std::uint64_t address, std::uint64_t& word, bool write) {
    const std::uint64_t place = address - linear_.base();
    std::uint64_t entry = 0;
    if (!debug_ || place >= size_ || !peek(epcm() + place / kPageSize * sizeof(arch::EpcmEntry), entry)) {
      return false;
    }
    const arch::EpcmState state = arch::EpcmState::unpack(static_cast<std::uint32_t>(entry));
    if (!state.valid || state.pending || state.modified) {
      return false;
    }
    const std::uint64_t field = place % kPageSize;
    if (state.type == arch::PageType::Tcs) {
      if (write ? field != offsetof(arch::Tcs, flags) : field >= arch::kTcsArchitecturalSize) {
        return false;
      }
    } else if (state.type != arch::PageType::Reg) {
      return false;
    }
    const std::uint64_t alias = alias_of(place);
    return alias != 0 && (write ? sys::call(__NR_ptrace, PTRACE_POKEDATA, tid_, alias, word).has_value()
                                : peek(alias, word));
  }

 private:
  [[nodiscard]] std::uint64_t secs() const {
    return metadata_.begin + kernel::MetadataLayout::of(2 * kPageSize).secs;  // the same for each SIZE
  }
  [[nodiscard]] std::uint64_t epcm() const {
    return metadata_.begin + kernel::MetadataLayout::of(size_).epcm;
  }
  [[nodiscard]] std::uint64_t alias_of(std::uint64_t place) const {
    std::uint64_t alias = 0;
    for_each_mapping(tid_, [&](const Mapping& m) {
      if (m.pages() && m.file == linear_.file && m.base() != linear_.base() && place >= m.offset &&
          place - m.offset < m.end - m.begin) {
        alias = m.begin + (place - m.offset);
      }
      return alias == 0;
    });
    return alias;
  }
  [[nodiscard]] bool peek(std::uint64_t address, std::uint64_t& value) const {
    return sys::call(__NR_ptrace, PTRACE_PEEKDATA, tid_, address, &value).has_value();
  }

  pid_t tid_;
  Mapping linear_;
  Mapping metadata_;
  std::uint64_t size_ = 0;
  bool debug_ = false;
};

}  // namespace

std::uint64_t tracee_library(pid_t tid, std::uint64_t own_address) {
  std::uint64_t file = 0;
  for_each_mapping(sys::getpid(), [&](const Mapping& m) {
    file = m.contains(own_address) ? m.file : file;
    return file == 0;
  });
  std::uint64_t begin = 0;
  if (file != 0) {
    for_each_mapping(tid, [&](const Mapping& m) {
      begin = m.file == file && m.offset == 0 ? m.begin : 0;
      return begin == 0;
    });
  }
  return begin;
}

std::optional<SysResult<long>> tracee_word(pid_t tid, long request, std::uint64_t address,
                                           std::uint64_t data) {
  if (!may_be_enclave(tid, address)) {
    return std::nullopt;
  }
  Mapping linear;
  for_each_mapping(tid, [&](const Mapping& m) {
    if (m.pages() && m.contains(address)) {
      linear = m;
    }
    return linear.end == 0;
  });
  if (linear.end == 0) {
    return std::nullopt;
  }
  TraceeEnclave enclave(tid, linear);
  const bool write = request == PTRACE_POKETEXT || request == PTRACE_POKEDATA;
  const std::uint64_t first = align_down(address, 8);
  const std::uint64_t inside = address - first;
  std::array<std::uint64_t, 2> words{};
  const std::size_t count = inside == 0 ? 1 : 2;
  for (std::size_t i = 0; i < count; ++i) {
    if (!enclave.access(first + 8 * i, words[i], false)) {
      return fail(Errno::Io);
    }
  }
  auto* bytes = reinterpret_cast<std::byte*>(words.data());
  if (!write) {
    if (enclume_guarded_copy(reinterpret_cast<void*>(data), bytes + inside, 8) != 0) {
      return fail(Errno::Fault);
    }
    return 0L;
  }
  std::memcpy(bytes + inside, &data, 8);
  for (std::size_t i = 0; i < count; ++i) {
    if (!enclave.access(first + 8 * i, words[i], true)) {
      return fail(Errno::Io);
    }
  }
  return 0L;
}

pid_t thread_group(pid_t tid) {
  std::array<char, 32> name;
  LineBuffer(std::span(name)).text("/proc/").dec(tid).text("/status").text(std::string_view("\0", 1));
  const auto fd = sys::call(__NR_openat, AT_FDCWD, name.data(), O_RDONLY | O_CLOEXEC);
  if (!fd) {
    return 0;
  }
  std::array<char, 512> buffer;
  const long n = sys::raw(__NR_read, *fd, sys::arg(buffer.data()), static_cast<long>(buffer.size()));
  sys::raw(__NR_close, *fd);
  std::string_view text(buffer.data(), n > 0 ? static_cast<std::size_t>(n) : 0);
  constexpr std::string_view kField = "\nTgid:\t";
  const std::size_t place = text.find(kField);
  int group = 0;
  for (std::size_t i = place + kField.size(); place != std::string_view::npos && i < text.size(); ++i) {
    if (text[i] < '0' || text[i] > '9') {
      break;
    }
    group = group * 10 + (text[i] - '0');
  }
  return group;
}

void forget_tracee_maps() {
  looked_at = 0;
}

}  // namespace enclume::engine
