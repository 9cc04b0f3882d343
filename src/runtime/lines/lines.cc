// SPDX-License-Identifier: Apache-2.0
#include "enclume/host/lines.h"

#include <dwarf.h>
#include <elfutils/libdwfl.h>

#include <utility>

namespace enclume {
namespace {

class Lines : public Symbolizer {
 public:
  /// Null module: the file has nothing.
  explicit Lines(const std::string& path) : symbols_(symbols_of(path)), dwfl_(dwfl_begin(&kCallbacks)) {
    if (dwfl_ == nullptr) return;
    module_ = dwfl_report_offline(dwfl_, "", path.c_str(), -1);
    dwfl_report_end(dwfl_, nullptr, nullptr);
    // The bias is what libdwfl has moved the file's addresses by, which begin at 0 as the enclave's do.
    if (module_ != nullptr && dwfl_module_getdwarf(module_, &bias_) == nullptr) module_ = nullptr;
  }
  ~Lines() override { dwfl_end(dwfl_); }
  Lines(const Lines&) = delete;
  Lines& operator=(const Lines&) = delete;

  [[nodiscard]] bool is_there() const { return module_ != nullptr; }
  [[nodiscard]] std::string describe(std::uint64_t offset) const override {
    std::string name = symbols_ == nullptr ? std::string() : symbols_->describe(offset);
    Dwfl_Line* const line = dwfl_module_getsrc(module_, offset + bias_);
    if (line == nullptr) return name;
    int number = 0;
    const char* const file = dwfl_lineinfo(line, nullptr, &number, nullptr, nullptr, nullptr);
    if (file == nullptr) return name;
    return (name.empty() ? "?" : name) + " at " + file + ":" + std::to_string(number);
  }

 private:
  static constexpr Dwfl_Callbacks kCallbacks{.find_elf = dwfl_build_id_find_elf,
                                             .find_debuginfo = dwfl_standard_find_debuginfo,
                                             .section_address = dwfl_offline_section_address,
                                             .debuginfo_path = nullptr};
  std::unique_ptr<Symbolizer> symbols_;
  Dwfl* dwfl_;
  Dwfl_Module* module_ = nullptr;
  Dwarf_Addr bias_ = 0;
};

}  // namespace

std::unique_ptr<Symbolizer> lines_of(const std::string& path) {
  auto lines = std::make_unique<Lines>(path);
  if (!lines->is_there()) return nullptr;
  return lines;
}

}  // namespace enclume
