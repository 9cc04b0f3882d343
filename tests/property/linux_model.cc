// SPDX-License-Identifier: Apache-2.0
#include "property/linux_model.h"

#include <cstdio>

namespace enclume::property {

namespace {

constexpr unsigned kTcs = 1, kReg = 2, kTrim = 4;
constexpr unsigned kRwx = REPLAY_R | REPLAY_W | REPLAY_X;
constexpr std::uint64_t kRet = 0xc3;

std::string hex(const char* format, std::uint64_t value) {
  char text[64];
  std::snprintf(text, sizeof text, format, static_cast<unsigned long>(value));
  return text;
}

// U, and W or I (SDM Vol. 3A, Figure 4-12). P is not compared.
unsigned access_code(unsigned right) {
  return right == REPLAY_W ? 6 : right == REPLAY_X ? 0x14 : 4;
}

std::string page_fault(unsigned page, unsigned code) {
  return hex("#PF(%#lx) at page ", code) + std::to_string(page);
}

std::string pages_text(const std::string& what, unsigned pages) {
  return what + std::to_string(pages) + " pages";
}

std::string rax(unsigned code) {
  return "RAX " + std::to_string(code);
}

bool writable_unreadable(std::uint64_t rwx) {
  return (rwx & REPLAY_W) != 0 && (rwx & REPLAY_R) == 0;
}

constexpr unsigned kAttributesMismatch = 19;
constexpr const char* kNotModifiable = ", code 20";

}  // namespace

LinuxModel::LinuxModel() {
  for (unsigned i = 0; i < REPLAY_ADDED; ++i) {
    pages_[i].present = true;
    pages_[i].rwx = pages_[i].max_rwx = REPLAY_R | REPLAY_W;
    pages_[i].word = i;
  }
}

LinuxModel::Fault LinuxModel::walk(unsigned number, unsigned right) {
  Page& p = pages_[number];
  const std::string refused = page_fault(number, access_code(right));
  // access_error(): a write needs a writable mapping, all else any rights at all; a fetch is refused by the
  // page-table entry only, once there is one.
  if (p.vma_rwx == 0 || (right == REPLAY_W && (p.vma_rwx & REPLAY_W) == 0)) return refused;
  if (!p.present) {
    p.present = true;  // EAUG
    p.type = kReg;
    p.rwx = REPLAY_R | REPLAY_W;
    p.pending = true;
    p.modified = p.pr = false;
    p.max_rwx = kRwx;
    p.contents = Page::Contents::Word;
    p.word = 0;
  } else if ((p.vma_rwx & ~p.max_rwx) != 0) {
    return refused;  // SIGBUS, which the fixup reports like any page fault
  }
  if ((p.vma_rwx & right) == 0) return refused;
  return std::nullopt;
}

LinuxModel::Fault LinuxModel::check(unsigned number, unsigned right) const {
  const Page& p = pages_[number];
  if (!p.pending && !p.modified && p.type == kReg && (p.rwx & right) != 0) return std::nullopt;
  return page_fault(number, 0x8001 | access_code(right));
}

LinuxModel::Fault LinuxModel::touch(unsigned page, unsigned right) {
  if (auto fault = walk(page, right)) return fault;
  return check(page, right);
}

// ---- In the enclave ----

std::string LinuxModel::read(unsigned page) {
  if (const auto fault = touch(page, REPLAY_R)) return *fault;
  const Page& p = pages_[page];
  return hex("value %#lx", p.contents == Page::Contents::Tcs ? 0 : p.word);
}

std::string LinuxModel::write(unsigned page, std::uint64_t value) {
  if (const auto fault = touch(page, REPLAY_W)) return *fault;
  pages_[page].contents = Page::Contents::Word;
  pages_[page].word = value;
  return "done";
}

std::string LinuxModel::execute(unsigned page) {
  const LinuxModel before = *this;
  if (const auto fault = touch(page, REPLAY_X)) return *fault;
  if (pages_[page].contents != Page::Contents::Word || (pages_[page].word & 0xff) != kRet) {
    *this = before;
    return "";
  }
  return "done";
}

std::string LinuxModel::put_tcs(unsigned page) {
  if (const auto fault = touch(page, REPLAY_W)) return *fault;
  pages_[page].contents = Page::Contents::Tcs;
  return "done";
}

std::string LinuxModel::accept(unsigned page, std::uint64_t flags) {
  if (const auto fault = walk(page, REPLAY_R)) return *fault;
  const bool pending = (flags & REPLAY_PENDING) != 0;
  const bool modified = (flags & REPLAY_MODIFIED) != 0;
  const bool pr = (flags & REPLAY_PR) != 0;
  const unsigned type = static_cast<unsigned>(flags >> 8);
  const bool legal = type == kReg ? (pending || pr) && !modified
                                  : (type == kTcs || type == kTrim) && modified && !pending && !pr;
  if (!legal) return "#GP";
  Page& p = pages_[page];
  if (p.pending != pending || p.modified != modified || p.type != type || p.rwx != (flags & kRwx)) {
    return rax(kAttributesMismatch);
  }
  // Each ioctl has executed ETRACK and made everybody leave, so NOT_TRACKED never comes.
  if (p.type == kTcs && p.contents != Page::Contents::Tcs) return "#GP";
  p.pending = p.modified = p.pr = false;
  return rax(0);
}

std::string LinuxModel::accept_copy(unsigned to, unsigned from, std::uint64_t flags) {
  if (const auto fault = walk(to, REPLAY_W)) return *fault;
  if (const auto fault = walk(from, REPLAY_R)) return *fault;
  if (writable_unreadable(flags) || flags >> 8 != kReg) return "#GP";
  if (const auto fault = check(from, REPLAY_R)) return *fault;
  Page& p = pages_[to];
  if (!p.pending || p.modified || p.type != kReg || p.rwx != (REPLAY_R | REPLAY_W)) {
    return rax(kAttributesMismatch);
  }
  p.contents = pages_[from].contents;
  p.word = pages_[from].word;
  p.rwx = static_cast<unsigned>(flags & kRwx);
  p.pending = false;
  return rax(0);
}

std::string LinuxModel::extend(unsigned page, std::uint64_t flags) {
  if (const auto fault = walk(page, REPLAY_R)) return *fault;
  Page& p = pages_[page];
  if (p.pending || p.modified || p.type != kReg) return page_fault(page, 0x8005);
  if (writable_unreadable(flags) && (p.rwx & REPLAY_R) == 0) return "#GP";
  p.rwx |= static_cast<unsigned>(flags & kRwx);
  return "done";
}

std::string LinuxModel::enter(unsigned page) {
  if (const auto fault = walk(page, REPLAY_W)) return "EENTER: " + *fault;
  const Page& p = pages_[page];
  if (p.type != kTcs || p.pending || p.modified) return "EENTER: " + page_fault(page, 0x8005);
  return "done";
}

// ---- The kernel ----

std::string LinuxModel::restrict(unsigned first, unsigned count, std::uint64_t permissions) {
  if ((permissions & ~std::uint64_t{kRwx}) != 0 || writable_unreadable(permissions)) {
    return pages_text("EINVAL after ", 0);
  }
  for (unsigned i = 0; i < count; ++i) {
    Page& p = pages_[first + i];
    if (!p.present) return pages_text("EFAULT after ", i);
    if (p.type != kReg) return pages_text("EINVAL after ", i);
    if (p.pending || p.modified) return pages_text("EFAULT after ", i) + kNotModifiable;
    p.rwx &= static_cast<unsigned>(permissions);
    p.pr = true;
  }
  return pages_text("done, ", count);
}

std::string LinuxModel::modify(unsigned first, unsigned count, std::uint64_t type) {
  if (type != kTcs && type != kTrim) return pages_text("EINVAL after ", 0);
  for (unsigned i = 0; i < count; ++i) {
    Page& p = pages_[first + i];
    if (!p.present) return pages_text("EFAULT after ", i);
    if (p.type != kReg && !(p.type == kTcs && type == kTrim)) return pages_text("EINVAL after ", i);
    if (p.pending || p.modified) return pages_text("EFAULT after ", i) + kNotModifiable;
    if (type == kTcs) p.max_rwx = REPLAY_R | REPLAY_W;
    p.type = static_cast<unsigned>(type);
    p.modified = true;
    p.pr = false;
    p.rwx = 0;
  }
  return pages_text("done, ", count);
}

std::string LinuxModel::remove(unsigned first, unsigned count) {
  for (unsigned i = 0; i < count; ++i) {
    Page& p = pages_[first + i];
    if (!p.present) return pages_text("EFAULT after ", i);
    if (p.type != kTrim || p.modified) return pages_text("EPERM after ", i);
    p.present = false;
  }
  return pages_text("done, ", count);
}

std::string LinuxModel::protect(unsigned page, unsigned rwx) {
  Page& p = pages_[page];
  if (p.present && (rwx & ~p.max_rwx) != 0) return "EACCES";
  p.vma_rwx = rwx;
  return "done";
}

}  // namespace enclume::property
