// SPDX-License-Identifier: Apache-2.0
// A second model of the EPCM and of the leaves that change it, written from the SDM's leaf pages: sets,
// shared pointers and symbols, where src/arch has packed words, counters and bytes. It includes nothing of
// src, so that a wrong idea there can't be copied here.
//
// It knows aligned operands only (the others have tests of their own). What it predicts is how the states of
// pages, enclaves and logical processors decide results.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace enclume::property {

/// PAGE_TYPE (SDM Vol. 3D, "SECINFO.FLAGS.PAGE_TYPE").
enum class Type : std::uint8_t {
  Secs = 0,
  Tcs = 1,
  Reg = 2,
  Va = 3,
  Trim = 4,
};

/// R, W, X as SECINFO.FLAGS has them.
inline constexpr unsigned kR = 1, kW = 2, kX = 4;

/// An EPCM entry as software can observe it.
struct Entry {
  bool valid = false;
  unsigned rwx = 0;
  bool blocked = false;
  bool pending = false;
  bool modified = false;
  bool pr = false;
  Type type = Type::Secs;
  friend bool operator==(const Entry&, const Entry&) = default;
};
std::string to_string(const Entry& entry);

/// Which operand a #PF names.
enum class Where : std::uint8_t {
  None,
  Page,     ///< RCX of ENCLS; RBX of EENTER and ERESUME; RCX of the other leaves of ENCLU
  Secs,     ///< PAGEINFO.SECS
  Slot,     ///< the version array's
  Secinfo,  ///< RBX of EACCEPT, EACCEPTCOPY, EMODPE
  Source,   ///< RDX of EACCEPTCOPY
  Frame,    ///< the SSA frame
};

/// How a leaf ends.
struct Result {
  enum class Kind : std::uint8_t {
    Success,
    Code,   ///< a code in RAX, ZF set
    Carry,  ///< a code in RAX, CF set
    Gp,     ///< #GP(0)
    Pf,
    Skipped,  ///< the step makes no sense now: nothing was executed
  };
  Kind kind = Kind::Success;
  std::uint32_t code = 0;  ///< RAX, or the page fault's error code
  Where where = Where::None;
  friend bool operator==(const Result&, const Result&) = default;
};
std::string to_string(const Result& result);

/// A place in a linear address space: page `index` of the enclaves' range number `base`.
struct Place {
  unsigned base = 0;
  unsigned index = 0;
  friend auto operator<=>(const Place&, const Place&) = default;
};
inline constexpr unsigned kBases = 2, kPlaces = 12;

/// What EACCEPT is asked to accept.
struct Request {
  Type type = Type::Reg;
  unsigned rwx = 0;
  bool pending = false;
  bool modified = false;
  bool pr = false;
};

class EpcmModel {
 public:
  struct Enclave {
    unsigned base = 0;
    bool initialised = false;
    std::set<unsigned> inside;            ///< logical processors
    std::set<unsigned> inside_at_etrack;  ///< those of them that the last ETRACK has seen
  };
  using EnclaveRef = std::shared_ptr<Enclave>;

  /// As much of a page's contents as decides results.
  struct Contents {
    enum class Kind : std::uint8_t {
      Zero,
      Tcs,
      Frame,  ///< an asynchronous exit has written here
    };
    Kind kind = Kind::Zero;
    // Tcs:
    unsigned ossa = 0;  ///< place of the first of its kFrames frames
    unsigned cssa = 0;
    bool active = false;
    bool used = false;  ///< has been entered: AEP is set
  };
  static constexpr unsigned kFrames = 2;

  struct Page {
    Entry entry;
    EnclaveRef enclave;  ///< a SECS' own, a child's; none for a version array
    Place place;
    Contents contents;
    /// Who may still use an old translation; unset while no ETRACK has followed the change.
    std::optional<std::set<unsigned>> stale = std::set<unsigned>{};
    std::map<unsigned, unsigned> slots{};  ///< version array: evicted page by slot
  };

  struct Processor {
    EnclaveRef enclave;  ///< none: outside
    unsigned tcs = 0;    ///< its EPC page
    unsigned frame = 0;  ///< the EPC page of the SSA frame that the next asynchronous exit fills
  };

  EpcmModel(unsigned page_count, unsigned processor_count) : pages(page_count), processors(processor_count) {}

  // ENCLS. `page`, `secs`, `va` are numbers of EPC pages; what was evicted by the EWB `blob` comes back by
  // it.
  Result ecreate(unsigned page, unsigned base);
  Result eadd(unsigned page, unsigned secs, Type type, unsigned rwx, unsigned place, bool tcs_image,
              unsigned ossa);
  Result einit(unsigned secs);
  Result eaug(unsigned page, unsigned secs, unsigned place);
  Result eremove(unsigned page);
  Result eblock(unsigned page);
  Result etrack(unsigned secs);
  Result epa(unsigned page);
  Result ewb(unsigned page, unsigned va, unsigned slot, unsigned blob);
  Result eld(unsigned page, unsigned va, unsigned slot, unsigned secs, unsigned blob, bool block);
  Result emodpr(unsigned page, unsigned rwx);
  Result emodt(unsigned page, Type type);
  /// The page tables lead `place` to an EPC page. EADD, EAUG and ELD do so by themselves.
  Result map(Place place, unsigned page);

  // ENCLU on a logical processor. `secinfo` is the place of the page where the SECINFO lies.
  Result eenter(unsigned processor, Place tcs);
  Result eresume(unsigned processor, Place tcs);
  Result eexit(unsigned processor);
  Result aex(unsigned processor);
  Result edeccssa(unsigned processor);
  Result eaccept(unsigned processor, Place page, Request request, Place secinfo);
  Result eacceptcopy(unsigned processor, Place to, Place from, unsigned rwx, Place secinfo);
  Result emodpe(unsigned processor, Place page, unsigned rwx, Place secinfo);

  // What can be asked.
  [[nodiscard]] bool is(unsigned page, Type type) const {
    return pages[page].entry.valid && pages[page].entry.type == type;
  }
  [[nodiscard]] bool is_child(unsigned page) const {
    return pages[page].entry.valid && pages[page].enclave != nullptr && !is(page, Type::Secs);
  }
  [[nodiscard]] unsigned children(const EnclaveRef& enclave) const;
  [[nodiscard]] bool tracked(unsigned page) const {
    return pages[page].stale.has_value() && pages[page].stale->empty();
  }
  /// The page of an evicted page's version, and its slot.
  [[nodiscard]] std::optional<std::pair<unsigned, unsigned>> slot_of(unsigned blob) const;

  std::vector<Page> pages;
  std::vector<Processor> processors;
  std::map<Place, unsigned> mapped;
  std::map<unsigned, Page> blobs;  ///< by the number of the EWB

 private:
  void occupy(unsigned page, Entry entry, const EnclaveRef& enclave, Place place, Contents contents);
  [[nodiscard]] const Page* walk(Place place) const;
  [[nodiscard]] static bool allows(const Page& page, const EnclaveRef& enclave, Place place, unsigned right);
  [[nodiscard]] std::optional<Result> operand_fault(const EnclaveRef& enclave, Place place, unsigned right,
                                                    Where where) const;
  [[nodiscard]] static Place frame_place(const Page& tcs, unsigned frame);
  [[nodiscard]] std::optional<Result> frame_fault(const Page& tcs, unsigned frame) const;
  Result enter(unsigned processor, Place tcs, bool resume);
  void leave(unsigned processor);
};

}  // namespace enclume::property
