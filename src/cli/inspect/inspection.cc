// SPDX-License-Identifier: Apache-2.0
#include "cli/inspect/inspection.h"

#include <algorithm>
#include <cstring>

namespace enclume::cli {
namespace {

// Intel SDK, common/inc/internal/metadata.h: `metadata_t`, whose enclave_css is the SIGSTRUCT.
constexpr std::uint64_t kIntelMagic = 0x86a80294635d0e4cULL;
struct IntelMetadataHeader {
  std::uint64_t magic;
  std::uint64_t version;
  std::uint32_t size;
  std::uint32_t tcs_policy;
  std::uint32_t ssa_frame_size;
  std::uint32_t max_save_buffer_size;
  std::uint32_t desired_misc_select;
  std::uint32_t tcs_min_pool;
  std::uint64_t enclave_size;
  std::uint64_t attributes[2];
};
static_assert(sizeof(IntelMetadataHeader) == 64);

constexpr const char* kIntelSection = ".note.sgxmeta";
constexpr const char* kOpenEnclaveSection = ".oeinfo";

std::optional<IntelMetadata> intel_metadata_before(std::span<const std::byte> file, std::uint64_t offset) {
  if (offset < sizeof(IntelMetadataHeader)) return std::nullopt;
  IntelMetadataHeader header;
  std::memcpy(&header, file.data() + offset - sizeof header, sizeof header);
  if (header.magic != kIntelMagic) return std::nullopt;
  return IntelMetadata{header.version, header.tcs_policy, header.ssa_frame_size, header.enclave_size,
                       measure_intel_image(file, offset - sizeof header)};
}

// A file that is a SIGSTRUCT and nothing else, but for zeros up to a page.
bool is_bare_sigstruct(std::span<const std::byte> file, const LocatedSigstruct& sigstruct) {
  return sigstruct.found.offset == 0 && file.size() <= 4096 &&
         arch::all_zero(file.subspan(sizeof(arch::Sigstruct)));
}

std::string format_of(std::span<const std::byte> file, const Inspection& inspection) {
  if (inspection.sgxs) return inspection.sgxs->is_sized ? "SGXS stream" : "SGXS stream of open size";
  if (inspection.runtime) {
    return inspection.sigstructs.empty() ? "enclave image, not signed yet" : "enclave image";
  }
  if (inspection.sigstructs.empty()) return is_elf(file) ? "ELF file" : "unknown";
  const auto& first = inspection.sigstructs.front();
  if (is_bare_sigstruct(file, first)) return "SIGSTRUCT";
  if (first.intel) return "enclave signed with the Intel SGX SDK";
  if (first.section == kOpenEnclaveSection) return "enclave signed with Open Enclave";
  return is_elf(file) ? "ELF file with a SIGSTRUCT" : "file with a SIGSTRUCT";
}

std::vector<std::string> hints_for(std::span<const std::byte> file, std::span<const ElfSection> sections) {
  std::vector<std::string> hints;
  const auto has = [&](const char* name) {
    return std::ranges::find(sections, name, &ElfSection::name) != sections.end();
  };
  if (has(kOpenEnclaveSection)) {
    hints.emplace_back(
        "it has the section .oeinfo, so it is an Open Enclave enclave that is not signed yet: oesign sign");
  }
  if (has(kIntelSection)) {
    hints.emplace_back(
        "it has the section .note.sgxmeta, so it is an Intel SDK enclave that is not signed yet: sgx_sign "
        "sign");
  }
  if (is_elf(file) && sections.empty())
    hints.emplace_back("it is an ELF file without (readable) section headers");
  if (file.size() < sizeof(arch::Sigstruct))
    hints.emplace_back("it is smaller than a SIGSTRUCT, which has 1808 bytes");
  return hints;
}

}  // namespace

bool Inspection::is_sound() const {
  const auto is_bad = [](const LocatedSigstruct& sigstruct) {
    return !sigstruct.found.is_well_formed || sigstruct.found.signature != SignatureState::kValid ||
           (sigstruct.intel && sigstruct.intel->image.mrenclave != sigstruct.found.sigstruct.enclave_hash);
  };
  const auto is_of_image = [&](const LocatedSigstruct& sigstruct) {
    return sigstruct.found.sigstruct.enclave_hash == runtime->mrenclave;
  };
  if (runtime && (sigstructs.empty() || !std::ranges::all_of(sigstructs, is_of_image))) return false;
  return !is_empty() && std::ranges::none_of(sigstructs, is_bad) && (!sgxs || sgxs->problem.empty());
}

Inspection inspect(std::span<const std::byte> file) {
  Inspection inspection;
  const auto sections = elf_sections(file);
  inspection.sgxs = read_sgxs(file);
  // The pages of an SGXS stream are the enclave's own and may hold anything.
  if (!inspection.sgxs) {
    for (const auto& found : find_sigstructs(file)) {
      const auto* section = section_at(sections, found.offset);
      inspection.sigstructs.push_back(
          {found, section != nullptr ? section->name : "", intel_metadata_before(file, found.offset)});
    }
  }
  inspection.runtime = read_runtime_image(file);
  inspection.format = format_of(file, inspection);
  if (inspection.is_empty()) inspection.hints = hints_for(file, sections);
  return inspection;
}

}  // namespace enclume::cli
