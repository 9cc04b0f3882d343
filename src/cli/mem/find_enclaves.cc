// SPDX-License-Identifier: Apache-2.0
// Finding the enclaves of a process: each is a file of memory, of which the engine has the metadata mapped.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <sstream>

#include "cli/failure.h"
#include "cli/file_descriptor.h"
#include "cli/mem/snapshot.h"
#include "cli/settings.h"
#include "kernel/layout.h"

namespace enclume::cli {
namespace {

constexpr std::string_view kEnclaveFile = "/memfd:sgx_enclave";

// A mapping of the metadata part, as a rule two for each enclave: of the header alone, and of all of it.
struct Mapping {
  std::uint64_t address = 0;
  std::uint64_t length = 0;
};

template <typename Integer>
Integer hex(std::string_view text) {
  Integer value{};
  std::from_chars(text.data(), text.data() + text.size(), value, 16);
  return value;
}

// By the inode of the enclave's file, the longest one of each. "BEGIN-END PERM OFFSET DEV INODE   PATH"
std::map<std::uint64_t, Mapping> find_metadata(int pid) {
  std::map<std::uint64_t, Mapping> found;
  std::ifstream maps(fmt::format("/proc/{}/maps", pid));
  for (std::string line; std::getline(maps, line);) {
    if (line.find(kEnclaveFile) == std::string::npos) continue;
    std::istringstream fields(line);
    std::string range;
    std::string permissions;
    std::string offset;
    std::string device;
    std::uint64_t inode = 0;
    fields >> range >> permissions >> offset >> device >> inode;
    const auto dash = range.find('-');
    if (dash == std::string::npos || hex<std::uint64_t>(offset) != kernel::kMetadataOffset) continue;
    const auto begin = hex<std::uint64_t>(std::string_view(range).substr(0, dash));
    const auto length = hex<std::uint64_t>(std::string_view(range).substr(dash + 1)) - begin;
    if (Mapping& known = found[inode]; length > known.length) known = {begin, length};
  }
  return found;
}

// A descriptor of the program's on the file with this inode: good without the right to trace the process.
FileDescriptor open_descriptor(int pid, std::uint64_t inode) {
  const auto directory = fmt::format("/proc/{}/fd", pid);
  for (int fd = 0; fd < 65536; ++fd) {
    const auto name = fmt::format("{}/{}", directory, fd);
    struct stat st {};
    if (::stat(name.c_str(), &st) != 0) {
      if (fd > 4096) break;
      continue;
    }
    if (st.st_ino == inode && static_cast<std::uint64_t>(st.st_size) == kernel::kFileLength) {
      return FileDescriptor(::open(name.c_str(), O_RDONLY | O_CLOEXEC));
    }
  }
  return {};
}

bool read_at(int fd, std::uint64_t offset, void* to, std::size_t size) {
  auto* out = static_cast<std::byte*>(to);
  while (size > 0) {
    const auto n = ::pread(fd, out, size, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    out += n;
    offset += static_cast<std::uint64_t>(n);
    size -= static_cast<std::size_t>(n);
  }
  return true;
}

// The settings that it was started with; it may have changed its environment, but not this copy of it by
// accident.
std::optional<std::uint64_t> epc_size_of(int pid) {
  std::ifstream file(fmt::format("/proc/{}/environ", pid), std::ios::binary);
  const std::string all{std::istreambuf_iterator<char>(file), {}};
  const std::string name = std::string(kSettingsVariable) + "=";
  for (std::size_t at = 0; at < all.size();) {
    const std::string_view entry(all.c_str() + at);
    if (entry.starts_with(name)) {
      const auto settings = parse_settings(entry.substr(name.size()));
      return settings ? std::optional(settings->epc_size) : std::nullopt;
    }
    at += entry.size() + 1;
  }
  return std::nullopt;
}

}  // namespace

Snapshot take_snapshot(int pid) {
  Snapshot snapshot{pid, epc_size_of(pid), {}};
  const FileDescriptor memory(::open(fmt::format("/proc/{}/mem", pid).c_str(), O_RDONLY | O_CLOEXEC));
  const int refused = memory ? 0 : errno;
  for (const auto& [inode, mapping] : find_metadata(pid)) {
    std::optional<EnclaveView> view;
    if (memory) {
      view = view_enclave([&, &mapping = mapping](std::uint64_t offset, void* to, std::size_t size) {
        return offset + size <= mapping.length && read_at(memory.get(), mapping.address + offset, to, size);
      });
    } else {
      const auto file = open_descriptor(pid, inode);
      if (!file) {
        throw Failure(
            ExitStatus::kNegative,
            fmt::format("the memory of process {} may not be read: {}. Try it as root, or allow it to "
                        "be traced (sysctl kernel.yama.ptrace_scope=0)",
                        pid, std::strerror(refused)));
      }
      view = view_enclave([&](std::uint64_t offset, void* to, std::size_t size) {
        return read_at(file.get(), kernel::kMetadataOffset + offset, to, size);
      });
    }
    if (view) snapshot.enclaves.push_back(std::move(*view));
  }
  std::ranges::sort(snapshot.enclaves, {}, &EnclaveView::number);
  return snapshot;
}

}  // namespace enclume::cli
