// SPDX-License-Identifier: Apache-2.0
#include "engine/pages/process_files.h"

#include <fcntl.h>

#include <cstddef>
#include <span>
#include <string_view>

#include "base/format.h"
#include "base/syscall.h"

namespace enclume::engine {

namespace {

/// What /proc/ID/`file` begins with; empty if it is gone.
std::string_view read_proc_file(int id, std::string_view file, std::span<char> text) {
  char path[32];
  LineBuffer(path).text("/proc/").dec(id).text("/").text(file).text(std::string_view("\0", 1));
  const auto fd = sys::call(__NR_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
  if (!fd) {
    return {};
  }
  const long n = sys::raw(__NR_read, *fd, sys::arg(text.data()), sys::arg(text.size()));
  sys::raw(__NR_close, *fd);
  return {text.data(), n > 0 ? static_cast<std::size_t>(n) : 0};
}

/// The decimal number at `at`, 0 if there is none.
long number_at(std::string_view text, std::size_t at) {
  unsigned long number = 0;  // some of them are masks
  for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
    number = number * 10 + static_cast<unsigned long>(text[at] - '0');
  }
  return static_cast<long>(number);
}

}  // namespace

int process_of_thread(int tid) noexcept {
  constexpr std::string_view kTgid = "\nTgid:\t";
  char text[512];
  const std::string_view status = read_proc_file(tid, "status", text);
  const std::size_t at = status.find(kTgid);
  return at != std::string_view::npos ? static_cast<int>(number_at(status, at + kTgid.size())) : 0;
}

std::optional<long> process_stat_field(int pid, int number) noexcept {
  constexpr int kName = 2;  // the one that may have anything in it
  char text[512];
  const std::string_view stat = read_proc_file(pid, "stat", text);
  std::size_t at = stat.rfind(')');
  for (int field = kName; field < number && at != std::string_view::npos; ++field) {
    at = stat.find(' ', at + 1);
  }
  return at != std::string_view::npos ? std::optional(number_at(stat, at + 1)) : std::nullopt;
}

}  // namespace enclume::engine
