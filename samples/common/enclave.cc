// SPDX-License-Identifier: Apache-2.0
#include "common/enclave.h"

#include <elf.h>
#include <fcntl.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

extern "C" int samples_call(std::uint64_t rdi, std::uint64_t rsi, std::uint64_t rdx, std::uint32_t leaf,
                            std::uint64_t r8, std::uint64_t r9, sgx_enclave_run* run,
                            vdso_sgx_enter_enclave_t function);

namespace samples {

void check(bool good, const char* what) {
  if (good) return;
  std::fprintf(stderr, "%s: %s\n", what, errno != 0 ? std::strerror(errno) : "failed");
  std::exit(1);
}

namespace {

template <typename T>
void put(std::uint8_t* structure, std::size_t offset, T value) {
  std::memcpy(structure + offset, &value, sizeof value);
}

// What the processor measures while the enclave is built: SHA-256 over a record of each step.
struct Measurement {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  Measurement() { check(EVP_DigestInit(context, EVP_sha256()) == 1, "SHA-256"); }
  void record(const char* step, std::uint64_t first, std::uint64_t second) {
    std::uint8_t block[64]{};
    std::memcpy(block, step, std::strlen(step));
    put(block, 8, first);
    put(block, 16, second);
    EVP_DigestUpdate(context, block, sizeof block);
  }
  void create(std::uint64_t size) {  // ECREATE: SSAFRAMESIZE in 4 bytes, then SIZE in 8
    std::uint8_t block[64] = "ECREATE";
    put(block, 8, std::uint32_t{1});
    put(block, 12, size);
    EVP_DigestUpdate(context, block, sizeof block);
  }
  void add(std::uint64_t offset, std::uint64_t flags, const std::uint8_t* page) {  // EADD, 16 times EEXTEND
    record("EADD", offset, flags);
    for (std::uint64_t at = 0; at < kPage; at += 256) {
      record("EEXTEND", offset + at, 0);
      EVP_DigestUpdate(context, page + at, 256);
    }
  }
  void finish(std::uint8_t* hash) { EVP_DigestFinal(context, hash, nullptr); }
};

EVP_PKEY* make_key() {
  EVP_PKEY_CTX* maker = EVP_PKEY_CTX_new_from_name(nullptr, "RSA", nullptr);
  BIGNUM* three = BN_new();
  EVP_PKEY* key = nullptr;
  BN_set_word(three, 3);
  check(EVP_PKEY_keygen_init(maker) == 1 && EVP_PKEY_CTX_set_rsa_keygen_bits(maker, 3072) == 1 &&
            EVP_PKEY_CTX_set1_rsa_keygen_pubexp(maker, three) == 1 && EVP_PKEY_generate(maker, &key) == 1,
        "making an RSA key");
  return key;
}

// SIGSTRUCT: who vouches for this measurement. Here a key that is made for the occasion.
std::vector<std::uint8_t> sign(Measurement& measurement, std::uint64_t attributes, std::uint32_t miscselect) {
  std::vector<std::uint8_t> sigstruct(1808);
  std::uint8_t* s = sigstruct.data();
  std::memcpy(s, "\x06\0\0\0\xe1\0\0\0\0\0\1\0\0\0\0\0", 16);
  std::memcpy(s + 24, "\1\1\0\0\x60\0\0\0\x60\0\0\0\1\0\0\0", 16);
  put(s, 900, miscselect);
  put(s, 904, ~std::uint32_t{0});  // MISCMASK
  put(s, 928, attributes);
  put(s, 936, std::uint64_t{3});   // XFRM: x87 and SSE
  put(s, 944, ~std::uint64_t{3});  // ATTRIBUTEMASK: all but INIT and DEBUG
  put(s, 952, ~std::uint64_t{0});
  measurement.finish(s + 960);

  static EVP_PKEY* const key = make_key();
  BIGNUM *modulus = nullptr, *q1 = BN_new(), *q2 = BN_new(), *rest = BN_new(), *t = BN_new();
  check(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &modulus) == 1, "the RSA key");
  std::vector<std::uint8_t> message(s, s + 128), signature(384);
  message.insert(message.end(), s + 900, s + 1028);
  std::size_t length = signature.size();
  EVP_MD_CTX* signer = EVP_MD_CTX_new();
  check(EVP_DigestSignInit(signer, nullptr, EVP_sha256(), nullptr, key) == 1 &&
            EVP_DigestSign(signer, signature.data(), &length, message.data(), message.size()) == 1,
        "signing");
  // The processor wants two quotients as well: S*S/M, and S*(S*S mod M)/M.
  BN_CTX* scratch = BN_CTX_new();
  BIGNUM* number = BN_bin2bn(signature.data(), 384, nullptr);
  BN_sqr(t, number, scratch);
  BN_div(q1, rest, t, modulus, scratch);
  BN_mul(t, number, rest, scratch);
  BN_div(q2, nullptr, t, modulus, scratch);
  BN_bn2lebinpad(modulus, s + 128, 384);
  put(s, 512, std::uint32_t{3});
  BN_bn2lebinpad(number, s + 516, 384);
  BN_bn2lebinpad(q1, s + 1040, 384);
  BN_bn2lebinpad(q2, s + 1424, 384);
  return sigstruct;
}

// __vdso_sgx_enter_enclave in the ELF image that the kernel maps into every process.
vdso_sgx_enter_enclave_t find_entry() {
  const std::uint64_t image = getauxval(AT_SYSINFO_EHDR);
  check(image != 0, "looking for the vDSO");
  const auto* header = reinterpret_cast<const Elf64_Ehdr*>(image);
  const auto* segment = reinterpret_cast<const Elf64_Phdr*>(image + header->e_phoff);
  while (segment->p_type != PT_DYNAMIC) ++segment;
  std::uint64_t symbols = 0, strings = 0, hash = 0;
  for (const auto* entry = reinterpret_cast<const Elf64_Dyn*>(image + segment->p_offset); entry->d_tag != 0;
       ++entry) {
    if (entry->d_tag == DT_SYMTAB) symbols = image + entry->d_un.d_ptr;
    if (entry->d_tag == DT_STRTAB) strings = image + entry->d_un.d_ptr;
    if (entry->d_tag == DT_HASH) hash = image + entry->d_un.d_ptr;
  }
  const std::uint32_t count = hash != 0 ? reinterpret_cast<const std::uint32_t*>(hash)[1] : 0;
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto& symbol = reinterpret_cast<const Elf64_Sym*>(symbols)[i];
    if (std::strcmp(reinterpret_cast<const char*>(strings) + symbol.st_name, "__vdso_sgx_enter_enclave") ==
        0) {
      return reinterpret_cast<vdso_sgx_enter_enclave_t>(image + symbol.st_value);
    }
  }
  errno = 0;
  check(false, "looking for __vdso_sgx_enter_enclave");
  return nullptr;
}

int protection(std::uint64_t flags) {
  if ((flags & kTcs) != 0) return PROT_READ | PROT_WRITE;
  return ((flags & kR) != 0 ? PROT_READ : 0) | ((flags & kW) != 0 ? PROT_WRITE : 0) |
         ((flags & kX) != 0 ? PROT_EXEC : 0);
}

}  // namespace

std::array<std::uint8_t, kPage> tcs_page(std::uint64_t oentry, std::uint64_t ossa, std::uint64_t ofsbase,
                                         std::uint64_t flags) {
  std::array<std::uint8_t, kPage> page{};
  put(page.data(), 8, flags);
  put(page.data(), 16, ossa);
  put(page.data(), 28, std::uint32_t{2});  // NSSA
  put(page.data(), 32, oentry);
  put(page.data(), 48, ofsbase);
  put(page.data(), 64, ~std::uint64_t{0});  // FSLIMIT, GSLIMIT
  return page;
}

Enclave::Enclave(std::uint64_t size, std::uint64_t attributes, std::span<const Page> pages,
                 std::uint32_t miscselect)
    : fd_(open("/dev/sgx_enclave", O_RDWR)), size_(size) {
  check(fd_ >= 0, "/dev/sgx_enclave (no SGX here? run it by: enclume run -- PROGRAM)");
  // ELRANGE must be aligned to its size: reserve twice as much.
  area_ = mmap(nullptr, 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  check(area_ != MAP_FAILED, "reserving addresses");
  base_ = (reinterpret_cast<std::uint64_t>(area_) + size - 1) & ~(size - 1);

  alignas(kPage) static std::uint8_t secs[kPage], page_bytes[kPage];
  put(secs, 0, size);
  put(secs, 8, base_);
  put(secs, 16, std::uint32_t{1});  // SSAFRAMESIZE
  put(secs, 20, miscselect);
  put(secs, 48, attributes);
  put(secs, 56, std::uint64_t{3});  // XFRM: x87 and SSE
  sgx_enclave_create create{.src = reinterpret_cast<std::uint64_t>(secs)};
  check(ioctl(fd_, SGX_IOC_ENCLAVE_CREATE, &create) == 0, "SGX_IOC_ENCLAVE_CREATE");

  Measurement measurement;
  measurement.create(size);
  for (const Page& page : pages) {
    std::memset(page_bytes, 0, kPage);
    if (page.bytes != nullptr) std::memcpy(page_bytes, page.bytes, kPage);
    alignas(64) const std::uint64_t secinfo[8] = {page.flags};
    sgx_enclave_add_pages add{};
    add.src = reinterpret_cast<std::uint64_t>(page_bytes);
    add.offset = page.offset;
    add.length = kPage;
    add.secinfo = reinterpret_cast<std::uint64_t>(secinfo);
    add.flags = SGX_PAGE_MEASURE;
    if (ioctl(fd_, SGX_IOC_ENCLAVE_ADD_PAGES, &add) != 0) give_up("SGX_IOC_ENCLAVE_ADD_PAGES");
    check(mmap(reinterpret_cast<void*>(base_ + page.offset), kPage, protection(page.flags),
               MAP_SHARED | MAP_FIXED, fd_, 0) != MAP_FAILED,
          "mapping the enclave");
    measurement.add(page.offset, page.flags, page_bytes);
  }
  const std::vector<std::uint8_t> sigstruct = sign(measurement, attributes, miscselect);
  sgx_enclave_init init{.sigstruct = reinterpret_cast<std::uint64_t>(sigstruct.data())};
  if (ioctl(fd_, SGX_IOC_ENCLAVE_INIT, &init) != 0) give_up("SGX_IOC_ENCLAVE_INIT");
}

Enclave::~Enclave() {
  release();
}

void Enclave::release() {
  munmap(area_, 2 * size_);
  close(fd_);
}

// EIO: an instruction failed that can only fail because the enclave is not there any more.
void Enclave::give_up(const char* what) {
  check(errno == EIO, what);
  release();
  throw EnclaveLost();
}

void Enclave::map_hole(std::uint64_t offset, std::uint64_t length) const {
  check(mmap(reinterpret_cast<void*>(base_ + offset), length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
             fd_, 0) != MAP_FAILED,
        "mapping a hole");
}

int enter(std::uint32_t leaf, sgx_enclave_run& run, std::uint64_t rdi, std::uint64_t rsi, std::uint64_t rdx,
          std::uint64_t r8, std::uint64_t r9) {
  static const vdso_sgx_enter_enclave_t function = find_entry();
  return samples_call(rdi, rsi, rdx, leaf, r8, r9, &run, function);
}

}  // namespace samples
