// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "enclume/host/enclave.h"
#include "kv.h"
#include "state_file.h"

namespace {

using Enclave = enclume::Enclave<Kv>;
kv::StateFile* state_file = nullptr;

int fail(const char* what, const enclume::Error& error) {
  const auto why = describe(error.code);
  std::fprintf(stderr, "kv: %s: %.*s\n", what, static_cast<int>(why.size()), why.data());
  return 1;
}
int fail(const char* what, int error) {
  std::fprintf(stderr, "kv: %s: %s\n", what, std::strerror(error));
  return 1;
}

// Each thread puts, gets and now and then commits, until something fails.
int load(const Enclave& enclave, unsigned long threads, unsigned long each) {
  std::atomic<unsigned> failures = 0;
  std::vector<std::jthread> workers;
  for (unsigned long t = 0; t < threads; ++t) {
    workers.emplace_back([&, t] {
      for (unsigned long i = 0; i < each; ++i) {
        const std::string key = "key " + std::to_string(t) + "." + std::to_string(i);
        const std::string value = "value of " + key;
        if (!enclave.call<kv::put>(key, value) || enclave.call<kv::get>(key) != value) {
          ++failures;
          return;
        }
        if ((i + 1) % 50 != 0 && i + 1 != each) continue;
        if (enclave.call<kv::commit>()) {
          std::printf("thread %lu: %lu are safe\n", t, i + 1);
          std::fflush(stdout);
        } else {
          ++failures;
          return;
        }
      }
    });
  }
  workers.clear();
  std::printf("%u failures, %lu entries\n", failures.load(), enclave.call<kv::count>().value_or(0));
  return failures == 0 ? 0 : 1;
}

}  // namespace

bool kv::keep(std::uint64_t number, std::span<const std::byte> sealed) {
  return state_file->replace(number, sealed);
}

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  const std::string verb = words.size() < 3 ? "" : words[2];
  if (!(verb == "put" && words.size() == 5) && !(verb == "get" && words.size() == 4) &&
      !(verb == "count" && words.size() == 3) && !(verb == "load" && words.size() == 5)) {
    std::fputs("usage: kv ENCLAVE STATE put KEY VALUE | get KEY | count | load THREADS EACH\n", stderr);
    return 2;
  }
  const auto enclave = Enclave::load(words[0].c_str());
  if (!enclave) return fail(words[0].c_str(), enclave.error());
  auto file = kv::StateFile::at(words[1]);
  if (!file) return fail(words[1].c_str(), file.error());
  state_file = &*file;
  const auto state = file->read();
  if (!state) return fail(words[1].c_str(), state.error());
  if (const auto opened = enclave->call<kv::open>(*state); !opened) {
    return fail(words[1].c_str(), opened.error());
  }

  if (verb == "put") {
    if (const auto done = enclave->call<kv::put>(words[3], words[4]); !done) return fail("put", done.error());
    if (const auto done = enclave->call<kv::commit>(); !done) return fail("commit", done.error());
  } else if (verb == "get") {
    const auto value = enclave->call<kv::get>(words[3]);
    if (!value) return fail("get", value.error());
    std::puts(value->value_or("(none)").c_str());
  } else if (verb == "count") {
    std::printf("%lu entries\n", enclave->call<kv::count>().value_or(0));
  } else {
    return load(*enclave, std::strtoul(words[3].c_str(), nullptr, 10),
                std::strtoul(words[4].c_str(), nullptr, 10));
  }
}
