// SPDX-License-Identifier: Apache-2.0
// Finds the verb, parses its options, and turns what it throws into a message and an exit status.
#include <fmt/format.h>

#include <cstdio>
#include <exception>
#include <string>
#include <string_view>
#include <vector>

#include "cli/manual.h"
#include "cli/nearest.h"
#include "cli/verb.h"

namespace enclume::cli {
namespace {

void complain(std::string_view message) {
  fmt::print(stderr, "enclume: {}\n", message);
}

int to_int(ExitStatus status) {
  return static_cast<int>(status);
}

// Output that nobody could write (a full disk, a closed pipe) must not look like success.
int finish_output(ExitStatus status) {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return to_int(status);
  complain("cannot write to standard output");
  return to_int(ExitStatus::kInternal);
}

ExitStatus print_overview() {
  fmt::print("{}", manual_as_text(overview(), nullptr));
  return ExitStatus::kSuccess;
}

ExitStatus unknown_verb(const std::string& name) {
  std::vector<std::string_view> names;
  for (const Verb* verb : all_verbs()) names.push_back(verb->manual().name);
  auto message = fmt::format("unknown verb '{}'", name);
  if (const auto nearest = nearest_word(name, names)) {
    message += fmt::format("; did you mean '{}'?", *nearest);
  } else {
    message += fmt::format("; the verbs are {}", fmt::join(names, ", "));
  }
  complain(message);
  return ExitStatus::kUsage;
}

// "--option=" as "--option" with an empty value: CLI11 would take the next argument for the value, often the
// program that is to be run. Looks no further than the options.
std::vector<std::string> split_empty_values(const CLI::App& app, std::vector<std::string> arguments) {
  for (std::size_t i = 0; i < arguments.size() && arguments[i].starts_with('-') && arguments[i] != "--";
       ++i) {
    const auto equals = arguments[i].find('=');
    const auto* option = app.get_option_no_throw(arguments[i].substr(0, equals));
    if (option == nullptr || option->get_items_expected_min() == 0) continue;
    if (equals + 1 == arguments[i].size()) {
      arguments[i].pop_back();
      arguments.insert(arguments.begin() + static_cast<std::ptrdiff_t>(i) + 1, "");
    }
    if (equals == std::string::npos || arguments[i].find('=') == std::string::npos) ++i;  // its value
  }
  return arguments;
}

ExitStatus run_verb(Verb& verb, std::vector<std::string> arguments) {
  const auto& manual = verb.manual();
  CLI::App app;
  app.set_help_flag("-h,--help", "Print this text.");
  verb.add_options(app);
  arguments = split_empty_values(app, std::move(arguments));
  try {
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());  // as CLI11 wants them
    app.parse(reversed);
  } catch (const CLI::CallForHelp&) {
    fmt::print("{}", manual_as_text(manual, &app));
    return ExitStatus::kSuccess;
  } catch (const CLI::ParseError& error) {
    throw Failure(ExitStatus::kUsage, fmt::format("{}: {}\nUsage: enclume {}\nSee 'enclume help {}'.",
                                                  manual.name, error.what(), manual.synopsis, manual.name));
  }
  return verb.run(app.remaining());
}

ExitStatus dispatch(const std::vector<std::string>& arguments) {
  if (arguments.empty()) {
    complain("a verb is missing; see 'enclume --help'");
    return ExitStatus::kUsage;
  }
  const auto& name = arguments.front();
  if (name == "--version" || name == "-V") {
    fmt::print("enclume {}\n", ENCLUME_VERSION);
    return ExitStatus::kSuccess;
  }
  if (name == "--help" || name == "-h" || (name == "help" && arguments.size() == 1)) return print_overview();
  Verb* verb = find_verb(name);
  if (verb == nullptr) return unknown_verb(name);
  return run_verb(*verb, {arguments.begin() + 1, arguments.end()});
}

int run_main(const std::vector<std::string>& arguments) {
  try {
    return finish_output(dispatch(arguments));
  } catch (const Failure& failure) {
    complain(failure.what());
    return to_int(failure.status());
  } catch (const std::exception& error) {
    complain(error.what());
    return to_int(ExitStatus::kInternal);
  }
}

}  // namespace
}  // namespace enclume::cli

int main(int argc, char** argv) {
  return enclume::cli::run_main({argv + (argc > 0 ? 1 : 0), argv + argc});
}
