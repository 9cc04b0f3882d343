// SPDX-License-Identifier: Apache-2.0
#include "property/epcm_model.h"

#include <cstdio>

namespace enclume::property {

namespace {

// RAX (SDM Vol. 3D, "Error codes").
constexpr std::uint32_t kBlkState = 3, kNotBlockable = 5, kPgInvld = 6, kMacCompareFail = 9,
                        kPageNotBlocked = 10, kNotTracked = 11, kVaSlotOccupied = 12, kChildPresent = 13,
                        kEnclaveAct = 14, kPrevTrkIncmpl = 17, kPgIsSecs = 18, kAttributesMismatch = 19,
                        kNotModifiable = 20;

// Page-fault error codes: P 1, W 2, U 4, SGX 0x8000.
constexpr std::uint32_t kEnclsPf = 0x8003;  // as KVM injects the fault of a supervisor leaf
constexpr std::uint32_t kEncluRead = 0x8005, kEncluWrite = 0x8007;
constexpr std::uint32_t kWalkRead = 4, kWalkWrite = 6;  // no page-table entry

using Kind = Result::Kind;

Result gp() {
  return {Kind::Gp};
}
Result pf(Where where, std::uint32_t code = kEnclsPf) {
  return {Kind::Pf, code, where};
}
Result code(std::uint32_t rax) {
  return {Kind::Code, rax};
}
Result carry(std::uint32_t rax) {
  return {Kind::Carry, rax};
}
bool writable_unreadable(unsigned rwx) {
  return (rwx & kW) != 0 && (rwx & kR) == 0;
}

}  // namespace

std::string to_string(const Entry& e) {
  if (!e.valid) return "free";
  static constexpr const char* kTypes[] = {"SECS", "TCS", "REG", "VA", "TRIM"};
  std::string s = kTypes[static_cast<unsigned>(e.type)];
  s += (e.rwx & kR) != 0 ? " r" : " -";
  s += (e.rwx & kW) != 0 ? "w" : "-";
  s += (e.rwx & kX) != 0 ? "x" : "-";
  if (e.blocked) s += " blocked";
  if (e.pending) s += " pending";
  if (e.modified) s += " modified";
  if (e.pr) s += " pr";
  return s;
}

std::string to_string(const Result& r) {
  static constexpr const char* kWhere[] = {"?",           "the page",   "the SECS", "the version array",
                                           "the SECINFO", "the source", "the frame"};
  switch (r.kind) {
    case Kind::Success:
      return "success";
    case Kind::Code:
      return "RAX " + std::to_string(r.code) + ", ZF";
    case Kind::Carry:
      return "RAX " + std::to_string(r.code) + ", CF";
    case Kind::Gp:
      return "#GP(0)";
    case Kind::Pf: {
      char text[32];
      std::snprintf(text, sizeof text, "#PF(%#x) at ", r.code);
      return text + std::string(kWhere[static_cast<unsigned>(r.where)]);
    }
    case Kind::Skipped:
      break;
  }
  return "nothing";
}

// ---- Supervisor leaves ----

Result EpcmModel::ecreate(unsigned page, unsigned base) {
  if (pages[page].entry.valid) return pf(Where::Page);
  auto enclave = std::make_shared<Enclave>();
  enclave->base = base;
  occupy(page, {.valid = true, .type = Type::Secs}, enclave, {}, {});
  return {};
}

Result EpcmModel::eadd(unsigned page, unsigned secs, Type type, unsigned rwx, unsigned place, bool tcs_image,
                       unsigned ossa) {
  if (pages[page].entry.valid) return pf(Where::Page);
  if (!is(secs, Type::Secs)) return pf(Where::Secs);
  if (type == Type::Reg && writable_unreadable(rwx)) return gp();
  const EnclaveRef enclave = pages[secs].enclave;
  if (enclave->initialised) return gp();
  Contents contents;
  if (type == Type::Tcs || tcs_image) contents = {.kind = Contents::Kind::Tcs, .ossa = ossa};
  if (type == Type::Tcs) rwx = 0;
  const Place at{enclave->base, place};
  occupy(page, {.valid = true, .rwx = rwx, .type = type}, enclave, at, contents);
  mapped[at] = page;
  return {};
}

Result EpcmModel::einit(unsigned secs) {
  if (!is(secs, Type::Secs)) return {Kind::Skipped};
  pages[secs].enclave->initialised = true;
  return {};
}

Result EpcmModel::eaug(unsigned page, unsigned secs, unsigned place) {
  if (pages[page].entry.valid) return pf(Where::Page);
  if (!is(secs, Type::Secs)) return pf(Where::Secs);
  const EnclaveRef enclave = pages[secs].enclave;
  if (!enclave->initialised) return gp();
  const Place at{enclave->base, place};
  occupy(page, {.valid = true, .rwx = kR | kW, .pending = true, .type = Type::Reg}, enclave, at, {});
  mapped[at] = page;
  return {};
}

Result EpcmModel::eremove(unsigned page) {
  const Page& p = pages[page];
  if (is(page, Type::Secs) && children(p.enclave) > 0) return code(kChildPresent);
  const bool accepted_trim = is(page, Type::Trim) && !p.entry.modified;
  if (is_child(page) && !accepted_trim && !p.enclave->inside.empty()) return code(kEnclaveAct);
  pages[page] = {};
  return {};
}

Result EpcmModel::eblock(unsigned page) {
  Page& p = pages[page];
  if (!p.entry.valid) return code(kPgInvld);
  if (p.entry.type == Type::Secs) return carry(kPgIsSecs);
  if (p.entry.type == Type::Va) return carry(kNotBlockable);
  if (p.entry.blocked) return carry(kBlkState);
  p.entry.blocked = true;
  p.stale.reset();
  return {};
}

Result EpcmModel::etrack(unsigned secs) {
  if (!is(secs, Type::Secs)) return pf(Where::Page);
  Enclave& e = *pages[secs].enclave;
  if (!e.inside_at_etrack.empty()) return code(kPrevTrkIncmpl);
  e.inside_at_etrack = e.inside;
  for (unsigned i = 0; i < pages.size(); ++i) {
    if (is_child(i) && pages[i].enclave == pages[secs].enclave && !pages[i].stale) pages[i].stale = e.inside;
  }
  return {};
}

Result EpcmModel::epa(unsigned page) {
  if (pages[page].entry.valid) return pf(Where::Page);
  occupy(page, {.valid = true, .type = Type::Va}, nullptr, {}, {});
  return {};
}

Result EpcmModel::ewb(unsigned page, unsigned va, unsigned slot, unsigned blob) {
  if (page == va) return gp();
  if (!pages[page].entry.valid) return pf(Where::Page);
  if (!is(va, Type::Va)) return pf(Where::Slot);
  if (is(page, Type::Secs) && children(pages[page].enclave) > 0) return code(kChildPresent);
  if (is_child(page)) {
    if (!pages[page].entry.blocked) return code(kPageNotBlocked);
    if (!tracked(page)) return code(kNotTracked);
  }
  blobs[blob] = pages[page];
  pages[page] = {};
  const bool occupied = pages[va].slots.contains(slot);
  pages[va].slots[slot] = blob;
  return occupied ? carry(kVaSlotOccupied) : Result{};  // complete all the same
}

Result EpcmModel::eld(unsigned page, unsigned va, unsigned slot, unsigned secs, unsigned blob, bool block) {
  const auto found = blobs.find(blob);
  if (found == blobs.end()) return {Kind::Skipped};
  const Page& evicted = found->second;
  const bool child = evicted.entry.type != Type::Secs && evicted.entry.type != Type::Va;
  if (pages[page].entry.valid) return pf(Where::Page);
  if (!is(va, Type::Va)) return pf(Where::Slot);
  if (child && !is(secs, Type::Secs)) return pf(Where::Secs);
  const auto remembered = pages[va].slots.find(slot);
  if (remembered == pages[va].slots.end() || remembered->second != blob ||
      (child && pages[secs].enclave != evicted.enclave)) {
    return code(kMacCompareFail);
  }
  pages[va].slots.erase(remembered);
  pages[page] = evicted;
  pages[page].entry.blocked = child && block;
  pages[page].stale = std::set<unsigned>{};
  if (child) mapped[evicted.place] = page;
  return {};
}

Result EpcmModel::emodpr(unsigned page, unsigned rwx) {
  Page& p = pages[page];
  if (writable_unreadable(rwx)) return gp();
  if (!p.entry.valid) return pf(Where::Page);
  if (p.entry.pending || p.entry.modified) return code(kNotModifiable);
  if (p.entry.type != Type::Reg) return pf(Where::Page);
  if (!p.enclave->initialised) return gp();
  p.entry.rwx &= rwx;
  p.entry.pr = true;
  p.stale.reset();
  return {};
}

Result EpcmModel::emodt(unsigned page, Type type) {
  if (type != Type::Tcs && type != Type::Trim) return gp();
  Page& p = pages[page];
  const bool legal = is(page, Type::Reg) || (is(page, Type::Tcs) && type == Type::Trim);
  if (!legal) return pf(Where::Page);
  if (p.entry.pending || p.entry.modified) return code(kNotModifiable);
  if (!p.enclave->initialised) return gp();
  p.entry = {.valid = true, .blocked = p.entry.blocked, .modified = true, .type = type};
  p.stale.reset();
  return {};
}

Result EpcmModel::map(Place place, unsigned page) {
  mapped[place] = page;
  return {};
}

// ---- User leaves ----

Result EpcmModel::eenter(unsigned processor, Place tcs) {
  return enter(processor, tcs, false);
}

Result EpcmModel::eresume(unsigned processor, Place tcs) {
  return enter(processor, tcs, true);
}

Result EpcmModel::enter(unsigned processor, Place at, bool resume) {
  if (processors[processor].enclave) return gp();
  const Page* tcs = walk(at);
  if (tcs == nullptr) return pf(Where::Page, kWalkWrite);
  const Entry& e = tcs->entry;
  if (!e.valid || e.blocked || e.type != Type::Tcs || e.pending || e.modified || tcs->place != at) {
    return pf(Where::Page, kEncluRead);
  }
  const Contents& contents = tcs->contents;
  if (!tcs->enclave->initialised) return gp();
  if (resume ? contents.cssa == 0 : contents.cssa >= kFrames) return gp();
  const unsigned frame = resume ? contents.cssa - 1 : contents.cssa;
  if (const auto fault = frame_fault(*tcs, frame)) return *fault;
  if (contents.active) return gp();

  const unsigned page = mapped.at(at);
  Contents& entered = pages[page].contents;
  entered.active = entered.used = true;
  if (resume) --entered.cssa;
  processors[processor] = {pages[page].enclave, page, mapped.at(frame_place(*tcs, frame))};
  pages[page].enclave->inside.insert(processor);
  return {};
}

Result EpcmModel::eexit(unsigned processor) {
  if (!processors[processor].enclave) return gp();
  leave(processor);
  return {};
}

Result EpcmModel::aex(unsigned processor) {
  if (!processors[processor].enclave) return {Kind::Skipped};
  // Through the addresses that were cached at entry, whatever has become of the page since.
  pages[processors[processor].frame].contents = {.kind = Contents::Kind::Frame};
  ++pages[processors[processor].tcs].contents.cssa;
  leave(processor);
  return {};
}

Result EpcmModel::edeccssa(unsigned processor) {
  if (!processors[processor].enclave) return gp();
  Page& tcs = pages[processors[processor].tcs];
  if (tcs.contents.cssa == 0) return gp();
  const unsigned frame = tcs.contents.cssa - 1;
  if (const auto fault = frame_fault(tcs, frame)) return *fault;
  tcs.contents.cssa = frame;
  processors[processor].frame = mapped.at(frame_place(tcs, frame));
  return {};
}

Result EpcmModel::eaccept(unsigned processor, Place at, Request request, Place secinfo) {
  const EnclaveRef& enclave = processors[processor].enclave;
  if (!enclave) return gp();
  if (const auto fault = operand_fault(enclave, secinfo, kR, Where::Secinfo)) return *fault;
  if (at.base != enclave->base) return gp();
  if (walk(at) == nullptr) return pf(Where::Page, kWalkRead);
  const bool legal = request.type == Type::Reg ? (request.pr || request.pending) && !request.modified
                                               : (request.type == Type::Tcs || request.type == Type::Trim) &&
                                                     !request.pr && !request.pending && request.modified;
  if (!legal) return gp();
  const unsigned number = mapped.at(at);
  Page& p = pages[number];
  const bool kind = p.entry.type == Type::Reg || p.entry.type == Type::Tcs || p.entry.type == Type::Trim;
  if (!p.entry.valid || p.entry.blocked || !kind || p.enclave != enclave) return pf(Where::Page, kEncluRead);
  if (p.place != at || p.entry.pending != request.pending || p.entry.modified != request.modified ||
      p.entry.rwx != request.rwx || p.entry.type != request.type) {
    return code(kAttributesMismatch);
  }
  if (!tracked(number)) return code(kNotTracked);
  if (p.entry.type == Type::Tcs) {
    const Contents& c = p.contents;
    if (c.kind != Contents::Kind::Tcs || c.cssa >= kFrames || c.used || c.active) return gp();
  }
  p.entry.pending = p.entry.modified = p.entry.pr = false;
  return {};
}

Result EpcmModel::eacceptcopy(unsigned processor, Place to, Place from, unsigned rwx, Place secinfo) {
  const EnclaveRef& enclave = processors[processor].enclave;
  if (!enclave) return gp();
  for (const Place& place : {secinfo, to, from}) {
    if (place.base != enclave->base) return gp();
  }
  if (walk(secinfo) == nullptr) return pf(Where::Secinfo, kWalkRead);
  if (walk(to) == nullptr) return pf(Where::Page, kWalkWrite);
  if (walk(from) == nullptr) return pf(Where::Source, kWalkRead);
  if (const auto fault = operand_fault(enclave, secinfo, kR, Where::Secinfo)) return *fault;
  if (writable_unreadable(rwx)) return gp();
  if (const auto fault = operand_fault(enclave, from, kR, Where::Source)) return *fault;
  Page& p = pages[mapped.at(to)];
  const Entry& e = p.entry;
  if (!e.valid || e.blocked || !e.pending || e.modified || e.type != Type::Reg || p.enclave != enclave ||
      e.rwx != (kR | kW) || p.place != to) {
    return code(kAttributesMismatch);
  }
  p.contents = walk(from)->contents;
  p.entry.rwx = rwx;
  p.entry.pending = false;
  return {};
}

Result EpcmModel::emodpe(unsigned processor, Place at, unsigned rwx, Place secinfo) {
  const EnclaveRef& enclave = processors[processor].enclave;
  if (!enclave || secinfo.base != enclave->base || at.base != enclave->base) return gp();
  if (walk(secinfo) == nullptr) return pf(Where::Secinfo, kWalkRead);
  if (walk(at) == nullptr) return pf(Where::Page, kWalkRead);
  if (const auto fault = operand_fault(enclave, secinfo, kR, Where::Secinfo)) return *fault;
  Page& p = pages[mapped.at(at)];
  const Entry& e = p.entry;
  if (!e.valid || e.pending || e.modified || e.blocked || e.type != Type::Reg || p.enclave != enclave ||
      p.place != at) {
    return pf(Where::Page, kEncluRead);
  }
  if (writable_unreadable(rwx) && (e.rwx & kR) == 0) return gp();
  p.entry.rwx |= rwx;
  return {};
}

// ---- What they have in common ----

unsigned EpcmModel::children(const EnclaveRef& enclave) const {
  unsigned count = 0;
  for (unsigned i = 0; i < pages.size(); ++i) count += is_child(i) && pages[i].enclave == enclave ? 1U : 0U;
  return count;
}

std::optional<std::pair<unsigned, unsigned>> EpcmModel::slot_of(unsigned blob) const {
  for (unsigned i = 0; i < pages.size(); ++i) {
    for (const auto& [slot, remembered] : pages[i].slots) {
      if (remembered == blob) return std::pair{i, slot};
    }
  }
  return std::nullopt;
}

void EpcmModel::occupy(unsigned page, Entry entry, const EnclaveRef& enclave, Place place,
                       Contents contents) {
  pages[page] = {entry, enclave, place, contents};
}

const EpcmModel::Page* EpcmModel::walk(Place place) const {
  const auto found = mapped.find(place);
  return found == mapped.end() ? nullptr : &pages[found->second];
}

bool EpcmModel::allows(const Page& p, const EnclaveRef& enclave, Place place, unsigned right) {
  return p.entry.valid && !p.entry.blocked && !p.entry.pending && !p.entry.modified &&
         p.entry.type == Type::Reg && (p.entry.rwx & right) == right && p.enclave == enclave &&
         p.place == place;
}

std::optional<Result> EpcmModel::operand_fault(const EnclaveRef& enclave, Place place, unsigned right,
                                               Where where) const {
  if (place.base != enclave->base) return gp();
  const Page* p = walk(place);
  if (p == nullptr) return pf(where, kWalkRead);
  if (!allows(*p, enclave, place, right)) return pf(where, kEncluRead);
  return std::nullopt;
}

Place EpcmModel::frame_place(const Page& tcs, unsigned frame) {
  return {tcs.enclave->base, tcs.contents.ossa + frame};
}

std::optional<Result> EpcmModel::frame_fault(const Page& tcs, unsigned frame) const {
  const Place at = frame_place(tcs, frame);
  const Page* p = walk(at);
  if (p == nullptr) return pf(Where::Frame, kWalkWrite);
  if (!allows(*p, tcs.enclave, at, kR | kW)) return pf(Where::Frame, kEncluWrite);
  return std::nullopt;
}

void EpcmModel::leave(unsigned processor) {
  const EnclaveRef enclave = processors[processor].enclave;
  pages[processors[processor].tcs].contents.active = false;
  enclave->inside.erase(processor);
  enclave->inside_at_etrack.erase(processor);
  for (Page& p : pages) {
    if (p.enclave == enclave && p.stale) p.stale->erase(processor);
  }
  processors[processor] = {};
}

}  // namespace enclume::property
