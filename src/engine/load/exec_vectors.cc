// SPDX-License-Identifier: Apache-2.0
#include "engine/load/exec_vectors.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "base/syscall.h"
#include "engine/load/initial_stack.h"

namespace enclume::engine {

namespace {

constexpr std::string_view kPreload = "LD_PRELOAD=";
constexpr std::string_view kSettings = "ENCLUME_SETTINGS=";
constexpr std::size_t kMaxString = 131072;  // MAX_ARG_STRLEN

constexpr std::size_t kNamed = 1024;  // so far into LD_PRELOAD the engine is looked for

/// The pointers of a vector of the program's, read some at a time.
class Pointers {
 public:
  Pointers(const ExecSetup& setup, char* const* vector) : setup_(setup), vector_(vector) {}

  /// The one at an index; nothing if it can't be read. The indices ascend.
  [[nodiscard]] std::optional<char*> at(std::size_t index) {
    if (index - begin_ >= count_) {
      begin_ = index;
      const std::size_t left = setup_.copy(some_.data(), vector_ + index, sizeof(some_));
      count_ = (sizeof(some_) - left) / sizeof(char*);
    }
    return count_ != 0 ? std::optional(some_[index - begin_]) : std::nullopt;
  }

 private:
  const ExecSetup& setup_;
  char* const* vector_;
  std::array<char*, 16> some_{};
  std::size_t begin_ = 0;
  std::size_t count_ = 0;
};

/// The beginning of an entry; enough to tell the variables apart that matter.
class EntryHead {
 public:
  EntryHead(const ExecSetup& setup, const char* entry) {
    left_ = setup.copy(text_.data(), entry, text_.size());
    std::fill(text_.end() - static_cast<std::ptrdiff_t>(left_), text_.end(), '\0');
  }
  [[nodiscard]] bool readable() const { return left_ < text_.size(); }
  [[nodiscard]] bool starts_with(std::string_view prefix) const {
    return std::string_view(text_.data(), text_.size()).starts_with(prefix);
  }
  /// A variable that the dynamic linker reads, of which a static program makes something else or nothing.
  [[nodiscard]] bool is_for_dynamic_linker() const {
    return starts_with("LD_") || starts_with("GLIBC_TUNABLES=");
  }

 private:
  std::array<char, 24> text_{};
  std::size_t left_;
};

/// Whether the list of an LD_PRELOAD entry names a library, wherever. Entries that are longer than what fits
/// here count by their beginning, which is where we put it.
bool names(const ExecSetup& setup, std::string_view library, const char* entry, std::size_t length) {
  std::array<char, kNamed> text;
  const std::size_t size = std::min(length, text.size());
  const std::size_t left = setup.copy(text.data(), entry, size);
  return std::string_view(text.data(), size - left).find(library) != std::string_view::npos;
}

/// Whether the list begins with it.
bool begins_with(const ExecSetup& setup, std::string_view library, const char* entry, std::size_t length) {
  std::array<char, 128> text;
  const std::size_t wanted = kPreload.size() + library.size();
  return wanted <= std::min(length, text.size()) && setup.copy(text.data(), entry, wanted) == 0 &&
         std::string_view(text.data(), wanted).substr(kPreload.size()) == library;
}

std::optional<std::size_t> count_pointers(const ExecSetup& setup, char* const* vector) {
  Pointers pointers(setup, vector);
  for (std::size_t i = 0;; ++i) {
    const auto pointer = vector != nullptr ? pointers.at(i) : nullptr;
    if (!pointer) {
      return std::nullopt;
    }
    if (*pointer == nullptr) {
      return i;
    }
  }
}

std::size_t length_or_zero(const char* string) {
  return string != nullptr ? std::strlen(string) + 1 : 0;
}

}  // namespace

std::optional<std::size_t> length_of_string(const ExecSetup& setup, const char* string, std::size_t limit) {
  std::array<char, 64> part;
  for (std::size_t done = 0; done < limit; done += part.size()) {
    const std::size_t left = setup.copy(part.data(), string + done, part.size());
    const std::size_t there = part.size() - left;
    const auto end = std::find(part.begin(), part.begin() + static_cast<std::ptrdiff_t>(there), '\0');
    const auto length = static_cast<std::size_t>(end - part.begin());
    if (length < there) {
      return done + length < limit ? std::optional(done + length) : std::nullopt;
    }
    if (left != 0) {
      return std::nullopt;
    }
  }
  return std::nullopt;
}

std::optional<VectorNeeds> measure_for_engine(const ExecSetup& setup, char* const* envp) {
  VectorNeeds needs;
  std::size_t count = 0;
  Pointers pointers(setup, envp);
  for (; envp != nullptr; ++count) {
    const auto entry = pointers.at(count);
    if (!entry) {
      return std::nullopt;
    }
    if (*entry == nullptr) {
      break;
    }
    const EntryHead head(setup, *entry);
    if (!head.readable()) {
      return std::nullopt;
    }
    needs.has_settings = needs.has_settings || head.starts_with(kSettings);
    if (!head.is_for_dynamic_linker()) {
      continue;
    }
    const auto length = length_of_string(setup, *entry, kMaxString);
    if (!length) {
      return std::nullopt;
    }
    needs.hidden_text += kLoadHide.size() + *length + 1;
    if (head.starts_with(kPreload)) {
      needs.preload = *entry;
      needs.preload_length = *length;
      needs.preload_has_engine = names(setup, setup.engine, *entry, *length);
      needs.preload_is_engine = needs.preload_has_engine && *length == kPreload.size() + setup.engine.size();
    }
  }
  needs.changes = !needs.has_settings || !needs.preload_has_engine;
  needs.pointers = count + 3;
  needs.text = kPreload.size() + setup.engine.size() + 2 + needs.preload_length;
  return needs;
}

void put_first(const ExecSetup& setup, std::string_view runtime, VectorNeeds& needs) {
  // Named twice it is loaded once, so only its being the first counts.
  if (!runtime.empty() && !begins_with(setup, runtime, needs.preload, needs.preload_length)) {
    needs.runtime = runtime;
    needs.changes = true;
    needs.text += std::strlen(setup.preload) + runtime.size() + 1;
  }
}

std::optional<VectorNeeds> measure_for_loader(const ExecSetup& setup, const ExecCall& call,
                                              const VectorNeeds& found, std::span<const ScriptLine> lines,
                                              const LoaderOrder& order) {
  VectorNeeds needs = found;
  const auto arguments = lines.empty() ? std::size_t{0} : count_pointers(setup, call.argv);
  if (!arguments) {
    return std::nullopt;
  }
  // Settings, LD_PRELOAD twice, the three of the order; and the line of each script.
  needs.pointers += 8 + *arguments + 2 * lines.size() + 2;
  needs.text += needs.hidden_text;
  needs.text +=
      2 * (kPreload.size() + setup.engine.size() + kLoadHide.size() + 2) + std::strlen(setup.preload);
  needs.text += kLoadName.size() + kLoadFile.size() + kLoadFd.size();
  needs.text += length_or_zero(order.name) + length_or_zero(order.file) + length_or_zero(order.fd);
  return needs;
}

VectorStorage::VectorStorage(std::byte* stack, std::size_t size) {
  if (stack != nullptr || size == 0) {
    bytes_ = {stack, size};
    return;
  }
  const auto mapped =
      sys::call(__NR_mmap, 0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped) {
    bytes_ = {reinterpret_cast<std::byte*>(*mapped), size};
    mapped_ = true;
  }
}

VectorStorage::~VectorStorage() {
  if (mapped_) {
    sys::raw(__NR_munmap, sys::arg(bytes_.data()), sys::arg(bytes_.size()));
  }
}

VectorWriter::VectorWriter(const ExecSetup& setup, std::span<std::byte> storage, const VectorNeeds& needs)
    : setup_(setup) {
  if (storage.size() < needs.bytes()) {
    good_ = false;  // no memory
    return;
  }
  pointers_ = {reinterpret_cast<char**>(storage.data()), needs.pointers};
  text_ = {reinterpret_cast<char*>(storage.data()) + pointers_.size_bytes(), needs.text};
}

void VectorWriter::push(const char* entry) {
  if (pointers_used_ == pointers_.size()) {
    good_ = false;
    return;
  }
  pointers_[pointers_used_++] = const_cast<char*>(entry);
}

char* const* VectorWriter::finish() {
  push(nullptr);
  char* const* vector = pointers_.data() + vector_begin_;
  vector_begin_ = pointers_used_;
  return vector;
}

void VectorWriter::add_from_program(const char* text, std::size_t length) {
  if (text_.size() - text_used_ < length || setup_.copy(text_.data() + text_used_, text, length) != 0) {
    good_ = false;
    return;
  }
  text_used_ += length;
}

void VectorWriter::add(std::string_view text) {
  add_from_program(text.data(), text.size());
}

const char* VectorWriter::string() {
  add(std::string_view("\0", 1));
  const char* begin = text_.data() + string_begin_;
  string_begin_ = text_used_;
  return begin;
}

/// LD_PRELOAD as the program is to see it: with the engine, and in front.
const char* VectorWriter::preload_entry(const VectorNeeds& needs, std::string_view prefix) {
  const bool given = needs.preload_length > kPreload.size();
  if (!needs.runtime.empty()) {
    add(kPreload);
    add(needs.runtime);
    add(":");
    if (!given) {
      add(setup_.preload + kPreload.size());
      return string();
    }
  } else if (given && !(needs.preload_has_engine && prefix.empty())) {
    add(prefix);
    add(kPreload);
  }
  if (!given) {
    if (prefix.empty()) {
      return setup_.preload;
    }
    add(prefix);
    add(setup_.preload);
    return string();
  }
  if (needs.runtime.empty() && needs.preload_has_engine && prefix.empty()) {
    return needs.preload;
  }
  if (!needs.preload_has_engine) {
    add(setup_.engine);
    add(":");
  }
  add_from_program(needs.preload + kPreload.size(), needs.preload_length - kPreload.size());
  return string();
}

char* const* VectorWriter::environment(char* const* envp, const VectorNeeds& needs) {
  Pointers pointers(setup_, envp);
  for (std::size_t i = 0; envp != nullptr && good_; ++i) {
    const auto entry = pointers.at(i);
    if (!entry || *entry == nullptr) {
      good_ = good_ && entry.has_value();
      break;
    }
    if (*entry != needs.preload) {
      push(*entry);
    }
  }
  push(preload_entry(needs, {}));
  if (!needs.has_settings) {
    push(setup_.settings);
  }
  return finish();
}

char* const* VectorWriter::environment_without_engine(char* const* envp, const VectorNeeds& needs) {
  Pointers pointers(setup_, envp);
  for (std::size_t i = 0; envp != nullptr && good_; ++i) {
    const auto entry = pointers.at(i);
    if (!entry || *entry == nullptr) {
      good_ = good_ && entry.has_value();
      break;
    }
    if (*entry != needs.preload) {
      push(*entry);
    } else if (!needs.preload_is_engine) {
      // What stands before the engine, and behind it and what parts it from the next.
      std::array<char, kNamed> text;
      const std::size_t size = std::min(needs.preload_length, text.size());
      const std::size_t left = setup_.copy(text.data(), *entry, size);
      const std::size_t at = std::string_view(text.data(), size - left).find(setup_.engine);
      const std::size_t behind = std::min(at + setup_.engine.size() + 1, needs.preload_length);
      if (at > needs.preload_length) {
        good_ = false;  // changed meanwhile
        break;
      }
      add_from_program(*entry, at);
      add_from_program(*entry + behind, needs.preload_length - behind);
      push(string());
    }
  }
  return finish();
}

char* const* VectorWriter::loader_environment(char* const* envp, const VectorNeeds& needs,
                                              const LoaderOrder& order) {
  // The dynamic linker must find the engine and nothing else. If the program is to see more, that is hidden.
  const bool given = needs.preload_length > kPreload.size();
  const bool plain =
      given ? needs.preload_is_engine : std::strlen(setup_.preload) == kPreload.size() + setup_.engine.size();
  Pointers pointers(setup_, envp);
  for (std::size_t i = 0; envp != nullptr && good_; ++i) {
    const auto entry = pointers.at(i);
    if (!entry || *entry == nullptr) {
      good_ = good_ && entry.has_value();
      break;
    }
    const EntryHead head(setup_, *entry);
    if (*entry == needs.preload) {
      if (given) {
        push(plain ? *entry : preload_entry(needs, kLoadHide));
      }
    } else if (head.is_for_dynamic_linker()) {
      add(kLoadHide);
      add_from_program(*entry, length_of_string(setup_, *entry, kMaxString).value_or(0));
      push(string());
    } else if (!head.starts_with(kLoadPrefix)) {
      push(*entry);
    }
  }
  if (!given) {
    push(preload_entry(needs, plain ? std::string_view() : kLoadHide));
  }
  if (!needs.has_settings) {
    push(setup_.settings);
  }
  if (!plain) {
    add(kPreload);
    add(setup_.engine);
    push(string());
  }
  for (const auto& [variable, value] :
       {std::pair{kLoadName, order.name}, std::pair{kLoadFile, order.file}, std::pair{kLoadFd, order.fd}}) {
    if (value != nullptr) {
      add(variable);
      add(value);
      push(string());
    }
  }
  return finish();
}

char* const* VectorWriter::script_arguments(char* const* argv, std::span<const ScriptLine> lines,
                                            const char* name) {
  for (std::size_t i = lines.size(); i-- > 0;) {
    push(lines[i].interpreter);
    if (lines[i].argument != nullptr) {
      push(lines[i].argument);
    }
  }
  push(name);
  Pointers pointers(setup_, argv);
  for (std::size_t i = 0; argv != nullptr && good_; ++i) {
    const auto argument = pointers.at(i);
    if (!argument || *argument == nullptr) {
      good_ = good_ && argument.has_value();
      break;
    }
    if (i != 0) {
      push(*argument);
    }
  }
  return finish();
}

}  // namespace enclume::engine
