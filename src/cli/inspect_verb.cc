// SPDX-License-Identifier: Apache-2.0
// `enclume inspect FILE`
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/inspect/inspection.h"
#include "cli/verb.h"
#include "cli/whole_file.h"

namespace enclume::cli {
namespace {

class InspectVerb final : public Verb {
 public:
  const Manual& manual() const override {
    static const Manual manual{
        .name = "inspect",
        .summary = "show an enclave's signature and measurement",
        .synopsis = "inspect [--json] FILE",
        .before_options =
            {{"DESCRIPTION",
              {{"",
                "Shows every field of the SIGSTRUCTs in FILE, the MRSIGNER that follows from the key, and "
                "whether the signature is valid, by the same code that EINIT uses in the emulated machine. "
                "FILE may be a signature file (1808 bytes, as Gramine and others write), an enclave signed "
                "with the Intel SGX SDK or Open Enclave, or anything else that contains a SIGSTRUCT."},
               {"",
                "The MRENCLAVE is computed where the file says enough: an SGXS stream (Fortanix) is the "
                "measured "
                "stream itself, and an enclave signed with the Intel SGX SDK has a table of what its loader "
                "adds, so that segments and table can be held against the signed MRENCLAVE. So can an image "
                "of "
                "enclume_add_enclave(), signed or not."}}}},
        .after_options =
            {{"EXAMPLES",
              {{"enclume inspect enclave.signed.so", ""},
               {"enclume inspect --json app.sig | jq -r .sigstructs[0].mrsigner", ""}}},
             {"EXIT STATUS",
              {{"0", "Something was found, and as far as the file can tell EINIT would accept it."},
               {"1",
                "Nothing was found, a signature is invalid, an SGXS stream is damaged, or an Intel SDK "
                "enclave or an image is not, or cannot be shown to be, the one that was signed."},
               {"2", "A bad command line, or FILE cannot be read."}}}},
    };
    return manual;
  }

  void add_options(CLI::App& app) override {
    app.add_flag("--json", json_, "Print JSON, with the long numbers in full.");
    app.add_option("file", file_, "The file to look into.")->type_name("");
  }

  ExitStatus run(const std::vector<std::string>&) override {
    if (file_.empty())
      throw Failure(ExitStatus::kUsage, "inspect: which file? Usage: enclume inspect [--json] FILE");
    const auto bytes = read_file("inspect", file_);
    const auto inspection = inspect(bytes);
    if (json_) {
      // A file name need not be UTF-8; what is not is replaced.
      fmt::print("{}\n",
                 to_json(inspection, file_).dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
    } else {
      fmt::print("{}", to_text(inspection, file_));
    }
    return inspection.is_sound() ? ExitStatus::kSuccess : ExitStatus::kNegative;
  }

 private:
  bool json_ = false;
  std::string file_;
};

const Registered<InspectVerb> registered;

}  // namespace
}  // namespace enclume::cli
