// SPDX-License-Identifier: Apache-2.0
// The rows as documents.
#include <fmt/format.h>

#include "cli/matrix/verdict.h"
#include "cli/matrix/words.h"

namespace enclume::cli::matrix {
namespace {

constexpr std::string_view kHead = R"(# The exception matrix

<!-- Made by `enclume matrix --expected --format markdown` from src/cli/matrix/rows_*.cc. Edit there. -->

What becomes of each exception at each place, in each of the [four designs](exception-designs.md). `enclume
matrix` carries out every cell on this machine and compares; the tests do the same (`cli.matrix.*`). The
program that it runs, `enclume-matrix`, is an ordinary SGX program: on a machine with SGX, run it by itself and give
what it prints to `enclume matrix --facts`.

Where native execution cannot be as on hardware, the row says what it gives instead; that is checked like the rest.
`enclume matrix --strict` single-steps the enclaves, and then the row holds as it stands.

The expectations are written down here from the architecture (SDM: Intel's manual, Volume 3D of June 2016, or the
volume named) and from Linux 6.12 (`extable.c`, `vsgx.S` in `arch/x86/entry/vdso`, `traps.c` in
`arch/x86/kernel`, `fault.c` in `arch/x86/mm`); none is computed by the code that it tests.

How to read a row:

- **Who** gets it. *function*: the vDSO function returns; where the caller gave a handler (`vdso`), that is called
  with the same facts, which is checked as well. *handler*: the address space's. *signal*: a signal handler.
  *nobody*: the program goes on. *interrupter*: the handler of the signal that interrupted, then the enclave goes
  on. `-`: there is no such cell.
- **Exception**: vector, error code and, for #PF, CR2, as the kernel gets them, as a fixup hands them on, and as
  a signal's context has them.
- **Registers**: what the kernel finds, and where RIP is. *AEX*: RAX = 3, RBX = TCS, RCX = AEP, RSP and RBP of the
  entry, zero in RDX, RSI, RDI and R8 to R15, CF PF AF ZF SF OF clear, synthetic x87 and SSE state. *ENCLU*: RAX = the
  leaf, RCX = AEP, the rest as the host loaded it. *host*: as the host's code had them. *EEXIT*: RAX = 4. A fixup then
  loads RDI, RSI and RDX (and RCX, in `per-mm`); `__vdso_sgx_enter_enclave` returns 0 in RAX, and RBX and RBP to
  its caller.
- **Signal**: number, si_code and si_addr, in the designs and cells where it comes to a signal.
- **Frame**: SSA.RIP, EXITINFO and, where it is written, EXINFO's MADDR and ERRCD. All general registers and RFLAGS in
  the frame are those before the instruction, but for RF, which is set for faults.
- **CSSA** afterwards.

)";

std::string escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '|') out += '\\';
    out += c;
  }
  return out;
}

}  // namespace

std::string rows_to_markdown() {
  std::string out(kHead);
  for (const Place place : kPlaces) {
    out += fmt::format("## {}\n\n", title_of(place));
    out +=
        "| cell | what happens | vdso | vdso-registers | per-mm | signals | exception | registers | signal | "
        "frame | CSSA | source |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n";
    for (const Cell& cell : all_cells()) {
      if (cell.place != place) continue;
      const Row& row = *cell.row;
      const auto remark = remark_words(row);
      out += fmt::format("| {} | {}: {}{} |", row.id, row.vector, escape(row.what),
                         remark.empty() ? "" : fmt::format(". *{}*", escape(remark)));
      for (std::size_t design = 0; design < kernel::kExceptionDesigns.size(); ++design) {
        out += fmt::format(" {} |", who_word(cell.who(design)));
      }
      out += fmt::format(" {} | {} | {} | {} | {} | {} |\n", vector_words(row), registers_words(row),
                         signal_words(row.signal), saved_words(row), cssa_words(cell), escape(row.source));
    }
    out += '\n';
  }
  out.pop_back();
  return out;
}

std::string rows_to_text() {
  std::string out;
  const Place* last = nullptr;
  for (const Cell& cell : all_cells()) {
    const Row& row = *cell.row;
    if (last == nullptr || *last != cell.place) {
      out += fmt::format("{}{}\n", last != nullptr ? "\n" : "", title_of(cell.place));
      last = &cell.place;
    }
    std::string line = fmt::format("  {:<22}", row.id);
    for (std::size_t design = 0; design < kernel::kExceptionDesigns.size(); ++design) {
      line += fmt::format("{:<12}", who_word(cell.who(design)));
    }
    out += fmt::format("{}{}: {}\n", line, row.vector, row.what);
  }
  return out;
}

nlohmann::json rows_to_json() {
  nlohmann::json list = nlohmann::json::array();
  for (const Cell& cell : all_cells()) {
    const Row& row = *cell.row;
    nlohmann::json who;
    for (const auto design : kernel::kExceptionDesigns) {
      who[std::string(kernel::name_of(design))] = who_word(cell.who(static_cast<std::size_t>(design)));
    }
    list.push_back({{"cell", cell.name()},
                    {"vector", row.vector},
                    {"what", row.what},
                    {"who", who},
                    {"exception", vector_words(row)},
                    {"registers", registers_words(row)},
                    {"signal", signal_words(row.signal)},
                    {"frame", saved_words(row)},
                    {"cssa", cssa_words(cell)},
                    {"remark", remark_words(row)},
                    {"source", row.source}});
  }
  return list;
}

}  // namespace enclume::cli::matrix
