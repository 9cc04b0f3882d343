// SPDX-License-Identifier: Apache-2.0
#include "cli/target/target.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <sstream>

#include "cli/failure.h"

namespace enclume::cli {
namespace {

constexpr std::string_view kEngineName = "/libenclume-engine.so";

[[noreturn]] void refuse(const std::string& message) {
  throw Failure(ExitStatus::kNegative, message);
}

pid_t parse_pid(const std::string& text) {
  pid_t pid = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), pid);
  if (error != std::errc{} || end != text.data() + text.size() || pid <= 0) {
    throw Failure(ExitStatus::kUsage,
                  fmt::format("'{}' is not the number of a process; pgrep or ps tell it", text));
  }
  return pid;
}

// The engine keeps SIGSYS for itself; in a process that does not, the signal would be deadly.
bool catches_sigsys(pid_t pid) {
  const auto caught = status_field(pid, "SigCgt");
  std::uint64_t bits = 0;
  std::from_chars(caught.data(), caught.data() + caught.size(), bits, 16);
  return (bits >> (SIGSYS - 1) & 1) != 0;
}

// The first mapping of the engine: "BEGIN-END PERM OFFSET DEV INODE   PATH".
bool find_engine(Target& target) {
  std::ifstream maps(fmt::format("/proc/{}/maps", target.pid));
  for (std::string line; std::getline(maps, line);) {
    const auto path = line.find('/');
    if (path == std::string::npos || line.find(kEngineName, path) == std::string::npos) continue;
    std::istringstream fields(line);
    std::string range;
    std::string permissions;
    std::string offset;
    fields >> range >> permissions >> offset;
    if (offset.find_first_not_of('0') != std::string::npos) continue;
    std::from_chars(range.data(), range.data() + range.size(), target.engine_base, 16);
    target.engine = line.substr(path);
    return true;
  }
  return false;
}

bool may_read_maps(pid_t pid) {
  std::ifstream maps(fmt::format("/proc/{}/maps", pid));
  std::string line;
  return maps.is_open() && static_cast<bool>(std::getline(maps, line));
}

}  // namespace

std::string status_field(pid_t pid, const std::string& field) {
  std::ifstream status(fmt::format("/proc/{}/status", pid));
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(field + ":")) {
      const auto value = line.find_first_not_of(" \t", field.size() + 1);
      return value == std::string::npos ? "" : line.substr(value);
    }
  }
  return "";
}

bool has_ended(const Target& target) {
  pollfd ended{target.handle.get(), POLLIN, 0};
  return ::poll(&ended, 1, 0) > 0;
}

Target find_target(const std::string& text) {
  Target target;
  target.pid = parse_pid(text);
  target.handle = FileDescriptor(static_cast<int>(::syscall(SYS_pidfd_open, target.pid, 0)));
  if (!target.handle) {
    const int error = errno;
    const auto process = status_field(target.pid, "Tgid");
    if (!process.empty() && process != text) {
      refuse(fmt::format("{} is a thread of process {}; give that", target.pid, process));
    }
    refuse(error == ESRCH ? fmt::format("there is no process {}", target.pid)
                          : fmt::format("process {}: {}", target.pid, std::strerror(error)));
  }
  if (status_field(target.pid, "State").starts_with('Z')) {
    refuse(fmt::format("process {} has ended", target.pid));
  }
  if (!may_read_maps(target.pid)) {
    refuse(fmt::format("process {} is another user's; try it as that user or as root", target.pid));
  }
  if (!find_engine(target) || !catches_sigsys(target.pid)) {
    refuse(fmt::format("process {} does not run under Enclume; start it by enclume run", target.pid));
  }
  // "NSpid: 4711 12": in a namespace of its own it is 12, and so are the numbers that it knows others by.
  if (status_field(target.pid, "NSpid").find('\t') != std::string::npos) {
    refuse(fmt::format("process {} is in another pid namespace (a container); run enclume in there",
                       target.pid));
  }
  return target;
}

}  // namespace enclume::cli
