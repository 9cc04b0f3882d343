// SPDX-License-Identifier: Apache-2.0
#include "kernel/vdso/image.h"

#include <elf.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "kernel/vdso/eh_frame.h"
#include "kernel/vdso/elf_bytes.h"
#include "kernel/vdso/notes.h"
#include "kernel/vdso/symbol_set.h"

namespace enclume::kernel {
namespace {

using std::string_view_literals::operator""sv;
using Failure = std::unexpected<VdsoError>;

constexpr std::size_t kMaxCfiSize = 2 * 1024;
constexpr std::size_t kMaxNoteBytes = 4 * 1024;
constexpr std::size_t kEntryAlignment = 64;
constexpr std::size_t kStubAlignment = 16;
constexpr std::byte kInt3{0xcc};

/// endbr64; jmp *slot(%rip). No register and no stack is touched.
constexpr std::array<std::uint8_t, 6> kStubHead = {0xf3, 0x0f, 0x1e, 0xfa, 0xff, 0x25};
constexpr std::size_t kStubSize = kStubHead.size() + sizeof(std::int32_t);

/// SYSCALL, NOP, RET. (At a RET gdb believes RSP, whatever the call frame information says.)
constexpr std::array<std::uint8_t, 4> kGate = {0x0f, 0x05, 0x90, 0xc3};
static_assert(kGate.size() == kVdsoGateSize);

/// One place in the image that leads to the machine's vDSO; aliases share it.
struct Stub {
  std::uint64_t machine_offset = 0;
  std::size_t code = 0;
};

/// A section header but for what follows from its content; it is part of the image unless `flags` is 0.
struct SectionKind {
  std::string_view name;
  std::uint32_t type;
  std::uint64_t alignment = 8;
  std::uint64_t flags = SHF_ALLOC;
  std::uint32_t link = 0;
  std::uint32_t info = 0;
  std::uint64_t entry_size = 0;
};

class ImageBuilder {
 public:
  ImageBuilder(const MachineVdso& machine, LinearAddress machine_address, const VdsoOptions& options,
               std::span<std::byte> out) noexcept
      : machine_(machine),
        machine_address_(machine_address),
        entry_(options.entry),
        direct_entry_(options.direct_entry),
        entry_elsewhere_(options.entry_elsewhere),
        gate_cfi_(options.gate_cfi),
        out_(out) {}

  [[nodiscard]] std::expected<VdsoImage, VdsoError> build() noexcept;

 private:
  [[nodiscard]] bool movable() noexcept;

  static constexpr std::size_t kMaxSections = 13 + kMaxVdsoNotes;
  static constexpr std::size_t kMaxSegments = 4 + kMaxVdsoNotes;
  static_assert(sizeof(Elf64_Ehdr) + kMaxSegments * sizeof(Elf64_Phdr) <= kVdsoEntryOffset);
  static_assert(kVdsoEntryOffset % kEntryAlignment == 0);

  /// Whether the image has the entry function in it.
  [[nodiscard]] bool holds_entry() const noexcept { return entry_ && entry_elsewhere_.value() == 0; }

  [[nodiscard]] std::size_t segment_count() const noexcept { return 4 + machine_.notes().size(); }
  [[nodiscard]] std::span<FrameFunction> functions() noexcept {
    return std::span(functions_).first(first_stub_ + stub_count_ + (gate_cfi_.empty() ? 0 : 1));
  }

  /// Adds a section whose content `write` appends. Returns its index.
  template <typename Write>
  std::uint32_t section(const SectionKind& kind, Write&& write) noexcept {
    out_.align(kind.alignment);
    const std::size_t start = out_.place();
    write();
    Elf64_Shdr& header = sections_[section_count_];
    header.sh_type = kind.type;
    header.sh_flags = kind.flags;
    header.sh_addr = kind.flags != 0 ? start : 0;
    header.sh_offset = start;
    header.sh_size = out_.place() - start;
    header.sh_link = kind.link;
    header.sh_info = kind.info;
    header.sh_addralign = kind.alignment;
    header.sh_entsize = kind.entry_size;
    section_names_[section_count_] = kind.name;
    return section_count_++;
  }

  void write_notes() noexcept;
  void choose_stubs() noexcept;
  void pad_code() noexcept;
  void write_code() noexcept;
  void jump_through_slot(std::size_t at) noexcept;
  void write_slots() noexcept;
  void place_functions() noexcept;
  void write_symbol_tables() noexcept;
  void write_frames() noexcept;
  void write_dynamic() noexcept;
  void write_section_headers() noexcept;
  void write_headers(std::size_t size) noexcept;

  [[nodiscard]] const Elf64_Shdr& header_of(std::uint32_t section) const noexcept {
    return sections_[section];
  }

  const MachineVdso& machine_;
  LinearAddress machine_address_;
  const std::optional<EntryCode>& entry_;
  const LinearAddress direct_entry_;
  const LinearAddress entry_elsewhere_;
  const std::span<const std::byte> gate_cfi_;
  std::size_t direct_slot_ = 0;
  std::size_t slots_ = 0;
  ByteWriter out_;
  SymbolSet symbols_;

  std::array<Elf64_Shdr, kMaxSections> sections_ = {};
  std::array<std::string_view, kMaxSections> section_names_ = {};
  std::uint32_t section_count_ = 1;  // the null section

  std::uint32_t first_note_ = 0;
  std::uint32_t text_ = 0;
  std::uint32_t dynstr_ = 0;
  std::uint32_t dynsym_ = 0;
  std::uint32_t versym_ = 0;
  std::uint32_t verdef_ = 0;
  std::uint32_t hash_ = 0;
  std::uint32_t gnu_hash_ = 0;
  std::uint32_t eh_frame_hdr_ = 0;
  std::uint32_t dynamic_ = 0;
  std::uint32_t shstrtab_ = 0;
  std::size_t section_headers_ = 0;

  std::array<Stub, kMaxVdsoSymbols> stubs_ = {};
  std::size_t stub_count_ = 0;
  std::array<FrameFunction, kMaxVdsoSymbols + 2> functions_ = {};  // the entry function, the stubs, the gate
  std::size_t first_stub_ = 0;                                     // among them
};

std::expected<VdsoImage, VdsoError> ImageBuilder::build() noexcept {
  first_stub_ = holds_entry() ? 1 : 0;
  if (const auto done =
          symbols_.collect(machine_, machine_address_, entry_ ? std::optional(entry_->name) : std::nullopt);
      !done) {
    return Failure(done.error());
  }
  out_.zeros(sizeof(Elf64_Ehdr) + segment_count() * sizeof(Elf64_Phdr));
  out_.align(kVdsoEntryOffset);
  choose_stubs();
  write_code();
  write_notes();
  write_slots();
  place_functions();
  write_symbol_tables();
  write_frames();
  write_dynamic();
  write_section_headers();
  out_.align(kPageSize);
  const std::size_t size = out_.place();
  write_headers(size);
  if (out_.overflowed()) {
    return Failure(VdsoError::OutputTooSmall);
  }
  const std::size_t gate = gate_cfi_.empty() ? 0 : functions().back().code;
  if (!holds_entry()) {
    return VdsoImage{
        .size = size, .slots = slots_, .slot_count = stub_count_, .movable = movable(), .gate = gate};
  }
  const std::size_t enter = functions_[0].code;
  return VdsoImage{.size = size,
                   .enter = enter,
                   .enclu = enter + entry_->enclu,
                   .direct_slot = direct_slot_,
                   .fixup = enter + entry_->fixup,
                   .slots = slots_,
                   .slot_count = stub_count_,
                   .movable = movable(),
                   .gate = gate};
}

bool ImageBuilder::movable() noexcept {
  return entry_elsewhere_.value() == 0 && std::ranges::none_of(symbols_.symbols(), &ImageSymbol::placed_data);
}

void ImageBuilder::write_notes() noexcept {
  first_note_ = section_count_;
  for (const VdsoNotes& notes : machine_.notes()) {
    section({.name = ".note"sv, .type = SHT_NOTE, .alignment = notes.alignment}, [&] {
      const std::size_t start = out_.place();
      out_.bytes(notes.bytes);
      rename_build(out_, start, notes, entry_ ? entry_->code : std::span<const std::byte>());
    });
  }
}

void ImageBuilder::choose_stubs() noexcept {
  for (const ImageSymbol& symbol : symbols_.symbols()) {
    const auto known = std::span(stubs_).first(stub_count_);
    if (symbol.machine_offset.has_value() && std::none_of(known.begin(), known.end(), [&](const Stub& stub) {
          return stub.machine_offset == *symbol.machine_offset;
        })) {
      stubs_[stub_count_++].machine_offset = *symbol.machine_offset;
    }
  }
}

void ImageBuilder::pad_code() noexcept {
  while (!out_.overflowed() && out_.place() % kStubAlignment != 0) {
    out_.put(kInt3);
  }
}

void ImageBuilder::write_code() noexcept {
  const SectionKind kind = {.name = ".text"sv,
                            .type = SHT_PROGBITS,
                            .alignment = kEntryAlignment,
                            .flags = SHF_ALLOC | SHF_EXECINSTR};
  text_ = section(kind, [&] {
    if (holds_entry()) {
      functions_[0] = {.code = out_.place(), .size = entry_->code.size(), .cfi = entry_->cfi};
      out_.bytes(entry_->code);
      pad_code();
    }
    for (std::size_t i = 0; i < stub_count_; i++) {
      stubs_[i].code = out_.place();
      functions_[first_stub_ + i] = {.code = out_.place(), .size = kStubSize, .cfi = {}};
      out_.put(kStubHead);
      out_.put(std::int32_t{0});  // write_slots() knows it
      pad_code();
    }
    if (!gate_cfi_.empty()) {
      functions().back() = {.code = out_.place(), .size = kGate.size(), .cfi = gate_cfi_, .interrupts = true};
      out_.put(kGate);
      pad_code();
    }
  });
}

/// Where a NOP of the same length is, JMP through the slot that comes next.
void ImageBuilder::jump_through_slot(std::size_t at) noexcept {
  constexpr std::uint16_t kJumpThroughRipRelative = 0x25ff;
  const std::size_t end = at + sizeof(kJumpThroughRipRelative) + sizeof(std::int32_t);
  out_.patch(at, kJumpThroughRipRelative);
  out_.patch(at + sizeof(kJumpThroughRipRelative), static_cast<std::int32_t>(out_.place() - end));
}

void ImageBuilder::write_slots() noexcept {
  section({.name = ".rodata"sv, .type = SHT_PROGBITS}, [&] {
    if (holds_entry() && entry_->direct != 0 && direct_entry_.value() != 0) {
      direct_slot_ = out_.place();
      jump_through_slot(functions_[0].code + entry_->direct);
      out_.put(direct_entry_.value());
    }
    slots_ = out_.place();
    for (const Stub& stub : std::span(stubs_).first(stub_count_)) {
      // The displacement counts from the end of the jump.
      const std::size_t end = stub.code + kStubSize;
      out_.patch(end - sizeof(std::int32_t), static_cast<std::int32_t>(out_.place() - end));
      out_.put((machine_address_ + stub.machine_offset).value());
    }
  });
}

void ImageBuilder::place_functions() noexcept {
  const auto place = [&](ImageSymbol& symbol, const FrameFunction& function) {
    symbol.entry.st_value = function.code;
    symbol.entry.st_size = function.size;
    symbol.entry.st_shndx = static_cast<std::uint16_t>(text_);
  };
  for (ImageSymbol& symbol : symbols_.symbols()) {
    if (entry_ && symbol.name == entry_->name) {
      if (holds_entry()) {
        place(symbol, functions_[0]);
      } else {
        symbol.entry.st_shndx = SHN_ABS;
        symbol.entry.st_value = entry_elsewhere_.value();
        symbol.entry.st_size = entry_->code.size();
      }
      continue;
    }
    for (std::size_t i = 0; i < stub_count_; i++) {
      if (symbol.machine_offset == stubs_[i].machine_offset) {
        place(symbol, functions_[first_stub_ + i]);
      }
    }
  }
}

void ImageBuilder::write_symbol_tables() noexcept {
  dynstr_ = section({.name = ".dynstr"sv, .type = SHT_STRTAB, .alignment = 1},
                    [&] { symbols_.write_strings(out_); });
  dynsym_ = section({.name = ".dynsym"sv,
                     .type = SHT_DYNSYM,
                     .link = dynstr_,
                     .info = 1,  // the first symbol that is not local
                     .entry_size = sizeof(Elf64_Sym)},
                    [&] { symbols_.write_symbols(out_); });
  versym_ = section({.name = ".gnu.version"sv,
                     .type = SHT_GNU_versym,
                     .alignment = 2,
                     .link = dynsym_,
                     .entry_size = sizeof(Elf64_Versym)},
                    [&] { symbols_.write_symbol_versions(out_); });
  const auto version_count = static_cast<std::uint32_t>(symbols_.versions().size());
  verdef_ =
      section({.name = ".gnu.version_d"sv, .type = SHT_GNU_verdef, .link = dynstr_, .info = version_count},
              [&] { symbols_.write_versions(out_); });
  hash_ = section({.name = ".hash"sv, .type = SHT_HASH, .link = dynsym_, .entry_size = sizeof(Elf64_Word)},
                  [&] { symbols_.write_hash(out_); });
  gnu_hash_ = section({.name = ".gnu.hash"sv, .type = SHT_GNU_HASH, .link = dynsym_},
                      [&] { symbols_.write_gnu_hash(out_); });
}

void ImageBuilder::write_frames() noexcept {
  const std::uint32_t eh_frame =
      section({.name = ".eh_frame"sv, .type = SHT_PROGBITS}, [&] { write_eh_frame(out_, functions()); });
  eh_frame_hdr_ = section({.name = ".eh_frame_hdr"sv, .type = SHT_PROGBITS, .alignment = 4},
                          [&] { write_eh_frame_hdr(out_, header_of(eh_frame).sh_offset, functions()); });
}

void ImageBuilder::write_dynamic() noexcept {
  const SectionKind kind = {
      .name = ".dynamic"sv, .type = SHT_DYNAMIC, .link = dynstr_, .entry_size = sizeof(Elf64_Dyn)};
  dynamic_ = section(kind, [&] {
    const auto put = [&](Elf64_Sxword tag, Elf64_Xword value) {
      out_.put(Elf64_Dyn{.d_tag = tag, .d_un = {.d_val = value}});
    };
    put(DT_SONAME, symbols_.soname_offset());
    put(DT_HASH, header_of(hash_).sh_addr);
    put(DT_GNU_HASH, header_of(gnu_hash_).sh_addr);
    put(DT_STRTAB, header_of(dynstr_).sh_addr);
    put(DT_SYMTAB, header_of(dynsym_).sh_addr);
    put(DT_STRSZ, header_of(dynstr_).sh_size);
    put(DT_SYMENT, sizeof(Elf64_Sym));
    put(DT_VERDEF, header_of(verdef_).sh_addr);
    put(DT_VERDEFNUM, symbols_.versions().size());
    put(DT_VERSYM, header_of(versym_).sh_addr);
    put(DT_NULL, 0);
  });
}

void ImageBuilder::write_section_headers() noexcept {
  // It holds its own name, so it has to know that before it is there.
  section_names_[section_count_] = ".shstrtab"sv;
  shstrtab_ = section({.name = ".shstrtab"sv, .type = SHT_STRTAB, .alignment = 1, .flags = 0}, [&] {
    const std::size_t start = out_.place();
    out_.string({});
    for (std::uint32_t i = 1; i <= section_count_; i++) {
      sections_[i].sh_name = static_cast<std::uint32_t>(out_.place() - start);
      out_.string(section_names_[i]);
    }
  });
  out_.align(alignof(Elf64_Shdr));
  section_headers_ = out_.place();
  out_.bytes(std::as_bytes(std::span(sections_).first(section_count_)));
}

void ImageBuilder::write_headers(std::size_t size) noexcept {
  Elf64_Ehdr header = {};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_ident[EI_VERSION] = EV_CURRENT;
  header.e_type = ET_DYN;
  header.e_machine = EM_X86_64;
  header.e_version = EV_CURRENT;
  header.e_phoff = sizeof header;
  header.e_shoff = section_headers_;
  header.e_ehsize = sizeof header;
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = static_cast<std::uint16_t>(segment_count());
  header.e_shentsize = sizeof(Elf64_Shdr);
  header.e_shnum = static_cast<std::uint16_t>(section_count_);
  header.e_shstrndx = static_cast<std::uint16_t>(shstrtab_);
  out_.patch(0, header);

  std::size_t place = sizeof header;
  const auto segment = [&](std::uint32_t type, std::uint32_t flags, std::size_t offset, std::size_t bytes,
                           std::size_t alignment) {
    out_.patch(place, Elf64_Phdr{.p_type = type,
                                 .p_flags = flags,
                                 .p_offset = offset,
                                 .p_vaddr = offset,
                                 .p_paddr = offset,
                                 .p_filesz = bytes,
                                 .p_memsz = bytes,
                                 .p_align = alignment});
    place += sizeof(Elf64_Phdr);
  };
  const auto segment_of = [&](std::uint32_t type, std::uint32_t section) {
    const Elf64_Shdr& content = header_of(section);
    segment(type, PF_R, content.sh_offset, content.sh_size, content.sh_addralign);
  };
  // All of the file is mapped, what only section headers lead to as well: some runtimes walk them.
  segment(PT_LOAD, PF_R | PF_X, 0, size, kPageSize);
  segment_of(PT_DYNAMIC, dynamic_);
  for (std::uint32_t i = 0; i < machine_.notes().size(); i++) {
    segment_of(PT_NOTE, first_note_ + i);
  }
  segment_of(PT_GNU_EH_FRAME, eh_frame_hdr_);
  // The kernel's own has none, but ld.so, which maps ours, would take that for a wish for executable stacks.
  segment(PT_GNU_STACK, machine_.stack_flags().value_or(PF_R | PF_W), 0, 0, 16);
}

std::expected<void, VdsoError> check_entry(const EntryCode& entry) {
  constexpr std::size_t kEncluSize = 3;
  if (entry.code.size() < kEncluSize || entry.enclu > entry.code.size() - kEncluSize ||
      entry.fixup >= entry.code.size()) {
    return Failure(VdsoError::BadEntryCode);
  }
  if (entry.code.size() > kMaxEntryCodeSize || entry.cfi.size() > kMaxCfiSize) {
    return Failure(VdsoError::TooLarge);
  }
  return {};
}

std::expected<void, VdsoError> check_notes(const MachineVdso& machine) {
  std::size_t note_bytes = 0;
  for (const VdsoNotes& notes : machine.notes()) {
    note_bytes += notes.bytes.size();
  }
  return note_bytes <= kMaxNoteBytes ? std::expected<void, VdsoError>() : Failure(VdsoError::TooLarge);
}

}  // namespace

std::expected<VdsoImage, VdsoError> build_vdso_image(std::span<const std::byte> machine_vdso,
                                                     LinearAddress machine_address,
                                                     const VdsoOptions& options,
                                                     std::span<std::byte> out) noexcept {
  const auto machine = MachineVdso::parse(machine_vdso);
  if (!machine) {
    return Failure(machine.error());
  }
  if (options.entry) {
    if (const auto checked = check_entry(*options.entry); !checked) {
      return Failure(checked.error());
    }
  }
  if (const auto checked = check_notes(*machine); !checked) {
    return Failure(checked.error());
  }
  return ImageBuilder(*machine, machine_address, options, out).build();
}

void move_vdso_image(const VdsoImage& image, std::uint64_t distance, LinearAddress direct_entry,
                     std::span<std::byte> bytes) noexcept {
  const auto change = [&](std::size_t at, auto&& next) {
    std::uint64_t value = 0;
    if (at <= bytes.size() && bytes.size() - at >= sizeof(value)) {
      std::memcpy(&value, bytes.data() + at, sizeof(value));
      value = next(value);
      std::memcpy(bytes.data() + at, &value, sizeof(value));
    }
  };
  if (image.direct_slot != 0) {
    change(image.direct_slot, [&](std::uint64_t) { return direct_entry.value(); });
  }
  for (std::size_t i = 0; i < std::min(image.slot_count, kMaxVdsoSymbols); ++i) {
    change(image.slots + i * sizeof(std::uint64_t), [&](std::uint64_t value) { return value + distance; });
  }
}

}  // namespace enclume::kernel
