// SPDX-License-Identifier: Apache-2.0
#include "cli/sign/measure.h"

#include <fmt/format.h>

#include "cli/failure.h"
#include "cli/inspect/inspection.h"

namespace enclume::cli {

Measured measure(std::string_view verb, const std::string& name, std::span<const std::byte> file) {
  const auto fail = [&](const std::string& why) {
    throw Failure(ExitStatus::kUsage, fmt::format("{}: {}: {}", verb, name, why));
  };
  Error error;
  auto image = host::Image::parse(file, error);
  if (image) {
    const auto hash = measure_runtime_image(*image).mrenclave;
    return {"enclave image", hash, std::move(*image)};
  }
  const Inspection inspection = inspect(file);
  if (inspection.sgxs) {
    if (!inspection.sgxs->mrenclave) {
      fail(inspection.sgxs->problem.empty() ? "the stream is of open size" : inspection.sgxs->problem);
    }
    return {inspection.format, *inspection.sgxs->mrenclave, std::nullopt};
  }
  for (const auto& sigstruct : inspection.sigstructs) {
    if (!sigstruct.intel) continue;
    if (!sigstruct.intel->image.mrenclave) fail(sigstruct.intel->image.problem);
    return {inspection.format, *sigstruct.intel->image.mrenclave, std::nullopt};
  }
  fail(fmt::format("no image of enclume_add_enclave() ({}), no SGXS stream and no signed Intel SDK enclave",
                   describe(static_cast<ImageProblem>(error.system))));
  return {};
}

}  // namespace enclume::cli
