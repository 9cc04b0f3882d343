// SPDX-License-Identifier: Apache-2.0
// The image as others read it: libelf and libdw (elfutils), and the machine's own vDSO beside it.
#include <dwarf.h>
#include <elfutils/libdw.h>
#include <fcntl.h>
#include <gelf.h>
#include <gtest/gtest.h>
#include <libelf.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <tuple>

#include "unit/vdso/vdso_images.h"

namespace enclume::test {
namespace {

struct ElfEnd {
  void operator()(Elf* elf) const { elf_end(elf); }
};
using ElfHandle = std::unique_ptr<Elf, ElfEnd>;

/// libelf wants memory that it may write to.
ElfHandle open_elf(std::vector<std::byte>& bytes) {
  elf_version(EV_CURRENT);
  ElfHandle elf(elf_memory(reinterpret_cast<char*>(bytes.data()), bytes.size()));
  EXPECT_NE(elf, nullptr) << elf_errmsg(-1);
  return elf;
}

std::vector<std::byte> own_vdso_bytes() {
  const auto vdso = own_vdso();
  return {vdso.begin(), vdso.end()};
}

Elf_Scn* find_section(Elf* elf, std::uint32_t type, GElf_Shdr& header, const char* name = nullptr) {
  std::size_t names = 0;
  EXPECT_EQ(elf_getshdrstrndx(elf, &names), 0);
  for (Elf_Scn* section = elf_nextscn(elf, nullptr); section != nullptr;
       section = elf_nextscn(elf, section)) {
    EXPECT_NE(gelf_getshdr(section, &header), nullptr);
    const char* its_name = elf_strptr(elf, names, header.sh_name);
    EXPECT_NE(its_name, nullptr);
    if (header.sh_type == type && (name == nullptr || std::strcmp(its_name, name) == 0)) {
      return section;
    }
  }
  return nullptr;
}

std::map<unsigned, std::string> versions_of(Elf* elf) {
  std::map<unsigned, std::string> versions;
  GElf_Shdr header;
  Elf_Scn* section = find_section(elf, SHT_GNU_verdef, header);
  EXPECT_NE(section, nullptr);
  Elf_Data* data = elf_getdata(section, nullptr);
  int offset = 0;
  for (unsigned i = 0; i < header.sh_info; i++) {
    GElf_Verdef definition;
    GElf_Verdaux name;
    EXPECT_NE(gelf_getverdef(data, offset, &definition), nullptr);
    EXPECT_NE(gelf_getverdaux(data, offset + static_cast<int>(definition.vd_aux), &name), nullptr);
    const char* text = elf_strptr(elf, header.sh_link, name.vda_name);
    EXPECT_EQ(definition.vd_hash, elf_hash(text));
    versions[definition.vd_ndx] = text;
    offset += static_cast<int>(definition.vd_next);
  }
  return versions;
}

struct Symbol {
  unsigned char info;
  unsigned char other;
  bool absolute;
  std::string version;
  std::uint64_t value;
  auto operator<=>(const Symbol&) const = default;
};

std::multimap<std::string, Symbol> symbols_of(Elf* elf) {
  std::multimap<std::string, Symbol> symbols;
  const auto versions = versions_of(elf);
  GElf_Shdr header;
  GElf_Shdr versions_header;
  Elf_Scn* section = find_section(elf, SHT_DYNSYM, header);
  Elf_Scn* versym = find_section(elf, SHT_GNU_versym, versions_header);
  EXPECT_TRUE(section != nullptr && versym != nullptr);
  Elf_Data* data = elf_getdata(section, nullptr);
  Elf_Data* version_data = elf_getdata(versym, nullptr);
  for (int i = 1; i < static_cast<int>(header.sh_size / header.sh_entsize); i++) {
    GElf_Sym symbol;
    GElf_Versym version = 0;
    EXPECT_NE(gelf_getsymshndx(data, nullptr, i, &symbol, nullptr), nullptr);
    EXPECT_NE(gelf_getversym(version_data, i, &version), nullptr);
    symbols.emplace(elf_strptr(elf, header.sh_link, symbol.st_name),
                    Symbol{symbol.st_info, symbol.st_other, symbol.st_shndx == SHN_ABS, versions.at(version),
                           symbol.st_value});
  }
  return symbols;
}

TEST(VdsoImageAsElf, CarriesEverySymbolOfTheMachine) {
  std::vector<std::byte> machine_bytes = own_vdso_bytes();
  BuiltImage image = build_image();
  const ElfHandle machine = open_elf(machine_bytes);
  const ElfHandle ours = open_elf(image.bytes);
  const auto theirs = symbols_of(machine.get());
  auto rest = symbols_of(ours.get());
  ASSERT_FALSE(theirs.empty());
  std::map<std::uint64_t, std::uint64_t> places;
  for (const auto& [name, symbol] : theirs) {
    if (name == kernel::kEnterEnclaveName) {
      continue;
    }
    const auto match = rest.find(name);
    ASSERT_NE(match, rest.end()) << name;
    EXPECT_EQ(match->second.info, symbol.info) << name;
    EXPECT_EQ(match->second.other, symbol.other) << name;
    EXPECT_EQ(match->second.absolute, symbol.absolute) << name;
    EXPECT_EQ(match->second.version, symbol.version) << name;
    if (symbol.absolute) {
      EXPECT_EQ(match->second.value, symbol.value) << name;
    } else {
      // Aliases stay aliases.
      EXPECT_EQ(places.emplace(symbol.value, match->second.value).first->second, match->second.value) << name;
    }
    rest.erase(match);
  }
  ASSERT_EQ(rest.size(), 1U);
  EXPECT_EQ(rest.begin()->first, "__vdso_sgx_enter_enclave");
  EXPECT_EQ(rest.begin()->second, (Symbol{GELF_ST_INFO(STB_GLOBAL, STT_FUNC), STV_DEFAULT, false, "LINUX_2.6",
                                          image.layout.enter}));
}

TEST(VdsoImageAsElf, HasTheSegmentsOfAVdso) {
  BuiltImage image = build_image();
  const ElfHandle elf = open_elf(image.bytes);
  GElf_Ehdr header;
  ASSERT_NE(gelf_getehdr(elf.get(), &header), nullptr);
  EXPECT_EQ(header.e_type, ET_DYN);
  EXPECT_EQ(header.e_machine, EM_X86_64);

  std::multiset<std::uint32_t> types;
  for (int i = 0; i < header.e_phnum; i++) {
    GElf_Phdr segment;
    ASSERT_NE(gelf_getphdr(elf.get(), i, &segment), nullptr);
    types.insert(segment.p_type);
    EXPECT_EQ(segment.p_vaddr, segment.p_offset);
    EXPECT_EQ(segment.p_memsz, segment.p_filesz);
    EXPECT_LE(segment.p_offset + segment.p_filesz, image.bytes.size());
    EXPECT_EQ(segment.p_type != PT_GNU_STACK ? segment.p_flags & PF_W : 0U, 0U) << "type " << segment.p_type;
    if (segment.p_type == PT_LOAD) {
      EXPECT_EQ(segment.p_offset, 0U);
      EXPECT_EQ(segment.p_filesz, image.bytes.size());
      EXPECT_EQ(segment.p_align, kPageSize);
      EXPECT_EQ(segment.p_flags, std::uint32_t{PF_R | PF_X});
    } else if (segment.p_type == PT_DYNAMIC) {
      EXPECT_EQ(segment.p_flags, std::uint32_t{PF_R});
    }
  }
  EXPECT_EQ(types.count(PT_LOAD), 1U);
  EXPECT_EQ(types.count(PT_DYNAMIC), 1U);
  EXPECT_EQ(types.count(PT_GNU_EH_FRAME), 1U);

  std::vector<std::byte> machine_bytes = own_vdso_bytes();
  const ElfHandle machine = open_elf(machine_bytes);
  GElf_Ehdr machine_header;
  ASSERT_NE(gelf_getehdr(machine.get(), &machine_header), nullptr);
  std::multiset<std::uint32_t> machine_types;
  for (int i = 0; i < machine_header.e_phnum; i++) {
    GElf_Phdr segment;
    ASSERT_NE(gelf_getphdr(machine.get(), i, &segment), nullptr);
    machine_types.insert(segment.p_type);
  }
  EXPECT_EQ(types.count(PT_NOTE), machine_types.count(PT_NOTE));
  // Not as the machine's: ld.so maps ours, and without this header it would make stacks executable.
  EXPECT_EQ(types.count(PT_GNU_STACK), 1U);

  GElf_Shdr section;
  EXPECT_EQ(find_section(elf.get(), SHT_REL, section), nullptr);
  EXPECT_EQ(find_section(elf.get(), SHT_RELA, section), nullptr);
  for (const auto& [type, name] : {std::pair{SHT_DYNSYM, ".dynsym"},
                                   {SHT_STRTAB, ".dynstr"},
                                   {SHT_STRTAB, ".shstrtab"},
                                   {SHT_PROGBITS, ".text"},
                                   {SHT_PROGBITS, ".eh_frame"},
                                   {SHT_PROGBITS, ".eh_frame_hdr"}}) {
    EXPECT_NE(find_section(elf.get(), static_cast<std::uint32_t>(type), section, name), nullptr) << name;
  }
}

/// Notes by owner and type.
using Notes = std::map<std::pair<std::string, std::uint32_t>, std::string>;

Notes notes_of(Elf* elf) {
  Notes notes;
  GElf_Shdr header;
  Elf_Scn* section = find_section(elf, SHT_NOTE, header);
  EXPECT_NE(section, nullptr);
  Elf_Data* data = elf_getdata(section, nullptr);
  const auto* bytes = static_cast<const char*>(data->d_buf);
  std::size_t offset = 0;
  for (;;) {
    GElf_Nhdr note;
    std::size_t name = 0;
    std::size_t description = 0;
    offset = gelf_getnote(data, offset, &note, &name, &description);
    if (offset == 0) {
      return notes;
    }
    notes[{bytes + name, note.n_type}] = std::string(bytes + description, note.n_descsz);
  }
}

TEST(VdsoImageAsElf, HasTheMachinesNotesButABuildIdOfItsOwn) {
  std::vector<std::byte> machine_bytes = own_vdso_bytes();
  BuiltImage image = build_image();
  BuiltImage again = build_image(own_vdso(), LinearAddress(0x7fff00000000));
  Notes theirs = notes_of(open_elf(machine_bytes).get());
  Notes ours = notes_of(open_elf(image.bytes).get());
  const std::pair<std::string, std::uint32_t> build_id = {"GNU", NT_GNU_BUILD_ID};
  if (theirs.contains(build_id)) {
    EXPECT_EQ(ours.at(build_id).size(), theirs.at(build_id).size());
    EXPECT_NE(ours.at(build_id), theirs.at(build_id));
    EXPECT_EQ(ours.at(build_id), notes_of(open_elf(again.bytes).get()).at(build_id)) << "depends on ASLR";
    ours.erase(build_id);
    theirs.erase(build_id);
  }
  EXPECT_EQ(ours, theirs);
  EXPECT_TRUE(ours.contains({"Linux", 0})) << "the kernel's version";
}

TEST(VdsoImageAsElf, HoldsOneEncluAndItIsWhereTheLayoutSays) {
  for (const BuiltImage& image : {build_image(), build_enclu_image()}) {
    const std::array enclu = {std::byte{0x0f}, std::byte{0x01}, std::byte{0xd7}};
    const auto first = std::search(image.bytes.begin(), image.bytes.end(), enclu.begin(), enclu.end());
    ASSERT_EQ(static_cast<std::size_t>(first - image.bytes.begin()), image.layout.enclu);
    EXPECT_EQ(std::search(first + 1, image.bytes.end(), enclu.begin(), enclu.end()), image.bytes.end());
  }
}

/// One row of call frame information: where it begins, and CFA, RBX, RBP, return address as DWARF
/// expressions.
using Row = std::tuple<std::uint64_t, std::string>;

std::string rule(const Dwarf_Op* ops, std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < count; i++) {
    text += std::to_string(ops[i].atom) + ":" + std::to_string(static_cast<std::int64_t>(ops[i].number)) +
            ":" + std::to_string(static_cast<std::int64_t>(ops[i].number2)) + " ";
  }
  return text;
}

/// The rows of the function at `address` in `elf`'s .eh_frame, offsets from `address`, equal neighbours
/// merged.
std::vector<Row> frame_rows(Elf* elf, std::uint64_t address, std::size_t size) {
  std::vector<Row> rows;
  Dwarf_CFI* cfi = dwarf_getcfi_elf(elf);
  EXPECT_NE(cfi, nullptr) << dwarf_errmsg(-1);
  if (cfi == nullptr) {
    return rows;
  }
  for (std::uint64_t place = address; place < address + size; place++) {
    Dwarf_Frame* frame = nullptr;
    if (dwarf_cfi_addrframe(cfi, place, &frame) != 0) {
      ADD_FAILURE() << "no frame at " << place - address << ": " << dwarf_errmsg(-1);
      break;
    }
    Dwarf_Op* ops = nullptr;
    std::size_t count = 0;
    EXPECT_EQ(dwarf_frame_cfa(frame, &ops, &count), 0);
    std::string text = "cfa " + rule(ops, count);
    for (const int register_number : {3, 6, 16}) {
      Dwarf_Op storage[3];
      EXPECT_EQ(dwarf_frame_register(frame, register_number, storage, &ops, &count), 0);
      text += "r" + std::to_string(register_number) + " ";
      // No rule at all: undefined if the array was not touched, else the caller's value.
      text += count == 0 && ops == storage ? "undefined " : count == 0 ? "same " : rule(ops, count);
    }
    if (rows.empty() || std::get<1>(rows.back()) != text) {
      rows.emplace_back(place - address, text);
    }
    std::free(frame);
  }
  dwarf_cfi_end(cfi);
  return rows;
}

/// The rows of a symbol of the library that has the same sources, assembled with .cfi directives and linked
/// by ld.
std::vector<Row> reference_rows(const char* name, std::size_t size) {
  const int fd = open(ENCLUME_ASSEMBLED_ENTER, O_RDONLY | O_CLOEXEC);
  EXPECT_GE(fd, 0) << ENCLUME_ASSEMBLED_ENTER;
  elf_version(EV_CURRENT);
  const ElfHandle reference(elf_begin(fd, ELF_C_READ, nullptr));
  EXPECT_NE(reference, nullptr);
  GElf_Shdr header;
  Elf_Scn* section = find_section(reference.get(), SHT_SYMTAB, header);
  EXPECT_NE(section, nullptr);
  std::uint64_t address = 0;
  for (int i = 0; i < static_cast<int>(header.sh_size / header.sh_entsize); i++) {
    GElf_Sym symbol;
    EXPECT_NE(gelf_getsym(elf_getdata(section, nullptr), i, &symbol), nullptr);
    if (std::strcmp(elf_strptr(reference.get(), header.sh_link, symbol.st_name), name) == 0) {
      address = symbol.st_value;
    }
  }
  EXPECT_NE(address, 0U) << name;
  std::vector<Row> rows = frame_rows(reference.get(), address, size);
  close(fd);
  return rows;
}

TEST(VdsoImageAsElf, HasTheCallFramesThatTheAssemblerWouldWrite) {
  struct {
    BuiltImage image;
    std::size_t size;
    const char* reference;
    std::size_t rows;
  } images[] = {{build_image(), kernel::enter_enclave_code().code.size(), "assembled_code", 6},
                {build_enclu_image(), kernel::enclu_code().code.size(), "assembled_enclu_code", 1}};
  for (auto& [image, size, reference, least] : images) {
    const ElfHandle elf = open_elf(image.bytes);
    const std::vector<Row> rows = frame_rows(elf.get(), image.layout.enter, size);
    EXPECT_EQ(rows, reference_rows(reference, size));
    EXPECT_GE(rows.size(), least);
  }
}

}  // namespace
}  // namespace enclume::test
