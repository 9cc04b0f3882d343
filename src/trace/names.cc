// SPDX-License-Identifier: Apache-2.0
#include "trace/names.h"

#include <fcntl.h>
#include <linux/mman.h>
#include <signal.h>
#include <sys/mman.h>

#include <cerrno>
#include <iterator>

namespace enclume::trace {

namespace {

#define ENCLUME_NAMED(constant)                     \
  Named {                                           \
    static_cast<std::uint64_t>(constant), #constant \
  }

struct LeafRow {
  Name leaf, rbx, rcx, rdx;
};
constexpr LeafRow kLeaves[] = {{"EREPORT", "targetinfo", "reportdata", "report"},
                               {"EGETKEY", "keyrequest", "key", ""},
                               {"EENTER", "tcs", "aep", ""},
                               {"ERESUME", "tcs", "aep", ""},
                               {"EEXIT", "target", "", ""},
                               {"EACCEPT", "secinfo", "page", ""},
                               {"EMODPE", "secinfo", "page", ""},
                               {"EACCEPTCOPY", "secinfo", "page", "from"},
                               {"EVERIFYREPORT2", "report", "", ""},
                               {"EDECCSSA", "", "", ""}};

// SDM Vol. 3D, "Error codes"; Linux asm/sgx.h, enum sgx_return_code.
constexpr Named kLeafCodes[] = {
    Named{0, "SUCCESS"},
    Named{1, "INVALID_SIG_STRUCT"},
    Named{2, "INVALID_ATTRIBUTE"},
    Named{3, "BLKSTATE"},
    Named{4, "INVALID_MEASUREMENT"},
    Named{5, "NOTBLOCKABLE"},
    Named{6, "PG_INVLD"},
    Named{7, "EPC_PAGE_CONFLICT"},
    Named{8, "INVALID_SIGNATURE"},
    Named{9, "MAC_COMPARE_FAIL"},
    Named{10, "PAGE_NOT_BLOCKED"},
    Named{11, "NOT_TRACKED"},
    Named{12, "VA_SLOT_OCCUPIED"},
    Named{13, "CHILD_PRESENT"},
    Named{14, "ENCLAVE_ACT"},
    Named{15, "ENTRYEPOCH_LOCKED"},
    Named{16, "INVALID_EINITTOKEN"},
    Named{17, "PREV_TRK_INCMPL"},
    Named{18, "PG_IS_SECS"},
    Named{19, "PAGE_ATTRIBUTES_MISMATCH"},
    Named{20, "PAGE_NOT_MODIFIABLE"},
    Named{21, "PAGE_NOT_DEBUGGABLE"},
    Named{32, "INVALID_CPUSVN"},
    Named{64, "INVALID_ISVSVN"},
    Named{128, "UNMASKED_EVENT"},
    Named{256, "INVALID_KEYNAME"},
};

constexpr Named kVectors[] = {
    Named{0, "#DE"},  Named{1, "#DB"},  Named{2, "NMI"},  Named{3, "#BP"},  Named{4, "#OF"},
    Named{5, "#BR"},  Named{6, "#UD"},  Named{7, "#NM"},  Named{8, "#DF"},  Named{10, "#TS"},
    Named{11, "#NP"}, Named{12, "#SS"}, Named{13, "#GP"}, Named{14, "#PF"}, Named{16, "#MF"},
    Named{17, "#AC"}, Named{18, "#MC"}, Named{19, "#XM"}, Named{20, "#VE"}, Named{21, "#CP"},
};

// <asm/sgx.h>
constexpr Named kIoctls[] = {
    Named{0x4008a400, "SGX_IOC_ENCLAVE_CREATE"},
    Named{0xc030a401, "SGX_IOC_ENCLAVE_ADD_PAGES"},
    Named{0x4008a402, "SGX_IOC_ENCLAVE_INIT"},
    Named{0x4008a403, "SGX_IOC_ENCLAVE_PROVISION"},
    Named{0x0000a404, "SGX_IOC_VEPC_REMOVE_ALL"},
    Named{0xc028a405, "SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS"},
    Named{0xc028a406, "SGX_IOC_ENCLAVE_MODIFY_TYPES"},
    Named{0xc018a407, "SGX_IOC_ENCLAVE_REMOVE_PAGES"},
    // include/enclume/uapi/sgx_enclu_handler.h
    Named{0x4010a480, "SGX_IOC_ENCLU_HANDLER_REGISTER"},
    Named{0x4010a481, "SGX_IOC_ENCLU_HANDLER_UNREGISTER"},
    // include/enclume/uapi/enclume_control.h
    Named{0x0000ec00, "ENCLUME_IOC_LOSE_EPC"},
};

// What open, close, the memory calls and the ioctls of SGX can answer.
constexpr Named kErrnos[] = {
    ENCLUME_NAMED(EPERM),     ENCLUME_NAMED(ENOENT),     ENCLUME_NAMED(ESRCH),      ENCLUME_NAMED(EINTR),
    ENCLUME_NAMED(EIO),       ENCLUME_NAMED(ENXIO),      ENCLUME_NAMED(EBADF),      ENCLUME_NAMED(EAGAIN),
    ENCLUME_NAMED(ENOMEM),    ENCLUME_NAMED(EACCES),     ENCLUME_NAMED(EFAULT),     ENCLUME_NAMED(EBUSY),
    ENCLUME_NAMED(EEXIST),    ENCLUME_NAMED(ENODEV),     ENCLUME_NAMED(EINVAL),     ENCLUME_NAMED(ENOTDIR),
    ENCLUME_NAMED(EISDIR),    ENCLUME_NAMED(ENFILE),     ENCLUME_NAMED(EMFILE),     ENCLUME_NAMED(ENOTTY),
    ENCLUME_NAMED(ETXTBSY),   ENCLUME_NAMED(ENOSPC),     ENCLUME_NAMED(EROFS),      ENCLUME_NAMED(ENOSYS),
    ENCLUME_NAMED(EOVERFLOW), ENCLUME_NAMED(EOPNOTSUPP), Named{512, "ERESTARTSYS"},
};

constexpr Named kSignals[] = {
    ENCLUME_NAMED(SIGHUP),    ENCLUME_NAMED(SIGINT),  ENCLUME_NAMED(SIGQUIT), ENCLUME_NAMED(SIGILL),
    ENCLUME_NAMED(SIGTRAP),   ENCLUME_NAMED(SIGABRT), ENCLUME_NAMED(SIGBUS),  ENCLUME_NAMED(SIGFPE),
    ENCLUME_NAMED(SIGUSR1),   ENCLUME_NAMED(SIGSEGV), ENCLUME_NAMED(SIGUSR2), ENCLUME_NAMED(SIGPIPE),
    ENCLUME_NAMED(SIGALRM),   ENCLUME_NAMED(SIGTERM), ENCLUME_NAMED(SIGCHLD), ENCLUME_NAMED(SIGCONT),
    ENCLUME_NAMED(SIGTSTP),   ENCLUME_NAMED(SIGTTIN), ENCLUME_NAMED(SIGTTOU), ENCLUME_NAMED(SIGURG),
    ENCLUME_NAMED(SIGXCPU),   ENCLUME_NAMED(SIGXFSZ), ENCLUME_NAMED(SIGPROF), ENCLUME_NAMED(SIGVTALRM),
    ENCLUME_NAMED(SIGWINCH),  ENCLUME_NAMED(SIGIO),   ENCLUME_NAMED(SIGPWR),  ENCLUME_NAMED(SIGSYS),
    ENCLUME_NAMED(SIGSTKFLT),
};

constexpr Named kIllCodes[] = {ENCLUME_NAMED(ILL_ILLOPC), ENCLUME_NAMED(ILL_ILLOPN)};
constexpr Named kFpeCodes[] = {ENCLUME_NAMED(FPE_INTDIV), ENCLUME_NAMED(FPE_INTOVF),
                               ENCLUME_NAMED(FPE_FLTDIV), ENCLUME_NAMED(FPE_FLTOVF),
                               ENCLUME_NAMED(FPE_FLTUND), ENCLUME_NAMED(FPE_FLTRES),
                               ENCLUME_NAMED(FPE_FLTINV)};
constexpr Named kSegvCodes[] = {ENCLUME_NAMED(SEGV_MAPERR), ENCLUME_NAMED(SEGV_ACCERR),
                                ENCLUME_NAMED(SEGV_PKUERR), Named{10, "SEGV_CPERR"}};
constexpr Named kBusCodes[] = {ENCLUME_NAMED(BUS_ADRALN), ENCLUME_NAMED(BUS_ADRERR)};
constexpr Named kTrapCodes[] = {ENCLUME_NAMED(TRAP_BRKPT), ENCLUME_NAMED(TRAP_TRACE),
                                Named{4, "TRAP_HWBKPT"}};

// SDM Vol. 3D, "Page Type".
constexpr Named kPageTypes[] = {
    Named{0, "SECS"}, Named{1, "TCS"},      Named{2, "REG"},     Named{3, "VA"},
    Named{4, "TRIM"}, Named{5, "SS_FIRST"}, Named{6, "SS_REST"},
};
constexpr Named kSecinfoStates[] = {Named{1U << 3, "PENDING"}, Named{1U << 4, "MODIFIED"},
                                    Named{1U << 5, "PR"}};

constexpr Named kProt[] = {ENCLUME_NAMED(PROT_READ), ENCLUME_NAMED(PROT_WRITE), ENCLUME_NAMED(PROT_EXEC),
                           ENCLUME_NAMED(PROT_GROWSDOWN), ENCLUME_NAMED(PROT_GROWSUP)};
// MAP_SHARED_VALIDATE is both of the first two.
constexpr Named kMap[] = {
    ENCLUME_NAMED(MAP_SHARED_VALIDATE), ENCLUME_NAMED(MAP_SHARED),    ENCLUME_NAMED(MAP_PRIVATE),
    ENCLUME_NAMED(MAP_FIXED),           ENCLUME_NAMED(MAP_ANONYMOUS), ENCLUME_NAMED(MAP_FIXED_NOREPLACE),
    ENCLUME_NAMED(MAP_NORESERVE),       ENCLUME_NAMED(MAP_POPULATE),  ENCLUME_NAMED(MAP_NONBLOCK),
    ENCLUME_NAMED(MAP_LOCKED),          ENCLUME_NAMED(MAP_STACK),     ENCLUME_NAMED(MAP_GROWSDOWN),
    ENCLUME_NAMED(MAP_32BIT),           ENCLUME_NAMED(MAP_HUGETLB),   ENCLUME_NAMED(MAP_SYNC)};
constexpr Named kMremap[] = {ENCLUME_NAMED(MREMAP_MAYMOVE), ENCLUME_NAMED(MREMAP_FIXED),
                             ENCLUME_NAMED(MREMAP_DONTUNMAP)};
// O_SYNC contains O_DSYNC, O_TMPFILE contains O_DIRECTORY.
constexpr Named kOpen[] = {
    Named{O_SYNC, "O_SYNC"},       ENCLUME_NAMED(O_DSYNC),    Named{020000000 | O_DIRECTORY, "O_TMPFILE"},
    ENCLUME_NAMED(O_DIRECTORY),    ENCLUME_NAMED(O_CREAT),    ENCLUME_NAMED(O_EXCL),
    ENCLUME_NAMED(O_NOCTTY),       ENCLUME_NAMED(O_TRUNC),    ENCLUME_NAMED(O_APPEND),
    ENCLUME_NAMED(O_NONBLOCK),     ENCLUME_NAMED(O_NOFOLLOW), ENCLUME_NAMED(O_CLOEXEC),
    Named{0100000, "O_LARGEFILE"}, Named{010000000, "O_PATH"}};

std::string_view find(std::span<const Named> names, std::uint64_t value) {
  for (const Named& n : names) {
    if (n.value == value) {
      return n.name;
    }
  }
  return {};
}

std::uint64_t bits(int value) {
  return static_cast<std::uint32_t>(value);
}

}  // namespace

LeafNames leaf_names(std::uint32_t leaf) {
  if (leaf >= std::size(kLeaves)) {
    return {};
  }
  const LeafRow& row = kLeaves[leaf];
  return {row.leaf, row.rbx, row.rcx, row.rdx};
}

std::string_view leaf_code_name(std::uint64_t code) {
  return find(kLeafCodes, code);
}

std::string_view vector_name(std::uint64_t vector) {
  return find(kVectors, vector);
}

bool has_error_code(std::uint64_t vector) {
  // SDM Vol. 3A, Table 6-1: #DF, #TS, #NP, #SS, #GP, #PF, #AC, #CP.
  constexpr std::uint64_t kWith =
      1U << 8 | 1U << 10 | 1U << 11 | 1U << 12 | 1U << 13 | 1U << 14 | 1U << 17 | 1U << 21;
  return vector < 64 && (kWith >> vector & 1) != 0;
}

std::string_view ioctl_name(std::uint32_t command) {
  return find(kIoctls, command);
}

std::string_view errno_name(int error) {
  return find(kErrnos, bits(error));
}

std::string_view signal_name(int signo) {
  return find(kSignals, bits(signo));
}

std::string_view signal_code_name(int signo, int code) {
  if (code == SI_KERNEL) {
    return "SI_KERNEL";
  }
  switch (signo) {
    case SIGILL:
      return find(kIllCodes, bits(code));
    case SIGFPE:
      return find(kFpeCodes, bits(code));
    case SIGSEGV:
      return find(kSegvCodes, bits(code));
    case SIGBUS:
      return find(kBusCodes, bits(code));
    case SIGTRAP:
      return find(kTrapCodes, bits(code));
    default:
      return {};
  }
}

std::string_view page_type_name(std::uint64_t type) {
  return find(kPageTypes, type);
}

void put_flags(LineBuffer& line, std::uint64_t value, std::span<const Named> names, std::string_view none) {
  if (value == 0) {
    line.text(none);
    return;
  }
  std::string_view between;
  for (const Named& n : names) {
    if ((value & n.value) == n.value) {
      line.text(between).text(n.name);
      between = "|";
      value &= ~n.value;
    }
  }
  if (value != 0) {
    line.text(between).hex(value);
  }
}

void put_prot(LineBuffer& line, int prot) {
  put_flags(line, bits(prot), kProt, "PROT_NONE");
}

void put_map_flags(LineBuffer& line, int flags) {
  put_flags(line, bits(flags), kMap, "0");
}

void put_mremap_flags(LineBuffer& line, int flags) {
  put_flags(line, bits(flags), kMremap, "0");
}

void put_open_flags(LineBuffer& line, int flags) {
  switch (flags & O_ACCMODE) {
    case O_RDONLY:
      line.text("O_RDONLY");
      break;
    case O_WRONLY:
      line.text("O_WRONLY");
      break;
    case O_RDWR:
      line.text("O_RDWR");
      break;
    default:
      line.text("O_ACCMODE");
      break;
  }
  if (const int rest = flags & ~O_ACCMODE; rest != 0) {
    line.text("|");
    put_flags(line, bits(rest), kOpen, "");
  }
}

void put_secinfo(LineBuffer& line, std::uint64_t flags) {
  constexpr std::uint64_t kTypeMask = 0xff00;
  line.text((flags & 1) != 0 ? "R" : "-")
      .text((flags & 2) != 0 ? "W" : "-")
      .text((flags & 4) != 0 ? "X" : "-");
  line.text(" ");
  const std::uint64_t type = (flags & kTypeMask) >> 8;
  if (const std::string_view name = page_type_name(type); !name.empty()) {
    line.text(name);
  } else {
    line.text("type ").hex(type);
  }
  if (const std::uint64_t rest = flags & ~(kTypeMask | 7); rest != 0) {
    line.text(" ");
    put_flags(line, rest, kSecinfoStates, "");
  }
}

}  // namespace enclume::trace
