// SPDX-License-Identifier: Apache-2.0
//
// By Enclume's runtime.
#include "neighbours/own.h"

#include <stdexcept>
#include <string>

#include "enclume/host/enclave.h"
#include "neighbours/neighbour.h"

namespace neighbours {
namespace {

// The OCALL of the visit that is under way on this thread.
thread_local const Outside* innermost = nullptr;

class Innermost {
 public:
  explicit Innermost(const Outside& outside) : outer_(innermost) { innermost = &outside; }
  ~Innermost() { innermost = outer_; }
  Innermost(const Innermost&) = delete;
  Innermost& operator=(const Innermost&) = delete;

 private:
  const Outside* outer_;
};

class OwnLibrary : public Neighbour {
 public:
  explicit OwnLibrary(enclume::Enclave<Own> enclave) : enclave_(std::move(enclave)) {}
  [[nodiscard]] const char* name() const override { return "runtime"; }
  std::uint64_t visit(Trouble trouble, std::uint64_t value, const Outside& outside) override {
    const Innermost scope(outside);
    const auto watched = enclave_.on_another_tcs().with_handler([&](const sgx_enclave_run& run) {
      const std::uint64_t offset = run.tcs - enclave_.base();
      count(trouble, run.exception_vector, offset < enclave_.size());
      return enclume::OnException::kAskEnclave;
    });
    const auto result = watched.call<own::visit>(static_cast<std::uint32_t>(trouble), value);
    if (!result) throw std::runtime_error(std::string(describe(result.error().code)));
    if (result->vector != vector_of(trouble)) throw std::runtime_error("another exception than was raised");
    return result->sum;
  }

 private:
  enclume::Enclave<Own> enclave_;
};

}  // namespace

std::unique_ptr<Neighbour> make_own(const char* image) {
  auto enclave = enclume::Enclave<Own>::load(image);
  if (!enclave) throw std::runtime_error(std::string(describe(enclave.error().code)));
  return std::make_unique<OwnLibrary>(*enclave);
}

}  // namespace neighbours

std::uint64_t own::go_on(std::uint64_t value) {
  return (*neighbours::innermost)(value);
}
