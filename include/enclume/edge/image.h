// SPDX-License-Identifier: Apache-2.0
// The form of an enclave image, and where its loader puts what. One function of a few numbers, used by the
// loader, by the signing tool and by the enclave itself: they cannot disagree.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace enclume::edge {

inline constexpr std::uint64_t kPageSize = 4096;

/// ELF notes of an image (name "Enclume"). The first is loaded and measured with the image, the second is
/// not.
inline constexpr char kNoteName[8] = "Enclume";
inline constexpr std::uint32_t kNoteConfig = 1;
inline constexpr std::uint32_t kNoteSigstruct = 2;
inline constexpr std::size_t kSigstructSize = 1808;

/// What enclume_add_enclave() was asked for.
struct EnclaveConfig {
  std::uint32_t version;  ///< kConfigVersion
  std::uint32_t threads;  ///< TCS pages, 1 to kMaxThreads.
  std::uint64_t heap;     ///< Bytes that are there from the start, whole pages.
  std::uint64_t stack;    ///< The same of each thread's stack.
  std::uint32_t frames;   ///< SSA frames a thread (NSSA), kMinFrames to kMaxFrames.
  std::uint32_t flags;    ///< kFlag*
  std::uint64_t xfrm;     ///< XSAVE components that the enclave uses (ATTRIBUTES.XFRM).
  // Up to here they grow where the platform has dynamic memory (SGX2). The pages beyond `heap` and `stack`
  // are not the loader's, so what is measured, and signed, is the same with and without.
  std::uint64_t heap_max;   ///< Bytes, whole pages; at least `heap`.
  std::uint64_t stack_max;  ///< The same.
};
static_assert(sizeof(EnclaveConfig) == 56);

inline constexpr std::uint32_t kConfigVersion = 2;
inline constexpr std::uint32_t kMaxThreads = 1024;
/// One for the running code, one for a handler, one to end what fails in the handler.
inline constexpr std::uint32_t kMinFrames = 3;
inline constexpr std::uint32_t kMaxFrames = 16;
/// x87, SSE, AVX, AVX-512: their XSAVE area and GPRSGX fit in an SSA frame of one page.
inline constexpr std::uint64_t kXfrmAllowed = 0xe7;
/// After an exception that nobody handles: end that call alone, and not the enclave.
inline constexpr std::uint32_t kFlagSurviveFaults = 1;
/// What the enclave tells the host of such an exception though it is no debug enclave: where it was, or with
/// all general registers.
inline constexpr std::uint32_t kFlagDumpBacktrace = 2, kFlagDumpRegisters = 4;
inline constexpr std::uint32_t kFlagsAllowed = kFlagSurviveFaults | kFlagDumpBacktrace | kFlagDumpRegisters;
inline constexpr std::uint64_t kMaxSize = std::uint64_t{1} << 36;
/// Stack for exception handlers, bytes a thread. The lowest page is for ending what fails in a handler.
inline constexpr std::uint64_t kAltStackSize = 4 * kPageSize;
inline constexpr std::uint64_t kRescueStackSize = kPageSize;

[[nodiscard]] constexpr std::uint64_t page_up(std::uint64_t bytes) noexcept {
  return (bytes + kPageSize - 1) & ~(kPageSize - 1);
}

[[nodiscard]] constexpr bool is_valid(const EnclaveConfig& c) noexcept {
  return c.version == kConfigVersion && c.threads >= 1 && c.threads <= kMaxThreads &&
         c.frames >= kMinFrames && c.frames <= kMaxFrames && c.heap % kPageSize == 0 &&
         c.heap_max % kPageSize == 0 && c.heap <= c.heap_max && c.heap_max <= kMaxSize / 4 &&
         c.stack >= kPageSize && c.stack % kPageSize == 0 && c.stack_max % kPageSize == 0 &&
         c.stack <= c.stack_max && c.stack_max <= kMaxSize / 4 / kMaxThreads && (c.xfrm & 3) == 3 &&
         (c.xfrm & ~kXfrmAllowed) == 0 && (c.flags & ~kFlagsAllowed) == 0;
}

/// Offsets in the enclave. One thread's pages stand together:
///   (guard) stack (guard) alternate stack | TCS | SSA frames | TLS | thread block
struct ThreadLayout {
  std::uint64_t stack_limit;  ///< lowest address
  std::uint64_t stack_end;    ///< lowest address that is there from the start
  std::uint64_t stack_top;
  std::uint64_t alt_end;
  std::uint64_t alt_top;
  std::uint64_t tcs;
  std::uint64_t ssa;
  std::uint64_t tls;    ///< first page
  std::uint64_t block;  ///< FS base; the TLS ends here
  std::uint64_t end;
};

/// image, (guard), heap, then the threads. `image_end` and `tls_size` are the ELF file's.
struct Layout {
  std::uint64_t heap;
  std::uint64_t heap_end;    ///< of what is there from the start
  std::uint64_t heap_limit;  ///< of what may come
  std::uint64_t threads;
  std::uint64_t thread_stride;
  std::uint64_t end;
  std::uint64_t size;  ///< SECS.SIZE: a power of two

  [[nodiscard]] static constexpr Layout of(const EnclaveConfig& c, std::uint64_t image_end,
                                           std::uint64_t tls_size) noexcept {
    Layout l{};
    l.heap = page_up(image_end) + kPageSize;
    l.heap_end = l.heap + c.heap;
    l.heap_limit = l.heap + c.heap_max;
    l.threads = l.heap_limit;
    l.thread_stride = kPageSize + c.stack_max + kPageSize + kAltStackSize + kPageSize + c.frames * kPageSize +
                      page_up(tls_size) + kPageSize;
    l.end = l.threads + c.threads * l.thread_stride + kPageSize;
    l.size = std::bit_ceil(l.end);
    return l;
  }

  [[nodiscard]] constexpr ThreadLayout thread(const EnclaveConfig& c, std::uint64_t tls_size,
                                              std::uint32_t index) const noexcept {
    ThreadLayout t{};
    t.stack_limit = threads + index * thread_stride + kPageSize;
    t.stack_top = t.stack_limit + c.stack_max;
    t.stack_end = t.stack_top - c.stack;
    t.alt_end = t.stack_top + kPageSize;
    t.alt_top = t.alt_end + kAltStackSize;
    t.tcs = t.alt_top;
    t.ssa = t.tcs + kPageSize;
    t.tls = t.ssa + c.frames * kPageSize;
    t.block = t.tls + page_up(tls_size);
    t.end = t.block + kPageSize;
    return t;
  }
};

}  // namespace enclume::edge
