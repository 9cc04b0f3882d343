// SPDX-License-Identifier: Apache-2.0
// `enclume doctor`
#include <fmt/format.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "cli/doctor/diagnosis.h"
#include "cli/layers.h"
#include "cli/verb.h"

namespace enclume::cli {
namespace {

class DoctorVerb final : public Verb {
 public:
  const Manual& manual() const override {
    static const Manual manual{
        .name = "doctor",
        .summary = "say what this machine has for Enclume, and what it lacks",
        .synopsis = "doctor [--json]",
        .before_options =
            {{"DESCRIPTION",
              {{"",
                "Looks at the processor, the kernel and its settings, mostly by trying things out in a child "
                "process. For each thing that is missing it says how Enclume makes up for it, what is less "
                "faithful to hardware because of it, and what can be done about it. All known deviations are "
                "in docs/fidelity.md."}}}},
        .after_options =
            {{"EXAMPLES",
              {{"enclume doctor", ""},
               {"enclume doctor --json | jq -r '.findings[] | .id + \" \" + .presence'", ""}}},
             {"ENVIRONMENT",
              {{"ENCLUME_ENGINE", "The engine to look for, as in enclume run."},
               {"NO_COLOR", "If set, no colours. There are none either if the output is not a terminal."}}},
             {"EXIT STATUS",
              {{"0", "enclume run can work here."}, {"1", "It cannot."}, {"2", "A bad command line."}}}},
    };
    return manual;
  }

  void add_options(CLI::App& app) override {
    app.add_flag("--json", json_, "Print JSON; the ids and keys stay the same from version to version.");
  }

  ExitStatus run(const std::vector<std::string>&) override {
    const auto diagnosis = diagnose(gather_facts());
    if (json_) {
      fmt::print("{}\n", to_json(diagnosis).dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
    } else {
      const bool has_colours = ::isatty(STDOUT_FILENO) == 1 && !process_environment()("NO_COLOR");
      fmt::print("{}", to_text(diagnosis, has_colours));
    }
    return diagnosis.can_run() ? ExitStatus::kSuccess : ExitStatus::kNegative;
  }

 private:
  bool json_ = false;
};

const Registered<DoctorVerb> registered;

}  // namespace
}  // namespace enclume::cli
