// SPDX-License-Identifier: Apache-2.0
// By which ways a program's system calls reach the engine; the words of `--front`.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace enclume::engine {

enum class FrontDoor : std::uint8_t {
  Auto,  ///< Raw for a program of Go; else those, and the SYSCALLs that are found and matter
  Libc,  ///< libc's functions only
  Raw,   ///< those, and every SYSCALL instruction outside libc
};

[[nodiscard]] constexpr std::string_view name_of(FrontDoor door) {
  return door == FrontDoor::Raw ? "raw" : door == FrontDoor::Libc ? "libc" : "auto";
}

[[nodiscard]] constexpr std::optional<FrontDoor> front_door(std::string_view name) {
  for (const FrontDoor door : {FrontDoor::Auto, FrontDoor::Libc, FrontDoor::Raw}) {
    if (name == name_of(door)) {
      return door;
    }
  }
  return std::nullopt;
}

}  // namespace enclume::engine
