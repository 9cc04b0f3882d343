// SPDX-License-Identifier: Apache-2.0
// Sequences of leaves as data: made at random, executed on the processor and on the second model, printed.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "property/epcm_model.h"

namespace enclume::property {

inline constexpr unsigned kEpcPages = 12, kProcessors = 3, kSlots = 3;  // few, so that they collide

enum class Leaf : std::uint8_t {
  Ecreate,      ///< page, base
  Eadd,         ///< page, secs, type, rwx, place, tcs_image, ossa
  Einit,        ///< secs
  Eaug,         ///< page, secs, place
  Eremove,      ///< page
  Eblock,       ///< page
  Etrack,       ///< secs
  Epa,          ///< page
  Ewb,          ///< page, va, slot, blob
  Eld,          ///< page, va, slot, secs, blob, block
  Emodpr,       ///< page, rwx
  Emodt,        ///< page, type
  Map,          ///< place: base, index; page
  Eenter,       ///< processor; place: base, index
  Eresume,      ///< processor; place
  Eexit,        ///< processor
  Aex,          ///< processor
  Edeccssa,     ///< processor
  Eaccept,      ///< processor; place; type, rwx, flags (1 PENDING, 2 MODIFIED, 4 PR); SECINFO's index
  Eacceptcopy,  ///< processor; place; source's index, rwx; SECINFO's index
  Emodpe,       ///< processor; place; rwx; SECINFO's index
};
inline constexpr unsigned kLeaves = static_cast<unsigned>(Leaf::Emodpe) + 1;

/// A leaf with its operands, in the order of EpcmModel's functions; the comments above name them.
struct Step {
  Leaf leaf{};
  std::array<unsigned, 7> operands{};
};

/// `length` random steps, of which the second model knows enough that many succeed.
std::vector<Step> random_steps(std::uint64_t seed, unsigned length);

/// A step as a call, e.g. "ewb(3, 5, 0, 17)".
std::string to_string(const Step& step);

/// Calls the function of the step's leaf on the model or on a LeafMachine.
template <typename Target>
Result apply(const Step& s, Target& t) {
  const auto& o = s.operands;
  const auto place = [&](unsigned first) { return Place{o[first], o[first + 1]}; };
  const auto beside = [&](unsigned base, unsigned index) { return Place{o[base], o[index]}; };
  switch (s.leaf) {
    case Leaf::Ecreate:
      return t.ecreate(o[0], o[1]);
    case Leaf::Eadd:
      return t.eadd(o[0], o[1], static_cast<Type>(o[2]), o[3], o[4], o[5] != 0, o[6]);
    case Leaf::Einit:
      return t.einit(o[0]);
    case Leaf::Eaug:
      return t.eaug(o[0], o[1], o[2]);
    case Leaf::Eremove:
      return t.eremove(o[0]);
    case Leaf::Eblock:
      return t.eblock(o[0]);
    case Leaf::Etrack:
      return t.etrack(o[0]);
    case Leaf::Epa:
      return t.epa(o[0]);
    case Leaf::Ewb:
      return t.ewb(o[0], o[1], o[2], o[3]);
    case Leaf::Eld:
      return t.eld(o[0], o[1], o[2], o[3], o[4], o[5] != 0);
    case Leaf::Emodpr:
      return t.emodpr(o[0], o[1]);
    case Leaf::Emodt:
      return t.emodt(o[0], static_cast<Type>(o[1]));
    case Leaf::Map:
      return t.map(place(0), o[2]);
    case Leaf::Eenter:
      return t.eenter(o[0], place(1));
    case Leaf::Eresume:
      return t.eresume(o[0], place(1));
    case Leaf::Eexit:
      return t.eexit(o[0]);
    case Leaf::Aex:
      return t.aex(o[0]);
    case Leaf::Edeccssa:
      return t.edeccssa(o[0]);
    case Leaf::Eaccept:
      return t.eaccept(o[0], place(1),
                       {.type = static_cast<Type>(o[3]),
                        .rwx = o[4],
                        .pending = (o[5] & 1) != 0,
                        .modified = (o[5] & 2) != 0,
                        .pr = (o[5] & 4) != 0},
                       beside(1, 6));
    case Leaf::Eacceptcopy:
      return t.eacceptcopy(o[0], place(1), beside(1, 3), o[4], beside(1, 5));
    case Leaf::Emodpe:
      return t.emodpe(o[0], place(1), o[3], beside(1, 4));
  }
  return {};
}

/// Where processor and model part.
struct Disagreement {
  std::size_t step = 0;
  std::string what;
};

/// What the sequence does, for tests of the test: leaves by name and end.
using Ends = std::map<std::string, unsigned>;

/// What a processor gets wrong, for the tests of the test.
enum class Mutation : std::uint8_t {
  None,
  AcceptBeforeTracked,  ///< EACCEPT does not look at stale translations
  EmodtUnblocks,        ///< EMODT forgets that the page is blocked
};

/// Executes the steps on a fresh machine and a fresh model, and compares each result and all state.
std::optional<Disagreement> run(const std::vector<Step>& steps, Mutation mutation = Mutation::None,
                                Ends* ends = nullptr);

/// A failing sequence as a test to paste: shortened, with what was expected of its last step.
std::string as_program(const std::vector<Step>& steps, const Disagreement& disagreement);

}  // namespace enclume::property
