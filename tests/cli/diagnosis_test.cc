// SPDX-License-Identifier: Apache-2.0
// What the doctor says about machines that this one is not.
#include "cli/doctor/diagnosis.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

namespace enclume::cli {
namespace {

MachineFacts perfect_machine() {
  MachineFacts facts;
  facts.processor = "A processor";
  facts.cpu_sgx = facts.cpu_pku = facts.cpu_sha = facts.cpu_aes = true;
  facts.xcr0 = 0x2e7;
  facts.kernel_release = "6.12.0";
  facts.kernel = {6, 12};
  facts.sgx_device = facts.sgx_vdso = facts.fsgsbase = true;
  facts.protection_keys = facts.cpuid_faulting = facts.user_dispatch = facts.read_watch =
      facts.executable_memfd = true;
  facts.min_signal_stack = 3632;
  facts.max_map_count = 65530;
  facts.overcommit_memory = 0;
  facts.memfd_noexec = 0;
  facts.perf_event_paranoid = 2;
  facts.ptrace_scope = 1;
  facts.glibc_version = "2.36";
  facts.engine = "/lib/engine.so";
  return facts;
}

Finding finding_of(const MachineFacts& facts, const std::string& id) {
  const auto diagnosis = diagnose(facts);
  const auto found = std::ranges::find(diagnosis.findings, id, &Finding::id);
  EXPECT_NE(found, diagnosis.findings.end()) << id;
  return found == diagnosis.findings.end() ? Finding{} : *found;
}

TEST(Diagnosis, FindsNothingMissingOnAPerfectMachine) {
  const auto diagnosis = diagnose(perfect_machine());
  EXPECT_TRUE(diagnosis.can_run());
  for (const auto& finding : diagnosis.findings) {
    EXPECT_EQ(finding.presence, Presence::kYes) << finding.id;
    EXPECT_TRUE(finding.made_up_for_by.empty()) << finding.id;
  }
}

struct Defect {
  const char* id;
  void (*apply)(MachineFacts&);
  Presence presence;
  const char* word;  // in what is less faithful
};

class DiagnosisOfADefect : public testing::TestWithParam<Defect> {};

TEST_P(DiagnosisOfADefect, SaysWhatIsLessFaithfulAndWhatToDo) {
  const auto& defect = GetParam();
  auto facts = perfect_machine();
  defect.apply(facts);
  const auto finding = finding_of(facts, defect.id);
  EXPECT_EQ(finding.presence, defect.presence);
  EXPECT_FALSE(finding.is_blocker);
  EXPECT_NE(finding.less_faithful.find(defect.word), std::string::npos) << finding.less_faithful;
  EXPECT_TRUE(diagnose(facts).can_run());
}

INSTANTIATE_TEST_SUITE_P(
    Each, DiagnosisOfADefect,
    testing::Values(
        Defect{"protection-keys", [](MachineFacts& m) { m.protection_keys = false; }, Presence::kNo,
               "host code can read"},
        Defect{"cpuid-faulting", [](MachineFacts& m) { m.cpuid_faulting = false; }, Presence::kNo, "JIT"},
        Defect{"data-breakpoints", [](MachineFacts& m) { m.protection_keys = m.read_watch = false; },
               Presence::kNo, "EEXIT"},
        Defect{"syscall-user-dispatch", [](MachineFacts& m) { m.user_dispatch = false; }, Presence::kNo,
               "SYSCALL"},
        Defect{"kernel",
               [](MachineFacts& m) {
                 m.kernel = {5, 15};
               },
               Presence::kPartly, "tested on"},
        Defect{"max-map-count", [](MachineFacts& m) { m.max_map_count = 1000; }, Presence::kPartly,
               "mapping for each"},
        Defect{"overcommit", [](MachineFacts& m) { m.overcommit_memory = 2; }, Presence::kPartly, "ENOMEM"},
        Defect{"crypto-instructions", [](MachineFacts& m) { m.cpu_sha = false; }, Presence::kPartly, "speed"},
        Defect{"glibc", [](MachineFacts& m) { m.glibc_version = "2.31"; }, Presence::kPartly, "2.35"},
        Defect{"ptrace", [](MachineFacts& m) { m.ptrace_scope = 2; }, Presence::kPartly, "debugger"},
        Defect{"perf", [](MachineFacts& m) { m.perf_event_paranoid = 4; }, Presence::kPartly, "perf"},
        Defect{"sgx", [](MachineFacts& m) { m.sgx_device = false; }, Presence::kPartly, "protected"},
        Defect{"sgx", [](MachineFacts& m) { m.cpu_sgx = m.sgx_device = false; }, Presence::kNo, "protected"}),
    [](const auto& defect) {
      std::string name(defect.param.id);
      std::erase(name, '-');
      return name + std::to_string(defect.index);
    });

TEST(Diagnosis, WithoutFsgsbaseNothingRuns) {
  auto facts = perfect_machine();
  facts.fsgsbase = false;
  EXPECT_TRUE(finding_of(facts, "fsgsbase").is_blocker);
  EXPECT_FALSE(diagnose(facts).can_run());
}

TEST(Diagnosis, TellsAProcessorWithoutKeysFromAKernelThatRefusesThem) {
  auto facts = perfect_machine();
  facts.protection_keys = false;
  EXPECT_NE(finding_of(facts, "protection-keys").what_to_do.find("nopku"), std::string::npos);
  facts.cpu_pku = false;
  EXPECT_NE(finding_of(facts, "protection-keys").what_to_do.find("processor"), std::string::npos);
}

TEST(Diagnosis, AbsentSysctlsAreNoDefects) {
  auto facts = perfect_machine();
  facts.max_map_count = facts.overcommit_memory = facts.memfd_noexec = facts.ptrace_scope = std::nullopt;
  for (const char* id : {"max-map-count", "overcommit", "executable-memfd", "ptrace"}) {
    EXPECT_EQ(finding_of(facts, id).presence, Presence::kYes) << id;
  }
}

TEST(Diagnosis, NothingRunsWithoutTheEngineOrExecutableMemory) {
  auto facts = perfect_machine();
  facts.engine.clear();
  facts.engine_problem = "there is no engine";
  EXPECT_FALSE(diagnose(facts).can_run());
  EXPECT_NE(to_text(diagnose(facts), false).find("cannot work here:\n  engine: there is no engine"),
            std::string::npos);
  facts = perfect_machine();
  facts.executable_memfd = false;
  EXPECT_FALSE(diagnose(facts).can_run());
}

TEST(Diagnosis, JsonHasAFixedShape) {
  const auto json = to_json(diagnose(perfect_machine()));
  EXPECT_EQ(json["can_run"], true);
  EXPECT_EQ(json["runs_emulated"], false);
  std::set<std::string> ids;
  for (const auto& finding : json["findings"]) {
    ids.insert(finding["id"]);
    EXPECT_EQ(finding.size(), 8U);
    for (const char* key :
         {"title", "presence", "detail", "made_up_for_by", "less_faithful", "what_to_do", "blocker"}) {
      EXPECT_TRUE(finding.contains(key)) << key;
    }
  }
  EXPECT_EQ(ids, (std::set<std::string>{"processor", "sgx", "protection-keys", "fsgsbase", "cpuid-faulting",
                                        "data-breakpoints", "syscall-user-dispatch", "kernel",
                                        "executable-memfd", "max-map-count", "overcommit", "xsave",
                                        "crypto-instructions", "glibc", "ptrace", "perf", "engine"}));
}

TEST(DiagnosisText, HasColoursOnlyOnRequest) {
  const auto diagnosis = diagnose(perfect_machine());
  EXPECT_EQ(to_text(diagnosis, false).find('\x1b'), std::string::npos);
  EXPECT_NE(to_text(diagnosis, true).find('\x1b'), std::string::npos);
}

TEST(DiagnosisText, AdviceFitsTheTerminal) {
  std::istringstream lines(to_text(diagnose(MachineFacts{}), false));
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("  ")) {
      EXPECT_LE(line.size(), 80U) << line;
    }
  }
}

}  // namespace
}  // namespace enclume::cli
