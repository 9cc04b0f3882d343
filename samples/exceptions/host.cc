// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <iostream>

#include "enclume/host/enclave.h"
#ifdef EXCEPTIONS_HAVE_LINES
#include "enclume/host/lines.h"
#endif
#include "exceptions.h"

void exceptions::print(std::string_view line) {
  std::cout << "enclave: " << line << '\n';
}

int main(int argc, char** argv) {
  const char* const image = argc > 1 ? argv[1] : "exceptions.enclave";
  enclume::LoadOptions options;
  options.debug = true;  // or the enclave would keep its registers to itself
  // By default the dump goes to standard error, with the names in the image. This one has lines, too, where
  // there is libdw and the file from before the signing.
  options.on_dump = [&](const enclume::Dump& dump) {
    std::unique_ptr<enclume::Symbolizer> lines;
#ifdef EXCEPTIONS_HAVE_LINES
    if (argc > 2) lines = enclume::lines_of(argv[2]);
#endif
    std::cout << enclume::to_text(dump, lines.get());
  };
  const auto enclave = enclume::Enclave<Exceptions>::load(image, options);
  if (!enclave) {
    std::cerr << "exceptions: " << describe(enclave.error().code) << '\n';
    return 1;
  }
  using namespace exceptions;
  std::cout << "resume:  " << enclave->call<resume>(84U, 0U).value_or(0) << '\n';
  std::cout << "skip:    " << enclave->call<skip>().value_or(0) << '\n';
  std::cout << "unwind:  " << enclave->call<unwind>(std::uint64_t{4096}).value_or("?") << '\n';
  std::cout << "pass on: " << enclave->call<pass_on>().value_or("?") << '\n';
  const std::uint64_t twice = enclave->call<nested>().value_or(0);  // prints a line of its own first
  std::cout << "nested:  " << twice << '\n';

  // The host can look on, for the calls of one handle: it gets what Linux knows, which is not much.
  const auto watched = enclave->with_handler([](const sgx_enclave_run& run) {
    std::printf("host:    vector %u; registers are the enclave's own affair\n", run.exception_vector);
    std::fflush(stdout);
    return enclume::OnException::kAskEnclave;
  });
  const auto result = watched.call<unhandled>(3U);
  std::cout << "call:    " << describe(result.error().code) << ", vector " << result.error().fault.vector
            << '\n';
  // Built with SURVIVE_FAULTS, the enclave lives on; the call's TCS is free again.
  std::cout << "again:   " << enclave->call<resume>(84U, 2U).value_or(0) << '\n';
}
