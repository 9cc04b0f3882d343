// SPDX-License-Identifier: Apache-2.0
#include "cli/verb.h"

#include <algorithm>

namespace enclume::cli {
namespace {

std::vector<Verb*>& registry() {
  static std::vector<Verb*> verbs;
  return verbs;
}

}  // namespace

void register_verb(Verb* verb) {
  registry().push_back(verb);
}

std::vector<Verb*> all_verbs() {
  auto verbs = registry();
  std::ranges::sort(verbs, {}, [](const Verb* verb) { return verb->manual().name; });
  return verbs;
}

Verb* find_verb(std::string_view name) {
  const auto& verbs = registry();
  const auto found = std::ranges::find(verbs, name, [](const Verb* verb) { return verb->manual().name; });
  return found == verbs.end() ? nullptr : *found;
}

}  // namespace enclume::cli
