// SPDX-License-Identifier: Apache-2.0
// The enclave's half of the calls. A source file of the enclave defines the functions of Ecalls<…>, says once
// ENCLUME_ENCLAVE(Hello), and calls those of Ocalls<…> by an enclume::Outside<Hello>.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <tuple>
#include <type_traits>
#include <utility>

#include "enclume/edge/abi.h"
#include "enclume/edge/interface.h"
#include "enclume/enclave/memory.h"
#include "enclume/enclave/transfer.h"

namespace enclume {

namespace enclave {

/// Serves one ECALL. `mailbox` is a trusted copy, made once.
using Stub = Code (*)(const edge::Mailbox& mailbox);

/// What ENCLUME_ENCLAVE defines.
struct Service {
  const Stub* stubs;
  std::size_t count;
  std::uint64_t fingerprint;
};

/// Leaves by OCALL `number`, whose arguments are at `words` outside, and comes back with the host's status.
/// `scratch_used`: bytes of the scratch memory that are in use.
[[nodiscard]] Code leave(std::uint32_t number, std::uint64_t words, std::uint64_t scratch_used) noexcept;

/// A trusted copy of what this entry's mailbox offers.
[[nodiscard]] edge::Mailbox offered() noexcept;

template <auto F>
Code serve(const edge::Mailbox& mailbox) {
  using Call = edge::Signature<decltype(F)>;
  constexpr bool kHasWords = Call::In::kWords + Call::Out::kWords != 0;
  std::uint64_t words[Call::kWords];
  if (!kHasWords) {
    // Nothing is read or written there.
  } else if (mailbox.words % 8 != 0 || !is_outside(mailbox.words, sizeof words)) {
    return Code::kBadPointer;
  }
  copy_in(words, mailbox.words, Call::In::kWords * 8);
  Inbound<Call::In::kBacks> in;
  auto parameters = Call::In::template decode<typename Call::Parameters>(words, in);
  if (in.code() != Code::kOk) return in.code();
  const auto answer = [&](const typename Call::Value& value) {
    in.finish();
    OutboundBase out(mailbox);
    Call::Out::encode(value, words, out);
    if (out.code() == Code::kOk) copy_out(mailbox.words, words, Call::Out::kWords * 8);
    return out.code();
  };
  if constexpr (std::is_void_v<typename Call::Result>) {
    std::apply(F, std::move(parameters));
    return answer({});
  } else {
    return answer(std::apply(F, std::move(parameters)));
  }
}

template <typename List>
struct StubTable;
template <auto... F>
struct StubTable<Ecalls<F...>> {
  static constexpr Stub kStubs[sizeof...(F) + 1] = {&serve<F>..., nullptr};
};

}  // namespace enclave

/// The functions that the host defines.
template <typename I>
class Outside {
 public:
  /// Calls F outside and returns its result. Errors: kOutOfMemory, kHostException (it threw; the host goes on
  /// throwing it when this ECALL is over), kBadResult and kBadPointer (the host's answer is not one).
  template <auto F, typename... A>
  auto call(A&&... arguments) const {
    using Call = edge::Signature<decltype(F)>;
    using R = typename Call::Result;
    constexpr std::size_t number = I::Outside::template index<F>();
    static_assert(number < I::Outside::kCount, "the interface has no such OCALL");
    return invoke<Call, R>(number, typename Call::Parameters{std::forward<A>(arguments)...});
  }

 private:
  template <typename T>
  static constexpr bool kIsResult = false;
  template <typename Call, typename R>
  static std::expected<R, Error> invoke(std::uint32_t number, const typename Call::Parameters& parameters) {
    std::uint64_t words[Call::kWords]{};
    enclave::Outbound<Call::In::kBacks> out(enclave::offered());
    const std::uint64_t outside = out.reserve(sizeof words);
    Call::In::encode(parameters, words, out);
    if (out.code() != Code::kOk) return std::unexpected(Error(out.code()));
    enclave::copy_out(outside, words, sizeof words);
    if (const Code code = enclave::leave(number, outside, out.used()); code != Code::kOk) {
      return std::unexpected(Error(code));
    }
    out.finish();
    enclave::copy_in(words, outside, Call::Out::kWords * 8);
    enclave::Inbound<0> in;
    auto value = Call::Out::decode(words, in);
    if (in.code() != Code::kOk) return std::unexpected(Error(in.code()));
    if constexpr (std::is_void_v<R>) {
      return {};
    } else {
      return value;
    }
  }
};

}  // namespace enclume

/// In one source file of the enclave, at namespace scope: serves the ECALLs of INTERFACE.
#define ENCLUME_ENCLAVE(...)                                                                   \
  extern "C" [[gnu::visibility("hidden")]] const ::enclume::enclave::Service enclume_service{  \
      ::enclume::enclave::StubTable<__VA_ARGS__::Inside>::kStubs, __VA_ARGS__::Inside::kCount, \
      __VA_ARGS__::kFingerprint};                                                              \
  static_assert(true)
