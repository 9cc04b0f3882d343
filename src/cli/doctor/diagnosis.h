// SPDX-License-Identifier: Apache-2.0
// From facts to advice. Pure, so that every kind of machine can be tested on one.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "cli/doctor/machine_facts.h"

namespace enclume::cli {

enum class Presence {
  kYes,
  kPartly,
  kNo
};

struct Finding {
  std::string id;  // stable, for scripts
  std::string title;
  Presence presence = Presence::kYes;
  std::string detail{};          // what was found
  std::string made_up_for_by{};  // what Enclume does instead; empty if nothing is missing
  std::string less_faithful{};   // what differs from hardware because of it
  std::string what_to_do{};
  bool is_blocker = false;  // `enclume run` cannot work like this
};

struct Diagnosis {
  std::vector<Finding> findings;
  bool runs_emulated = false;

  [[nodiscard]] bool can_run() const;
};

[[nodiscard]] Diagnosis diagnose(const MachineFacts& facts);

[[nodiscard]] nlohmann::ordered_json to_json(const Diagnosis& diagnosis);
[[nodiscard]] std::string to_text(const Diagnosis& diagnosis, bool has_colours);

}  // namespace enclume::cli
