// SPDX-License-Identifier: Apache-2.0
#include "enclaves/probe_enclave.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstring>
#include <stdexcept>

extern "C" {
extern const std::uint8_t enclume_probe_start[];
extern const std::uint8_t enclume_probe_end[];
extern const std::uint8_t enclume_probe_entry[];
extern const std::uint8_t enclume_probe_finish[];
extern const std::uint8_t enclume_probe_return[];
extern const std::uint8_t enclume_probe_work[];
extern const std::uint8_t enclume_probe_tail_ud2[];
extern const std::uint8_t enclume_probe_tail_dump[];
extern const std::uint32_t enclume_probe_sites[];
}

namespace enclume::test {
namespace {

std::uint64_t label_offset(const std::uint8_t* label) {
  return static_cast<std::uint64_t>(label - enclume_probe_start);
}

std::uint64_t thread_size(const ProbeOptions& options) {
  return PROBE_SSA + std::uint64_t{options.frames} * options.image.ssa_frame_pages * kPage;
}

template <typename T>
std::array<std::uint8_t, kPage> page_with(std::uint64_t offset, T value) {
  std::array<std::uint8_t, kPage> page{};
  std::memcpy(page.data() + offset, &value, sizeof value);
  return page;
}

void add_thread(EnclaveImage& image, const ProbeOptions& options, std::uint64_t offset) {
  Tcs tcs{};
  tcs.flags = options.tcs_flags;
  tcs.ossa = offset + PROBE_SSA;
  tcs.nssa = options.frames;
  tcs.oentry = label_offset(enclume_probe_entry);
  tcs.ofsbase = offset + PROBE_THREAD_PAGE;
  tcs.ogsbase = offset + PROBE_GS_PAGE;
  tcs.fslimit = tcs.gslimit = 0xffffffff;
  image.add_tcs(offset, tcs);

  auto thread_page = page_with<std::uint64_t>(PROBE_T_FS_WORD, PROBE_FS_MAGIC);
  const std::uint64_t frame_size = options.image.ssa_frame_pages * kPage;
  std::memcpy(thread_page.data() + PROBE_T_SSA_FRAME_SIZE, &frame_size, sizeof frame_size);
  image.add_pages(offset + PROBE_THREAD_PAGE, kR | kW, thread_page);
  image.add_pages(offset + PROBE_GS_PAGE, kR | kW, page_with<std::uint64_t>(0, PROBE_GS_MAGIC));
  const std::vector<std::uint8_t> zeros(thread_size(options) - PROBE_GS_PAGE - kPage);
  image.add_pages(offset + PROBE_GS_PAGE + kPage, kR | kW, zeros);
}

}  // namespace

RaiseSite raise_site(std::uint64_t number) {
  return {.instruction = enclume_probe_sites[3 * number + 1], .next = enclume_probe_sites[3 * number + 2]};
}

ProbeLabels probe_labels() {
  return {.entry = label_offset(enclume_probe_entry),
          .finish = label_offset(enclume_probe_finish),
          .plain_return = label_offset(enclume_probe_return),
          .work = label_offset(enclume_probe_work),
          .tail_ud2 = label_offset(enclume_probe_tail_ud2),
          .tail_dump = label_offset(enclume_probe_tail_dump)};
}

std::span<const std::uint8_t> probe_code() {
  return {enclume_probe_start, enclume_probe_end};
}

std::uint64_t tcs_offset(const ProbeOptions& options, unsigned thread) {
  return PROBE_THREADS + thread * thread_size(options);
}

std::uint64_t heap_offset(const ProbeOptions& options) {
  return tcs_offset(options, options.threads);
}

std::uint64_t code_offset(const ProbeOptions& options) {
  return heap_offset(options) + options.heap_pages * kPage;
}

EnclaveImage probe_image(const ProbeOptions& options) {
  const std::uint64_t end = code_offset(options) + options.code.size();
  EnclaveImage image(std::bit_ceil(std::max(end, options.minimum_size)), options.image);

  std::vector<std::uint8_t> code(PROBE_CODE_SIZE);
  const auto blob = probe_code();
  if (blob.size() > code.size()) throw std::length_error("the probe's code is larger than PROBE_CODE_SIZE");
  std::copy(blob.begin(), blob.end(), code.begin());
  image.add_pages(0, kR | kX, code);
  image.add_pages(PROBE_SCRATCH, kR | kW, std::vector<std::uint8_t>(PROBE_SCRATCH_SIZE));
  for (unsigned thread = 0; thread < options.threads; ++thread) {
    add_thread(image, options, tcs_offset(options, thread));
  }
  for (std::uint64_t page = 0; page < options.heap_pages; ++page) {
    image.add_page(heap_offset(options) + page * kPage, kPtReg | kR | kW, bytes_of(page), false);
  }
  image.add_pages(code_offset(options), options.code_permissions, options.code);
  return image;
}

std::uint64_t machine_xcr0() {
  std::uint32_t low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return std::uint64_t{high} << 32 | low;
}

vdso_sgx_enter_enclave_t vdso_function() {
  static const vdso_sgx_enter_enclave_t function = find_vdso_function();
  if (function == nullptr) throw std::runtime_error("the vDSO has no __vdso_sgx_enter_enclave");
  return function;
}

vdso_sgx_enter_enclave_t entry_function() {
  static const vdso_sgx_enter_enclave_t function = find_vdso_function();
  return function != nullptr ? function : &enclume_test_own_enter;
}

ProbeEnclave::ProbeEnclave(const ProbeOptions& options, const LoadOptions& load)
    : options_(options), image_(probe_image(options)), enclave_(image_, load) {}

CallResult ProbeEnclave::call(std::uint64_t operation, const std::vector<std::uint64_t>& in,
                              unsigned thread) const {
  CallResult result{};
  std::copy(in.begin(), in.end(), result.args.in.begin());
  result.run.tcs = tcs(thread);
  result.status =
      enclume_test_call_vdso(operation, reinterpret_cast<std::uint64_t>(&result.args), 0,
                             static_cast<std::uint32_t>(Leaf::kEenter), 0, 0, &result.run, entry_function());
  return result;
}

int ProbeEnclave::resume(sgx_enclave_run& run, unsigned thread) const {
  const ProbeArgs args;
  run = {};
  run.tcs = tcs(thread);
  return enclume_test_adopt_and_resume(&run, entry_function(), &args);
}

CallResult ProbeEnclave::must_exit(CallResult result) const {
  if (!result.exited()) {
    char text[160];
    std::snprintf(text, sizeof text,
                  "call into the enclave: status %d, leaf %u, vector %u, error code %#x, address %#llx",
                  result.status, result.run.function, result.run.exception_vector,
                  result.run.exception_error_code,
                  static_cast<unsigned long long>(result.run.exception_addr));
    throw std::runtime_error(text);
  }
  return result;
}

void ProbeEnclave::touch(unsigned thread) const {
  for (const auto& [offset, page] : image_.pages()) {
    if ((page.secinfo_flags & kR) != 0) read(base() + offset, thread);
  }
}

std::uint64_t ProbeEnclave::read(std::uint64_t address, unsigned thread) const {
  return must_exit(call(PROBE_OP_READ, {address}, thread)).args.out[0];
}

void ProbeEnclave::write(std::uint64_t address, std::uint64_t value, unsigned thread) const {
  must_exit(call(PROBE_OP_WRITE, {address, value}, thread));
}

void ProbeEnclave::copy(std::uint64_t to, std::uint64_t from, std::uint64_t length, unsigned thread) const {
  must_exit(call(PROBE_OP_COPY, {to, from, length}, thread));
}

ProbeEnclave::LeafResult ProbeEnclave::enclu(Leaf leaf, std::uint64_t rbx, std::uint64_t rcx,
                                             std::uint64_t rdx, unsigned thread) const {
  const CallResult result =
      must_exit(call(PROBE_OP_ENCLU, {static_cast<std::uint64_t>(leaf), rbx, rcx, rdx}, thread));
  return {.rax = result.args.out[0], .rflags = result.args.out[1]};
}

ProbeEnclave::LeafResult ProbeEnclave::enclu_secinfo(Leaf leaf, std::uint64_t secinfo_flags,
                                                     std::uint64_t address, std::uint64_t rdx,
                                                     unsigned thread) const {
  const Secinfo secinfo{.flags = secinfo_flags, .reserved = {}};
  copy(scratch(), reinterpret_cast<std::uint64_t>(&secinfo), sizeof secinfo, thread);
  return enclu(leaf, scratch(), address, rdx, thread);
}

void ProbeEnclave::ssa_read(std::uint64_t offset, void* to, std::uint64_t length, unsigned thread) const {
  must_exit(call(PROBE_OP_SSA_READ, {offset, length, reinterpret_cast<std::uint64_t>(to)}, thread));
}

void ProbeEnclave::ssa_write(std::uint64_t offset, const void* from, std::uint64_t length,
                             unsigned thread) const {
  must_exit(call(PROBE_OP_SSA_WRITE, {offset, length, reinterpret_cast<std::uint64_t>(from)}, thread));
}

Gprsgx ProbeEnclave::ssa_registers(unsigned thread) const {
  Gprsgx registers;
  ssa_read(frame_size() - sizeof registers, &registers, sizeof registers, thread);
  return registers;
}

Exinfo ProbeEnclave::ssa_exinfo(unsigned thread) const {
  Exinfo exinfo;
  ssa_read(frame_size() - sizeof(Gprsgx) - sizeof exinfo, &exinfo, sizeof exinfo, thread);
  return exinfo;
}

void ProbeEnclave::set_ssa_rip(std::uint64_t rip, unsigned thread) const {
  ssa_write(frame_size() - sizeof(Gprsgx) + offsetof(Gprsgx, rip), &rip, sizeof rip, thread);
}

void ProbeEnclave::abandon(unsigned thread) const {
  set_ssa_rip(base() + probe_labels().finish, thread);
  sgx_enclave_run run;
  const int status = resume(run, thread);
  must_exit({.status = status, .run = run, .args = {}});
}

}  // namespace enclume::test
