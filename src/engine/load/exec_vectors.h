// SPDX-License-Identifier: Apache-2.0
// The argument and environment vectors of exec.h: measured first, then written into memory that is large
// enough. What the program gave is read as the kernel would read it: it may not be there.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>

#include "engine/load/exec.h"
#include "engine/load/script_line.h"

namespace enclume::engine {

/// The length of a string of the program; nothing if it can't be read or has no end before `limit`.
[[nodiscard]] std::optional<std::size_t> length_of_string(const ExecSetup& setup, const char* string,
                                                          std::size_t limit);

/// What the loader is told (load/initial_stack.h); null where there is nothing to tell.
struct LoaderOrder {
  const char* name;
  const char* file;
  const char* fd;
};

/// What was found in an environment.
struct VectorNeeds {
  std::size_t pointers = 0;  ///< enough for the new vectors
  std::size_t text = 0;      ///< enough for the new strings
  bool changes = false;      ///< something is missing for a dynamic program
  bool has_settings = false;
  const char* preload = nullptr;  ///< the given LD_PRELOAD entry
  std::size_t preload_length = 0;
  bool preload_has_engine = false;
  bool preload_is_engine = false;  ///< and nothing else
  std::string_view runtime;        ///< to be preloaded before the engine; empty: nothing
  std::size_t hidden_text = 0;     ///< what the variables for the dynamic linker take that are hidden from it

  [[nodiscard]] std::size_t bytes() const { return pointers * sizeof(char*) + text; }
};

/// Nothing if the kernel would find a bad pointer.
[[nodiscard]] std::optional<VectorNeeds> measure_for_engine(const ExecSetup& setup, char* const* envp);
/// The program wants this library to be its first.
void put_first(const ExecSetup& setup, std::string_view runtime, VectorNeeds& needs);
/// `found` is what measure_for_engine() has found in the call's environment.
[[nodiscard]] std::optional<VectorNeeds> measure_for_loader(const ExecSetup& setup, const ExecCall& call,
                                                            const VectorNeeds& found,
                                                            std::span<const ScriptLine> lines,
                                                            const LoaderOrder& order);

/// The caller's stack, or memory of its own.
class VectorStorage {
 public:
  VectorStorage(std::byte* stack, std::size_t size);
  ~VectorStorage();
  VectorStorage(const VectorStorage&) = delete;
  VectorStorage& operator=(const VectorStorage&) = delete;
  [[nodiscard]] std::span<std::byte> bytes() const { return bytes_; }

 private:
  std::span<std::byte> bytes_;
  bool mapped_ = false;
};

class VectorWriter {
 public:
  VectorWriter(const ExecSetup& setup, std::span<std::byte> storage, const VectorNeeds& needs);

  /// False if the program's memory has gone or grown meanwhile: nothing written is of use then.
  [[nodiscard]] bool good() const { return good_; }

  /// With LD_PRELOAD and ENCLUME_SETTINGS, for the dynamic linker.
  char* const* environment(char* const* envp, const VectorNeeds& needs);
  /// Without the engine in LD_PRELOAD, for a dynamic linker that can't load it.
  char* const* environment_without_engine(char* const* envp, const VectorNeeds& needs);
  /// For the loader.
  char* const* loader_environment(char* const* envp, const VectorNeeds& needs, const LoaderOrder& order);
  /// The arguments that the interpreter of a script gets: remove_arg_zero() and what load_script() puts
  /// there.
  char* const* script_arguments(char* const* argv, std::span<const ScriptLine> lines, const char* name);

 private:
  void push(const char* entry);
  [[nodiscard]] char* const* finish();
  void add(std::string_view text);
  void add_from_program(const char* text, std::size_t length);
  /// The string of all that was added since the last.
  const char* string();
  const char* preload_entry(const VectorNeeds& needs, std::string_view prefix);

  const ExecSetup& setup_;
  std::span<char*> pointers_;
  std::size_t pointers_used_ = 0;
  std::size_t vector_begin_ = 0;
  std::span<char> text_;
  std::size_t text_used_ = 0;
  std::size_t string_begin_ = 0;
  bool good_ = true;
};

}  // namespace enclume::engine
