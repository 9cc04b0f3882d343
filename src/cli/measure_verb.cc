// SPDX-License-Identifier: Apache-2.0
// `enclume measure FILE`
#include <fmt/format.h>

#include <cstddef>

#include "cli/sign/measure.h"
#include "cli/verb.h"
#include "cli/whole_file.h"

namespace enclume::cli {
namespace {

class MeasureVerb final : public Verb {
 public:
  const Manual& manual() const override {
    static const Manual manual{
        .name = "measure",
        .summary = "print an enclave's MRENCLAVE",
        .synopsis = "measure FILE",
        .before_options = {{"DESCRIPTION",
                            {{"",
                              "Prints the MRENCLAVE that the enclave in FILE has once it is loaded, as 64 "
                              "hexadecimal digits. "
                              "FILE may be an image of enclume_add_enclave(), signed or not; an SGXS stream "
                              "(Fortanix); or an "
                              "enclave signed with the Intel SGX SDK."}}}},
        .after_options =
            {{"EXAMPLES", {{"enclume measure hello.enclave", ""}}},
             {"EXIT STATUS",
              {{"0", "The measurement was printed."},
               {"2", "A bad command line, or FILE cannot be read or is no enclave of a known form."}}}},
    };
    return manual;
  }

  void add_options(CLI::App& app) override {
    app.add_option("file", file_, "The enclave to measure.")->type_name("");
  }

  ExitStatus run(const std::vector<std::string>&) override {
    if (file_.empty()) throw Failure(ExitStatus::kUsage, "measure: which file? Usage: enclume measure FILE");
    const Measured measured = measure("measure", file_, read_file("measure", file_));
    for (const auto byte : measured.mrenclave) fmt::print("{:02x}", static_cast<unsigned>(byte));
    fmt::print("\n");
    return ExitStatus::kSuccess;
  }

 private:
  std::string file_;
};

const Registered<MeasureVerb> registered;

}  // namespace
}  // namespace enclume::cli
