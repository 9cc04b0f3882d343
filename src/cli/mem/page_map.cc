// SPDX-License-Identifier: Apache-2.0
// The picture: a row of squares for each stretch of 64 pages, coloured by what a page is for, marked by its
// state. Stretches without pages are one thin row, so that a sparse enclave fits. Above a size each square
// stands for several pages, and is coloured by most of them.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <map>

#include "base/types.h"
#include "cli/mem/render.h"

namespace enclume::cli {
namespace {

constexpr std::uint64_t kColumns = 64;
constexpr std::uint64_t kMaxRows = 256;  // of squares, for each enclave
constexpr int kSquare = 11;
constexpr int kLeft = 176;  // room for the addresses
constexpr int kMargin = 2 * kSquare;
constexpr int kGapHeight = 2 * kSquare;
constexpr int kHeader = 58;
constexpr int kWidth = kLeft + static_cast<int>(kColumns) * kSquare + kMargin;

// "14.2M": what is read at a glance.
std::string rounded_size(std::uint64_t bytes) {
  double size = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  for (; size >= 1024 && unit < 4; ++unit) size /= 1024;
  return fmt::format("{:.{}f}{}", size, size == static_cast<double>(static_cast<std::uint64_t>(size)) ? 0 : 1,
                     "KMGTP"[unit]);
}

// What a colour stands for.
enum class Use : std::size_t {
  kTcs,
  kCode,
  kCodeWritable,
  kData,
  kReadOnly,
  kNoAccess,
  kTrimmed,
};
struct Look {
  const char* css;    // class
  const char* words;  // in the legend
};
constexpr std::array<Look, 7> kLooks = {{{"tcs", "TCS"},
                                         {"code", "r-x, --x"},
                                         {"wx", "rwx"},
                                         {"data", "rw-"},
                                         {"ro", "r--"},
                                         {"none", "---"},
                                         {"trim", "trimmed"}}};

Use use_of(const PageKind& kind) {
  if (kind.type == arch::PageType::Tcs) return Use::kTcs;
  if (kind.type == arch::PageType::Trim) return Use::kTrimmed;
  if (kind.permissions.executable()) return kind.permissions.writable() ? Use::kCodeWritable : Use::kCode;
  if (kind.permissions.writable()) return Use::kData;
  return kind.permissions.readable() ? Use::kReadOnly : Use::kNoAccess;
}

// Squares of one look and one title that stand side by side.
struct Square {
  std::uint64_t first = 0;  // page
  std::uint64_t pages = 0;  // that it stands for
  std::uint64_t there = 0;  // of these
  PageKind kind;            // of most of them
};

// Pages as squares of `scale` pages, in the order of addresses.
std::vector<Square> squares_of(const EnclaveView& enclave, std::uint64_t scale) {
  std::vector<Square> squares;
  std::uint64_t most = 0;  // pages of the kind that the last square has
  for (const auto& range : enclave.ranges) {
    for (std::uint64_t at = range.first; at < range.first + range.count;) {
      const std::uint64_t first = at - at % scale;
      const std::uint64_t end = std::min(range.first + range.count, first + scale);
      if (squares.empty() || squares.back().first != first) {
        squares.push_back({first, scale, 0, range.kind});
        most = 0;
      }
      Square& square = squares.back();
      square.there += end - at;
      if (end - at > most) {
        most = end - at;
        square.kind = range.kind;
      }
      at = end;
    }
  }
  return squares;
}

std::uint64_t rows_of(const EnclaveView& enclave, std::uint64_t scale) {
  std::uint64_t rows = 0;
  std::uint64_t last = ~std::uint64_t{0};
  for (const auto& range : enclave.ranges) {
    const std::uint64_t begin = range.first / (kColumns * scale);
    const std::uint64_t end = (range.first + range.count - 1) / (kColumns * scale);
    rows += end - begin + (begin == last ? 0 : 1);
    last = end;
  }
  return rows;
}

std::uint64_t scale_of(const EnclaveView& enclave) {
  std::uint64_t scale = 1;
  while (rows_of(enclave, scale) > kMaxRows) scale *= 2;
  return scale;
}

std::string title_of(const EnclaveView& enclave, std::uint64_t first, std::uint64_t pages,
                     const PageKind& kind) {
  const auto state = state_name(kind);
  return fmt::format("{:#x} (+{:#x}), {}: {} {}{}{}", enclave.base + first * kPageSize, first * kPageSize,
                     size_name(pages * kPageSize), type_name(kind.type), permissions_name(kind.permissions),
                     state.empty() ? "" : ", ", state);
}

// What lies over the colour.
std::string marks_of(const PageKind& kind, int x, int y, int width) {
  std::string out;
  const auto cover = [&](const char* pattern) {
    out += fmt::format(R"x(<rect x="{}" y="{}" width="{}" height="{}" fill="url(#{})"/>)x", x, y, width,
                       kSquare, pattern);
  };
  if (kind.pending || kind.modified || kind.restricted) cover("waits");
  if (kind.untouched && kind.residence == Residence::kEpc) cover("untouched");
  if (kind.residence == Residence::kLost) cover("lost");
  if (kind.thread != 0) {
    out += fmt::format(R"(<circle cx="{}" cy="{}" r="3" class="inside"/>)", x + width / 2, y + kSquare / 2);
  }
  return out;
}

class Panel {
 public:
  Panel(const EnclaveView& enclave, int top) : enclave_(enclave), scale_(scale_of(enclave)), y_(top) {}

  std::string draw() {
    text(kMargin, y_ + 18, "name", fmt::format("enclave {}", enclave_.number));
    text(kMargin + 92, y_ + 18, "facts", state_name(enclave_));
    if (enclave_.created) {
      text(kMargin, y_ + 38, "facts",
           fmt::format("{:#x}, {} of address space · {} pages · {} in the EPC{}{}", enclave_.base,
                       size_name(enclave_.size), enclave_.pages(), enclave_.epc_pages(),
                       enclave_.pages(Residence::kEvicted) != 0
                           ? fmt::format(" · {} evicted", enclave_.pages(Residence::kEvicted))
                           : "",
                       scale_ > 1 ? fmt::format(" · a square is {}", size_name(scale_ * kPageSize)) : ""));
    }
    y_ += kHeader;
    y_ += (kSquare - y_ % kSquare) % kSquare;  // the patterns repeat from 0 on
    draw_pages();
    return out_;
  }
  [[nodiscard]] int bottom() const { return y_; }

 private:
  void text(int x, int y, const char* css, const std::string& words) {
    out_ += fmt::format("<text x=\"{}\" y=\"{}\" class=\"{}\">{}</text>\n", x, y, css, words);
  }

  void gap(std::uint64_t from_page, std::uint64_t to_page) {
    if (to_page <= from_page) return;
    text(kLeft, y_ + 15, "gap",
         fmt::format("{} without pages", rounded_size((to_page - from_page) * kPageSize)));
    y_ += kGapHeight;
  }

  void draw_pages() {
    const auto squares = squares_of(enclave_, scale_);
    const std::uint64_t row_pages = kColumns * scale_;
    std::uint64_t row = ~std::uint64_t{0};
    std::uint64_t row_end = 0;  // page behind the last row
    for (std::size_t i = 0; i < squares.size();) {
      const std::uint64_t this_row = squares[i].first / row_pages;
      if (this_row != row) {
        if (row != ~std::uint64_t{0}) y_ += kSquare;
        gap(row_end, this_row * row_pages);
        row = this_row;
        row_end = (row + 1) * row_pages;
        text(kMargin, y_ + kSquare - 2, "address", fmt::format("+{:#x}", row * row_pages * kPageSize));
        out_ += fmt::format("<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" class=\"hole\"/>\n", kLeft,
                            y_, static_cast<int>(kColumns) * kSquare, kSquare);
      }
      std::size_t end = i + 1;
      while (end < squares.size() && squares[end].first / row_pages == row &&
             squares[end].first == squares[end - 1].first + scale_ && squares[end].kind == squares[i].kind) {
        ++end;
      }
      draw_run(squares, i, end);
      i = end;
    }
    if (row != ~std::uint64_t{0}) y_ += kSquare;
    gap(row_end, enclave_.size / kPageSize);
  }

  void draw_run(const std::vector<Square>& squares, std::size_t begin, std::size_t end) {
    const Square& first = squares[begin];
    const auto column = static_cast<int>(first.first / scale_ % kColumns);
    const int x = kLeft + column * kSquare;
    const int width = static_cast<int>(end - begin) * kSquare;
    const char* const css = kLooks[static_cast<std::size_t>(use_of(first.kind))].css;
    std::uint64_t pages = 0;
    for (std::size_t i = begin; i < end; ++i) pages += squares[i].there;
    out_ +=
        fmt::format("<g><title>{}</title><rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" class=\"{}{}\"/>",
                    title_of(enclave_, first.first, pages, first.kind), x, y_, width, kSquare, css,
                    first.kind.residence == Residence::kEvicted ? " evicted" : "");
    out_ += marks_of(first.kind, x, y_, width);
    out_ += fmt::format("<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"url(#grid)\"/></g>\n", x,
                        y_, width, kSquare);
  }

  const EnclaveView& enclave_;
  std::uint64_t scale_;
  int y_;
  std::string out_;
};

// Colours that stay apart for people who see red and green alike (Okabe and Ito's), for light and dark pages.
constexpr const char* kStyle = R"(
  text { font-family: "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: 11px; fill: #1f2328; }
  .title { font-size: 15px; font-weight: bold; }
  .name { font-size: 13px; font-weight: bold; }
  .facts, .address, .gap { fill: #6b737c; }
  .gap { font-size: 10px; font-style: italic; }
  .ground { fill: #ffffff; } .hole { fill: #eef0f2; }
  .tcs { fill: #d55e00; } .code { fill: #0072b2; } .wx { fill: #cc79a7; } .data { fill: #009e73; }
  .ro { fill: #56b4e9; } .none { fill: #9aa3ab; } .trim { fill: #f0e442; }
  .evicted { opacity: 0.32; }
  .inside { fill: #ffffff; stroke: #1f2328; stroke-width: 1; }
  .grid { stroke: #ffffff; } .mark { stroke: #1f2328; } .spot { fill: #ffffff; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e4e7ea; } .facts, .address, .gap { fill: #939ba4; }
    .ground { fill: #14171a; } .hole { fill: #23282d; } .grid { stroke: #14171a; }
  }
)";

std::string patterns() {
  return fmt::format(
      R"x(<defs>
<pattern id="grid" width="{0}" height="{0}" patternUnits="userSpaceOnUse" x="{1}" y="0"><path d="M{0} 0V{0}H0" fill="none" class="grid" stroke-width="1"/></pattern>
<pattern id="waits" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><path d="M0 0V5" class="mark" stroke-width="2.4"/></pattern>
<pattern id="untouched" width="{0}" height="{0}" patternUnits="userSpaceOnUse" x="{1}" y="0"><circle cx="5" cy="5" r="1.6" class="spot"/></pattern>
<pattern id="lost" width="{0}" height="{0}" patternUnits="userSpaceOnUse" x="{1}" y="0"><path d="M2 2L{2} {2}M{2} 2L2 {2}" class="mark" stroke-width="1.4"/></pattern>
</defs>
)x",
      kSquare, kLeft, kSquare - 3);
}

// One entry for each look and each mark that the picture has.
std::string legend(const Snapshot& snapshot, int y) {
  std::array<std::uint64_t, kLooks.size()> pages{};
  std::uint64_t evicted = 0, waiting = 0, untouched = 0, lost = 0, inside = 0;
  for (const auto& enclave : snapshot.enclaves) {
    for (const auto& range : enclave.ranges) {
      const PageKind& kind = range.kind;
      pages.at(static_cast<std::size_t>(use_of(kind))) += range.count;
      evicted += kind.residence == Residence::kEvicted ? range.count : 0;
      lost += kind.residence == Residence::kLost ? range.count : 0;
      waiting += kind.pending || kind.modified || kind.restricted ? range.count : 0;
      untouched += kind.untouched && kind.residence == Residence::kEpc ? range.count : 0;
      inside += kind.thread != 0 ? 1 : 0;
    }
  }
  std::string out;
  int x = kMargin;
  const auto entry = [&](const std::string& square, const std::string& words) {
    out +=
        square + fmt::format("<text x=\"{}\" y=\"{}\">{}</text>\n", x + kSquare + 5, y + kSquare - 2, words);
    x += kSquare + 5 + static_cast<int>(words.size()) * 7 + 14;
    x += (kSquare - x % kSquare) % kSquare;  // the patterns repeat from 0 on
  };
  const auto rect = [&](const char* attribute, const char* value) {
    return fmt::format("<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" {}=\"{}\"/>", x, y, kSquare,
                       kSquare, attribute, value);
  };
  for (std::size_t i = 0; i < kLooks.size(); ++i) {
    if (pages[i] != 0)
      entry(rect("class", kLooks[i].css),
            fmt::format("{} {}", kLooks[i].words, rounded_size(pages[i] * kPageSize)));
  }
  y += 2 * kSquare;
  x = kMargin;
  const auto mark = [&](std::uint64_t count, const std::string& drawing, const char* words) {
    if (count != 0)
      entry(rect("class", "none") + drawing, fmt::format("{} {}", words, rounded_size(count * kPageSize)));
  };
  if (evicted != 0)
    entry(rect("class", "data evicted"), fmt::format("evicted {}", rounded_size(evicted * kPageSize)));
  mark(untouched, rect("fill", "url(#untouched)"), "in no page table");
  mark(waiting, rect("fill", "url(#waits)"), "waits for EACCEPT");
  mark(lost, rect("fill", "url(#lost)"), "lost");
  if (inside != 0) {
    entry(rect("class", "tcs") +
              fmt::format("<circle cx=\"{}\" cy=\"{}\" r=\"3\" class=\"inside\"/>", x + 5, y + 5),
          fmt::format("{} {} inside", inside, inside == 1 ? "thread" : "threads"));
  }
  return out;
}

}  // namespace

std::string to_svg(const Snapshot& snapshot) {
  std::string body;
  int y = 96;
  for (const auto& enclave : snapshot.enclaves) {
    Panel panel(enclave, y);
    body += panel.draw();
    y = panel.bottom() + 20;
  }
  const auto title = fmt::format("Enclaves of process {}", snapshot.pid);
  return fmt::format(
             "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" "
             "height=\"{1}\">\n"
             "<title>{2}</title>\n<style>{3}</style>\n",
             kWidth, y, title, kStyle) +
         patterns() +
         fmt::format(
             "<rect width=\"{}\" height=\"{}\" class=\"ground\"/>\n<text x=\"{}\" y=\"32\" "
             "class=\"title\">{}</text>\n",
             kWidth, y, kMargin, title) +
         legend(snapshot, 4 * kSquare) + body + "</svg>\n";
}

std::string to_html(const Snapshot& snapshot) {
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>Enclaves of process "
      "{}</title>\n"
      "<meta name=\"color-scheme\" content=\"light dark\">\n<style>body {{ margin: 0; }} svg {{ max-width: "
      "100%; "
      "height: auto; }}</style>\n</head>\n<body>\n{}</body>\n</html>\n",
      snapshot.pid, to_svg(snapshot));
}

}  // namespace enclume::cli
