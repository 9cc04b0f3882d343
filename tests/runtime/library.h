// SPDX-License-Identifier: Apache-2.0
// The parts of the C and C++ libraries that an enclave may use. Each is one function that is compiled for the
// enclave and for the host, where the library is glibc's and libstdc++'s own: what they say must be the same.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "enclume/edge/interface.h"

namespace library {

struct Part {
  const char* name;
  std::string (*run)(std::uint64_t seed);
};

std::string maps(std::uint64_t seed);
std::string hash_tables(std::uint64_t seed);
std::string lists(std::uint64_t seed);
std::string shared_pointers(std::uint64_t seed);
std::string functions(std::uint64_t seed);
std::string queues(std::uint64_t seed);
std::string variants(std::uint64_t seed);
std::string bit_sets(std::uint64_t seed);
std::string strings(std::uint64_t seed);
std::string sorting(std::uint64_t seed);
std::string moving(std::uint64_t seed);
std::string searching(std::uint64_t seed);
std::string characters(std::uint64_t seed);
std::string numbers(std::uint64_t seed);
std::string printing(std::uint64_t seed);

inline constexpr std::array kParts = {
    Part{"Maps", maps},
    Part{"HashTables", hash_tables},
    Part{"Lists", lists},
    Part{"SharedPointers", shared_pointers},
    Part{"Functions", functions},
    Part{"Queues", queues},
    Part{"Variants", variants},
    Part{"BitSets", bit_sets},
    Part{"Strings", strings},
    Part{"Sorting", sorting},
    Part{"Moving", moving},
    Part{"Searching", searching},
    Part{"Characters", characters},
    Part{"Numbers", numbers},
    Part{"Printing", printing},
};

// In the enclave.
std::string run(std::uint32_t part, std::uint64_t seed);
std::uint64_t print_unknown(std::uint32_t which);

}  // namespace library

using Library = enclume::Interface<enclume::Ecalls<library::run, library::print_unknown>>;
