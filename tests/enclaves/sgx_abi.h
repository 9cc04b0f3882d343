// SPDX-License-Identifier: Apache-2.0
//
// The SGX structures that a loader, an enclave and a test exchange, written down a second time on purpose:
// the tests are an oracle for src/, so they share no header with it. Layouts are from the Intel SDM, volume
// 3D, chapter 38 (June 2016) and, for the fields added later, Linux 6.12 arch/x86/include/asm/sgx.h. What
// <asm/sgx.h> defines is used from there.
#pragma once

#include <asm/sgx.h>

#include <array>
#include <cstddef>
#include <cstdint>

namespace enclume::test {

inline constexpr std::uint64_t kPage = 4096;

// ENCLU leaf numbers.
enum class Leaf : std::uint32_t {
  kEreport = 0,
  kEgetkey = 1,
  kEenter = 2,
  kEresume = 3,
  kEexit = 4,
  kEaccept = 5,
  kEmodpe = 6,
  kEacceptcopy = 7,
};

// SECINFO.FLAGS: permissions, state bits, page types (SDM table 38-12).
inline constexpr std::uint64_t kR = 1;
inline constexpr std::uint64_t kW = 2;
inline constexpr std::uint64_t kX = 4;
inline constexpr std::uint64_t kPending = 8;
inline constexpr std::uint64_t kModified = 16;
inline constexpr std::uint64_t kPr = 32;
inline constexpr std::uint64_t kPtTcs = 1 << 8;
inline constexpr std::uint64_t kPtReg = 2 << 8;
inline constexpr std::uint64_t kPtTrim = 4 << 8;

// ATTRIBUTES.flags (SDM table 38-3).
inline constexpr std::uint64_t kAttributeInit = 1 << 0;
inline constexpr std::uint64_t kAttributeDebug = 1 << 1;
inline constexpr std::uint64_t kAttributeMode64 = 1 << 2;
inline constexpr std::uint64_t kAttributeProvisionKey = 1 << 4;
inline constexpr std::uint64_t kAttributeEinittokenKey = 1 << 5;

inline constexpr std::uint32_t kMiscselectExinfo = 1;

// Exception vectors.
inline constexpr int kVectorDe = 0;
inline constexpr int kVectorDb = 1;
inline constexpr int kVectorBp = 3;
inline constexpr int kVectorUd = 6;
inline constexpr int kVectorSs = 12;
inline constexpr int kVectorGp = 13;
inline constexpr int kVectorPf = 14;
inline constexpr int kVectorMf = 16;
inline constexpr int kVectorAc = 17;
inline constexpr int kVectorXm = 19;

// Page-fault error code (SDM volume 3A, 4.7, and table 38-13 for bit 15).
inline constexpr std::uint32_t kPfPresent = 1 << 0;
inline constexpr std::uint32_t kPfWrite = 1 << 1;
inline constexpr std::uint32_t kPfUser = 1 << 2;
inline constexpr std::uint32_t kPfFetch = 1 << 4;
inline constexpr std::uint32_t kPfSgx = 1 << 15;

struct Secs {
  std::uint64_t size;
  std::uint64_t base;
  std::uint32_t ssa_frame_pages;
  std::uint32_t miscselect;
  std::array<std::uint8_t, 24> reserved1;
  std::uint64_t attributes;
  std::uint64_t xfrm;
  std::array<std::uint8_t, 32> mrenclave;
  std::array<std::uint8_t, 32> reserved2;
  std::array<std::uint8_t, 32> mrsigner;
  std::array<std::uint8_t, 32> reserved3;
  std::array<std::uint8_t, 64> config_id;
  std::uint16_t isv_prod_id;
  std::uint16_t isv_svn;
  std::uint16_t config_svn;
  std::array<std::uint8_t, 3834> reserved4;
};
static_assert(sizeof(Secs) == 4096);
static_assert(offsetof(Secs, attributes) == 48 && offsetof(Secs, mrsigner) == 128 &&
              offsetof(Secs, config_id) == 192 && offsetof(Secs, isv_prod_id) == 256 &&
              offsetof(Secs, reserved4) == 262);

struct alignas(64) Secinfo {
  std::uint64_t flags;
  std::array<std::uint8_t, 56> reserved;
};
static_assert(sizeof(Secinfo) == 64);

struct Tcs {
  std::uint64_t state;
  std::uint64_t flags;
  std::uint64_t ossa;
  std::uint32_t cssa;
  std::uint32_t nssa;
  std::uint64_t oentry;
  std::uint64_t aep;
  std::uint64_t ofsbase;
  std::uint64_t ogsbase;
  std::uint32_t fslimit;
  std::uint32_t gslimit;
  std::array<std::uint8_t, 4024> reserved;
};
static_assert(sizeof(Tcs) == 4096);
static_assert(offsetof(Tcs, ossa) == 16 && offsetof(Tcs, oentry) == 32 && offsetof(Tcs, ofsbase) == 48 &&
              offsetof(Tcs, reserved) == 72);

// The registers at the end of an SSA frame (SDM tables 38-7 and 38-8; 184 bytes as in Linux, not 176).
struct Gprsgx {
  std::uint64_t rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi;
  std::uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
  std::uint64_t rflags;
  std::uint64_t rip;
  std::uint64_t ursp;
  std::uint64_t urbp;
  std::uint32_t exitinfo;
  std::array<std::uint8_t, 3> reserved;
  std::uint8_t aexnotify;
  std::uint64_t fsbase;
  std::uint64_t gsbase;
};
static_assert(sizeof(Gprsgx) == 184);
static_assert(offsetof(Gprsgx, rflags) == 128 && offsetof(Gprsgx, exitinfo) == 160 &&
              offsetof(Gprsgx, fsbase) == 168);

// EXITINFO (SDM tables 38-9 and 38-10).
inline constexpr std::uint32_t kExitinfoValid = 1u << 31;
inline constexpr std::uint32_t exitinfo_hardware(int vector) {
  return kExitinfoValid | 3u << 8 | static_cast<std::uint32_t>(vector);
}

// The MISC component just below GPRSGX, where MISCSELECT.EXINFO is set.
struct Exinfo {
  std::uint64_t maddr;
  std::uint32_t errcd;
  std::uint32_t reserved;
};
static_assert(sizeof(Exinfo) == 16);

#pragma pack(push, 1)
struct Sigstruct {
  std::array<std::uint8_t, 16> header;
  std::uint32_t vendor;
  std::uint32_t date;
  std::array<std::uint8_t, 16> header2;
  std::uint32_t swdefined;
  std::array<std::uint8_t, 84> reserved1;
  std::array<std::uint8_t, 384> modulus;  // Little endian, as are the signature, q1 and q2.
  std::uint32_t exponent;
  std::array<std::uint8_t, 384> signature;
  std::uint32_t miscselect;
  std::uint32_t miscmask;
  std::array<std::uint8_t, 4> reserved2;
  std::array<std::uint8_t, 16> isv_family_id;
  std::uint64_t attributes;
  std::uint64_t xfrm;
  std::uint64_t attributes_mask;
  std::uint64_t xfrm_mask;
  std::array<std::uint8_t, 32> enclave_hash;
  std::array<std::uint8_t, 16> reserved3;
  std::array<std::uint8_t, 16> isv_ext_prod_id;
  std::uint16_t isv_prod_id;
  std::uint16_t isv_svn;
  std::array<std::uint8_t, 12> reserved4;
  std::array<std::uint8_t, 384> q1;
  std::array<std::uint8_t, 384> q2;
};
#pragma pack(pop)
static_assert(sizeof(Sigstruct) == 1808);
static_assert(offsetof(Sigstruct, modulus) == 128 && offsetof(Sigstruct, signature) == 516 &&
              offsetof(Sigstruct, miscselect) == 900 && offsetof(Sigstruct, attributes) == 928 &&
              offsetof(Sigstruct, enclave_hash) == 960 && offsetof(Sigstruct, isv_prod_id) == 1024 &&
              offsetof(Sigstruct, q1) == 1040 && offsetof(Sigstruct, q2) == 1424);

struct alignas(512) Targetinfo {
  std::array<std::uint8_t, 32> measurement;
  std::uint64_t attributes;
  std::uint64_t xfrm;
  std::array<std::uint8_t, 2> reserved1;
  std::uint16_t config_svn;
  std::uint32_t miscselect;
  std::array<std::uint8_t, 8> reserved2;
  std::array<std::uint8_t, 64> config_id;
  std::array<std::uint8_t, 384> reserved3;
};
static_assert(sizeof(Targetinfo) == 512 && offsetof(Targetinfo, miscselect) == 52);

struct Report {
  std::array<std::uint8_t, 16> cpu_svn;
  std::uint32_t miscselect;
  std::array<std::uint8_t, 12> reserved1;
  std::array<std::uint8_t, 16> isv_ext_prod_id;
  std::uint64_t attributes;
  std::uint64_t xfrm;
  std::array<std::uint8_t, 32> mrenclave;
  std::array<std::uint8_t, 32> reserved2;
  std::array<std::uint8_t, 32> mrsigner;
  std::array<std::uint8_t, 32> reserved3;
  std::array<std::uint8_t, 64> config_id;
  std::uint16_t isv_prod_id;
  std::uint16_t isv_svn;
  std::uint16_t config_svn;
  std::array<std::uint8_t, 42> reserved4;
  std::array<std::uint8_t, 16> isv_family_id;
  std::array<std::uint8_t, 64> report_data;
  std::array<std::uint8_t, 32> key_id;
  std::array<std::uint8_t, 16> mac;
};
static_assert(sizeof(Report) == 432);
static_assert(offsetof(Report, mrenclave) == 64 && offsetof(Report, mrsigner) == 128 &&
              offsetof(Report, isv_prod_id) == 256 && offsetof(Report, report_data) == 320 &&
              offsetof(Report, mac) == 416);

enum class KeyName : std::uint16_t {
  kEinittoken = 0,
  kProvision = 1,
  kProvisionSeal = 2,
  kReport = 3,
  kSeal = 4
};
inline constexpr std::uint16_t kPolicyMrenclave = 1;
inline constexpr std::uint16_t kPolicyMrsigner = 2;

struct alignas(512) Keyrequest {
  KeyName key_name;
  std::uint16_t key_policy;
  std::uint16_t isv_svn;
  std::uint16_t reserved1;
  std::array<std::uint8_t, 16> cpu_svn;
  std::uint64_t attributes_mask;
  std::uint64_t xfrm_mask;
  std::array<std::uint8_t, 32> key_id;
  std::uint32_t misc_mask;
  std::uint16_t config_svn;
  std::array<std::uint8_t, 434> reserved2;
};
static_assert(sizeof(Keyrequest) == 512 && offsetof(Keyrequest, key_id) == 40 &&
              offsetof(Keyrequest, misc_mask) == 72);

}  // namespace enclume::test
