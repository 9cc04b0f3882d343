// SPDX-License-Identifier: Apache-2.0
#include "cli/mem/render.h"

#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/types.h"

namespace enclume::cli {
namespace {

std::vector<std::string> state_words(const PageKind& kind) {
  std::vector<std::string> words;
  switch (kind.residence) {
    case Residence::kEpc:
      break;
    case Residence::kEvicted:
      words.emplace_back("evicted");
      break;
    case Residence::kLost:
      words.emplace_back("lost");
      break;
  }
  const std::pair<bool, const char*> marks[] = {
      {kind.pending, "pending"},
      {kind.modified, "modified"},
      {kind.restricted, "restricted"},
      {kind.blocked, "blocked"},
      {kind.untouched && kind.residence == Residence::kEpc, "untouched"}};
  for (const auto& [is_set, word] : marks) {
    if (is_set) words.emplace_back(word);
  }
  return words;
}

std::string summary(const EnclaveView& enclave) {
  std::map<std::string, std::uint64_t> kinds;
  for (const auto& range : enclave.ranges) {
    kinds[fmt::format("{} {}", type_name(range.kind.type), permissions_name(range.kind.permissions))] +=
        range.count;
  }
  std::string out;
  for (const auto& [name, pages] : kinds) {
    out += fmt::format("{}{} {}", out.empty() ? "" : ", ", name, size_name(pages * kPageSize));
  }
  return out;
}

std::string enclave_text(const EnclaveView& enclave) {
  auto out = fmt::format("enclave {}: {}\n", enclave.number, state_name(enclave));
  if (!enclave.created) return out;
  out += fmt::format("  ELRANGE {:#x} to {:#x}, {}; {} pages, {} in the EPC with {} of its own\n",
                     enclave.base, enclave.base + enclave.size, size_name(enclave.size), enclave.pages(),
                     enclave.epc_pages(), enclave.va_pages + (enclave.secs_resident ? 1 : 0));
  if (enclave.ranges.empty()) return out;
  out += fmt::format("  {:<14} {:>12} {:>6} {:<5} {:<5} {:<5} {}\n", "ADDRESS", "OFFSET", "SIZE", "TYPE",
                     "PERM", "MAX", "STATE");
  for (const auto& range : enclave.ranges) {
    auto line =
        fmt::format("  {:#014x} {:>12} {:>6} {:<5} {:<5} {:<5} {}", enclave.base + range.first * kPageSize,
                    fmt::format("+{:#x}", range.first * kPageSize), size_name(range.count * kPageSize),
                    type_name(range.kind.type), permissions_name(range.kind.permissions),
                    permissions_name(range.kind.max_permissions), state_name(range.kind));
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + '\n';
  }
  return out + fmt::format("  {}\n", summary(enclave));
}

}  // namespace

std::string type_name(arch::PageType type) {
  switch (type) {
    case arch::PageType::Secs:
      return "SECS";
    case arch::PageType::Tcs:
      return "TCS";
    case arch::PageType::Reg:
      return "REG";
    case arch::PageType::Va:
      return "VA";
    case arch::PageType::Trim:
      return "TRIM";
    case arch::PageType::SsFirst:
      return "SS1";
    case arch::PageType::SsRest:
      return "SS";
  }
  return fmt::format("{}", static_cast<unsigned>(type));
}

std::string permissions_name(kernel::Protection p) {
  return fmt::format("{}{}{}", p.readable() ? 'r' : '-', p.writable() ? 'w' : '-',
                     p.executable() ? 'x' : '-');
}

std::string state_name(const PageKind& kind) {
  auto out = fmt::format("{}", fmt::join(state_words(kind), ", "));
  if (kind.thread != 0) out += fmt::format("{}thread {} inside", out.empty() ? "" : ", ", kind.thread);
  return out;
}

std::string size_name(std::uint64_t bytes) {
  constexpr std::string_view kUnits = "BKMGTP";
  std::size_t unit = 0;
  while (bytes >= 1024 && bytes % 1024 == 0 && unit + 1 < kUnits.size()) {
    bytes /= 1024;
    ++unit;
  }
  return fmt::format("{}{}", bytes, kUnits[unit]);
}

std::string state_name(const EnclaveView& enclave) {
  if (!enclave.created) return "opened, not created";
  std::string out = enclave.initialized ? "initialised" : "under construction";
  if (enclave.debug) out += ", debug";
  if (enclave.lost) out += ", EPC lost";
  return out;
}

std::string to_text(const Snapshot& snapshot) {
  std::uint64_t used = 0;
  for (const auto& enclave : snapshot.enclaves) used += enclave.epc_pages();
  auto out = fmt::format("process {}: {} {}, {} of EPC", snapshot.pid, snapshot.enclaves.size(),
                         snapshot.enclaves.size() == 1 ? "enclave" : "enclaves", size_name(used * kPageSize));
  if (snapshot.epc_size) out += fmt::format(" of {}", size_name(*snapshot.epc_size));
  out += '\n';
  for (const auto& enclave : snapshot.enclaves) out += '\n' + enclave_text(enclave);
  return out;
}

nlohmann::json to_json(const Snapshot& snapshot) {
  auto enclaves = nlohmann::json::array();
  for (const auto& enclave : snapshot.enclaves) {
    auto ranges = nlohmann::json::array();
    for (const auto& range : enclave.ranges) {
      nlohmann::json one{{"address", fmt::format("{:#x}", enclave.base + range.first * kPageSize)},
                         {"offset", range.first * kPageSize},
                         {"pages", range.count},
                         {"type", type_name(range.kind.type)},
                         {"permissions", permissions_name(range.kind.permissions)},
                         {"max_permissions", permissions_name(range.kind.max_permissions)},
                         {"state", state_words(range.kind)}};
      if (range.kind.thread != 0) one["thread"] = range.kind.thread;
      ranges.push_back(std::move(one));
    }
    enclaves.push_back({{"number", enclave.number},
                        {"created", enclave.created},
                        {"initialised", enclave.initialized},
                        {"debug", enclave.debug},
                        {"lost", enclave.lost},
                        {"base", fmt::format("{:#x}", enclave.base)},
                        {"size", enclave.size},
                        {"pages", enclave.pages()},
                        {"evicted", enclave.pages(Residence::kEvicted)},
                        {"epc_pages", enclave.epc_pages()},
                        {"va_pages", enclave.va_pages},
                        {"ranges", std::move(ranges)}});
  }
  nlohmann::json out{{"pid", snapshot.pid}, {"enclaves", std::move(enclaves)}};
  out["epc_size"] = snapshot.epc_size ? nlohmann::json(*snapshot.epc_size) : nlohmann::json();
  return out;
}

}  // namespace enclume::cli
