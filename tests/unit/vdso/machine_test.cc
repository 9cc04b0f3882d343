// SPDX-License-Identifier: Apache-2.0
// Other machines' vDSOs than this one's, made from this one's, and bytes that are no vDSO at all.
#include <elf.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <map>
#include <optional>
#include <random>

#include "unit/vdso/image_lookups.h"
#include "unit/vdso/vdso_images.h"

namespace enclume::test {
namespace {

using kernel::VdsoError;

/// A copy of the process's vDSO to change. The heap block ends where it ends, for AddressSanitizer.
class Machine {
 public:
  Machine() : bytes_(own_vdso().begin(), own_vdso().end()) {}

  std::vector<std::byte>& bytes() { return bytes_; }
  template <typename T>
  T& at(std::uint64_t offset) {
    return *reinterpret_cast<T*>(bytes_.data() + offset);
  }
  Elf64_Ehdr& header() { return at<Elf64_Ehdr>(0); }
  std::span<Elf64_Phdr> segments() { return {&at<Elf64_Phdr>(header().e_phoff), header().e_phnum}; }
  std::span<Elf64_Shdr> sections() { return {&at<Elf64_Shdr>(header().e_shoff), header().e_shnum}; }
  Elf64_Phdr& segment(std::uint32_t type) {
    for (Elf64_Phdr& candidate : segments()) {
      if (candidate.p_type == type) {
        return candidate;
      }
    }
    ADD_FAILURE() << "no segment of type " << type;
    return segments()[0];
  }
  std::span<Elf64_Dyn> dynamic() {
    const Elf64_Phdr& table = segment(PT_DYNAMIC);
    return {&at<Elf64_Dyn>(table.p_offset), table.p_filesz / sizeof(Elf64_Dyn)};
  }
  Elf64_Dyn& dynamic(Elf64_Sxword tag) {
    for (Elf64_Dyn& entry : dynamic()) {
      if (entry.d_tag == tag) {
        return entry;
      }
    }
    ADD_FAILURE() << "no dynamic entry " << tag;
    return dynamic()[0];
  }
  std::span<Elf64_Sym> symbols() {
    const std::uint64_t count = at<std::uint32_t>(dynamic(DT_HASH).d_un.d_ptr + 4);
    return {&at<Elf64_Sym>(dynamic(DT_SYMTAB).d_un.d_ptr), count};
  }
  std::string_view name_of(const Elf64_Sym& symbol) {
    return &at<char>(dynamic(DT_STRTAB).d_un.d_ptr + symbol.st_name);
  }
  Elf64_Sym& symbol(std::string_view name) {
    for (Elf64_Sym& candidate : symbols()) {
      if (name_of(candidate) == name) {
        return candidate;
      }
    }
    ADD_FAILURE() << "no symbol " << name;
    return symbols()[0];
  }
  /// Loaders do not look at a tag that nobody knows.
  void forget(Elf64_Sxword tag) { dynamic(tag).d_tag = 0x7eadbeef; }

 private:
  std::vector<std::byte> bytes_;
};

std::expected<kernel::VdsoImage, VdsoError> build(std::span<const std::byte> machine) {
  std::vector<std::byte> out(kernel::kMaxVdsoImageSize);
  return kernel::build_vdso_image(machine, LinearAddress(0x7fff00000000), {}, out);
}

std::vector<std::byte> bytes_of(std::span<const std::byte> machine) {
  return build_image(machine, LinearAddress(0x7fff00000000)).bytes;
}

TEST(VdsoMachines, WithoutDtHash) {
  Machine machine;
  machine.forget(DT_HASH);
  EXPECT_EQ(bytes_of(machine.bytes()), bytes_of(own_vdso()));
  // How many symbols there are does not depend on which bucket leads to the last of them.
  const std::uint64_t table = machine.dynamic(DT_GNU_HASH).d_un.d_ptr;
  const std::uint32_t bucket_count = machine.at<std::uint32_t>(table);
  const std::uint32_t bloom_words = machine.at<std::uint32_t>(table + 8);
  const std::span buckets(&machine.at<std::uint32_t>(table + 16 + bloom_words * 8), bucket_count);
  std::reverse(buckets.begin(), buckets.end());
  EXPECT_EQ(bytes_of(machine.bytes()), bytes_of(own_vdso()));
}

TEST(VdsoMachines, WithoutDtGnuHash) {
  Machine machine;
  machine.forget(DT_GNU_HASH);
  EXPECT_EQ(bytes_of(machine.bytes()), bytes_of(own_vdso()));
}

TEST(VdsoMachines, WithSectionHeadersOnly) {
  Machine machine;
  machine.forget(DT_HASH);
  machine.forget(DT_GNU_HASH);
  EXPECT_EQ(bytes_of(machine.bytes()), bytes_of(own_vdso()));
  machine.header().e_shoff = 0;
  machine.header().e_shnum = 0;
  EXPECT_EQ(build(machine.bytes()).error(), VdsoError::NoSymbolCount);
}

TEST(VdsoMachines, WithoutSectionHeaders) {
  Machine machine;
  machine.header().e_shoff = 0;
  machine.header().e_shnum = 0;
  EXPECT_EQ(bytes_of(machine.bytes()), bytes_of(own_vdso()));
}

TEST(VdsoMachines, LinkedAtAnAddress) {
  // As kernels before 3.15 had it.
  constexpr std::uint64_t kLinkedAt = 0xffffffffff700000;
  Machine machine;
  for (Elf64_Sym& symbol : machine.symbols()) {
    if (symbol.st_shndx != SHN_UNDEF && symbol.st_shndx != SHN_ABS) {
      symbol.st_value += kLinkedAt;
    }
  }
  for (const Elf64_Sxword tag : {DT_HASH, DT_GNU_HASH, DT_STRTAB, DT_SYMTAB, DT_VERDEF, DT_VERSYM}) {
    machine.dynamic(tag).d_un.d_ptr += kLinkedAt;
  }
  for (Elf64_Phdr& segment : machine.segments()) {
    segment.p_vaddr += kLinkedAt;
  }
  EXPECT_EQ(bytes_of(machine.bytes()), bytes_of(own_vdso()));
}

TEST(VdsoMachines, WithSgx) {
  // Our own image is a vDSO with an enter function. Its stubs lead to stubs, its function is replaced.
  const BuiltImage first = build_image();
  const MappedImage machine(first);
  const MappedImage image(
      build_image({machine.base(), first.layout.size}, LinearAddress::of(machine.base())));
  EXPECT_EQ(find_by_sections(image.base(), kernel::kEnterEnclaveName), image.base() + image.layout().enter);
  const auto vdso = kernel::MachineVdso::parse({image.base(), image.layout().size});
  ASSERT_TRUE(vdso.has_value());
  std::map<std::string_view, int> count;
  for (std::size_t i = 1; i < vdso->symbol_count(); i++) {
    count[vdso->symbol(i)->name]++;
  }
  EXPECT_EQ(count[kernel::kEnterEnclaveName], 1);
  EXPECT_EQ(count["__vdso_time"], 1);
  EXPECT_EQ(vdso->versions().size(), 2U);

  const auto time_there = reinterpret_cast<time_t (*)(time_t*)>(
      reinterpret_cast<std::uintptr_t>(find_by_gnu_hash(image.base(), "__vdso_time")));
  const time_t now = time_there(nullptr);
  EXPECT_NEAR(static_cast<double>(now), static_cast<double>(time(nullptr)), 1.0);
}

TEST(VdsoMachines, WithAnotherVersion) {
  Machine machine;
  const std::uint64_t strings = machine.dynamic(DT_STRTAB).d_un.d_ptr;
  const Elf64_Sym& version = machine.symbol("LINUX_2.6");
  std::memcpy(&machine.at<char>(strings + version.st_name), "LINUX_9.9", 9);
  const BuiltImage built = build_image(machine.bytes(), own_vdso_address());
  const std::byte* base = built.bytes.data();
  EXPECT_EQ(find_by_reference_parser(base, "LINUX_2.6", kernel::kEnterEnclaveName),
            base + built.layout.enter);
  EXPECT_EQ(find_by_reference_parser(base, "LINUX_9.9", kernel::kEnterEnclaveName), nullptr);
  EXPECT_EQ(find_by_reference_parser(base, "LINUX_2.6", "__vdso_time"), nullptr);
  EXPECT_NE(find_by_reference_parser(base, "LINUX_9.9", "__vdso_time"), nullptr);
}

TEST(VdsoMachines, WithoutVersions) {
  Machine machine;
  machine.forget(DT_VERSYM);
  machine.forget(DT_VERDEF);
  const BuiltImage built = build_image(machine.bytes(), own_vdso_address());
  const std::byte* base = built.bytes.data();
  EXPECT_EQ(find_by_reference_parser(base, "LINUX_2.6", kernel::kEnterEnclaveName),
            base + built.layout.enter);
  EXPECT_EQ(find_by_reference_parser(base, "LINUX_2.6", "__vdso_time"), nullptr);
  EXPECT_NE(find_by_sysv_hash(base, "__vdso_time"), nullptr);
}

/// The entry of a symbol in an image, by section headers.
Elf64_Sym entry_in(const std::vector<std::byte>& image, std::string_view name) {
  const auto vdso = kernel::MachineVdso::parse(image);
  for (std::size_t i = 1; vdso.has_value() && i < vdso->symbol_count(); i++) {
    if (const auto symbol = vdso->symbol(i); symbol.has_value() && symbol->name == name) {
      return symbol->entry;
    }
  }
  return {};
}

TEST(VdsoMachines, WithOddSymbols) {
  Machine machine;
  Elf64_Sym& data = machine.symbol("__vdso_time");
  data.st_info = ELF64_ST_INFO(STB_GLOBAL, STT_OBJECT);
  Elf64_Sym& label = machine.symbol("__vdso_getcpu");
  label.st_info = ELF64_ST_INFO(STB_WEAK, STT_NOTYPE);
  machine.symbol("time").st_info = ELF64_ST_INFO(STB_LOCAL, STT_FUNC);
  machine.symbol("getcpu").st_shndx = SHN_UNDEF;
  machine.symbol("gettimeofday").st_info = ELF64_ST_INFO(STB_GLOBAL, STT_TLS);

  const BuiltImage built = build_image(machine.bytes(), LinearAddress(0x7fff00000000));
  const Elf64_Sym data_now = entry_in(built.bytes, "__vdso_time");
  EXPECT_EQ(data_now.st_shndx, SHN_ABS);
  EXPECT_EQ(data_now.st_value, 0x7fff00000000 + data.st_value);
  EXPECT_EQ(data_now.st_size, data.st_size);
  EXPECT_EQ(data_now.st_info, data.st_info);
  const Elf64_Sym label_now = entry_in(built.bytes, "__vdso_getcpu");
  EXPECT_NE(label_now.st_shndx, SHN_ABS);
  EXPECT_EQ(label_now.st_info, label.st_info);
  EXPECT_GT(label_now.st_value, built.layout.enter);
  for (const char* nobody_can_find : {"time", "getcpu", "gettimeofday"}) {
    EXPECT_EQ(entry_in(built.bytes, nobody_can_find).st_name, 0U) << nobody_can_find;
  }
}

TEST(VdsoMachines, WithAStackHeader) {
  Machine machine;
  Elf64_Phdr& segment = machine.segment(PT_GNU_EH_FRAME);
  segment.p_type = PT_GNU_STACK;
  segment.p_flags = PF_R | PF_W;
  const std::vector<std::byte> image = bytes_of(machine.bytes());
  const auto vdso = kernel::MachineVdso::parse(image);
  ASSERT_TRUE(vdso.has_value());
  EXPECT_EQ(vdso->stack_flags(), std::uint32_t{PF_R | PF_W});
}

TEST(VdsoSize, IsWhereTheHeadersEnd) {
  Machine machine;
  const std::uint64_t sections_end =
      machine.header().e_shoff + std::uint64_t{machine.header().e_shnum} * machine.header().e_shentsize;
  const std::span<const std::byte> head = std::span(machine.bytes()).first(kPageSize);
  EXPECT_EQ(kernel::vdso_size(head), sections_end);
  machine.header().e_shnum = 0;
  const Elf64_Phdr& load = machine.segment(PT_LOAD);
  EXPECT_EQ(kernel::vdso_size(head), std::max(load.p_offset + load.p_filesz, machine.header().e_shoff));
  machine.segment(PT_LOAD).p_filesz = UINT64_MAX;
  machine.segment(PT_LOAD).p_offset = 1;
  EXPECT_EQ(kernel::vdso_size(head).error(), VdsoError::Truncated);
  machine.segment(PT_LOAD).p_type = PT_NULL;
  EXPECT_EQ(kernel::vdso_size(head).error(), VdsoError::NoLoadSegment);
  EXPECT_EQ(kernel::vdso_size({}).error(), VdsoError::NotElf);
}

TEST(VdsoBadInput, OfAnotherKind) {
  const std::map<const char*, std::function<void(Elf64_Ehdr&)>> changes = {
      {"magic", [](Elf64_Ehdr& header) { header.e_ident[1] = 'e'; }},
      {"class", [](Elf64_Ehdr& header) { header.e_ident[EI_CLASS] = ELFCLASS32; }},
      {"byte order", [](Elf64_Ehdr& header) { header.e_ident[EI_DATA] = ELFDATA2MSB; }},
      {"type", [](Elf64_Ehdr& header) { header.e_type = ET_EXEC; }},
      {"machine", [](Elf64_Ehdr& header) { header.e_machine = EM_AARCH64; }},
      {"program header size", [](Elf64_Ehdr& header) { header.e_phentsize = 32; }},
      {"program headers", [](Elf64_Ehdr& header) { header.e_phnum = 1000; }},
  };
  for (const auto& [what, change] : changes) {
    Machine machine;
    change(machine.header());
    EXPECT_EQ(build(machine.bytes()).error(), VdsoError::NotElf) << what;
    EXPECT_EQ(kernel::vdso_size(machine.bytes()).error(), VdsoError::NotElf) << what;
  }
}

TEST(VdsoBadInput, WithPartsMissing) {
  const auto expect = [](VdsoError error, const std::function<void(Machine&)>& change) {
    Machine machine;
    change(machine);
    const auto built = build(machine.bytes());
    ASSERT_FALSE(built.has_value()) << kernel::describe(error);
    EXPECT_EQ(built.error(), error) << kernel::describe(built.error());
  };
  expect(VdsoError::NoLoadSegment, [](Machine& m) { m.segment(PT_LOAD).p_type = PT_NULL; });
  expect(VdsoError::NoDynamicSegment, [](Machine& m) { m.segment(PT_DYNAMIC).p_type = PT_NULL; });
  expect(VdsoError::NoDynamicSegment, [](Machine& m) { m.forget(DT_SYMTAB); });
  expect(VdsoError::NoDynamicSegment, [](Machine& m) { m.forget(DT_STRTAB); });
  expect(VdsoError::Truncated, [](Machine& m) { m.dynamic(DT_STRSZ).d_un.d_val = 1 << 30; });
  expect(VdsoError::Truncated, [](Machine& m) { m.dynamic(DT_SYMTAB).d_un.d_ptr = UINT64_MAX - 30; });
  expect(VdsoError::Truncated, [](Machine& m) { m.dynamic(DT_HASH).d_un.d_ptr = m.bytes().size() - 4; });
  expect(VdsoError::Truncated, [](Machine& m) { m.dynamic(DT_VERSYM).d_un.d_ptr = m.bytes().size() - 4; });
  expect(VdsoError::Truncated, [](Machine& m) { m.dynamic(DT_VERDEF).d_un.d_ptr = m.bytes().size() - 4; });
  expect(VdsoError::Truncated, [](Machine& m) { m.symbol("time").st_name = 1 << 20; });
  expect(VdsoError::Truncated, [](Machine& m) { m.segment(PT_NOTE).p_filesz = 1 << 20; });
  expect(VdsoError::TooLarge,
         [](Machine& m) { m.at<std::uint32_t>(m.dynamic(DT_HASH).d_un.d_ptr + 4) = 1 << 20; });
  expect(VdsoError::BadSymbol, [](Machine& m) { m.symbol("time").st_value = m.bytes().size(); });
  expect(VdsoError::BadSymbol, [](Machine& m) { m.symbol("time").st_value = UINT64_MAX; });
}

TEST(VdsoBadInput, CutOffAnywhere) {
  const std::vector<std::byte> whole(own_vdso().begin(), own_vdso().end());
  std::size_t refused = 0;
  for (std::size_t size = 0; size < whole.size(); size++) {
    const std::vector<std::byte> cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    refused += build(cut).has_value() ? 0U : 1U;
  }
  // What is behind the code (section headers, say) is not needed.
  EXPECT_GT(refused, whole.size() / 4);
}

TEST(VdsoBadInput, WithRandomBytes) {
  std::mt19937 random(2);
  std::vector<std::byte> out(kernel::kMaxVdsoImageSize);
  int built_count = 0;
  for (int i = 0; i < 20000; i++) {
    Machine machine;
    // The headers and tables, where changes matter.
    for (int changes = 0; changes < 4; changes++) {
      machine.bytes()[random() % 0x800] = static_cast<std::byte>(random());
    }
    const auto built = kernel::build_vdso_image(machine.bytes(), LinearAddress(0x7fff00000000), {}, out);
    if (built.has_value()) {
      built_count++;
      // What comes out is a vDSO all the same.
      const std::span<const std::byte> image = std::span(out).first(built->size);
      ASSERT_EQ(kernel::vdso_size(image), built->size);
      ASSERT_EQ(find_by_gnu_hash(out.data(), kernel::kEnterEnclaveName), out.data() + built->enter);
      ASSERT_TRUE(kernel::MachineVdso::parse(image).has_value());
    } else {
      ASSERT_NE(built.error(), VdsoError::OutputTooSmall);
    }
  }
  EXPECT_GT(built_count, 1000);
}

TEST(VdsoOutput, StaysInsideTheBuffer) {
  constexpr std::byte kCanary{0x3c};
  const std::size_t needed = build(own_vdso())->size;
  for (std::size_t size = 0; size <= needed + 8; size += size < needed - 8 ? 7 : 1) {
    std::vector<std::byte> out(needed + 64, kCanary);
    const auto built =
        kernel::build_vdso_image(own_vdso(), LinearAddress(0x7fff00000000), {}, std::span(out).first(size));
    EXPECT_EQ(built.has_value(), size >= needed) << size;
    if (!built.has_value()) {
      EXPECT_EQ(built.error(), VdsoError::OutputTooSmall);
    }
    EXPECT_TRUE(std::all_of(out.begin() + static_cast<std::ptrdiff_t>(std::min(size, needed)), out.end(),
                            [](std::byte b) { return b == kCanary; }))
        << size;
  }
}

TEST(VdsoOptions, TakeAnotherEnterFunction) {
  // A barebones one: ENCLU, return; the fixup is the return.
  constexpr std::array code = {std::byte{0x0f}, std::byte{0x01}, std::byte{0xd7}, std::byte{0xc3}};
  const kernel::EntryCode entry = {.code = code, .cfi = {}, .enclu = 0, .fixup = 3, .name = "__vdso_sgx_any"};
  std::vector<std::byte> out(kernel::kMaxVdsoImageSize);
  const auto built = kernel::build_vdso_image(own_vdso(), own_vdso_address(), {.entry = entry}, out);
  ASSERT_TRUE(built.has_value());
  EXPECT_EQ(built->enclu, built->enter);
  EXPECT_EQ(built->fixup, built->enter + 3);
  EXPECT_EQ(std::memcmp(out.data() + built->enter, code.data(), code.size()), 0);
  EXPECT_EQ(entry_in({out.begin(), out.begin() + static_cast<std::ptrdiff_t>(built->size)}, "__vdso_sgx_any")
                .st_size,
            code.size());
}

TEST(VdsoOptions, MustMakeSense) {
  const kernel::EntryCode good = kernel::enter_enclave_code();
  const auto result = [](const kernel::EntryCode& entry) {
    std::vector<std::byte> out(kernel::kMaxVdsoImageSize);
    const auto built = kernel::build_vdso_image(own_vdso(), own_vdso_address(), {.entry = entry}, out);
    return built.has_value() ? std::optional<VdsoError>() : built.error();
  };
  EXPECT_EQ(result(good), std::nullopt);
  kernel::EntryCode bad = good;
  bad.code = {};
  EXPECT_EQ(result(bad), VdsoError::BadEntryCode);
  bad = good;
  bad.enclu = static_cast<std::uint32_t>(good.code.size()) - 2;
  EXPECT_EQ(result(bad), VdsoError::BadEntryCode);
  bad = good;
  bad.fixup = static_cast<std::uint32_t>(good.code.size());
  EXPECT_EQ(result(bad), VdsoError::BadEntryCode);
  const std::vector<std::byte> big(kernel::kMaxEntryCodeSize + 1);
  bad = good;
  bad.code = big;
  EXPECT_EQ(result(bad), VdsoError::TooLarge);
}

}  // namespace
}  // namespace enclume::test
