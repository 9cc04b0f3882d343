// SPDX-License-Identifier: Apache-2.0
#include "property/leaf_sequence.h"

#include <random>
#include <sstream>

#include "property/leaf_machine.h"

namespace enclume::property {

namespace {

struct Description {
  const char* name;
  unsigned operands;
  unsigned weight;  ///< how often, among all
};
constexpr std::array<Description, kLeaves> kDescriptions{
    {{"ecreate", 2, 2}, {"eadd", 7, 8},   {"einit", 1, 2},    {"eaug", 3, 6},     {"eremove", 1, 2},
     {"eblock", 1, 3},  {"etrack", 1, 7}, {"epa", 1, 2},      {"ewb", 4, 6},      {"eld", 6, 6},
     {"emodpr", 2, 4},  {"emodt", 2, 4},  {"map", 3, 1},      {"eenter", 3, 8},   {"eresume", 3, 5},
     {"eexit", 1, 3},   {"aex", 1, 4},    {"edeccssa", 1, 6}, {"eaccept", 7, 14}, {"eacceptcopy", 6, 6},
     {"emodpe", 5, 5}}};

const Description& description(Leaf leaf) {
  return kDescriptions[static_cast<std::size_t>(leaf)];
}

/// Chooses operands with an eye on the model: mostly such that the leaf can succeed.
class Generator {
 public:
  explicit Generator(std::uint64_t seed)
      : random_(seed), model_(kEpcPages, kProcessors), begins_running_(!chance(4)) {}

  Step next() {
    Step step;
    if (prepared_ < kPrologue.size() && begins_running_) {
      step = kPrologue[prepared_++];
    } else {
      step.leaf = any_leaf();
      step.operands = operands(step.leaf);
    }
    apply(step, model_);
    return step;
  }

 private:
  unsigned below(unsigned bound) { return static_cast<unsigned>(random_() % bound); }
  bool chance(unsigned one_in) { return below(one_in) == 0; }

  Leaf any_leaf() {
    unsigned total = 0;
    for (const Description& d : kDescriptions) total += d.weight;
    unsigned draw = below(total);
    unsigned leaf = 0;
    while (draw >= kDescriptions[leaf].weight) draw -= kDescriptions[leaf++].weight;
    return static_cast<Leaf>(leaf);
  }

  template <typename Wanted>
  unsigned page_that(Wanted wanted) {
    unsigned page = below(kEpcPages);
    for (int tries = 0; tries < 8 && !wanted(page); ++tries) page = below(kEpcPages);
    return page;
  }
  unsigned page_of(Type type) {
    return page_that([&](unsigned p) { return model_.is(p, type); });
  }
  unsigned free_page() {
    return page_that([&](unsigned p) { return !model_.pages[p].entry.valid; });
  }
  unsigned processor(bool inside) {
    unsigned p = below(kProcessors);
    for (int tries = 0; tries < 4 && (model_.processors[p].enclave != nullptr) != inside; ++tries) {
      p = below(kProcessors);
    }
    return p;
  }
  // The place of a page of the processor's enclave, or any.
  template <typename Wanted>
  Place place_that(unsigned processor, Wanted wanted) {
    const auto& enclave = model_.processors[processor].enclave;
    const unsigned page = page_that([&](unsigned p) {
      return model_.is_child(p) && (!enclave || model_.pages[p].enclave == enclave) &&
             wanted(model_.pages[p]);
    });
    if (model_.is_child(page) && !chance(16)) return model_.pages[page].place;
    return {enclave && !chance(8) ? enclave->base : below(kBases), below(kPlaces)};
  }
  unsigned secinfo_of(unsigned processor) {
    return place_that(processor,
                      [](const EpcmModel::Page& p) {
                        return p.entry.type == Type::Reg && (p.entry.rwx & kR) != 0 && !p.entry.pending &&
                               !p.entry.blocked;
                      })
        .index;
  }
  // A third of the permissions is RW, which most flows need.
  unsigned rwx() { return chance(3) ? kR | kW : below(8); }
  unsigned place() { return below(kPlaces); }
  unsigned number(Type type) { return static_cast<unsigned>(type); }

  std::array<unsigned, 7> operands(Leaf leaf) {
    switch (leaf) {
      case Leaf::Ecreate:
        return {free_page(), below(kBases)};
      case Leaf::Eadd: {
        const Type type = chance(3) ? Type::Tcs : Type::Reg;
        return {free_page(),
                page_of(Type::Secs),
                number(type),
                rwx(),
                place(),
                below(3) / 2,
                below(kPlaces - EpcmModel::kFrames + 1)};
      }
      case Leaf::Einit:
        return {page_of(Type::Secs)};
      case Leaf::Eaug:
        return {free_page(), page_of(Type::Secs), place()};
      case Leaf::Eremove:
      case Leaf::Eblock:
        return {below(kEpcPages)};
      case Leaf::Etrack:
        return {page_of(Type::Secs)};
      case Leaf::Epa:
        return {free_page()};
      case Leaf::Ewb:
        return {page_that([&](unsigned p) { return model_.pages[p].entry.blocked; }), page_of(Type::Va),
                below(kSlots), next_blob_++};
      case Leaf::Eld:
        return eld();
      case Leaf::Emodpr:
        return {page_of(Type::Reg), rwx()};
      case Leaf::Emodt:
        return {page_of(chance(4) ? Type::Tcs : Type::Reg),
                chance(16) ? number(Type::Reg) : number(chance(2) ? Type::Tcs : Type::Trim)};
      case Leaf::Map:
        return {below(kBases), place(), below(kEpcPages)};
      case Leaf::Eenter:
      case Leaf::Eresume: {
        const unsigned who = processor(false);
        const Place tcs = place_that(who, [](const EpcmModel::Page& p) { return p.entry.type == Type::Tcs; });
        return {who, tcs.base, tcs.index};
      }
      case Leaf::Eexit:
      case Leaf::Aex:
      case Leaf::Edeccssa:
        return {processor(true)};
      case Leaf::Eaccept:
        return eaccept();
      case Leaf::Eacceptcopy: {
        const unsigned who = processor(true);
        const Place to = place_that(who, [](const EpcmModel::Page& p) { return p.entry.pending; });
        return {who, to.base, to.index, secinfo_of(who), rwx(), secinfo_of(who)};
      }
      case Leaf::Emodpe: {
        const unsigned who = processor(true);
        const Place at = place_that(who, [](const EpcmModel::Page& p) { return p.entry.type == Type::Reg; });
        return {who, at.base, at.index, rwx(), secinfo_of(who)};
      }
    }
    return {};
  }

  std::array<unsigned, 7> eld() {
    if (model_.blobs.empty()) return {free_page(), page_of(Type::Va), below(kSlots)};
    const auto blob = std::next(model_.blobs.begin(), below(static_cast<unsigned>(model_.blobs.size())));
    unsigned va = page_of(Type::Va), slot = below(kSlots), secs = page_of(Type::Secs);
    if (!chance(4)) {  // mostly where it belongs, else hardly anything would ever come back
      if (const auto home = model_.slot_of(blob->first)) std::tie(va, slot) = *home;
      secs = page_that([&](unsigned p) {
        return model_.is(p, Type::Secs) && model_.pages[p].enclave == blob->second.enclave;
      });
    }
    return {free_page(), va, slot, secs, blob->first, below(2)};
  }

  std::array<unsigned, 7> eaccept() {
    const unsigned who = processor(true);
    const Place at = place_that(
        who, [](const EpcmModel::Page& p) { return p.entry.pending || p.entry.modified || p.entry.pr; });
    Entry e;
    if (const auto page = model_.mapped.find(at); page != model_.mapped.end())
      e = model_.pages[page->second].entry;
    unsigned type = number(e.type), rights = e.rwx;
    unsigned flags = (e.pending ? 1 : 0) | (e.modified ? 2 : 0) | (e.pr ? 4 : 0);
    if (chance(5)) type = below(5);
    if (chance(5)) rights = below(8);
    if (chance(5)) flags = below(8);
    return {who, at.base, at.index, type, rights, flags, secinfo_of(who)};
  }

  // An enclave that two logical processors can be in; by chance alone one hardly ever comes to be.
  static constexpr std::array<Step, 9> kPrologue{{{Leaf::Ecreate, {0, 0}},
                                                  {Leaf::Eadd, {1, 0, 1, 0, 0, 1, 1}},
                                                  {Leaf::Eadd, {2, 0, 2, kR | kW, 1, 0, 0}},
                                                  {Leaf::Eadd, {3, 0, 2, kR | kW, 2, 0, 0}},
                                                  {Leaf::Eadd, {4, 0, 1, 0, 3, 1, 4}},
                                                  {Leaf::Eadd, {5, 0, 2, kR | kW, 4, 0, 0}},
                                                  {Leaf::Eadd, {6, 0, 2, kR | kW, 5, 1, 4}},
                                                  {Leaf::Epa, {7}},
                                                  {Leaf::Einit, {0}}}};

  std::mt19937_64 random_;
  EpcmModel model_;
  bool begins_running_;
  std::size_t prepared_ = 0;
  unsigned next_blob_ = 0;
};

}  // namespace

std::vector<Step> random_steps(std::uint64_t seed, unsigned length) {
  Generator generator(seed);
  std::vector<Step> steps;
  for (unsigned i = 0; i < length; ++i) steps.push_back(generator.next());
  return steps;
}

std::string to_string(const Step& step) {
  const Description& d = description(step.leaf);
  std::string text = std::string(d.name) + "(";
  for (unsigned i = 0; i < d.operands; ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(step.operands[i]);
  }
  return text + ")";
}

std::optional<Disagreement> run(const std::vector<Step>& steps, Mutation mutation, Ends* ends) {
  LeafMachine machine(kEpcPages, kProcessors, mutation);
  EpcmModel model(kEpcPages, kProcessors);
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const Result expected = apply(steps[i], model);
    const Result got = apply(steps[i], machine);
    if (!machine.ended(expected)) {
      return Disagreement{i, to_string(steps[i]) + ": the model says " + to_string(expected) +
                                 ", the processor " + to_string(got)};
    }
    if (const std::string difference = machine.difference(model); !difference.empty()) {
      return Disagreement{i, to_string(steps[i]) + ": " + difference};
    }
    if (ends != nullptr) {
      const bool success = expected.kind == Result::Kind::Success;
      ++(*ends)[std::string(description(steps[i].leaf).name) + (success ? " succeeds" : " fails")];
      if (expected.kind == Result::Kind::Code) ++(*ends)["code " + std::to_string(expected.code)];
    }
  }
  return std::nullopt;
}

std::string as_program(const std::vector<Step>& steps, const Disagreement& disagreement) {
  std::ostringstream out;
  out << "// " << disagreement.what << "\n"
      << "TEST(LeafSequence, Found) {\n"
      << "  const std::vector<Step> steps = {\n";
  for (const Step& step : steps) {
    const Description& d = description(step.leaf);
    std::string name = d.name;
    name[0] = static_cast<char>(name[0] - 'a' + 'A');
    out << "      {Leaf::" << name << ", {";
    for (unsigned i = 0; i < d.operands; ++i) out << (i == 0 ? "" : ", ") << step.operands[i];
    out << "}},\n";
  }
  out << "  };\n"
      << "  const auto found = run(steps);\n"
      << "  EXPECT_FALSE(found) << found->what;\n"
      << "}\n";
  return out.str();
}

}  // namespace enclume::property
