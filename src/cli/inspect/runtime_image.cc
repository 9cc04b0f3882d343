// SPDX-License-Identifier: Apache-2.0
#include "cli/inspect/runtime_image.h"

#include <array>

#include "arch/identity/measurement.h"

namespace enclume::cli {

RuntimeImage measure_runtime_image(const host::Image& image) {
  RuntimeImage result{image.config(), image.layout().size, 0, 0, {}};
  alignas(4096) arch::Secs secs{};
  secs.size = image.layout().size;
  secs.ssa_frame_size = 1;
  arch::measure_ecreate(secs);
  for (const host::PageRun& run : image.runs()) {
    arch::Secinfo secinfo{};
    secinfo.flags = run.secinfo_flags;
    result.pages += run.length / edge::kPageSize;
    if (run.measured) result.measured_pages += run.length / edge::kPageSize;
    for (std::uint64_t done = 0; done < run.length; done += edge::kPageSize) {
      arch::measure_eadd(secs, run.offset + done, secinfo);
      if (!run.measured) continue;
      static constexpr std::array<std::byte, edge::kPageSize> kZeros{};
      const std::byte* const page = run.bytes == nullptr ? kZeros.data() : run.bytes + done;
      arch::measure_eextend(secs, run.offset + done, std::span(page, edge::kPageSize));
    }
  }
  result.mrenclave = arch::measured_so_far(secs);
  return result;
}

std::optional<RuntimeImage> read_runtime_image(std::span<const std::byte> file) {
  Error error;
  const auto image = host::Image::parse(file, error);
  if (!image) return std::nullopt;
  return measure_runtime_image(*image);
}

}  // namespace enclume::cli
