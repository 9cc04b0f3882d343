// SPDX-License-Identifier: Apache-2.0
// `enclume help [--roff] [VERB]`
#include <fmt/format.h>

#include "cli/manual.h"
#include "cli/verb.h"

namespace enclume::cli {
namespace {

class HelpVerb final : public Verb {
 public:
  const Manual& manual() const override {
    static const Manual manual{
        .name = "help",
        .summary = "explain a verb",
        .synopsis = "help [--roff] [VERB]",
        .before_options = {{"DESCRIPTION", {{"", "Prints the manual of a verb, as VERB --help does."}}}},
        .after_options = {{"EXAMPLES",
                           {{"enclume help run", ""}, {"enclume help --roff run | man -l -", ""}}}},
    };
    return manual;
  }

  void add_options(CLI::App& app) override {
    app.add_flag("--roff", roff_, "Print the source of a man page.");
    app.add_option("verb", verb_, "The verb; without one, enclume itself.")->type_name("");
  }

  ExitStatus run(const std::vector<std::string>&) override {
    if (verb_.empty()) {
      fmt::print("{}", roff_ ? manual_as_roff(overview(), nullptr) : manual_as_text(overview(), nullptr));
      return ExitStatus::kSuccess;
    }
    Verb* verb = find_verb(verb_);
    if (verb == nullptr) throw Failure(ExitStatus::kUsage, fmt::format("help: there is no verb '{}'", verb_));
    if (verb == this) {
      fmt::print("{}", roff_ ? manual_as_roff(manual(), nullptr) : manual_as_text(manual(), nullptr));
      return ExitStatus::kSuccess;
    }
    CLI::App app;
    app.set_help_flag("-h,--help", "Print this text.");
    verb->add_options(app);
    fmt::print("{}", roff_ ? manual_as_roff(verb->manual(), &app) : manual_as_text(verb->manual(), &app));
    return ExitStatus::kSuccess;
  }

 private:
  bool roff_ = false;
  std::string verb_;
};

const Registered<HelpVerb> registered;

}  // namespace
}  // namespace enclume::cli
