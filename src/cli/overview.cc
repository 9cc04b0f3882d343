// SPDX-License-Identifier: Apache-2.0
#include <utility>

#include "cli/manual.h"

namespace enclume::cli {

Manual overview() {
  Manual manual{
      .name = "",
      .summary = "an SGX machine in user space",
      .synopsis = "VERB [OPTIONS] …",
      .before_options =
          {
              {"DESCRIPTION",
               {{"",
                 "Enclume runs SGX programs that were built for real hardware, as they are, on x86-64 Linux "
                 "machines that have no SGX. It is an emulator for development and testing: it protects "
                 "nothing. What is inside an enclave can be read by anybody who can debug the process."}}},
          },
      .after_options =
          {
              {"EXAMPLES",
               {{"enclume run -- ./my-sgx-program", ""},
                {"enclume run --epc-size 16M --trace trace.txt -- ./my-sgx-program", ""},
                {"enclume doctor", ""},
                {"enclume inspect enclave.signed.so", ""},
                {"enclume help run", ""}}},
              {"EXIT STATUS",
               {{"0", "Success."},
                {"1", "The answer of doctor or inspect is no."},
                {"2", "The command line, an environment variable or the configuration file is wrong."},
                {"125 to 127", "See enclume help run."}}},
          },
  };
  ManualSection verbs{"VERBS", {}};
  for (const Verb* verb : all_verbs()) verbs.entries.push_back({verb->manual().name, verb->manual().summary});
  verbs.entries.push_back({"--version", "print the version"});
  verbs.entries.push_back({"--help", "print this text"});
  manual.before_options.push_back(std::move(verbs));
  return manual;
}

}  // namespace enclume::cli
