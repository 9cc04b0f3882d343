// SPDX-License-Identifier: Apache-2.0
//
// The smallest whole SGX program: it builds an enclave of three pages by the Linux ABI alone, lets it compute
// a greatest common divisor, then lets it write where it must not, and says how the exception came back.
// Nothing here knows of Enclume; the same binary runs on a machine with SGX.
#include <asm/sgx.h>
#include <elf.h>
#include <fcntl.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

extern "C" const std::uint8_t enclave_page[4096];
extern "C" int call_vdso(std::uint64_t rdi, std::uint64_t rsi, std::uint64_t rdx, std::uint32_t leaf,
                         std::uint64_t r8, std::uint64_t r9, sgx_enclave_run* run,
                         vdso_sgx_enter_enclave_t function);

namespace {

constexpr std::uint64_t kPage = 4096, kSize = 4 * kPage;  // ELRANGE: a power of two
constexpr std::uint64_t kTcs = 0, kCode = kPage, kSsa = 2 * kPage;
constexpr std::uint64_t kReg = 0x200, kTcsType = 0x100, kR = 1, kW = 2, kX = 4;  // SECINFO.FLAGS
constexpr std::uint32_t kEenter = 2, kEexit = 4;

void check(bool good, const char* what) {
  if (good) return;
  std::fprintf(stderr, "first-fault: %s: %s\n", what, errno != 0 ? std::strerror(errno) : "failed");
  std::exit(1);
}

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
  void create() {  // ECREATE: SSAFRAMESIZE in 4 bytes, then SIZE in 8
    std::uint8_t block[64] = "ECREATE";
    put(block, 8, std::uint32_t{1});
    put(block, 12, kSize);
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

// SIGSTRUCT: who vouches for this measurement. Here a key that is made for the occasion.
std::vector<std::uint8_t> sign(Measurement& measurement) {
  std::vector<std::uint8_t> sigstruct(1808);
  std::uint8_t* s = sigstruct.data();
  std::memcpy(s, "\x06\0\0\0\xe1\0\0\0\0\0\1\0\0\0\0\0", 16);
  std::memcpy(s + 24, "\1\1\0\0\x60\0\0\0\x60\0\0\0\1\0\0\0", 16);
  put(s, 928, std::uint64_t{4});   // ATTRIBUTES: 64-bit
  put(s, 936, std::uint64_t{3});   // XFRM: x87 and SSE
  put(s, 944, ~std::uint64_t{3});  // ATTRIBUTEMASK: all but INIT and DEBUG
  put(s, 952, ~std::uint64_t{0});
  measurement.finish(s + 960);

  EVP_PKEY_CTX* maker = EVP_PKEY_CTX_new_from_name(nullptr, "RSA", nullptr);
  BIGNUM *three = BN_new(), *modulus = nullptr, *q1 = BN_new(), *q2 = BN_new(), *rest = BN_new(),
         *t = BN_new();
  EVP_PKEY* key = nullptr;
  BN_set_word(three, 3);
  check(EVP_PKEY_keygen_init(maker) == 1 && EVP_PKEY_CTX_set_rsa_keygen_bits(maker, 3072) == 1 &&
            EVP_PKEY_CTX_set1_rsa_keygen_pubexp(maker, three) == 1 && EVP_PKEY_generate(maker, &key) == 1 &&
            EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &modulus) == 1,
        "making an RSA key");
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

std::uint64_t build_enclave(int fd) {
  // ELRANGE must be aligned to its size: reserve twice as much.
  void* area = mmap(nullptr, 2 * kSize, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  check(area != MAP_FAILED, "reserving addresses");
  const std::uint64_t base = (reinterpret_cast<std::uint64_t>(area) + kSize - 1) & ~(kSize - 1);

  alignas(kPage) static std::uint8_t secs[kPage], tcs[kPage], ssa[kPage];
  put(secs, 0, kSize);
  put(secs, 8, base);
  put(secs, 16, std::uint32_t{1});  // SSAFRAMESIZE
  put(secs, 48, std::uint64_t{4});  // ATTRIBUTES: 64-bit
  put(secs, 56, std::uint64_t{3});  // XFRM
  put(tcs, 16, kSsa);               // OSSA
  put(tcs, 28, std::uint32_t{1});   // NSSA
  put(tcs, 32, kCode);              // OENTRY
  put(tcs, 64, ~std::uint64_t{0});  // FSLIMIT, GSLIMIT

  Measurement measurement;
  sgx_enclave_create create{.src = reinterpret_cast<std::uint64_t>(secs)};
  check(ioctl(fd, SGX_IOC_ENCLAVE_CREATE, &create) == 0, "SGX_IOC_ENCLAVE_CREATE");
  measurement.create();
  const struct {
    std::uint64_t offset, flags;
    const std::uint8_t* bytes;
    int protection;
  } pages[] = {{kTcs, kTcsType, tcs, PROT_READ | PROT_WRITE},
               {kCode, kReg | kR | kX, enclave_page, PROT_READ | PROT_EXEC},
               {kSsa, kReg | kR | kW, ssa, PROT_READ | PROT_WRITE}};
  for (const auto& page : pages) {
    alignas(64) const std::uint64_t secinfo[8] = {page.flags};
    sgx_enclave_add_pages add{};
    add.src = reinterpret_cast<std::uint64_t>(page.bytes);
    add.offset = page.offset;
    add.length = kPage;
    add.secinfo = reinterpret_cast<std::uint64_t>(secinfo);
    add.flags = SGX_PAGE_MEASURE;
    check(ioctl(fd, SGX_IOC_ENCLAVE_ADD_PAGES, &add) == 0, "SGX_IOC_ENCLAVE_ADD_PAGES");
    check(mmap(reinterpret_cast<void*>(base + page.offset), kPage, page.protection, MAP_SHARED | MAP_FIXED,
               fd, 0) != MAP_FAILED,
          "mapping the enclave");
    measurement.add(page.offset, page.flags, page.bytes);
  }
  const std::vector<std::uint8_t> sigstruct = sign(measurement);
  sgx_enclave_init init{.sigstruct = reinterpret_cast<std::uint64_t>(sigstruct.data())};
  check(ioctl(fd, SGX_IOC_ENCLAVE_INIT, &init) == 0, "SGX_IOC_ENCLAVE_INIT");
  return base;
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

}  // namespace

int main() {
  const int fd = open("/dev/sgx_enclave", O_RDWR);
  check(fd >= 0, "/dev/sgx_enclave (no SGX here? run it by: enclume run -- first-fault)");
  const std::uint64_t base = build_enclave(fd);
  const vdso_sgx_enter_enclave_t entry = find_entry();
  std::printf("enclave at %#lx, %lu bytes\n", base, kSize);

  std::uint64_t result = 0;
  sgx_enclave_run run{};
  run.tcs = base + kTcs;
  const auto call = [&](std::uint64_t a, std::uint64_t b, std::uint64_t where) {
    return call_vdso(a, where, b, kEenter, 0, 0, &run, entry);
  };
  check(call(1071, 462, reinterpret_cast<std::uint64_t>(&result)) == 0 && run.function == kEexit,
        "the first call");
  std::printf("inside: gcd(1071, 462) = %lu\n", result);

  // The same once more, but the result is to go into the enclave's own code, a page that is not writable.
  check(call(1071, 462, base + kCode) == 0 && run.function != kEexit,
        "the second call, which should have faulted");
  std::printf("exception: vector %u, error code %#x, address %#llx (the enclave's page at offset %#llx)\n",
              run.exception_vector, run.exception_error_code, run.exception_addr, run.exception_addr - base);
  return 0;
}
