// SPDX-License-Identifier: Apache-2.0
// What `enclume inspect` finds out about a file, as data, as JSON and as text.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cli/inspect/elf_sections.h"
#include "cli/inspect/find_sigstruct.h"
#include "cli/inspect/intel_image.h"
#include "cli/inspect/runtime_image.h"
#include "cli/inspect/sgxs.h"

namespace enclume::cli {

// The header of the Intel SDK's metadata, which stands right before its SIGSTRUCT.
struct IntelMetadata {
  std::uint64_t version;  // major << 32 | minor
  std::uint32_t tcs_policy;
  std::uint32_t ssa_frame_size;
  std::uint64_t enclave_size;
  IntelImage image;  // what the loader would build of the file
};

struct LocatedSigstruct {
  FoundSigstruct found;
  std::string section;  // "" outside of any
  std::optional<IntelMetadata> intel;
};

struct Inspection {
  std::string format;  // in words
  std::vector<LocatedSigstruct> sigstructs;
  std::optional<SgxsSummary> sgxs;
  std::optional<RuntimeImage> runtime;  // an image of enclume_add_enclave()
  std::vector<std::string> hints;       // what the file seems to be, if nothing was found

  [[nodiscard]] bool is_empty() const { return sigstructs.empty() && !sgxs && !runtime; }
  // Something was found, and EINIT would accept all of it as far as a file can tell. An image whose
  // measurement could not be computed (Intel SDK), is another than that in its SIGSTRUCT, or is not signed
  // yet, is not sound.
  [[nodiscard]] bool is_sound() const;
};

[[nodiscard]] Inspection inspect(std::span<const std::byte> file);

[[nodiscard]] nlohmann::ordered_json to_json(const Inspection& inspection, const std::string& file_name);
[[nodiscard]] std::string to_text(const Inspection& inspection, const std::string& file_name);

}  // namespace enclume::cli
