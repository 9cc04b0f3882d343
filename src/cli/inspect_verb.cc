// SPDX-License-Identifier: Apache-2.0
// `enclume inspect FILE`
#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "cli/inspect/inspection.h"
#include "cli/verb.h"

namespace enclume::cli {
namespace {

std::vector<char> read_file(const std::string& name) {
  const auto fail = [&](const char* why) {
    throw Failure(ExitStatus::kUsage, fmt::format("inspect: cannot read {}: {}", name, why));
  };
  std::error_code error;
  if (std::filesystem::is_directory(name, error)) fail("it is a directory");
  errno = 0;
  std::ifstream file(name, std::ios::binary);
  if (!file.is_open()) fail(std::strerror(errno));
  constexpr std::size_t kStep = std::size_t{1} << 20;
  std::vector<char> bytes;
  while (file) {
    const auto done = bytes.size();
    bytes.resize(done + kStep);
    file.read(bytes.data() + done, kStep);
    bytes.resize(done + static_cast<std::size_t>(file.gcount()));
  }
  if (file.bad()) fail(std::strerror(errno));
  return bytes;
}

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
                "adds, so that segments and table can be held against the signed MRENCLAVE."}}}},
        .after_options =
            {{"EXAMPLES",
              {{"enclume inspect enclave.signed.so", ""},
               {"enclume inspect --json app.sig | jq -r .sigstructs[0].mrsigner", ""}}},
             {"EXIT STATUS",
              {{"0", "Something was found, and as far as the file can tell EINIT would accept it."},
               {"1",
                "Nothing was found, a signature is invalid, an SGXS stream is damaged, or an Intel SDK "
                "enclave is not, or cannot be shown to be, the one that was signed."},
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
    const auto bytes = read_file(file_);
    const auto inspection = inspect(std::as_bytes(std::span(bytes)));
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
