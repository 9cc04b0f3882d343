// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "engine/cpuid/function_bounds.h"

namespace enclume::engine {
namespace {

// Pointer encodings (LSB 5.0 core, "DWARF Exception Header Encoding").
constexpr std::uint8_t kFormatMask = 0x0f;
constexpr std::uint8_t kFormatAbsolute = 0x00;
constexpr std::uint8_t kFormatUdata2 = 0x02;
constexpr std::uint8_t kFormatUdata4 = 0x03;
constexpr std::uint8_t kFormatUdata8 = 0x04;
constexpr std::uint8_t kFormatSdata2 = 0x0a;
constexpr std::uint8_t kFormatSdata4 = 0x0b;
constexpr std::uint8_t kFormatSdata8 = 0x0c;
constexpr std::uint8_t kHeaderRelativeSdata4 = 0x3b;

// `.eh_frame_hdr`: version, encodings of (frame pointer, count, table), frame pointer, count, table.
struct [[gnu::packed]] FrameHeader {
  std::uint8_t version;
  std::uint8_t frame_encoding;
  std::uint8_t count_encoding;
  std::uint8_t table_encoding;
};
struct TableEntry {
  std::int32_t start;        // of the function, from the header's address
  std::int32_t description;  // of the frame description, from the header's address
};

// Bytes of a pointer in this format, 0 if it has no fixed size.
unsigned encoded_size(std::uint8_t encoding) noexcept {
  switch (encoding & kFormatMask) {
    case kFormatUdata2:
    case kFormatSdata2:
      return 2;
    case kFormatUdata4:
    case kFormatSdata4:
      return 4;
    case kFormatAbsolute:
    case kFormatUdata8:
    case kFormatSdata8:
      return 8;
    default:
      return 0;
  }
}

// Reads forward through a description; a read outside the object spoils everything that follows.
class Reader {
 public:
  Reader(const ObjectImage& image, std::uint64_t at) noexcept : image_(image), at_(at) {}

  [[nodiscard]] std::uint64_t at() const noexcept { return at_; }
  [[nodiscard]] bool good() const noexcept { return good_; }

  template <typename T>
  T take() noexcept {
    const auto value = image_.read<T>(at_);
    good_ = good_ && value.has_value();
    at_ += sizeof(T);
    return good_ ? *value : T{};
  }

  std::uint64_t take_uleb128() noexcept {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const auto byte = take<std::uint8_t>();
      value |= std::uint64_t{byte & 0x7fu} << shift;
      if ((byte & 0x80) == 0) {
        return value;
      }
    }
    good_ = false;
    return 0;
  }

  std::uint64_t take_unsigned(unsigned size) noexcept {
    switch (size) {
      case 2:
        return take<std::uint16_t>();
      case 4:
        return take<std::uint32_t>();
      default:
        return take<std::uint64_t>();
    }
  }

  void skip(std::uint64_t size) noexcept { at_ += size; }

 private:
  const ObjectImage& image_;
  std::uint64_t at_;
  bool good_ = true;
};

// The length field: 32 bits, or an escape and 64. False at the terminator.
bool take_length(Reader& reader) noexcept {
  const auto length = reader.take<std::uint32_t>();
  if (length == 0xffff'ffff) {
    reader.take<std::uint64_t>();
  }
  return reader.good() && length != 0;
}

// How a common information entry says that its descriptions write pointers.
std::optional<std::uint8_t> pointer_encoding(const ObjectImage& image, std::uint64_t cie) noexcept {
  Reader reader(image, cie);
  if (!take_length(reader) || reader.take<std::uint32_t>() != 0) {
    return std::nullopt;
  }
  const auto version = reader.take<std::uint8_t>();
  const std::uint64_t augmentation = reader.at();
  while (reader.take<char>() != '\0' && reader.good()) {
  }
  Reader letters(image, augmentation);
  if (letters.take<char>() != 'z') {
    return kFormatAbsolute;
  }
  reader.take_uleb128();  // code alignment
  reader.take_uleb128();  // data alignment
  if (version == 1) {
    reader.take<std::uint8_t>();  // return address register
  } else {
    reader.take_uleb128();
  }
  reader.take_uleb128();  // augmentation's size
  for (char letter = letters.take<char>(); letter != '\0' && reader.good(); letter = letters.take<char>()) {
    switch (letter) {
      case 'R':
        return reader.take<std::uint8_t>();
      case 'L':
        reader.take<std::uint8_t>();
        break;
      case 'P': {
        const unsigned size = encoded_size(reader.take<std::uint8_t>());
        if (size == 0) {
          return std::nullopt;
        }
        reader.skip(size);
        break;
      }
      case 'S':
      case 'B':
        break;
      default:
        return std::nullopt;
    }
  }
  return reader.good() ? std::optional(kFormatAbsolute) : std::nullopt;
}

// The length of the function that a frame description describes.
std::optional<std::uint64_t> described_size(const ObjectImage& image, std::uint64_t description) noexcept {
  Reader reader(image, description);
  if (!take_length(reader)) {
    return std::nullopt;
  }
  const std::uint64_t cie_field = reader.at();
  const auto cie_distance = reader.take<std::uint32_t>();
  if (!reader.good() || cie_distance == 0) {
    return std::nullopt;
  }
  const auto encoding = pointer_encoding(image, cie_field - cie_distance);
  const unsigned size = encoding ? encoded_size(*encoding) : 0;
  if (size == 0) {
    return std::nullopt;
  }
  reader.skip(size);  // the start, which the table has told
  const std::uint64_t length = reader.take_unsigned(size);
  return reader.good() ? std::optional(length) : std::nullopt;
}

}  // namespace

FrameIndex::FrameIndex(const ObjectImage& image) noexcept : image_(image) {
  for (const Elf64_Phdr& segment : image.headers()) {
    if (segment.p_type != PT_GNU_EH_FRAME) {
      continue;
    }
    Reader reader(image, image.load_bias() + segment.p_vaddr);
    const auto header = reader.take<FrameHeader>();
    const unsigned frame_size = encoded_size(header.frame_encoding);
    if (!reader.good() || header.version != 1 || frame_size == 0 ||
        encoded_size(header.count_encoding) != 4 || header.table_encoding != kHeaderRelativeSdata4) {
      return;  // every linker writes it like this; without the table there are the symbols
    }
    reader.skip(frame_size);
    const auto count = reader.take<std::uint32_t>();
    if (reader.good() && image.readable(reader.at(), std::uint64_t{count} * sizeof(TableEntry))) {
      header_ = image.load_bias() + segment.p_vaddr;
      table_ = reader.at();
      count_ = count;
    }
    return;
  }
}

std::optional<CodeRange> FrameIndex::function_around(std::uint64_t address) const noexcept {
  const auto entry = [this](std::uint32_t i) {
    return *image_.read<TableEntry>(table_ + i * sizeof(TableEntry));
  };
  const auto start = [&](std::uint32_t i) { return header_ + static_cast<std::uint64_t>(entry(i).start); };
  if (count_ == 0 || start(0) > address) {
    return std::nullopt;
  }
  std::uint32_t low = 0;  // starts at or below the address
  std::uint32_t high = count_;
  while (high - low > 1) {
    const std::uint32_t middle = low + (high - low) / 2;
    (start(middle) <= address ? low : high) = middle;
  }
  const auto size = described_size(image_, header_ + static_cast<std::uint64_t>(entry(low).description));
  if (!size || address - start(low) >= *size) {
    return std::nullopt;
  }
  return CodeRange{start(low), start(low) + *size};
}

namespace {

constexpr std::uint8_t kRelativeMask = 0x70;
constexpr std::uint8_t kRelativeToItself = 0x10;

// A pointer of a frame description; nothing if it is of a kind that only a linker without need would choose.
std::optional<std::uint64_t> take_pointer(Reader& reader, std::uint8_t encoding) noexcept {
  const std::uint64_t place = reader.at();
  std::uint64_t value = reader.take_unsigned(encoded_size(encoding));
  switch (encoding & kFormatMask) {
    case kFormatSdata2:
      value = static_cast<std::uint64_t>(static_cast<std::int16_t>(value));
      break;
    case kFormatSdata4:
      value = static_cast<std::uint64_t>(static_cast<std::int32_t>(value));
      break;
    default:
      break;
  }
  const std::uint8_t relative = encoding & kRelativeMask;
  if (!reader.good() || (relative != 0 && relative != kRelativeToItself)) {
    return std::nullopt;
  }
  return relative == kRelativeToItself ? value + place : value;
}

}  // namespace

FrameDescriptions::FrameDescriptions(const ObjectImage& image) noexcept {
  const auto section = frame_section_of(image);
  if (!section) {
    return;
  }
  std::uint64_t known_cie = 0;
  std::optional<std::uint8_t> encoding;
  for (std::uint64_t at = section->begin; at + sizeof(std::uint32_t) < section->end;) {
    Reader reader(image, at);
    std::uint64_t length = reader.take<std::uint32_t>();
    if (length == 0xffff'ffff) {
      length = reader.take<std::uint64_t>();
    }
    const std::uint64_t body = reader.at();
    if (!reader.good() || length > section->end - body) {
      return;
    }
    at = body + length;
    const auto cie_distance = length != 0 ? reader.take<std::uint32_t>() : 0;
    if (cie_distance == 0) {
      continue;  // a common information entry, or one file's terminator
    }
    if (const std::uint64_t cie = body - cie_distance; cie != known_cie) {
      known_cie = cie;
      encoding = pointer_encoding(image, cie);
    }
    if (!encoding || encoded_size(*encoding) == 0) {
      continue;
    }
    const auto start = take_pointer(reader, *encoding);
    const std::uint64_t size = reader.take_unsigned(encoded_size(*encoding));
    if (start && reader.good() && !functions_.push_back({*start, *start + size})) {
      return;
    }
  }
  std::ranges::sort(functions_.view(), {}, &CodeRange::begin);
}

std::optional<CodeRange> FrameDescriptions::function_around(std::uint64_t address) const noexcept {
  const auto functions = functions_.view();
  const auto behind = std::ranges::upper_bound(functions, address, {}, &CodeRange::begin);
  if (behind == functions.begin() || !behind[-1].contains(address)) {
    return std::nullopt;
  }
  return behind[-1];
}

}  // namespace enclume::engine
