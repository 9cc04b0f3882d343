// SPDX-License-Identifier: Apache-2.0
// What compiled C++ and the headers of libstdc++ call, without exceptions: what would be thrown ends the
// call.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

void* operator new(std::size_t bytes) {
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
[[gnu::noreturn]] void __throw_system_error(int) {
  abort();
}
[[gnu::noreturn]] void __throw_runtime_error(const char*) {
  abort();
}
}  // namespace std

namespace {
// Itanium C++ ABI, 3.3.3: the first byte says whether the variable is ready; the second is ours: being made.
std::atomic_ref<std::uint8_t> ready(std::uint64_t* guard) {
  return std::atomic_ref(reinterpret_cast<std::uint8_t*>(guard)[0]);
}
std::atomic_ref<std::uint8_t> busy(std::uint64_t* guard) {
  return std::atomic_ref(reinterpret_cast<std::uint8_t*>(guard)[1]);
}
}  // namespace

extern "C" {

[[gnu::noreturn]] void __cxa_pure_virtual() {
  std::abort();
}

int __cxa_guard_acquire(std::uint64_t* guard) {
  while (ready(guard).load(std::memory_order_acquire) == 0) {
    if (busy(guard).exchange(1, std::memory_order_acquire) == 0) {
      if (ready(guard).load(std::memory_order_acquire) == 0) return 1;
      busy(guard).store(0, std::memory_order_release);
      break;
    }
    __builtin_ia32_pause();
  }
  return 0;
}

void __cxa_guard_release(std::uint64_t* guard) {
  ready(guard).store(1, std::memory_order_release);
  busy(guard).store(0, std::memory_order_release);
}

void __cxa_guard_abort(std::uint64_t* guard) {
  busy(guard).store(0, std::memory_order_release);
}
}
