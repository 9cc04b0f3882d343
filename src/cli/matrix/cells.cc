// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include "cli/matrix/row.h"
#include "kernel/fixup/design.h"

namespace enclume::cli::matrix {

std::string_view name_of(Place place) {
  switch (place) {
    case Place::kOptOut:
      return "opt-out";
    case Place::kOptIn:
      return "opt-in";
    case Place::kHandler:
      return "cssa-1";
    case Place::kEenter:
      return "eenter";
    case Place::kEresume:
      return "eresume";
    case Place::kAep:
      return "aep";
    case Place::kBeforeEnclu:
      return "before-enclu";
    case Place::kNearBy:
      return "near-by";
    case Place::kUserHandler:
      return "user-handler";
  }
  return "";
}

std::string_view title_of(Place place) {
  switch (place) {
    case Place::kOptOut:
      return "In an enclave, opt-out";
    case Place::kOptIn:
      return "In a debug enclave, opt-in (TCS.FLAGS.DBGOPTIN)";
    case Place::kHandler:
      return "In the enclave's own exception handler (CSSA 1, opt-out)";
    case Place::kEenter:
      return "At ENCLU[EENTER]";
    case Place::kEresume:
      return "At ENCLU[ERESUME]";
    case Place::kAep:
      return "At the AEP";
    case Place::kBeforeEnclu:
      return "One instruction before an ENCLU";
    case Place::kNearBy:
      return "In host code near by";
    case Place::kUserHandler:
      return "In the handler that the design calls";
  }
  return "";
}

std::string Cell::name() const {
  return std::string(name_of(place)) + "/" + std::string(row->id);
}

char Cell::who(std::size_t design) const {
  if (place == Place::kUserHandler &&
      kernel::kExceptionDesigns.at(design) == kernel::ExceptionDesign::VdsoRegisters) {
    return '-';
  }
  return row->who.at(design);
}

int Cell::cssa() const {
  // ERESUME resumes an exception, if the row does not deny it.
  const bool inner = place == Place::kHandler || (place == Place::kEresume && row->id != "cssa-0");
  return row->cssa + (inner ? 1 : 0);
}

std::span<const Cell> all_cells() {
  static const std::vector<Cell> cells = [] {
    std::vector<Cell> all;
    for (const Place place : kPlaces) {
      for (const auto rows :
           {inside_rows(), illegal_rows(), legal_rows(), eenter_rows(), eresume_rows(), host_rows()}) {
        for (const Row& row : rows) {
          if (contains(row.where, place)) all.push_back({&row, place});
        }
      }
    }
    return all;
  }();
  return cells;
}

}  // namespace enclume::cli::matrix
