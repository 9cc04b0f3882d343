// SPDX-License-Identifier: Apache-2.0
#include "property/leaf_machine.h"

#include <algorithm>
#include <cstring>

#include "arch/epc/tracking.h"
#include "arch/structs/secs.h"
#include "arch/structs/tcs.h"
#include "support/enclave_builder.h"

namespace enclume::property {

namespace {

constexpr std::uint64_t kEncluAt = 0x5555'5555'3ffd, kAep = 0x5555'5555'4000;
constexpr std::uint64_t kSecinfoAt = 0xf00;  // in the page that is lent to it

std::uint64_t address_of(const void* p) {
  return LinearAddress::of(p).value();
}

Entry entry_of(const arch::EpcmState& s) {
  return {.valid = s.valid,
          .rwx = (s.r ? kR : 0) | (s.w ? kW : 0) | (s.x ? kX : 0),
          .blocked = s.blocked,
          .pending = s.pending,
          .modified = s.modified,
          .pr = s.pr,
          .type = static_cast<Type>(s.type)};
}

std::uint64_t secinfo_flags(Type type, std::uint64_t rest) {
  return arch::secinfo_flags_of(static_cast<arch::PageType>(type), rest);
}

}  // namespace

LeafMachine::LeafMachine(unsigned page_count, unsigned processor_count, Mutation mutation)
    : machine_(page_count),
      mutation_(mutation),
      pageinfo_(machine_.allocate<arch::Pageinfo>()),
      secinfo_(machine_.allocate<arch::Secinfo>()),
      pcmd_(machine_.allocate<arch::Pcmd>()),
      source_(machine_.allocate_pages(1)) {
  for (unsigned i = 0; i < processor_count; ++i) {
    auto p = std::make_unique<Processor>();
    p->cpu.xsave = {p->xsave.data(), static_cast<std::uint32_t>(p->xsave.size()), 3, nullptr};
    p->lp.id = i + 1;
    processors_.push_back(std::move(p));
  }
}

LinearAddress LeafMachine::linear(Place place) {
  return LinearAddress(test::kEnclaveBase + (place.base * 16 + place.index) * kPageSize);
}

// What is no SECS has no base: any address will do.
LinearAddress LeafMachine::in_enclave(unsigned secs, unsigned place) {
  const arch::EpcPage page = machine_.epc_page(secs);
  const arch::EpcmState s = page.epcm->load();
  const bool is_secs = s.valid && s.type == arch::PageType::Secs;
  return is_secs ? LinearAddress(arch::secs_of(page).base_addr + place * kPageSize) : linear({0, place});
}

LinearAddress LeafMachine::operands() {
  return LinearAddress::of(&pageinfo_);
}

Result LeafMachine::result_of(const arch::LeafResult& leaf, Addresses addresses) {
  last_addresses_ = std::move(addresses);
  if (leaf.has_value()) {
    const auto rax = static_cast<std::uint32_t>(leaf->code);
    last_ = leaf->zf   ? Result{Result::Kind::Code, rax}
            : leaf->cf ? Result{Result::Kind::Carry, rax}
                       : Result{Result::Kind::Success, rax};
  } else if (leaf.error().vector == arch::Vector::GP && leaf.error().error_code == 0) {
    last_ = {Result::Kind::Gp};
  } else {
    fault_address_ = leaf.error().address;
    last_ = {Result::Kind::Pf, leaf.error().error_code};
    for (const auto& [where, address] : last_addresses_) {
      if (address == fault_address_ && last_.where == Where::None) last_.where = where;
    }
  }
  return last_;
}

bool LeafMachine::ended(const Result& expected) const {
  if (last_.kind != Result::Kind::Pf || expected.kind != Result::Kind::Pf) return last_ == expected;
  return last_.code == expected.code &&
         std::find(last_addresses_.begin(), last_addresses_.end(),
                   std::pair{expected.where, fault_address_}) != last_addresses_.end();
}

// ---- Supervisor leaves ----

Result LeafMachine::ecreate(unsigned page, unsigned base) {
  arch::Secs secs = test::default_secs();
  secs.base_addr = linear({base, 0}).value();
  std::memcpy(source_, &secs, sizeof secs);
  secinfo_ = {};
  pageinfo_ = {0, address_of(source_), address_of(&secinfo_), 0};
  return result_of(arch::ecreate(machine(), machine_, operands(), at(page)), {{Where::Page, at(page)}});
}

Result LeafMachine::eadd(unsigned page, unsigned secs, Type type, unsigned rwx, unsigned place,
                         bool tcs_image, unsigned ossa) {
  std::memset(source_, 0, kPageSize);
  if (type == Type::Tcs || tcs_image) {
    arch::Tcs tcs{};
    tcs.ossa = ossa * kPageSize;
    tcs.nssa = EpcmModel::kFrames;
    std::memcpy(source_, &tcs, sizeof tcs);
  }
  secinfo_ = {};
  secinfo_.flags = secinfo_flags(type, rwx);
  const LinearAddress to = in_enclave(secs, place);
  pageinfo_ = {to.value(), address_of(source_), address_of(&secinfo_), at(secs).value()};
  const auto leaf = arch::eadd(machine(), machine_, operands(), at(page));
  if (leaf == arch::leaf_success()) machine_.map_epc(to, page);
  return result_of(leaf, {{Where::Page, at(page)}, {Where::Secs, at(secs)}});
}

Result LeafMachine::einit(unsigned secs) {
  // EINIT's checks have tests of their own; what counts here is that the enclave is initialised.
  const arch::EpcmState s = machine_.epc_page(secs).epcm->load();
  if (!s.valid || s.type != arch::PageType::Secs) return last_ = {Result::Kind::Skipped};
  arch::secs_of(machine_.epc_page(secs)).set_initialised();
  return last_ = {};
}

Result LeafMachine::eaug(unsigned page, unsigned secs, unsigned place) {
  const LinearAddress to = in_enclave(secs, place);
  pageinfo_ = {to.value(), 0, 0, at(secs).value()};
  const auto leaf = arch::eaug(machine(), machine_, operands(), at(page));
  if (leaf == arch::leaf_success()) machine_.map_epc(to, page);
  return result_of(leaf, {{Where::Page, at(page)}, {Where::Secs, at(secs)}});
}

Result LeafMachine::eremove(unsigned page) {
  return result_of(arch::eremove(machine(), machine_, at(page)), {{Where::Page, at(page)}});
}

Result LeafMachine::eblock(unsigned page) {
  return result_of(arch::eblock(machine(), machine_, at(page)), {{Where::Page, at(page)}});
}

Result LeafMachine::etrack(unsigned secs) {
  return result_of(arch::etrack(machine(), machine_, at(secs)), {{Where::Page, at(secs)}});
}

Result LeafMachine::epa(unsigned page) {
  return result_of(arch::epa(machine(), machine_, 3, at(page)), {{Where::Page, at(page)}});
}

Result LeafMachine::ewb(unsigned page, unsigned va, unsigned slot, unsigned blob) {
  const LinearAddress slot_address = at(va) + slot * 8;
  const std::byte* data = machine_.epc_page(page).data;
  std::vector<std::byte> plaintext(data, data + kPageSize);
  pageinfo_ = {0, address_of(source_), address_of(&pcmd_), 0};
  const auto leaf = arch::ewb(machine(), machine_, operands(), at(page), slot_address);
  if (leaf.has_value() && !leaf->zf) {
    blobs_[blob] = {{source_, source_ + kPageSize}, pcmd_, pageinfo_.linaddr, std::move(plaintext)};
  }
  return result_of(leaf, {{Where::Page, at(page)}, {Where::Slot, slot_address}});
}

Result LeafMachine::eld(unsigned page, unsigned va, unsigned slot, unsigned secs, unsigned blob, bool block) {
  const auto found = blobs_.find(blob);
  if (found == blobs_.end()) return last_ = {Result::Kind::Skipped};
  const Blob& b = found->second;
  const arch::PageType type = b.pcmd.secinfo.type();
  const bool child = type != arch::PageType::Secs && type != arch::PageType::Va;
  const LinearAddress slot_address = at(va) + slot * 8;
  std::memcpy(source_, b.ciphertext.data(), kPageSize);
  pcmd_ = b.pcmd;
  pageinfo_ = {b.linaddr, address_of(source_), address_of(&pcmd_), child ? at(secs).value() : 0};
  const auto leaf =
      (block ? arch::eldb : arch::eldu)(machine(), machine_, operands(), at(page), slot_address);
  if (leaf == arch::leaf_success()) {
    if (child) machine_.map_epc(LinearAddress(b.linaddr), page);
    if (std::memcmp(machine_.epc_page(page).data, b.plaintext.data(), kPageSize) != 0) {
      corrupt_ = "page " + std::to_string(page) + " came back with other contents";
    }
  }
  return result_of(leaf, {{Where::Page, at(page)}, {Where::Slot, slot_address}, {Where::Secs, at(secs)}});
}

Result LeafMachine::emodpr(unsigned page, unsigned rwx) {
  secinfo_ = {};
  secinfo_.flags = rwx;
  return result_of(arch::emodpr(machine(), machine_, LinearAddress::of(&secinfo_), at(page)),
                   {{Where::Page, at(page)}});
}

Result LeafMachine::emodt(unsigned page, Type type) {
  secinfo_ = {};
  secinfo_.flags = secinfo_flags(type, 0);
  const auto leaf = arch::emodt(machine(), machine_, LinearAddress::of(&secinfo_), at(page));
  if (mutation_ == Mutation::EmodtUnblocks && leaf == arch::leaf_success()) {
    arch::EpcmState s = machine_.epc_page(page).epcm->load();
    s.blocked = false;
    machine_.epc_page(page).epcm->store(s);
  }
  return result_of(leaf, {{Where::Page, at(page)}});
}

Result LeafMachine::map(Place place, unsigned page) {
  machine_.map_epc(linear(place), page);
  return last_ = {};
}

// ---- User leaves ----

Result LeafMachine::enclu(unsigned processor, arch::EncluLeaf leaf, LinearAddress rbx, LinearAddress rcx,
                          LinearAddress rdx, Addresses addresses) {
  Processor& p = *processors_[processor];
  p.cpu.rip = kEncluAt;
  p.cpu[arch::Reg::Rax] = static_cast<std::uint64_t>(leaf);
  p.cpu[arch::Reg::Rbx] = rbx.value();
  p.cpu[arch::Reg::Rcx] = rcx.value();
  p.cpu[arch::Reg::Rdx] = rdx.value();
  return result_of(arch::enclu(machine(), p.lp, p.cpu, machine_), std::move(addresses));
}

Result LeafMachine::eenter(unsigned processor, Place tcs) {
  Addresses addresses{{Where::Page, linear(tcs)}};
  for (unsigned i = 0; i < kPlaces; ++i) addresses.emplace_back(Where::Frame, linear({tcs.base, i}));
  return enclu(processor, arch::EncluLeaf::Eenter, linear(tcs), LinearAddress(kAep), {}, addresses);
}

Result LeafMachine::eresume(unsigned processor, Place tcs) {
  Addresses addresses{{Where::Page, linear(tcs)}};
  for (unsigned i = 0; i < kPlaces; ++i) addresses.emplace_back(Where::Frame, linear({tcs.base, i}));
  return enclu(processor, arch::EncluLeaf::Eresume, linear(tcs), LinearAddress(kAep), {}, addresses);
}

Result LeafMachine::eexit(unsigned processor) {
  return enclu(processor, arch::EncluLeaf::Eexit, LinearAddress(kAep), {}, {}, {});
}

Result LeafMachine::aex(unsigned processor) {
  Processor& p = *processors_[processor];
  if (!p.lp.enclave_mode) return last_ = {Result::Kind::Skipped};
  arch::aex(machine(), p.lp, p.cpu, {});
  return last_ = {};
}

Result LeafMachine::edeccssa(unsigned processor) {
  Addresses addresses;
  const LinearAddress begin = processors_[processor]->lp.elrange.begin;
  for (unsigned i = 0; i < kPlaces; ++i) addresses.emplace_back(Where::Frame, begin + i * kPageSize);
  return enclu(processor, arch::EncluLeaf::Edeccssa, {}, {}, {}, addresses);
}

Result LeafMachine::with_secinfo(Place place, std::uint64_t flags,
                                 const std::function<Result(LinearAddress)>& leaf) {
  const LinearAddress address = linear(place) + kSecinfoAt;
  const auto page = machine_.walk(address, arch::Access::Read);
  const bool lend = page.has_value() && page->epc.epcm->load().type == arch::PageType::Reg;
  arch::Secinfo before;
  if (lend) {
    std::memcpy(&before, page->data, sizeof before);
    const arch::Secinfo secinfo{flags, {}};
    std::memcpy(page->data, &secinfo, sizeof secinfo);
  }
  const Result result = leaf(address);
  if (lend) std::memcpy(page->data, &before, sizeof before);
  return result;
}

Result LeafMachine::eaccept(unsigned processor, Place page, Request request, Place secinfo) {
  using namespace arch::secinfo_flags;
  const std::uint64_t flags =
      secinfo_flags(request.type, request.rwx | (request.pending ? kPending : 0) |
                                      (request.modified ? kModified : 0) | (request.pr ? kPr : 0));
  Result result = with_secinfo(secinfo, flags, [&](LinearAddress rbx) {
    return enclu(processor, arch::EncluLeaf::Eaccept, rbx, linear(page), {},
                 {{Where::Secinfo, rbx}, {Where::Page, linear(page)}});
  });
  if (mutation_ == Mutation::AcceptBeforeTracked &&
      result == Result{Result::Kind::Code, static_cast<std::uint32_t>(arch::LeafCode::NotTracked)}) {
    arch::EpcmEntry& entry = *machine_.walk(linear(page), arch::Access::Read)->epc.epcm;
    arch::EpcmState s = entry.load();
    s.pending = s.modified = s.pr = false;
    entry.store(s);
    result = last_ = {};
  }
  return result;
}

Result LeafMachine::eacceptcopy(unsigned processor, Place to, Place from, unsigned rwx, Place secinfo) {
  // Where the SECINFO lies in the source, the copy has it too; it is taken out of both.
  const Result result = with_secinfo(secinfo, secinfo_flags(Type::Reg, rwx), [&](LinearAddress rbx) {
    return enclu(processor, arch::EncluLeaf::Eacceptcopy, rbx, linear(to), linear(from),
                 {{Where::Secinfo, rbx}, {Where::Page, linear(to)}, {Where::Source, linear(from)}});
  });
  if (result == Result{}) {
    const auto source = machine_.walk(linear(from), arch::Access::Read);
    const auto copy = machine_.walk(linear(to), arch::Access::Read);
    const std::size_t checked = from == secinfo ? kSecinfoAt : kPageSize;
    if (std::memcmp(copy->data, source->data, checked) != 0) corrupt_ = "EACCEPTCOPY made another copy";
    std::memcpy(copy->data, source->data, kPageSize);
  }
  return result;
}

Result LeafMachine::emodpe(unsigned processor, Place page, unsigned rwx, Place secinfo) {
  return with_secinfo(secinfo, secinfo_flags(Type::Reg, rwx), [&](LinearAddress rbx) {
    return enclu(processor, arch::EncluLeaf::Emodpe, rbx, linear(page), {},
                 {{Where::Secinfo, rbx}, {Where::Page, linear(page)}});
  });
}

// ---- All other state ----

std::string LeafMachine::difference_of_page(const EpcmModel& model, unsigned number) {
  const arch::EpcPage page = machine_.epc_page(number);
  const EpcmModel::Page& expected = model.pages[number];
  const std::string name = "page " + std::to_string(number);
  const Entry entry = entry_of(page.epcm->load());
  if (entry != expected.entry) {
    return name + " is " + to_string(entry) + ", the model says " + to_string(expected.entry);
  }
  if (page.epcm->lock != 0) return name + " is left locked";
  if (model.is(number, Type::Secs)) {
    arch::Secs& secs = arch::secs_of(page);
    if (secs.children() != model.children(expected.enclave)) return name + " has another number of children";
    if (arch::tracking_inside(secs) != expected.enclave->inside.size()) {
      return name + " counts other logical processors";
    }
  }
  if (!model.is_child(number)) return {};
  if (page.epcm->enclave_address != linear(expected.place).value()) return name + " has another address";
  const arch::EpcPage secs = machine_.page(arch::EpcAddress{page.epcm->enclave_secs});
  const unsigned secs_number = static_cast<unsigned>(secs.address.value / kPageSize - 1);
  if (!secs || !model.is(secs_number, Type::Secs) || model.pages[secs_number].enclave != expected.enclave) {
    return name + " belongs to another enclave";
  }
  if (arch::is_tracked(arch::secs_of(secs), page.epcm->blocked_epoch) != model.tracked(number)) {
    return name + (model.tracked(number) ? " is not tracked" : " is tracked");
  }
  if (model.is(number, Type::Tcs) && !entry.modified) {
    const arch::Tcs& tcs = arch::tcs_of(page);
    if (tcs.cssa != expected.contents.cssa) return name + ": CSSA is " + std::to_string(tcs.cssa);
    if ((tcs.state == arch::tcs_state::kActive) != expected.contents.active) return name + ": STATE";
  }
  return {};
}

std::string LeafMachine::difference(const EpcmModel& model) {
  if (!corrupt_.empty()) return corrupt_;
  for (unsigned i = 0; i < machine_.epc_pages(); ++i) {
    if (std::string d = difference_of_page(model, i); !d.empty()) return d;
  }
  for (unsigned i = 0; i < processors_.size(); ++i) {
    if (processors_[i]->lp.enclave_mode != (model.processors[i].enclave != nullptr)) {
      return "processor " + std::to_string(i) + " is on the other side";
    }
  }
  return {};
}

}  // namespace enclume::property
