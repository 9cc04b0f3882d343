// SPDX-License-Identifier: Apache-2.0
#include "trace/fields.h"

namespace enclume::trace {

void put_name(LineBuffer& line, std::string_view name, std::uint64_t value) {
  if (name.empty()) {
    line.dec(value);
  } else {
    line.text(name);
  }
}

void put_result(LineBuffer& line, const SysResult<long>& result, Number how) {
  if (!result) {
    const int error = static_cast<int>(result.error());
    line.text("-1 ");
    if (const std::string_view name = errno_name(error); !name.empty()) {
      line.text(name);
    } else {
      line.text("errno ").dec(error);
    }
  } else if (how == Number::Address) {
    line.hex(static_cast<std::uint64_t>(*result));
  } else {
    line.dec(static_cast<std::int64_t>(*result));
  }
}

void put_exception(LineBuffer& line, const Exception& e) {
  if (const std::string_view name = vector_name(e.vector); !name.empty()) {
    line.text(name);
  } else {
    line.text("vector ").dec(static_cast<unsigned>(e.vector));
  }
  if (has_error_code(e.vector)) {
    line.text("(").hex(e.error_code).text(")");
  }
}

void put_exitinfo(LineBuffer& line, std::uint32_t exitinfo) {
  // SDM Vol. 3D, "EXITINFO": VECTOR 7:0, EXIT_TYPE 10:8 (3 hardware, 6 software), VALID 31.
  if (exitinfo >> 31 == 0) {
    line.text("none");
    return;
  }
  put_name(line, vector_name(exitinfo & 0xff), exitinfo & 0xff);
  const std::uint32_t type = exitinfo >> 8 & 7;
  line.text(type == 3 ? " hardware" : type == 6 ? " software" : " unknown type");
}

void put_leaf(LineBuffer& line, std::uint32_t leaf) {
  if (const std::string_view name = leaf_names(leaf).leaf; !name.empty()) {
    line.text(name);
  } else {
    line.hex(leaf);
  }
}

void put_receiver(LineBuffer& line, const Receiver& receiver) {
  switch (receiver.who) {
    case Receiver::Who::Function:
      line.text("function returns");
      break;
    case Receiver::Who::Handler:
      line.text("user handler ").hex(receiver.address);
      break;
    case Receiver::Who::Signal:
      line.text("signal handler ").hex(receiver.address);
      break;
    case Receiver::Who::Default:
      line.text("nobody, default action");
      break;
    case Receiver::Who::Blocked:
      line.text("nobody, blocked: default action");
      break;
    case Receiver::Who::Ignored:
      line.text("nobody, ignored: default action");
      break;
  }
}

std::string_view page_fault_end(PageFault::How how) {
  switch (how) {
    case PageFault::How::Added:
      return "page added (EAUG)";
    case PageFault::How::Loaded:
      return "page loaded (ELDU)";
    case PageFault::How::Mapped:
      return "page mapped (first touch)";
    case PageFault::How::Present:
      return "page is there";
  }
  return "?";
}

void put_leaf_code(LineBuffer& line, std::uint64_t code) {
  if (code == 0) {
    line.text("0");
  } else {
    put_name(line, leaf_code_name(code), code);
  }
}

void put_add_flags(LineBuffer& line, std::uint64_t flags) {
  static constexpr Named kMeasure[] = {{1, "MEASURE"}};
  put_flags(line, flags, kMeasure, "0");
}

void put_permissions(LineBuffer& line, std::uint64_t permissions) {
  static constexpr Named kPermissions[] = {{1, "R"}, {2, "W"}, {4, "X"}};
  put_flags(line, permissions, kPermissions, "0");
}

void put_hash(LineBuffer& line, const std::array<std::uint8_t, 32>& hash) {
  for (const std::uint8_t byte : hash) {
    for (const int digit : {byte >> 4, byte & 0xf}) {
      line.text({&"0123456789abcdef"[digit], 1});
    }
  }
}

void put_bytes(LineBuffer& line, std::span<const std::byte> bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const auto byte = std::to_integer<unsigned>(bytes[i]);
    line.text(i == 0 ? "" : " ").text(kDigits.substr(byte >> 4, 1)).text(kDigits.substr(byte & 15, 1));
  }
}

}  // namespace enclume::trace
