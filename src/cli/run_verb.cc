// SPDX-License-Identifier: Apache-2.0
// `enclume run`: becomes the program, with the engine preloaded. There is no process in between, so the
// program's standard streams, signals, process id and exit status are its own.
#if __has_include(<Zydis/Zydis.h>)
#include <Zydis/Zydis.h>
#endif
#include <dlfcn.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <system_error>

#include "cli/engine_location.h"
#include "cli/file_descriptor.h"
#include "cli/layers.h"
#include "cli/machine_secret.h"
#include "cli/program.h"
#include "cli/stats/figures.h"
#include "cli/stats/supervise.h"
#include "cli/user_directories.h"
#include "cli/verb.h"
#include "engine/load/exec.h"

namespace enclume::cli {
namespace {

namespace fs = std::filesystem;

// The beginning of a trace for tools: every later element stands behind a comma.
std::string json_head() {
  return fmt::format(
      R"([{{"name":"process_labels","ph":"M","pid":{0},"tid":{0},"args":{{"labels":"enclume run"}}}})",
      ::getpid());
}

void write_all(int fd, std::string_view text, const std::string& name) {
  while (!text.empty()) {
    const auto written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      throw Failure(ExitStatus::kInternal, fmt::format("cannot write to {}: {}", name, std::strerror(errno)));
    }
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

// Empties the trace file, or makes it, so that a mistake shows now and not inside the program.
std::string prepare_trace(const std::string& name, TraceFormat format) {
  const std::string head = format == TraceFormat::kJson ? json_head() : "";
  if (name == "-") {
    write_all(STDERR_FILENO, head, "standard error");
    return name;
  }
  auto path = fs::absolute(name).string();
  const FileDescriptor file(
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0666));
  if (!file) {
    throw Failure(ExitStatus::kInternal,
                  fmt::format("cannot write the trace to {}: {}", path, std::strerror(errno)));
  }
  write_all(file.get(), head, path);
  return path;
}

MachineSecret choose_secret(const std::optional<std::string>& seed) {
  if (seed) return {.file = "", .bytes = secret_from_seed(*seed)};
  std::string reason = "no home directory is known";
  try {
    if (const auto path = machine_secret_path(); !path.empty()) {
      ensure_machine_secret(path);
      return {.file = path, .bytes = {}};
    }
  } catch (const std::system_error& error) {
    reason = error.what();
  }
  fmt::print(
      stderr,
      "enclume: warning: the machine secret cannot be kept ({}); this run gets one of its own, and what it "
      "seals no later run can open\n",
      reason);
  return {.file = "", .bytes = random_secret()};
}

void set_variable(const std::string& name, const std::string& value) {
  if (::setenv(name.c_str(), value.c_str(), 1) != 0) {
    throw Failure(ExitStatus::kInternal, fmt::format("cannot set {}: {}", name, std::strerror(errno)));
  }
}

// The disassembler that the engine uses if it finds it, of the version that it was built for; empty if there
// is none. Not linked, so that nobody else gets another library.
std::string disassembler() {
#if __has_include(<Zydis/Zydis.h>)
  auto name = fmt::format("libZydis.so.{}.{}", ZYDIS_VERSION_MAJOR(ZYDIS_VERSION),
                          ZYDIS_VERSION_MINOR(ZYDIS_VERSION));
  if (void* const library = ::dlopen(name.c_str(), RTLD_LAZY | RTLD_LOCAL); library != nullptr) {
    ::dlclose(library);
    return name;
  }
#endif
  return {};
}

// The engine first, then what the user preloads; once only, since a run inside a run inherits it. What stands
// before the engine there is a sanitizer's runtime, for this enclume alone.
std::string preload_list(const std::string& engine, const std::string& disassembler) {
  const std::string begin = disassembler.empty() ? engine : fmt::format("{}:{}", engine, disassembler);
  std::string list = begin;
  std::string_view rest;
  const auto inherited = process_environment()("LD_PRELOAD");
  if (inherited) rest = *inherited;
  while (!rest.empty()) {
    const auto end = rest.find_first_of(" :");
    const auto item = rest.substr(0, end);
    rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end + 1);
    if (item == engine) {
      list = begin;
    } else if (!item.empty() && item != disassembler) {
      list += fmt::format(":{}", item);
    }
  }
  return list;
}

// plan_exec() reads strings in pieces, whose last one may go beyond the string's memory; so by the kernel,
// which stops where nothing is mapped. Where a policy forbids that call, a copy has to do.
std::size_t copy_memory(void* to, const void* from, std::size_t size) {
  const iovec here{to, size};
  const iovec there{const_cast<void*>(from), size};
  const auto copied = ::process_vm_readv(::getpid(), &here, 1, &there, 1, 0);
  if (copied < 0 && errno != EFAULT) {
    std::memcpy(to, from, size);
    return 0;
  }
  return size - static_cast<std::size_t>(copied < 0 ? 0 : copied);
}

// A debugger that has started us (gdb's exec-wrapper), or that follows.
bool is_traced() {
  std::ifstream status("/proc/self/status");
  constexpr std::string_view kKey = "TracerPid:";
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(kKey)) return line.find_first_not_of(" \t0", kKey.size()) != std::string::npos;
  }
  return false;
}

/// As a child of the program is executed (engine/load/exec.h), the program itself is.
[[noreturn]] void become(const std::string& path, ProgramForm form, const std::vector<std::string>& arguments,
                         const std::string& engine, const std::optional<std::string>& loader) {
  std::vector<char*> argv;
  for (const auto& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const auto environment = process_environment();
  const auto entry = [&](const std::string& name) {
    return name + "=" + environment(name.c_str()).value_or("");
  };
  const std::string preload = entry("LD_PRELOAD");
  const std::string settings = entry(std::string(kSettingsVariable));
  const engine::ExecSetup setup{.preload = preload.c_str(),
                                .settings = settings.c_str(),
                                .engine = engine,
                                .loader = loader ? loader->c_str() : nullptr,
                                .copy = &copy_memory,
                                .debugged = &is_traced};
  const long result = engine::plan_exec(
      setup, {AT_FDCWD, path.c_str(), argv.data(), environ, 0},
      [](void* data, const engine::ExecCall& call) -> long {
        auto& expected = *static_cast<ProgramForm*>(data);
        // What was static a moment ago would run without the engine, and nobody would notice.
        if (expected == ProgramForm::kStatic && !call.by_loader) return -ELIBACC;
        return engine::execute_plainly(call);
      },
      &form);
  if (result == -ELIBACC) {
    throw Failure(ExitStatus::kCannotRun,
                  fmt::format("{} is static, but the system does not let it be looked at for execution (a "
                              "filter of system calls?), so it would run without the engine",
                              path));
  }
  const int error = static_cast<int>(-result);
  throw Failure(error == ENOENT ? ExitStatus::kNotFound : ExitStatus::kCannotRun,
                fmt::format("cannot execute {}: {}", path, std::strerror(error)));
}

// Makes the file or empties it, so that a mistake shows now and not when the program has run for a day.
std::string prepare_figures(const std::string& name) {
  if (name == "-") return name;
  auto path = fs::absolute(name).string();
  const FileDescriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0666));
  if (!file) {
    throw Failure(ExitStatus::kInternal, fmt::format("cannot write to {}: {}", path, std::strerror(errno)));
  }
  return path;
}

// The child returns, to become the program; the parent waits for it, writes the figures and ends as it has
// ended.
void stay_and_count(const StatsCollection& collection, const std::string& name, bool as_json) {
  std::fflush(nullptr);
  const sigset_t mask = hold_signals();
  const pid_t child = ::fork();
  if (child < 0) throw Failure(ExitStatus::kInternal, fmt::format("cannot fork: {}", std::strerror(errno)));
  if (child == 0) {
    ::sigprocmask(SIG_SETMASK, &mask, nullptr);
    return;
  }
  const int status = wait_for_program(child);
  const auto figures = collection.figures();
  const auto text = as_json ? to_json(figures).dump(2) + "\n" : to_text(figures);
  try {
    if (name == "-") {
      write_all(STDERR_FILENO, text, "standard error");
    } else {
      const FileDescriptor file(::open(name.c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC | O_NOCTTY));
      write_all(file.get(), text, name);
    }
  } catch (const Failure& failure) {
    fmt::print(stderr, "enclume: {}\n", failure.what());
  }
  end_alike(status);
}

class RunVerb final : public Verb {
 public:
  const Manual& manual() const override;
  void add_options(CLI::App& app) override;
  ExitStatus run(const std::vector<std::string>& rest) override;

 private:
  [[nodiscard]] Layer layer_from_options() const;

  struct OptionValue {
    const CLI::Option* option = nullptr;
    std::string text;
  };
  std::array<OptionValue, kSettingNames.size()> values_;
  std::optional<std::string> config_;
};

const Manual& RunVerb::manual() const {
  static const Manual manual{
      .name = "run",
      .summary = "run an SGX program on a machine without SGX",
      .synopsis = "run [OPTIONS] [--] PROGRAM [ARGUMENTS…]",
      .before_options =
          {
              {"DESCRIPTION",
               {{"",
                 "Runs PROGRAM with an emulated SGX machine: it finds /dev/sgx_enclave, CPUID that offers "
                 "SGX, a vDSO with __vdso_sgx_enter_enclave, and ENCLU instructions that work. PROGRAM and "
                 "its enclaves are used as they are. PROGRAM is looked for in PATH as the shell does."},
                {"",
                 "There is no process in between: enclume loads the engine by LD_PRELOAD and becomes "
                 "PROGRAM, so standard input and output, signals, the process id and the exit status are "
                 "PROGRAM's own. Programs that PROGRAM starts run in the same way."},
                {"",
                 "PROGRAM must be an x86-64 program, dynamically linked for glibc or static with any libc or "
                 "none, or a script. A static executable is mapped by a loader of Enclume's, enclume-load, "
                 "since there is no dynamic linker in it to load the engine. Programs that gain privileges "
                 "when executed (setuid, setgid, file capabilities) are refused, because the dynamic linker "
                 "ignores LD_PRELOAD for them; if PROGRAM executes one, it runs without the engine."},
                {"", "The emulator protects nothing. Do not give it secrets that matter."}}},
          },
      .after_options =
          {
              {"CONFIGURATION",
               {{"",
                 "Each setting can be given as an option, as an environment variable, or in the "
                 "configuration file as a line key = value, where the key is the option's name without the "
                 "dashes. An option wins over the environment, the environment over the file. Lines that "
                 "begin with # are comments:"},
                {"# a small machine", ""},
                {"epc-size = 16M", ""},
                {"sgx = 1", ""}}},
              {"EXAMPLES",
               {{"enclume run -- ./app", ""},
                {"enclume run --epc-size 8M --trace - -- ./app --an-option-of-the-app", ""},
                {"ENCLUME_SGX=1 enclume run ./app", ""},
                {"enclume run --machine-seed ci -- make test", ""},
                {"enclume run --inject lose-epc@3,interrupt@every:100 --trace - ./app", ""}}},
              {"ENVIRONMENT",
               {{"ENCLUME_EPC_SIZE, ENCLUME_SGX, ENCLUME_MACHINE_SEED, ENCLUME_DEBUG, ENCLUME_TRACE, "
                 "ENCLUME_FIXUP, ENCLUME_TRACE_FORMAT, ENCLUME_BENIGN_FAULTS, ENCLUME_STRICT, "
                 "ENCLUME_TRACE_INSN, ENCLUME_FRONT, ENCLUME_INJECT, ENCLUME_INJECT_SEED, ENCLUME_STATS, "
                 "ENCLUME_STATS_FORMAT",
                 "The settings, as the options of the same names. Those without a value are yes or no here. "
                 "An empty value "
                 "counts as none."},
                {"ENCLUME_CONFIG", "The configuration file; it must exist."},
                {"ENCLUME_ENGINE", "The engine to load instead of the one that belongs to this enclume."},
                {"LD_PRELOAD",
                 "Kept; the engine is put in front, and AddressSanitizer's shared runtime, if PROGRAM needs "
                 "one, in front of the engine."},
                {"ENCLUME_SETTINGS", "Set for the program: what the engine reads. Do not set it yourself."}}},
              {"FILES",
               {{"$XDG_CONFIG_HOME/enclume/config, ~/.config/enclume/config",
                 "The configuration file, if there is one."},
                {"$XDG_STATE_HOME/enclume/machine-secret, ~/.local/state/enclume/machine-secret",
                 "32 random bytes from which every key of your emulated machine is derived, made by the "
                 "first run. Without it, what enclaves sealed cannot be opened again."}}},
              {"EXIT STATUS",
               {{"2", "A bad option, environment variable or configuration file."},
                {"125", "Enclume itself failed: no engine, or a trace file that cannot be written."},
                {"126", "PROGRAM is there but cannot be run, or not under the engine."},
                {"127", "PROGRAM or its interpreter is missing."},
                {"other", "PROGRAM's own. A shell shows 128 + n for a program that signal n ended."}}},
              {"SEE ALSO", {{"", "enclume-doctor(1), enclume-inspect(1), docs/running.md"}}},
          },
  };
  return manual;
}

void RunVerb::add_options(CLI::App& app) {
  app.prefix_command();
  const auto add = [&](std::size_t index, const char* value_name, const char* description) {
    auto& value = values_.at(index);
    value.option = app.add_option("--" + std::string(kSettingNames.at(index).key), value.text, description)
                       ->type_name(value_name);
  };
  add(0, "SIZE",
      "Size of the enclave page cache: 1M to 1T, a multiple of 4096 bytes; K, M, G and T may follow. "
      "Default: 256M.");
  add(1, "1|2",
      "The generation of SGX: 1 offers the SGX1 instructions only, 2 adds dynamic memory management. "
      "Default: 2.");
  add(2, "SEED",
      "Derive every key of the machine from SEED, so that runs are reproducible here and elsewhere. Default: "
      "a random secret, kept for each user.");
  values_.at(3).option = app.add_flag(
      "--debug{yes},--no-debug{no}", values_.at(3).text,
      "Let the engine check its own state at every step and say on standard error what it does at the start. "
      "For people who debug Enclume itself. Default: no.");
  add(4, "FILE",
      "Write one line to FILE for each transition, asynchronous exit, ioctl and fixup; - is standard error. "
      "FILE is emptied first.");
  add(5, "DESIGN",
      "How a fault at an ENCLU is told to PROGRAM. vdso: as Linux does it, to the caller of "
      "__vdso_sgx_enter_enclave. vdso-registers, per-mm: as two designs that were proposed in 2018 would. "
      "signals: by signals only. docs/exception-designs.md compares them. Default: vdso.");
  add(6, "text|json",
      "The form of the trace: text is lines for people; json is Chrome trace events, for ui.perfetto.dev and "
      "other tools. Default: text.");
  add(7, "on|off",
      "Whether the enclave sees the page faults that the kernel resolves by itself, as on hardware: an "
      "asynchronous "
      "exit at the first touch of each page, when an evicted page comes back and when a page is added, "
      "recorded in "
      "EXITINFO if the enclave selected EXINFO. off: no fault at the first touch, and EXITINFO does not tell "
      "of the "
      "others. Default: on.");
  values_.at(8).option = app.add_flag(
      "--strict{yes},--no-strict{no}", values_.at(8).text,
      "Run enclave code an instruction at a time, and look at each before it runs: what an enclave may not "
      "do "
      "and this machine would let it do then faults as on hardware. Each costs a signal. Default: no.");
  values_.at(9).option =
      app.add_flag("--trace-insn{yes},--no-trace-insn{no}", values_.at(9).text,
                   "Write a line for each instruction of enclave code, too. Implies --strict; without "
                   "--trace the lines go to "
                   "standard error. With libzydis installed they are disassembled. Default: no.");
  add(10, "libc|raw|auto",
      "By which ways PROGRAM's system calls reach Enclume. libc: by libc's functions. raw: by every SYSCALL "
      "instruction outside libc as well, for programs and libraries that talk to the kernel by themselves; "
      "such a call then costs a signal, and one of libc's about a fifth more. auto: raw for programs of Go, "
      "else libc. Static programs are always run as by raw. Default: auto.");
  add(11, "EVENT@WHEN,…",
      "Make happen what is hard to meet. EVENT is lose-epc, eenter=#GP (or #UD, #PF: EENTER faults), "
      "einit=CODE (EINIT "
      "fails), eaug (no page is left for EAUG), page-fault=OFFSET or bus-error=OFFSET (the next touch of "
      "that page of "
      "the enclave that is entered), or interrupt (an asynchronous exit; implies --strict). WHEN is N (the "
      "N-th "
      "EENTER, EINIT, added page or instruction of enclave code), every:N, random:N (one in N), or for "
      "lose-epc a "
      "time such as 500ms. docs/injecting.md tells more.");
  values_.at(13).option = app.add_flag(
      "--stats{-}", values_.at(13).text,
      "At the end, say what PROGRAM and its children have done: entries, exits and asynchronous exits by "
      "vector, faults, pages, time. On standard error, or with --stats=FILE in FILE. enclume then stays "
      "as PROGRAM's parent and passes signals on, so PROGRAM's process id is another one.");
  add(14, "text|json", "The form of these figures. Default: text.");
  add(12, "NUMBER", "Which ones of random:N are hit. The same number gives the same. Default: 0.");
  add(15, "on|off|unwatched",
      "Whether enclaves may be entered and left without a signal where that makes no difference to PROGRAM. "
      "off: each transition is trapped. unwatched: they may be even where nothing would tell that an enclave "
      "reads its own EEXIT, which is changed for that. docs/fast-paths.md says what it needs. Default: on.");
  app.add_option("--config", config_, "Read FILE instead of the usual configuration file.")
      ->type_name("FILE");
}

Layer RunVerb::layer_from_options() const {
  Layer layer;
  for (std::size_t i = 0; i < kSettingNames.size(); ++i) {
    if (values_.at(i).option->count() == 0) continue;
    const auto key = kSettingNames.at(i).key;
    layer.emplace(key, RawValue{values_.at(i).text, fmt::format("option --{}", key)});
  }
  return layer;
}

ExitStatus RunVerb::run(const std::vector<std::string>& rest) {
  // CLI11 stops at the first word that it does not know; that is the program, unless it looks like an option.
  std::vector<std::string> arguments = rest;
  const bool is_marked = !arguments.empty() && arguments.front() == "--";
  if (is_marked) arguments.erase(arguments.begin());
  if (arguments.empty()) {
    throw Failure(ExitStatus::kUsage,
                  "run: which program? Usage: enclume run [OPTIONS] [--] PROGRAM [ARGUMENTS…]");
  }
  if (!is_marked && arguments.front().starts_with('-')) {
    throw Failure(ExitStatus::kUsage,
                  fmt::format("run: unknown option {}; see 'enclume help run' (a program whose "
                              "name begins with a dash goes after --)",
                              arguments.front()));
  }

  const auto environment = process_environment();
  const std::array<Layer, 3> layers = {layer_from_options(), layer_from_environment(environment),
                                       layer_from_file(config_, environment)};
  auto [settings, seed, stats, stats_as_json] = resolve(layers);
  if (stats) stats = prepare_figures(*stats);

  const auto program = find_program(arguments.front());
  const auto kind = check_program(program);
  const auto engine = engine_path();
  check_engine(engine);
  settings.loader = loader_path();
  if (kind == ProgramForm::kStatic && !settings.loader) {
    throw Failure(ExitStatus::kInternal,
                  fmt::format("{} is a static executable, and the program that loads such, enclume-load, is "
                              "missing; build or install it",
                              program));
  }
  if (settings.trace) settings.trace = prepare_trace(*settings.trace, settings.trace_format);
  settings.secret = choose_secret(seed);
  settings.cache = cache_directory();

  std::optional<StatsCollection> collection;
  if (stats) settings.stats = collection.emplace().path();

  set_variable(std::string(kSettingsVariable), serialise(settings));
  const std::string zydis = settings.trace_instructions ? disassembler() : std::string();
  if (settings.trace_instructions && zydis.empty()) {
    fmt::print(
        stderr,
        "enclume: warning: libzydis is not installed, or not the version that this was built for; the trace "
        "has instructions as bytes alone\n");
  }
  set_variable("LD_PRELOAD", preload_list(engine, zydis));
  if (collection) stay_and_count(*collection, *stats, stats_as_json);
  become(program, kind, arguments, engine, settings.loader);
}

const Registered<RunVerb> registered;

}  // namespace
}  // namespace enclume::cli
