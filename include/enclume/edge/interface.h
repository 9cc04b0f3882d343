// SPDX-License-Identifier: Apache-2.0
// Declares what host and enclave call of each other, in a header that both include:
//
//   namespace hello {
//   std::uint64_t sum(std::span<const std::uint32_t> numbers);  // defined in the enclave
//   void print(std::string_view line);                          // defined in the host
//   }
//   using Hello = enclume::Interface<enclume::Ecalls<hello::sum>, enclume::Ocalls<hello::print>>;
//
// The host then says enclave.call<hello::sum>(numbers), and the enclave outside.call<hello::print>("…").
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "enclume/edge/marshal.h"

namespace enclume {

namespace edge {

/// A function as a type, by which it can be compared without being called: each side has half of them only.
template <auto F>
struct Function {};

template <auto... F>
struct Functions {
  static constexpr std::size_t kCount = sizeof...(F);
  static constexpr std::uint64_t kShape = [] {
    std::uint64_t shape = sizeof...(F);
    ((shape = mix(shape, Signature<decltype(F)>::kShape)), ...);
    return shape;
  }();
  template <auto G>
  static consteval std::size_t index() {
    std::size_t at = 0;
    const bool found = ((std::is_same_v<Function<F>, Function<G>> ? true : (++at, false)) || ...);
    return found ? at : kCount;
  }
};

}  // namespace edge

/// Functions that the enclave defines and the host calls.
template <auto... F>
struct Ecalls : edge::Functions<F...> {};

/// Functions that the host defines and the enclave calls.
template <auto... F>
struct Ocalls : edge::Functions<F...> {};

/// What an enclave and its host call of each other; each side names it once. `E` lists its Ecalls,
/// `O` its Ocalls.
template <typename E, typename O = Ocalls<>>
struct Interface {
  using Inside = E;   ///< defined in the enclave
  using Outside = O;  ///< defined in the host
  /// Equal on both sides if the forms of all calls are; compared when an enclave is loaded.
  static constexpr std::uint64_t kFingerprint = edge::mix(edge::mix(1, E::kShape), O::kShape);
};

}  // namespace enclume
