// SPDX-License-Identifier: Apache-2.0
// A verb is a subcommand: `enclume run`, `enclume doctor`, … One file each, registered by that file itself;
// its manual stands beside its code and serves `--help` and the man page alike.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "cli/failure.h"

namespace enclume::cli {

// One thing under a section's title: an item with its explanation; or, if `term` is empty, a paragraph; or,
// if `text` is empty, a line that is shown as it is, such as a command.
struct ManualEntry {
  std::string_view term;
  std::string_view text;
};

struct ManualSection {
  std::string_view title;
  std::vector<ManualEntry> entries;
};

struct Manual {
  std::string_view name;      // "run"
  std::string_view summary;   // one line, no full stop
  std::string_view synopsis;  // what follows "enclume "
  std::vector<ManualSection> before_options;
  std::vector<ManualSection> after_options;
};

class Verb {
 public:
  virtual ~Verb() = default;
  [[nodiscard]] virtual const Manual& manual() const = 0;
  // Called once, before run(). The destinations are members of the verb.
  virtual void add_options(CLI::App& app) = 0;
  // `rest` is what the options left over, if the verb lets CLI11 leave anything.
  virtual ExitStatus run(const std::vector<std::string>& rest) = 0;

 protected:
  Verb() = default;
  Verb(const Verb&) = default;
  Verb& operator=(const Verb&) = default;
};

// All registered verbs, in the order of their names.
[[nodiscard]] std::vector<Verb*> all_verbs();
[[nodiscard]] Verb* find_verb(std::string_view name);

void register_verb(Verb* verb);

// A static object of this type in the verb's file registers it.
template <typename SomeVerb>
class Registered {
 public:
  Registered() { register_verb(&verb_); }

 private:
  SomeVerb verb_;
};

}  // namespace enclume::cli
