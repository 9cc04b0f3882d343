// SPDX-License-Identifier: Apache-2.0
// The two faces of an Inspection.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>

#include "cli/inspect/inspection.h"

namespace enclume::cli {
namespace {

using nlohmann::ordered_json;

std::string hex(std::span<const std::byte> bytes) {
  std::string out;
  for (const auto byte : bytes) out += fmt::format("{:02x}", std::to_integer<unsigned>(byte));
  return out;
}

// A long number: its ends are enough to tell two apart by eye.
std::string short_hex(std::span<const std::byte> bytes) {
  return fmt::format("{}…{} ({} bytes)", hex(bytes.first(8)), hex(bytes.last(8)), bytes.size());
}

struct BitName {
  unsigned bit;
  std::string_view name;
};

constexpr BitName kAttributeNames[] = {{0, "INIT"},         {1, "DEBUG"},         {2, "MODE64BIT"},
                                       {4, "PROVISIONKEY"}, {5, "EINITTOKENKEY"}, {6, "CET"},
                                       {7, "KSS"},          {10, "AEXNOTIFY"}};
constexpr BitName kXfrmNames[] = {{0, "x87"},    {1, "SSE"},      {2, "AVX"},       {3, "BNDREGS"},
                                  {4, "BNDCSR"}, {5, "opmask"},   {6, "ZMM_Hi256"}, {7, "Hi16_ZMM"},
                                  {9, "PKRU"},   {17, "TILECFG"}, {18, "TILEDATA"}};
constexpr BitName kMiscNames[] = {{0, "EXINFO"}};

// Names of the set bits; "bit N" for one without a name.
std::vector<std::string> bit_names(std::uint64_t value, std::span<const BitName> names) {
  std::vector<std::string> result;
  for (unsigned bit = 0; bit < 64; ++bit) {
    if ((value >> bit & 1) == 0) continue;
    const auto found = std::ranges::find(names, bit, &BitName::bit);
    result.push_back(found != names.end() ? std::string(found->name) : fmt::format("bit {}", bit));
  }
  return result;
}

// Of a mask, where nearly all bits are set, the names would say little.
std::string with_names(std::uint64_t value, std::span<const BitName> names) {
  return value == 0 ? "0x0" : fmt::format("{:#x} ({})", value, fmt::join(bit_names(value, names), " "));
}

std::string date_text(std::uint32_t date) {
  return fmt::format("{:04x}-{:02x}-{:02x}", date >> 16, date >> 8 & 0xff, date & 0xff);
}

std::string_view signature_word(SignatureState state) {
  switch (state) {
    case SignatureState::kValid:
      return "valid";
    case SignatureState::kWrongHelpers:
      return "wrong-q1-q2";
    case SignatureState::kInvalid:
      return "invalid";
  }
  return "";
}

std::string_view signature_text(SignatureState state) {
  switch (state) {
    case SignatureState::kValid:
      return "valid, and so are Q1 and Q2";
    case SignatureState::kWrongHelpers:
      return "valid, but Q1 or Q2 is wrong; EINIT fails with INVALID_SIGNATURE";
    case SignatureState::kInvalid:
      return "INVALID; EINIT fails with INVALID_SIGNATURE";
  }
  return "";
}

ordered_json attributes_json(const arch::Attributes& attributes) {
  return {{"flags", fmt::format("{:#x}", attributes.flags)},
          {"flag_names", bit_names(attributes.flags, kAttributeNames)},
          {"xfrm", fmt::format("{:#x}", attributes.xfrm)},
          {"xfrm_names", bit_names(attributes.xfrm, kXfrmNames)}};
}

ordered_json sigstruct_json(const LocatedSigstruct& located) {
  const auto& found = located.found;
  const auto& s = found.sigstruct;
  ordered_json json = {
      {"offset", found.offset},
      {"section", located.section},
      {"well_formed", found.is_well_formed},
      {"signature_state", signature_word(found.signature)},
      {"mrenclave", hex(s.enclave_hash)},
      {"mrsigner", hex(found.mrsigner)},
      {"header", hex(s.header)},
      {"vendor", s.vendor},
      {"date", date_text(s.date)},
      {"header2", hex(s.header2)},
      {"swdefined", s.swdefined},
      {"reserved1", hex(s.reserved1)},
      {"modulus", hex(s.modulus)},
      {"exponent", s.exponent},
      {"signature", hex(s.signature)},
      {"miscselect", fmt::format("{:#x}", s.miscselect)},
      {"miscmask", fmt::format("{:#x}", s.miscmask)},
      {"cet_attributes", s.cet_attributes},
      {"cet_attributes_mask", s.cet_attributes_mask},
      {"reserved2", hex(s.reserved2)},
      {"isvfamilyid", hex(s.isv_family_id)},
      {"attributes", attributes_json(s.attributes)},
      {"attributemask", attributes_json(s.attribute_mask)},
      {"reserved3", hex(s.reserved3)},
      {"isvextprodid", hex(s.isv_ext_prod_id)},
      {"isvprodid", s.isv_prod_id},
      {"isvsvn", s.isv_svn},
      {"reserved4", hex(s.reserved4)},
      {"q1", hex(s.q1)},
      {"q2", hex(s.q2)},
  };
  if (located.intel) {
    json["intel_metadata"] = {
        {"version", fmt::format("{}.{}", located.intel->version >> 32, located.intel->version & 0xffffffff)},
        {"tcs_policy", located.intel->tcs_policy},
        {"ssa_frame_size", located.intel->ssa_frame_size},
        {"enclave_size", located.intel->enclave_size},
        {"pages", located.intel->image.pages},
        {"measured_pages", located.intel->image.measured_pages},
        {"tcs_pages", located.intel->image.tcs_pages},
        {"mrenclave", nullptr},
        {"problem", located.intel->image.problem}};
    if (const auto& computed = located.intel->image.mrenclave) {
      json["intel_metadata"]["mrenclave"] = hex(*computed);
    }
  }
  return json;
}

// "  name              value" lines.
class Lines {
 public:
  void add(std::string_view name, const std::string& value) {
    out_ += fmt::format("  {:<18}{}\n", name, value);
  }
  [[nodiscard]] std::string take() { return std::move(out_); }

 private:
  std::string out_;
};

std::string reserved_text(const arch::Sigstruct& s) {
  const bool is_clear = arch::all_zero(s.reserved1) && arch::all_zero(s.reserved2) &&
                        arch::all_zero(s.reserved3) && arch::all_zero(s.reserved4);
  return is_clear ? "all zero" : "NOT all zero";
}

// What the Intel SDK's loader would build, against what was signed.
std::string image_text(const IntelImage& image, const arch::Sigstruct& s) {
  if (!image.mrenclave) return "MRENCLAVE cannot be computed: " + image.problem;
  if (*image.mrenclave == s.enclave_hash)
    return "MRENCLAVE computed from segments and layout: the signed one";
  return "MRENCLAVE " + hex(*image.mrenclave) +
         ", which is NOT the signed one; EINIT fails with INVALID_MEASUREMENT";
}

std::string place_of(const LocatedSigstruct& located) {
  auto text = fmt::format("offset {:#x}", located.found.offset);
  if (!located.section.empty()) text += fmt::format(", section {}", located.section);
  return text;
}

std::string sigstruct_text(const LocatedSigstruct& located) {
  const auto& s = located.found.sigstruct;
  Lines lines;
  lines.add("MRENCLAVE", hex(s.enclave_hash));
  lines.add("MRSIGNER", hex(located.found.mrsigner));
  lines.add("signature", std::string(signature_text(located.found.signature)));
  lines.add("form",
            located.found.is_well_formed
                ? "as the architecture demands"
                : "WRONG headers, vendor, exponent or reserved fields; EINIT fails with INVALID_SIG_STRUCT");
  lines.add("ISVPRODID", fmt::format("{}", s.isv_prod_id));
  lines.add("ISVSVN", fmt::format("{}", s.isv_svn));
  lines.add("ATTRIBUTES", with_names(s.attributes.flags, kAttributeNames));
  lines.add("  XFRM", with_names(s.attributes.xfrm, kXfrmNames));
  lines.add("ATTRIBUTEMASK", fmt::format("{:#x}", s.attribute_mask.flags));
  lines.add("  XFRM", fmt::format("{:#x}", s.attribute_mask.xfrm));
  lines.add("MISCSELECT", with_names(s.miscselect, kMiscNames));
  lines.add("MISCMASK", fmt::format("{:#x}", s.miscmask));
  lines.add("CET_ATTRIBUTES", fmt::format("{:#x}, mask {:#x}", s.cet_attributes, s.cet_attributes_mask));
  lines.add("ISVFAMILYID", hex(s.isv_family_id));
  lines.add("ISVEXTPRODID", hex(s.isv_ext_prod_id));
  lines.add("HEADER", hex(s.header));
  lines.add("HEADER2", hex(s.header2));
  lines.add("VENDOR",
            fmt::format("{:#x}{}", s.vendor, s.vendor == arch::kSigstructVendorIntel ? " (Intel)" : ""));
  lines.add("DATE", date_text(s.date));
  lines.add("SWDEFINED", fmt::format("{:#x}", s.swdefined));
  lines.add("EXPONENT", fmt::format("{}", s.exponent));
  lines.add("MODULUS", short_hex(s.modulus));
  lines.add("SIGNATURE", short_hex(s.signature));
  lines.add("Q1", short_hex(s.q1));
  lines.add("Q2", short_hex(s.q2));
  lines.add("reserved fields", reserved_text(s));
  if (located.intel) {
    lines.add("SDK metadata", fmt::format("version {}.{}, enclave of {:#x} bytes, SSA frames of {} pages",
                                          located.intel->version >> 32, located.intel->version & 0xffffffff,
                                          located.intel->enclave_size, located.intel->ssa_frame_size));
    const IntelImage& image = located.intel->image;
    lines.add("built from it", image_text(image, s));
    if (image.mrenclave) {
      lines.add("  pages", fmt::format("{}, {} of them with contents measured, {} TCS", image.pages,
                                       image.measured_pages, image.tcs_pages));
    }
  }
  return fmt::format("\nSIGSTRUCT at {}\n{}", place_of(located), lines.take());
}

ordered_json sgxs_json(const SgxsSummary& sgxs) {
  ordered_json json = {{"sized", sgxs.is_sized},
                       {"ssa_frame_size", sgxs.ssa_frame_size},
                       {"size", sgxs.size},
                       {"tcs_pages", sgxs.tcs_pages},
                       {"regular_pages", sgxs.regular_pages},
                       {"other_pages", sgxs.other_pages},
                       {"measured_chunks", sgxs.measured_chunks},
                       {"unmeasured_chunks", sgxs.unmeasured_chunks},
                       {"mrenclave", nullptr},
                       {"problem", sgxs.problem}};
  if (sgxs.mrenclave) json["mrenclave"] = hex(*sgxs.mrenclave);
  return json;
}

std::string sgxs_text(const SgxsSummary& sgxs) {
  Lines lines;
  if (sgxs.mrenclave) {
    lines.add("MRENCLAVE", hex(*sgxs.mrenclave) + ", computed from the stream");
  } else {
    lines.add("MRENCLAVE", sgxs.problem.empty() ? "depends on the size, which the loader chooses" : "none");
  }
  if (!sgxs.problem.empty()) lines.add("problem", sgxs.problem);
  if (sgxs.is_sized) lines.add("size", fmt::format("{:#x} bytes", sgxs.size));
  lines.add("SSA frames of", fmt::format("{} pages", sgxs.ssa_frame_size));
  lines.add("pages", fmt::format("{} TCS, {} regular, {} other", sgxs.tcs_pages, sgxs.regular_pages,
                                 sgxs.other_pages));
  lines.add("chunks of 256 B",
            fmt::format("{} measured, {} not measured", sgxs.measured_chunks, sgxs.unmeasured_chunks));
  lines.add("SIGSTRUCT", "none: this format keeps it in a file of its own");
  return "\nSGXS\n" + lines.take();
}

// What the enclave tells of exceptions that nobody handled if it isn't a debug enclave, which tells all.
const char* dumps_of(std::uint32_t flags) {
  if ((flags & edge::kFlagDumpRegisters) != 0) return "registers";
  return (flags & edge::kFlagDumpBacktrace) != 0 ? "backtrace" : "none";
}

ordered_json runtime_json(const RuntimeImage& image) {
  return {{"size", image.size},
          {"pages", image.pages},
          {"measured_pages", image.measured_pages},
          {"threads", image.config.threads},
          {"ssa_frames", image.config.frames},
          {"heap", image.config.heap},
          {"heap_max", image.config.heap_max},
          {"stack", image.config.stack},
          {"stack_max", image.config.stack_max},
          {"xfrm", fmt::format("{:#x}", image.config.xfrm)},
          {"survives_faults", (image.config.flags & edge::kFlagSurviveFaults) != 0},
          {"dumps", dumps_of(image.config.flags)},
          {"mrenclave", hex(image.mrenclave)}};
}

std::string runtime_text(const RuntimeImage& image, bool is_signed, bool agrees) {
  Lines lines;
  lines.add("MRENCLAVE", fmt::format("{}, computed from the image{}", hex(image.mrenclave),
                                     !is_signed ? ""
                                     : agrees   ? ": the signed one"
                                                : ": NOT the signed one; EINIT fails"));
  lines.add("size", fmt::format("{:#x} bytes; {} pages, {} of them measured with their contents", image.size,
                                image.pages, image.measured_pages));
  const auto sizes = [](std::uint64_t from, std::uint64_t to) {
    return from == to ? fmt::format("{:#x} bytes", from)
                      : fmt::format("{:#x} bytes, with SGX2 up to {:#x},", from, to);
  };
  lines.add("threads", fmt::format("{}, each with {} SSA frames", image.config.threads, image.config.frames));
  lines.add("stacks", sizes(image.config.stack, image.config.stack_max));
  lines.add("heap", sizes(image.config.heap, image.config.heap_max));
  lines.add("XFRM", with_names(image.config.xfrm, kXfrmNames));
  lines.add("unhandled faults",
            (image.config.flags & edge::kFlagSurviveFaults) != 0 ? "end their call" : "end the enclave");
  lines.add("tells of them", fmt::format("{} (a debug enclave: registers)", dumps_of(image.config.flags)));
  if (!is_signed) lines.add("SIGSTRUCT", "none yet: enclume sign");
  return "\nIMAGE\n" + lines.take();
}

}  // namespace

ordered_json to_json(const Inspection& inspection, const std::string& file_name) {
  ordered_json json = {{"file", file_name},
                       {"format", inspection.format},
                       {"sound", inspection.is_sound()},
                       {"sigstructs", ordered_json::array()},
                       {"sgxs", nullptr},
                       {"image", nullptr},
                       {"hints", inspection.hints}};
  for (const auto& sigstruct : inspection.sigstructs) json["sigstructs"].push_back(sigstruct_json(sigstruct));
  if (inspection.sgxs) json["sgxs"] = sgxs_json(*inspection.sgxs);
  if (inspection.runtime) json["image"] = runtime_json(*inspection.runtime);
  return json;
}

std::string to_text(const Inspection& inspection, const std::string& file_name) {
  auto out = fmt::format("{}: {}\n", file_name, inspection.format);
  if (inspection.is_empty()) {
    out +=
        "No SIGSTRUCT and no measurement here. Looked for the two headers of a SIGSTRUCT at every offset "
        "(signature\n"
        "files, Intel SDK and Open Enclave enclaves), and for an SGXS stream from the beginning.\n";
    for (const auto& hint : inspection.hints) out += fmt::format("Note: {}.\n", hint);
    return out;
  }
  for (const auto& sigstruct : inspection.sigstructs) out += sigstruct_text(sigstruct);
  if (inspection.sgxs) out += sgxs_text(*inspection.sgxs);
  if (inspection.runtime) {
    const auto agrees = [&](const LocatedSigstruct& sigstruct) {
      return sigstruct.found.sigstruct.enclave_hash == inspection.runtime->mrenclave;
    };
    out += runtime_text(*inspection.runtime, !inspection.sigstructs.empty(),
                        std::ranges::all_of(inspection.sigstructs, agrees));
  }
  return out;
}

}  // namespace enclume::cli
