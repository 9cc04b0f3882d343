// SPDX-License-Identifier: Apache-2.0
// What compiled C++ and the headers of libstdc++ call, without exceptions: what would be thrown ends the
// call.
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>
#include <utility>

#include "enclume/enclave/transfer.h"

namespace enclume::enclave {
namespace {
thread_local void* next_block = nullptr;
thread_local std::size_t next_size = 0;
}  // namespace

NextBlock::NextBlock(std::size_t bytes) noexcept {
  // One of a call that was ended in between is used up first.
  std::free(std::exchange(next_block, nullptr));
  next_block = std::malloc(bytes);
  next_size = bytes;
  is_there_ = next_block != nullptr;
}

NextBlock::~NextBlock() {
  std::free(std::exchange(next_block, nullptr));
}

}  // namespace enclume::enclave

void* operator new(std::size_t bytes) {
  using namespace enclume::enclave;
  if (next_block != nullptr && bytes <= next_size) return std::exchange(next_block, nullptr);
  void* const result = std::malloc(bytes);
  if (result == nullptr) std::abort();
  return result;
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  return std::malloc(bytes);
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  void* const result = std::aligned_alloc(static_cast<std::size_t>(alignment), bytes);
  if (result == nullptr) std::abort();
  return result;
}
void* operator new[](std::size_t bytes) {
  return operator new(bytes);
}
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept {
  return std::malloc(bytes);
}
void* operator new[](std::size_t bytes, std::align_val_t alignment) {
  return operator new(bytes, alignment);
}
void operator delete(void* object) noexcept {
  std::free(object);
}
void operator delete(void* object, std::size_t) noexcept {
  std::free(object);
}
void operator delete(void* object, std::align_val_t) noexcept {
  std::free(object);
}
void operator delete(void* object, std::size_t, std::align_val_t) noexcept {
  std::free(object);
}
void operator delete[](void* object) noexcept {
  std::free(object);
}
void operator delete[](void* object, std::size_t) noexcept {
  std::free(object);
}
void operator delete[](void* object, std::align_val_t) noexcept {
  std::free(object);
}
void operator delete[](void* object, std::size_t, std::align_val_t) noexcept {
  std::free(object);
}

namespace std {
const nothrow_t nothrow{};
[[gnu::noreturn]] void terminate() noexcept {
  abort();
}
[[gnu::noreturn]] void __throw_bad_alloc() {
  abort();
}
[[gnu::noreturn]] void __throw_bad_array_new_length() {
  abort();
}
[[gnu::noreturn]] void __throw_bad_cast() {
  abort();
}
[[gnu::noreturn]] void __throw_bad_exception() {
  abort();
}
[[gnu::noreturn]] void __throw_bad_typeid() {
  abort();
}
[[gnu::noreturn]] void __throw_bad_optional_access() {
  abort();
}
[[gnu::noreturn]] void __throw_bad_function_call() {
  abort();
}
[[gnu::noreturn]] void __throw_logic_error(const char*) {
  abort();
}
[[gnu::noreturn]] void __throw_length_error(const char*) {
  abort();
}
[[gnu::noreturn]] void __throw_invalid_argument(const char*) {
  abort();
}
[[gnu::noreturn]] void __throw_out_of_range(const char*) {
  abort();
}
[[gnu::noreturn]] void __throw_out_of_range_fmt(const char*, ...) {
  abort();
}
[[gnu::noreturn]] void __throw_domain_error(const char*) {
  abort();
}
[[gnu::noreturn]] void __throw_range_error(const char*) {
  abort();
}
[[gnu::noreturn]] void __throw_overflow_error(const char*) {
  abort();
}
[[gnu::noreturn]] void __throw_underflow_error(const char*) {
  abort();
}
[[gnu::noreturn]] void __throw_system_error(int) {
  abort();
}
[[gnu::noreturn]] void __throw_runtime_error(const char*) {
  abort();
}

// Without RTTI, make_shared's own type_info is known by its address, and never by this.
bool _Sp_make_shared_tag::_S_eq(const type_info&) noexcept {
  return false;
}
}  // namespace std

extern "C" {

[[gnu::noreturn]] void __cxa_pure_virtual() {
  std::abort();
}
[[gnu::noreturn]] void __cxa_deleted_virtual() {
  std::abort();
}

// glibc's, by which libstdc++ spares atomic instructions. An enclave does not know how many threads come.
char __libc_single_threaded = 0;
}
