// SPDX-License-Identifier: Apache-2.0
//
// A program for `enclume ctl` and `enclume mem` to work on: enclaves with a thread inside the first.
//
//   watched [ENCLAVES [HEAP_PAGES]]
//
// Says "ready" when all is there, and "lost FUNCTION VECTOR ERROR" when the thread has been driven out by an
// exception; it then builds that enclave anew and says "rebuilt". Ends with its standard input.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

#include "conformance/support.h"

namespace {

using enclume::test::address_of;
using enclume::test::CallResult;
using enclume::test::ProbeEnclave;

enclume::test::ProbeOptions options(std::uint64_t heap_pages) {
  enclume::test::ProbeOptions o;
  o.heap_pages = heap_pages;
  o.minimum_size = 0x1000000;
  return o;
}

}  // namespace

int main(int argc, char** argv) {
  const unsigned long count = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 1;
  const std::uint64_t heap = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 4;
  std::vector<std::unique_ptr<ProbeEnclave>> enclaves;
  for (unsigned long i = 0; i < count; ++i) enclaves.push_back(std::make_unique<ProbeEnclave>(options(heap)));
  static volatile std::uint64_t words[2];
  const auto stop = reinterpret_cast<std::uint64_t>(&words[0]),
             progress = reinterpret_cast<std::uint64_t>(&words[1]);
  std::thread inside([&] {
    while (!enclaves.empty()) {
      const CallResult result = enclaves.front()->call(PROBE_OP_SPIN, {stop, progress});
      if (result.exited()) return;
      std::printf("lost %u %u 0x%x\n", result.run.function, result.run.exception_vector,
                  result.run.exception_error_code);
      enclaves.front() = std::make_unique<ProbeEnclave>(options(heap));
      std::puts("rebuilt");
      std::fflush(stdout);
    }
  });
  while (count != 0 && words[1] == 0) usleep(1000);
  std::puts("ready");
  std::fflush(stdout);
  char byte;
  while (read(STDIN_FILENO, &byte, 1) > 0 || errno == EINTR) errno = 0;
  words[0] = 1;
  inside.join();
  return 0;
}
