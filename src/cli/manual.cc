// SPDX-License-Identifier: Apache-2.0
#include "cli/manual.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <utility>

#include "cli/text.h"

namespace enclume::cli {
namespace {

std::string full_name(const Manual& manual, std::string_view separator) {
  return manual.name.empty() ? "enclume" : fmt::format("enclume{}{}", separator, manual.name);
}

// The options as entries; the strings live in `storage`.
struct OptionText {
  std::string term;
  std::string text;
};

// CLI11 shows the value that a flag stands for in braces, which says nothing to the reader.
std::string without_braces(std::string_view name) {
  std::string out;
  bool is_inside = false;
  for (const char c : name) {
    is_inside = is_inside || c == '{';
    if (!is_inside) out += c;
    is_inside = is_inside && c != '}';
  }
  return out;
}

std::vector<OptionText> options_of(const CLI::App& app) {
  std::vector<OptionText> result;
  for (const CLI::Option* option : app.get_options()) {
    auto term = without_braces(option->get_name(false, true));
    std::ranges::replace(term, ',', ' ');
    if (const auto value = option->get_type_name(); !value.empty()) term += " " + value;
    result.push_back({std::move(term), option->get_description()});
  }
  return result;
}

std::vector<ManualSection> sections_of(const Manual& manual, const std::vector<OptionText>& options) {
  auto sections = manual.before_options;
  if (!options.empty()) {
    ManualSection section{"OPTIONS", {}};
    for (const auto& option : options) section.entries.push_back({option.term, option.text});
    sections.push_back(std::move(section));
  }
  sections.insert(sections.end(), manual.after_options.begin(), manual.after_options.end());
  return sections;
}

// Text with roff's own characters made harmless.
std::string roff(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else {
      out += c;
    }
  }
  // A line that begins with a dot or a quote would be a request.
  if (!out.empty() && (out[0] == '.' || out[0] == '\'')) out.insert(0, "\\&");
  return out;
}

}  // namespace

std::string manual_as_text(const Manual& manual, const CLI::App* app) {
  const auto options = app != nullptr ? options_of(*app) : std::vector<OptionText>{};
  auto out =
      fmt::format("{} - {}\n\nUsage: enclume {}\n", full_name(manual, " "), manual.summary, manual.synopsis);
  for (const auto& section : sections_of(manual, options)) {
    out += fmt::format("\n{}\n", section.title);
    bool is_first = true;
    for (const auto& entry : section.entries) {
      const bool is_paragraph = entry.term.empty();
      if (is_paragraph && !is_first) out += '\n';
      is_first = false;
      if (is_paragraph) {
        append_wrapped(out, entry.text, 2);
      } else if (entry.text.empty()) {
        out += fmt::format("      {}\n", entry.term);
      } else {
        out += fmt::format("  {}\n", entry.term);
        append_wrapped(out, entry.text, 6);
      }
    }
  }
  return out;
}

std::string manual_as_roff(const Manual& manual, const CLI::App* app) {
  const auto options = app != nullptr ? options_of(*app) : std::vector<OptionText>{};
  auto page = full_name(manual, "-");
  std::ranges::transform(page, page.begin(), [](unsigned char c) { return std::toupper(c); });
  auto out = fmt::format(
      ".\\\" Made from the program's own help; edit src/cli.\n"
      ".TH {} 1 \"\" \"Enclume {}\" \"User commands\"\n.SH NAME\n{} \\- {}\n.SH SYNOPSIS\n.B enclume\n{}\n",
      roff(page), ENCLUME_VERSION, roff(full_name(manual, "-")), roff(manual.summary), roff(manual.synopsis));
  for (const auto& section : sections_of(manual, options)) {
    out += fmt::format(".SH {}\n", section.title);
    bool is_literal = false;
    for (const auto& entry : section.entries) {
      const bool was_literal = std::exchange(is_literal, !entry.term.empty() && entry.text.empty());
      if (is_literal && !was_literal) out += ".PP\n.nf\n.RS 4\n";
      if (was_literal && !is_literal) out += ".RE\n.fi\n";
      if (entry.term.empty()) {
        out += fmt::format(".PP\n{}\n", roff(entry.text));
      } else if (is_literal) {
        out += fmt::format("{}\n", roff(entry.term));
      } else {
        out += fmt::format(".TP\n.B {}\n{}\n", roff(entry.term), roff(entry.text));
      }
    }
    if (is_literal) out += ".RE\n.fi\n";
  }
  return out;
}

}  // namespace enclume::cli
