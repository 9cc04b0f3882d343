// SPDX-License-Identifier: Apache-2.0
// The fields of an aggregate as a tuple of references, up to kMaxFields of them. C arrays are not understood:
// std::array is.
#pragma once

#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>

namespace enclume::edge {

inline constexpr std::size_t kMaxFields = 12;

namespace detail {

struct Anything {
  template <typename T>
  operator T() const;  // NOLINT: implicit is the point; never defined
};

template <typename T, std::size_t... I>
consteval bool has_fields(std::index_sequence<I...>) {
  return requires {
    T{(static_cast<void>(I), Anything{})...};
  };
}

template <typename T, std::size_t N = kMaxFields>
consteval std::size_t count_fields() {
  if constexpr (N == 0 || has_fields<T>(std::make_index_sequence<N>{})) {
    return N;
  } else {
    return count_fields<T, N - 1>();
  }
}

}  // namespace detail

template <typename T>
inline constexpr std::size_t kFieldCount = detail::count_fields<T>();

/// std::tuple<Field&...> of `t`, in the order of declaration.
template <typename T>
constexpr auto fields(T& t) {
  constexpr std::size_t n = kFieldCount<std::remove_const_t<T>>;
  static_assert(n <= kMaxFields);
  if constexpr (n == 0) {
    return std::tuple<>();
  } else if constexpr (n == 1) {
    auto& [a] = t;
    return std::tie(a);
  } else if constexpr (n == 2) {
    auto& [a, b] = t;
    return std::tie(a, b);
  } else if constexpr (n == 3) {
    auto& [a, b, c] = t;
    return std::tie(a, b, c);
  } else if constexpr (n == 4) {
    auto& [a, b, c, d] = t;
    return std::tie(a, b, c, d);
  } else if constexpr (n == 5) {
    auto& [a, b, c, d, e] = t;
    return std::tie(a, b, c, d, e);
  } else if constexpr (n == 6) {
    auto& [a, b, c, d, e, f] = t;
    return std::tie(a, b, c, d, e, f);
  } else if constexpr (n == 7) {
    auto& [a, b, c, d, e, f, g] = t;
    return std::tie(a, b, c, d, e, f, g);
  } else if constexpr (n == 8) {
    auto& [a, b, c, d, e, f, g, h] = t;
    return std::tie(a, b, c, d, e, f, g, h);
  } else if constexpr (n == 9) {
    auto& [a, b, c, d, e, f, g, h, i] = t;
    return std::tie(a, b, c, d, e, f, g, h, i);
  } else if constexpr (n == 10) {
    auto& [a, b, c, d, e, f, g, h, i, j] = t;
    return std::tie(a, b, c, d, e, f, g, h, i, j);
  } else if constexpr (n == 11) {
    auto& [a, b, c, d, e, f, g, h, i, j, k] = t;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k);
  } else {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l] = t;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l);
  }
}

template <typename T>
using FieldTuple = decltype(fields(std::declval<T&>()));

}  // namespace enclume::edge
