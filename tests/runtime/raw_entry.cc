// SPDX-License-Identifier: Apache-2.0
#include "runtime/raw_entry.h"

#include <asm/sgx.h>

#include <cstddef>
#include <fstream>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <vector>

#include "enclume/host/vdso_symbol.h"
#include "runtime/host/loader.h"

extern "C" void enclume_test_enter(std::uint64_t rdi, std::uint64_t rsi, std::uint64_t rdx,
                                   enclume::test::Registers* registers, sgx_enclave_run* run, void* function);

namespace enclume::test {

constexpr std::uint32_t kEenter = 2, kEresume = 3;
static_assert(offsetof(sgx_enclave_run, function) == 8);
static_assert(offsetof(Registers, rdi) == 64 && offsetof(Registers, xmm) == 96);

struct RawEnclave::State {
  std::optional<host::LoadedEnclave> enclave;
  std::vector<std::uint64_t> tcs;
  void* function = find_vdso_symbol("__vdso_sgx_enter_enclave");
};

RawEnclave::RawEnclave(const char* path) : state_(new State) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  const auto all = std::as_bytes(std::span(bytes));
  Error error;
  const auto image = host::Image::parse(all, error);
  if (!image) throw std::runtime_error("no image");
  auto enclave = host::LoadedEnclave::load(
      *image, all.subspan(image->sigstruct_offset(), edge::kSigstructSize), false, error);
  if (!enclave || state_->function == nullptr) throw std::runtime_error("not loaded");
  state_->enclave = std::move(*enclave);
  for (std::uint32_t index = 0; index < image->config().threads; ++index) {
    state_->tcs.push_back(base() + image->layout().thread(image->config(), image->tls_size(), index).tcs);
  }
}

RawEnclave::~RawEnclave() {
  delete state_;
}

std::uint64_t RawEnclave::base() const {
  return state_->enclave->base();
}

std::uint32_t RawEnclave::enter(std::uint64_t command, std::uint64_t at, std::uint64_t argument) {
  sgx_enclave_run run{};
  run.tcs = state_->tcs[0];
  run.function = kEenter;
  mailbox.exit = ENCLUME_EXIT_REFUSED;
  enclume_test_enter(command, at, argument, &after, &run, state_->function);
  return run.function;
}

std::uint32_t RawEnclave::resume() {
  sgx_enclave_run run{};
  run.tcs = state_->tcs[0];
  run.function = kEresume;
  enclume_test_enter(0, 0, 0, &after, &run, state_->function);
  return run.function;
}

std::uint32_t RawEnclave::enter(std::uint32_t index, edge::Mailbox& box, std::uint64_t command,
                                std::uint64_t argument) {
  sgx_enclave_run run{};
  run.tcs = state_->tcs.at(index);
  run.function = kEenter;
  box.exit = ENCLUME_EXIT_REFUSED;
  Registers registers;
  enclume_test_enter(command, reinterpret_cast<std::uint64_t>(&box), argument, &registers, &run,
                     state_->function);
  return run.function;
}

}  // namespace enclume::test
