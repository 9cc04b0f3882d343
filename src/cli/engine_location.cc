// SPDX-License-Identifier: Apache-2.0
#include "cli/engine_location.h"

#include <fmt/format.h>
#include <sys/auxv.h>

#include <array>
#include <filesystem>
#include <system_error>

#include "cli/failure.h"
#include "cli/layers.h"

namespace enclume::cli {

namespace fs = std::filesystem;

namespace {

fs::path own_directory() {
  std::error_code error;
  auto self = fs::read_symlink("/proc/self/exe", error);
  if (error) {  // no /proc, as in a bare chroot: the name that the kernel was given
    const auto* const name = reinterpret_cast<const char*>(::getauxval(AT_EXECFN));
    self = fs::canonical(name != nullptr ? name : "", error);
  }
  if (error)
    throw Failure(ExitStatus::kInternal, "cannot find my own path: /proc/self/exe: " + error.message());
  return self.parent_path();
}

}  // namespace

std::optional<std::string> loader_path() {
  std::error_code error;
  const auto directory = own_directory();
  for (const auto& candidate :
       {directory / "enclume-load", directory.parent_path() / ENCLUME_LIBEXECDIR / "enclume-load"}) {
    if (fs::exists(candidate, error)) return candidate.string();
  }
  return std::nullopt;
}

std::string engine_path() {
  if (const auto named = process_environment()("ENCLUME_ENGINE")) return fs::absolute(*named).string();
  std::error_code error;
  const auto prefix = own_directory().parent_path();
  const std::array<fs::path, 2> candidates = {prefix / "lib" / "libenclume-engine.so",
                                              prefix / ENCLUME_LIBDIR / "libenclume-engine.so"};
  for (const auto& candidate : candidates) {
    if (fs::exists(candidate, error)) return candidate.string();
  }
  throw Failure(
      ExitStatus::kInternal,
      fmt::format("the engine is missing: no {}; build or install it, or let ENCLUME_ENGINE name it",
                  candidates.front().string()));
}

}  // namespace enclume::cli
