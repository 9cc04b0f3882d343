// SPDX-License-Identifier: Apache-2.0
// What may cross between host and enclave, and how it is written down. Everything is a sequence of 64-bit
// words whose number the type tells: a scalar takes one, a span or a string two (address and count; the data
// stay where they are until the enclave copies them), a struct those of its fields. No pointer can cross by
// itself.
//
// The same code serves both sides; what differs is the port that moves the data:
//
//   sender    uint64 send(const void*, bytes)     where the other side finds the data
//             uint64 send_inout(void*, bytes), send_out(void*, bytes)
//   receiver  void* receive(uint64 address, bytes), receive_inout(…), receive_out(…)
//             T receive_owned<T>(uint64 address, elements): strings and vectors; may be missing
//             void refuse(Code)
//
// After a refusal a receiver's results are empty, and the call is not made.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <expected>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "enclume/edge/error.h"
#include "enclume/edge/fields.h"

namespace enclume {

/// A span that the callee fills: its contents are not copied in, the callee finds zeros. (A std::span of
/// non-const elements is copied in and out.) Elements that the callee leaves alone come back as zeros.
template <typename T>
class OutSpan : public std::span<T> {
 public:
  using std::span<T>::span;
  /// Of the same elements.
  constexpr OutSpan(std::span<T> s) : std::span<T>(s) {}  // NOLINT: any span may be filled
};

namespace edge {

template <typename T>
inline constexpr bool kIsStdArray = false;
template <typename T, std::size_t N>
inline constexpr bool kIsStdArray<std::array<T, N>> = true;

/// Scalars whose every bit pattern is a value. bool is not one: it is checked word by word.
template <typename T>
concept PlainScalar = ((std::is_arithmetic_v<T> && !std::is_same_v<T, bool>) ||
                       std::is_enum_v<T>)&&sizeof(T) <= 8;

/// Bytes that a T of plain scalars has without padding; 0: there is something else in it.
template <typename T>
consteval std::size_t plain_bytes() {
  if constexpr (PlainScalar<T>) {
    return sizeof(T);
  } else if constexpr (kIsStdArray<T>) {
    return plain_bytes<typename T::value_type>() * std::tuple_size_v<T>;
  } else if constexpr (std::is_aggregate_v<T> && std::is_trivially_copyable_v<T> && !std::is_array_v<T>) {
    std::size_t sum = 0;
    bool all = kFieldCount<T> != 0;
    [&]<typename... F>(std::type_identity<std::tuple<F&...>>) {
      (
          [&] {
            const std::size_t bytes = plain_bytes<std::remove_const_t<F>>();
            all = all && bytes != 0;
            sum += bytes;
          }(),
          ...);
    }(std::type_identity<FieldTuple<T>>{});
    return all ? sum : 0;
  } else {
    return 0;
  }
}

/// May be an element of a span: any bytes are a value of T, and it has no padding through which something
/// could leak out of the enclave.
template <typename T>
concept Plain = plain_bytes<T>()
== sizeof(T);

/// Folds what describes a type's form into one number, so that two builds can be compared.
constexpr std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  a ^= b + 0x9e3779b97f4a7c15ULL + (a << 6) + (a >> 2);
  return a * 0xff51afd7ed558ccdULL;
}

enum class Form : std::uint64_t {
  kScalar = 1,
  kPlain,
  kBool,
  kView,
  kInOut,
  kOut,
  kOptional,
  kExpected,
  kStruct,
  kVoid
};

template <typename T>
struct Codec {
  static constexpr bool kCrosses = false;
};

template <typename T>
concept Crosses = Codec<std::remove_cvref_t<T>>::kCrosses;
/// Can be a result: owns all that it has.
template <typename T>
concept CrossesBack = Crosses<T> && Codec<std::remove_cvref_t<T>>::kOwns;

template <>
struct Codec<bool> {
  static constexpr bool kCrosses = true, kOwns = true;
  static constexpr std::size_t kWords = 1, kBacks = 0;
  static constexpr std::uint64_t kShape = mix(0, static_cast<std::uint64_t>(Form::kBool));
  static void encode(bool value, std::uint64_t* words, auto&) { words[0] = value ? 1 : 0; }
  static bool decode(const std::uint64_t* words, auto&) { return words[0] != 0; }
};

template <Plain T>
struct Codec<T> {
  static constexpr bool kCrosses = true, kOwns = true;
  static constexpr std::size_t kWords = (sizeof(T) + 7) / 8, kBacks = 0;
  static constexpr std::uint64_t kShape = mix(static_cast<std::uint64_t>(Form::kPlain), sizeof(T));
  static void encode(const T& value, std::uint64_t* words, auto&) {
    words[kWords - 1] = 0;
    std::memcpy(words, &value, sizeof value);
  }
  static T decode(const std::uint64_t* words, auto&) {
    T value;
    std::memcpy(&value, words, sizeof value);
    return value;
  }
};

/// Spans, strings and vectors, whose data are elsewhere.
template <typename T, typename Element, Form kForm>
struct ViewCodec {
  static_assert(
      Plain<std::remove_const_t<Element>>,
      "the elements of a span must be plain: numbers, enumerations, std::array and structs of these, no "
      "bool, no pointers, no padding");
  static constexpr bool kCrosses = true;
  static constexpr bool kOwns = !requires { typename T::iterator; }
  || requires(T t) { t.reserve(1); };
  static constexpr std::size_t kWords = 2, kBacks = kForm == Form::kView ? 0 : 1;
  static constexpr std::uint64_t kShape = mix(static_cast<std::uint64_t>(kForm), sizeof(Element));

  static void encode(const T& value, std::uint64_t* words, auto& port) {
    const std::size_t bytes = value.size() * sizeof(Element);
    if constexpr (kForm == Form::kView) {
      words[0] = port.send(value.data(), bytes);
    } else if constexpr (kForm == Form::kInOut) {
      words[0] = port.send_inout(value.data(), bytes);
    } else {
      words[0] = port.send_out(value.data(), bytes);
    }
    words[1] = value.size();
  }

  static T decode(const std::uint64_t* words, auto& port) {
    if (words[1] > std::numeric_limits<std::size_t>::max() / 2 / sizeof(Element)) {
      port.refuse(Code::kBadPointer);
      return T();
    }
    if constexpr (kOwns && requires { port.template receive_owned<T>(words[0], words[1]); }) {
      return port.template receive_owned<T>(words[0], words[1]);
    }
    const std::size_t bytes = words[1] * sizeof(Element);
    const void* data = nullptr;
    if constexpr (kForm == Form::kView) {
      data = port.receive(words[0], bytes);
    } else if constexpr (kForm == Form::kInOut) {
      data = port.receive_inout(words[0], bytes);
    } else {
      data = port.receive_out(words[0], bytes);
    }
    if (data == nullptr) return T();
    if constexpr (std::is_const_v<Element>) {
      const auto* first = static_cast<Element*>(data);
      return T(first, first + words[1]);
    } else {
      auto* first = static_cast<Element*>(const_cast<void*>(data));
      return T(first, first + words[1]);
    }
  }
};

template <typename E>
struct Codec<std::span<E>> : ViewCodec<std::span<E>, E, std::is_const_v<E> ? Form::kView : Form::kInOut> {};
template <typename E>
struct Codec<OutSpan<E>> : ViewCodec<OutSpan<E>, E, Form::kOut> {};
template <>
struct Codec<std::string_view> : ViewCodec<std::string_view, const char, Form::kView> {};
template <>
struct Codec<std::string> : ViewCodec<std::string, const char, Form::kView> {};
template <typename E>
struct Codec<std::vector<E>> : ViewCodec<std::vector<E>, const E, Form::kView> {};

/// A row of values, one after the other.
template <typename... T>
struct Row {
  static constexpr std::size_t kWords = (std::size_t{0} + ... + Codec<T>::kWords);
  static constexpr std::size_t kBacks = (std::size_t{0} + ... + Codec<T>::kBacks);
  static constexpr bool kOwns = (Codec<T>::kOwns && ...);
  static constexpr std::uint64_t kShape = [] {
    std::uint64_t shape = mix(static_cast<std::uint64_t>(Form::kStruct), sizeof...(T));
    ((shape = mix(shape, Codec<T>::kShape)), ...);
    return shape;
  }();
  static constexpr std::array<std::size_t, sizeof...(T) + 1> kAt = [] {
    std::array<std::size_t, sizeof...(T) + 1> at{};
    std::size_t i = 0;
    ((at[i + 1] = at[i] + Codec<T>::kWords, ++i), ...);
    return at;
  }();

  template <typename Tuple>
  static void encode(const Tuple& values, std::uint64_t* words, auto& port) {
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      (Codec<T>::encode(std::get<I>(values), words + kAt[I], port), ...);
    }
    (std::index_sequence_for<T...>{});
  }
  template <typename Into>
  static Into decode(const std::uint64_t* words, auto& port) {
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      // In braces, so that they are taken from left to right.
      return Into{Codec<T>::decode(words + kAt[I], port)...};
    }
    (std::index_sequence_for<T...>{});
  }
};

template <typename Tuple>
struct RowOf;
template <typename... T>
struct RowOf<std::tuple<T&...>> {
  using type = Row<std::remove_const_t<T>...>;
  static constexpr bool kCrosses = (Crosses<T> && ...);
};

/// Structs that are not plain: field by field.
template <typename T>
requires(std::is_aggregate_v<T>&& std::is_class_v<T> && !Plain<T> && !kIsStdArray<T> &&
         kFieldCount<T> != 0) struct Codec<T> {
  using Fields = RowOf<FieldTuple<T>>;
  static constexpr bool kCrosses = Fields::kCrosses, kOwns = Fields::type::kOwns;
  static constexpr std::size_t kWords = Fields::type::kWords, kBacks = Fields::type::kBacks;
  static constexpr std::uint64_t kShape = Fields::type::kShape;
  static void encode(const T& value, std::uint64_t* words, auto& port) {
    Fields::type::encode(fields(value), words, port);
  }
  static T decode(const std::uint64_t* words, auto& port) {
    return Fields::type::template decode<T>(words, port);
  }
};

template <Crosses T>
struct Codec<std::optional<T>> {
  using Inner = Codec<T>;
  static constexpr bool kCrosses = true, kOwns = Inner::kOwns;
  static constexpr std::size_t kWords = 1 + Inner::kWords, kBacks = Inner::kBacks;
  static constexpr std::uint64_t kShape = mix(static_cast<std::uint64_t>(Form::kOptional), Inner::kShape);
  static void encode(const std::optional<T>& value, std::uint64_t* words, auto& port) {
    std::fill_n(words, kWords, 0);
    words[0] = value.has_value() ? 1 : 0;
    if (value) Inner::encode(*value, words + 1, port);
  }
  static std::optional<T> decode(const std::uint64_t* words, auto& port) {
    if (words[0] == 0) return std::nullopt;
    return Inner::decode(words + 1, port);
  }
};

struct Nothing {};
template <>
struct Codec<Nothing> {
  static constexpr bool kCrosses = true, kOwns = true;
  static constexpr std::size_t kWords = 0, kBacks = 0;
  static constexpr std::uint64_t kShape = mix(static_cast<std::uint64_t>(Form::kVoid), 0);
  static void encode(Nothing, std::uint64_t*, auto&) {}
  static Nothing decode(const std::uint64_t*, auto&) { return {}; }
};
template <>
struct Codec<void> : Codec<Nothing> {};

template <>
struct Codec<Error> {
  static constexpr bool kCrosses = true, kOwns = true;
  static constexpr std::size_t kWords = 4, kBacks = 0;
  static constexpr std::uint64_t kShape = mix(static_cast<std::uint64_t>(Form::kStruct), 0xe44);
  static void encode(const Error& e, std::uint64_t* words, auto&) {
    words[0] = static_cast<std::uint64_t>(e.code);
    words[1] = static_cast<std::uint32_t>(e.system);
    words[2] = e.fault.vector | std::uint64_t{e.fault.error_code} << 16;
    words[3] = e.fault.address;
  }
  static Error decode(const std::uint64_t* words, auto&) {
    Error e;
    e.code =
        words[0] <= static_cast<std::uint64_t>(Code::kLast) ? static_cast<Code>(words[0]) : Code::kBadResult;
    e.system = static_cast<std::int32_t>(words[1]);
    e.fault = {static_cast<std::uint16_t>(words[2]), static_cast<std::uint16_t>(words[2] >> 16), words[3]};
    return e;
  }
};

template <typename T, Crosses E>
struct Codec<std::expected<T, E>> {
  using Good = Codec<T>;
  using Bad = Codec<E>;
  static constexpr bool kCrosses = Good::kCrosses, kOwns = Good::kOwns && Bad::kOwns;
  // Only one of them is there.
  static constexpr std::size_t kWords = 1 + std::max(Good::kWords, Bad::kWords);
  static constexpr std::size_t kBacks = std::max(Good::kBacks, Bad::kBacks);
  static constexpr std::uint64_t kShape =
      mix(mix(static_cast<std::uint64_t>(Form::kExpected), Good::kShape), Bad::kShape);
  static void encode(const std::expected<T, E>& value, std::uint64_t* words, auto& port) {
    std::fill_n(words, kWords, 0);
    words[0] = value.has_value() ? 1 : 0;
    if (!value.has_value()) {
      Bad::encode(value.error(), words + 1, port);
    } else if constexpr (!std::is_void_v<T>) {
      Good::encode(*value, words + 1, port);
    }
  }
  static std::expected<T, E> decode(const std::uint64_t* words, auto& port) {
    if (words[0] == 0) return std::unexpected(Bad::decode(words + 1, port));
    if constexpr (std::is_void_v<T>) {
      return {};
    } else {
      return Good::decode(words + 1, port);
    }
  }
};

/// One declared function.
template <typename F>
struct Signature;
template <typename R, typename... A>
struct Signature<R (*)(A...)> {
  static_assert(
      (Crosses<A> && ...),
      "a parameter of this call cannot cross: numbers, enumerations, bool, std::string_view, std::string, "
      "std::span, enclume::OutSpan, std::vector, std::array, std::optional, std::expected and structs of "
      "these can");
  static_assert(((!std::is_lvalue_reference_v<A> || std::is_const_v<std::remove_reference_t<A>>)&&...),
                "a call cannot change what a reference leads to: take std::span or return a result");
  static_assert(std::is_void_v<R> || CrossesBack<R>,
                "the result of this call cannot cross: a result must own its data (std::string, std::vector, "
                "no views)");
  using Result = R;
  /// Void as an object.
  using Value = std::conditional_t<std::is_void_v<R>, Nothing, std::remove_cv_t<R>>;
  using Parameters = std::tuple<std::remove_cvref_t<A>...>;
  using In = Row<std::remove_cvref_t<A>...>;
  using Out = Codec<Value>;
  static constexpr std::size_t kWords = std::max<std::size_t>({In::kWords, Out::kWords, 1});
  static constexpr std::uint64_t kShape = mix(In::kShape, Out::kShape);
};
template <typename R, typename... A>
struct Signature<R (*)(A...) noexcept> : Signature<R (*)(A...)> {};

}  // namespace edge
}  // namespace enclume
