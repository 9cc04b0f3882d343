// SPDX-License-Identifier: Apache-2.0
#include "engine/calls/proc_files.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <string_view>

#include "base/format.h"
#include "base/syscall.h"
#include "base/types.h"
#include "engine/calls/memory_file.h"
#include "engine/start/vdso.h"

namespace enclume::engine {

namespace {

/// Text that grows.
class Text {
 public:
  Text() = default;
  ~Text() {
    if (data_ != nullptr) {
      sys::raw(__NR_munmap, sys::arg(data_), sys::arg(capacity_));
    }
  }
  Text(const Text&) = delete;
  Text& operator=(const Text&) = delete;

  bool append(std::string_view s) {
    if (used_ + s.size() > capacity_) {
      const std::size_t capacity = align_up((used_ + s.size()) * 2, 4 * kPageSize);
      const auto grown =
          data_ == nullptr
              ? sys::call(__NR_mmap, 0, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
              : sys::call(__NR_mremap, data_, capacity_, capacity, MREMAP_MAYMOVE);
      if (!grown) {
        return false;
      }
      data_ = reinterpret_cast<char*>(*grown);
      capacity_ = capacity;
    }
    std::memcpy(data_ + used_, s.data(), s.size());
    used_ += s.size();
    return true;
  }
  [[nodiscard]] std::string_view view() const { return {data_, used_}; }
  [[nodiscard]] char* data() { return data_; }
  [[nodiscard]] std::size_t size() const { return used_; }

 private:
  char* data_ = nullptr;
  std::size_t used_ = 0;
  std::size_t capacity_ = 0;
};

SysResult<void> read_file(const char* path, Text& out) {
  const auto fd = sys::call(__NR_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
  if (!fd) {
    return fail(fd.error());
  }
  char buffer[4096];
  long n;
  bool ok = true;
  while (ok && (n = sys::raw(__NR_read, *fd, sys::arg(&buffer[0]), sizeof(buffer))) > 0) {
    ok = out.append({buffer, static_cast<std::size_t>(n)});
  }
  sys::raw(__NR_close, *fd);
  return ok ? SysResult<void>{} : fail(Errno::NoMemory);
}

SysResult<long> memory_file(const char* name, std::string_view contents, int flags) {
  const auto fd = sys::call(__NR_memfd_create, name, (flags & O_CLOEXEC) != 0 ? MFD_CLOEXEC : 0U);
  if (fd) {
    sys::write_all(static_cast<int>(*fd), contents.data(), contents.size());
    sys::raw(__NR_lseek, *fd, 0, SEEK_SET);
  }
  return fd;
}

bool has_word(std::string_view line, std::string_view word) {
  for (std::size_t at = line.find(word); at != std::string_view::npos; at = line.find(word, at + 1)) {
    const bool begins = at == 0 || line[at - 1] == ' ' || line[at - 1] == '\t';
    const std::size_t end = at + word.size();
    if (begins && (end == line.size() || line[end] == ' ')) {
      return true;
    }
  }
  return false;
}

/// Adds flags to each processor's "flags" line, where they are missing.
bool add_cpu_flags(std::string_view text, Text& out) {
  bool ok = true;
  while (!text.empty() && ok) {
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    ok = out.append(line);
    if (line.starts_with("flags\t") || line.starts_with("flags ")) {
      for (const std::string_view flag : {"sgx", "sgx_lc"}) {
        if (!has_word(line, flag)) {
          ok = ok && out.append(" ") && out.append(flag);
        }
      }
    }
    if (end == std::string_view::npos) {
      break;
    }
    ok = ok && out.append("\n");
    text.remove_prefix(end + 1);
  }
  return ok;
}

bool is_own_proc(std::string_view path, std::string_view file) {
  if (!path.starts_with("/proc/") || !path.ends_with(file)) {
    return false;
  }
  path.remove_prefix(6);
  path.remove_suffix(file.size());
  char own[16];
  LineBuffer pid(own);
  pid.dec(sys::getpid());
  return path == "self" || path == "thread-self" || path == pid.view();
}

}  // namespace

std::optional<SysResult<long>> open_proc_file(const char* path, int flags) {
  const std::string_view name(path);
  if (is_own_proc(name, "/mem")) {
    const auto fd = sys::call(__NR_openat, AT_FDCWD, path, flags);
    if (fd) {
      hint_memory_file(static_cast<int>(*fd));
    }
    return fd;
  }
  if ((flags & O_ACCMODE) != O_RDONLY) {
    return std::nullopt;
  }
  if (name == "/proc/cpuinfo") {
    Text text;
    Text edited;
    if (const auto r = read_file(path, text); !r) {
      return fail(r.error());
    }
    if (!add_cpu_flags(text.view(), edited)) {
      return fail(Errno::NoMemory);
    }
    return memory_file("cpuinfo", edited.view(), flags);
  }
  if (is_own_proc(name, "/auxv")) {
    Text raw;
    if (const auto r = read_file(path, raw); !r) {
      return fail(r.error());
    }
    for (std::size_t at = 0; at + sizeof(Elf64_auxv_t) <= raw.size(); at += sizeof(Elf64_auxv_t)) {
      auto* entry = reinterpret_cast<Elf64_auxv_t*>(raw.data() + at);
      if (entry->a_type == AT_SYSINFO_EHDR && vdso_address() != 0) {
        entry->a_un.a_val = vdso_address();
      }
    }
    return memory_file("auxv", raw.view(), flags);
  }
  return std::nullopt;
}

}  // namespace enclume::engine
