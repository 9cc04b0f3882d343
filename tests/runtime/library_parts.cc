// SPDX-License-Identifier: Apache-2.0
// Deterministic work on the libraries, told as text.
#include <algorithm>
#include <bitset>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <queue>
#include <random>
#include <set>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <variant>
#include <vector>

#include "runtime/library.h"

namespace library {
namespace {

using Random = std::mt19937_64;

std::uint64_t below(Random& random, std::uint64_t limit) {
  return random() % limit;
}

/// Words with many repetitions, which searching and sorting like.
std::string word(Random& random, std::string_view letters, std::size_t most) {
  std::string result(below(random, most + 1), ' ');
  for (char& c : result) c = letters[below(random, letters.size())];
  return result;
}

template <typename... T>
void tell(std::string& to, const T&... values) {
  const auto one = [&](const auto& value) {
    if constexpr (std::is_integral_v<std::remove_cvref_t<decltype(value)>>) {
      to += std::to_string(value);
    } else {
      to += value;
    }
    to += ' ';
  };
  (one(values), ...);
}

}  // namespace

std::string maps(std::uint64_t seed) {
  Random random(seed);
  std::map<std::uint64_t, std::string> map;
  std::multiset<std::string> words;
  for (int i = 0; i < 300; ++i) {
    const std::uint64_t key = below(random, 200);
    if (below(random, 3) == 0) {
      map.erase(key);
    } else {
      map[key] = word(random, "abc", 40);
      words.insert(map[key]);
    }
  }
  std::string told;
  for (const auto& [key, value] : map) tell(told, key, value);
  for (auto at = map.rbegin(); at != map.rend(); ++at) tell(told, at->first);
  tell(told, words.size(), words.count("a"), *words.lower_bound("b"));
  return told;
}

std::string hash_tables(std::uint64_t seed) {
  Random random(seed);
  std::unordered_map<std::string, std::uint64_t> map;
  std::unordered_set<std::uint64_t> set;
  for (int i = 0; i < 500; ++i) {
    const std::string key = word(random, "ab", 6);
    if (below(random, 3) == 0) {
      map.erase(key);
    } else {
      map[key] += 1;
    }
    set.insert(below(random, 1000));
  }
  // In the tables' own order: hashes and numbers of buckets must be the library's.
  std::string told;
  for (const auto& [key, value] : map) tell(told, key, value);
  for (const std::uint64_t value : set) tell(told, value);
  tell(told, map.bucket_count(), set.bucket_count());
  return told;
}

std::string lists(std::uint64_t seed) {
  Random random(seed);
  std::list<std::uint64_t> list, other;
  for (int i = 0; i < 100; ++i) {
    list.push_back(below(random, 50));
    other.push_front(below(random, 50));
  }
  list.sort();
  other.sort();
  list.merge(other);
  list.unique();
  list.reverse();
  other.splice(other.begin(), list, std::next(list.begin(), 3), list.end());
  std::swap(list, other);
  std::string told;
  for (const std::uint64_t value : list) tell(told, value);
  for (const std::uint64_t value : other) tell(told, value);
  return told;
}

std::string shared_pointers(std::uint64_t seed) {
  struct Node {
    std::uint64_t value;
    std::shared_ptr<Node> next;
    std::weak_ptr<Node> previous;
  };
  Random random(seed);
  auto first = std::make_shared<Node>(Node{below(random, 9), nullptr, {}});
  std::shared_ptr<Node> last = first;
  for (int i = 0; i < 20; ++i) {
    last->next = std::shared_ptr<Node>(new Node{below(random, 9), nullptr, last});
    last = last->next;
  }
  std::string told;
  for (auto at = last; at; at = at->previous.lock()) tell(told, at->value, at.use_count());
  const std::weak_ptr<Node> gone = last;
  last.reset();
  first.reset();
  tell(told, gone.expired());
  const std::shared_ptr<std::uint64_t> alias(std::make_shared<std::pair<int, std::uint64_t>>(1, seed), &seed);
  tell(told, *alias, alias.use_count());
  return told;
}

std::string functions(std::uint64_t seed) {
  Random random(seed);
  std::vector<std::function<std::uint64_t(std::uint64_t)>> steps;
  for (int i = 0; i < 20; ++i) {
    const std::uint64_t a = random(), b = random(), c = random();
    steps.emplace_back([a](std::uint64_t x) { return x ^ a; });
    steps.emplace_back([a, b, c](std::uint64_t x) { return x * a + b - c; });
  }
  for (const auto& step : steps) seed = step(seed);
  return std::to_string(seed) + (std::function<void()>() ? "?" : "");
}

std::string queues(std::uint64_t seed) {
  Random random(seed);
  std::deque<std::uint64_t> deque;
  std::priority_queue<std::uint64_t> queue;
  for (int i = 0; i < 2000; ++i) {
    const std::uint64_t value = random();
    if (value % 2 == 0) {
      deque.push_back(value);
    } else {
      deque.push_front(value);
    }
    queue.push(value);
  }
  deque.erase(deque.begin() + 100, deque.begin() + 700);
  std::string told;
  for (std::size_t i = 0; i < deque.size(); i += 37) tell(told, deque[i]);
  for (int i = 0; i < 20; ++i, queue.pop()) tell(told, queue.top());
  return told;
}

std::string variants(std::uint64_t seed) {
  Random random(seed);
  std::string told;
  std::variant<std::uint64_t, std::string, std::vector<int>> value;
  for (int i = 0; i < 50; ++i) {
    switch (below(random, 3)) {
      case 0:
        value = random();
        break;
      case 1:
        value = word(random, "xyz", 50);
        break;
      default:
        value = std::vector<int>(below(random, 100), 7);
    }
    std::visit(
        [&](const auto& held) {
          if constexpr (requires { held.size(); }) {
            tell(told, held.size());
          } else {
            tell(told, held);
          }
        },
        value);
  }
  return told;
}

std::string bit_sets(std::uint64_t seed) {
  std::bitset<64> bits(seed);
  bits ^= bits << 7;
  std::bitset<200> more;
  more[seed % 200].flip();
  more |= more << 3;
  return bits.to_string() + std::to_string(bits.to_ulong()) + std::to_string(more._Find_first()) +
         std::to_string(more.count());
}

std::string strings(std::uint64_t seed) {
  Random random(seed);
  std::string told, text = "hello, world";
  for (int i = 0; i < 60; ++i) {
    const std::size_t at = below(random, text.size() + 1);
    switch (below(random, 5)) {
      case 0:
        text.insert(at, word(random, "abcd", 20));
        break;
      case 1:
        text.erase(at, below(random, 9));
        break;
      case 2:
        text.replace(at, below(random, 5), word(random, "ab", 9));
        break;
      case 3:
        text += text.substr(at, 11);
        break;
      default:
        tell(told, text.find("ab"), text.rfind('a'), text.find_first_of("xyd", at),
             text.find_last_not_of("abc"));
    }
  }
  char digits[32];
  const auto end = std::to_chars(digits, digits + sizeof digits, static_cast<std::int64_t>(random()), 7).ptr;
  std::int64_t back = 0;
  std::from_chars(digits, end, back, 7);
  tell(told, text, back, std::stoi(std::to_string(below(random, 100000))), std::stoull("0x1f", nullptr, 16));
  return told;
}

std::string sorting(std::uint64_t seed) {
  Random random(seed);
  std::vector<std::uint32_t> values(below(random, 300));
  for (auto& value : values) value = static_cast<std::uint32_t>(below(random, 100));
  std::shuffle(values.begin(), values.end(), random);
  auto by_qsort = values;
  std::stable_sort(values.begin(), values.end(), [](auto a, auto b) { return a / 8 < b / 8; });
  std::string told;
  for (const auto value : values) tell(told, value);
  const auto compare = [](const void* a, const void* b) {
    const auto x = *static_cast<const std::uint32_t*>(a), y = *static_cast<const std::uint32_t*>(b);
    return x < y ? -1 : x > y ? 1 : 0;
  };
  std::qsort(by_qsort.data(), by_qsort.size(), sizeof(std::uint32_t), compare);
  for (const auto value : by_qsort) tell(told, value);
  for (std::uint32_t key = 0; key < 100; ++key) {
    const auto* const found = static_cast<const std::uint32_t*>(
        std::bsearch(&key, by_qsort.data(), by_qsort.size(), sizeof key, compare));
    tell(told, found != nullptr && *found == key);
  }
  return told;
}

std::string moving(std::uint64_t seed) {
  Random random(seed);
  std::string bytes(600, ' ');
  for (char& c : bytes) c = static_cast<char>('a' + below(random, 26));
  for (int i = 0; i < 200; ++i) {
    const std::size_t length = below(random, 200);
    std::memmove(&bytes[below(random, 400)], &bytes[below(random, 400)], length);
    const std::size_t from = below(random, 200), to = 300 + below(random, 100);
    std::memcpy(&bytes[to], &bytes[from], length < to - from ? length : to - from);
    std::memset(&bytes[below(random, 590)], 'Z', below(random, 4));
  }
  return bytes;
}

std::string searching(std::uint64_t seed) {
  Random random(seed);
  std::string told;
  const auto place = [](const std::string& text, const char* found) {
    return found == nullptr ? -1 : found - text.c_str();
  };
  const auto sign = [](int value) { return value < 0 ? -1 : value > 0 ? 1 : 0; };
  for (int i = 0; i < 40; ++i) {
    const std::string text = word(random, "aab", 30), wanted = word(random, "ab", 5),
                      set = word(random, "bc", 2);
    const char* const t = text.c_str();
    const char* const w = wanted.c_str();
    tell(told, place(text, std::strstr(t, w)), place(text, std::strpbrk(t, set.c_str())), std::strspn(t, w),
         std::strcspn(t, set.c_str()), place(text, std::strchr(t, 'b')), place(text, std::strrchr(t, 'a')),
         place(text, std::strchr(t, 0)), sign(std::strcmp(t, w)), sign(std::strncmp(t, w, 3)),
         sign(std::memcmp(t, w, std::min(text.size(), wanted.size()))),
         place(text, static_cast<const char*>(std::memchr(t, 'b', text.size()))), strnlen(t, 7));
    char room[64];
    std::memset(room, '#', sizeof room);
    std::strncpy(room, t, 20);
    room[20] = 0;
    std::strncat(room, w, 3);
    std::strcat(room, "|");
    tell(told, std::string(room), std::string(room + 40, 24));
  }
  return told;
}

std::string characters(std::uint64_t seed) {
  std::string told;
  for (int c = -1; c < 256; ++c) {
    const auto is = {std::isupper(c), std::islower(c),  std::isalpha(c), std::isdigit(c),
                     std::isalnum(c), std::isxdigit(c), std::isblank(c), std::isspace(c),
                     std::iscntrl(c), std::isprint(c),  std::isgraph(c), std::ispunct(c)};
    for (const int answer : is) told += answer != 0 ? '1' : '0';
    tell(told, std::toupper(c), std::tolower(c));
  }
  tell(told, seed);
  return told;
}

std::string numbers(std::uint64_t seed) {
  Random random(seed);
  std::string told;
  static const std::string starts[] = {"", " ", "-", "+", "\t-", "0x", "0X", "-0x", "0", "0b", "- ", "+-"};
  static const std::string edges[] = {"9223372036854775807",
                                      "9223372036854775808",
                                      "9223372036854775809",
                                      "18446744073709551615",
                                      "18446744073709551616",
                                      "99999999999999999999999",
                                      "7fffffffffffffff",
                                      "zz",
                                      "0",
                                      ""};
  static const int bases[] = {0, 10, 16, 8, 2, 36, 7, 1, 37, -1};
  for (int i = 0; i < 60; ++i) {
    std::string text = starts[below(random, std::size(starts))];
    text += below(random, 3) == 0 ? edges[below(random, std::size(edges))] : word(random, "0123789abfxz", 20);
    const int base = bases[below(random, std::size(bases))];
    const auto one = [&](auto convert) {
      char* end = nullptr;
      errno = 0;
      const auto value = convert(text.c_str(), &end, base);
      // What end is for a base that does not exist the standard leaves open.
      tell(told, value, errno, base < 0 || base == 1 || base > 36 ? 0 : end - text.c_str());
    };
    one([](const char* t, char** e, int b) { return std::strtol(t, e, b); });
    one([](const char* t, char** e, int b) { return std::strtoul(t, e, b); });
    one([](const char* t, char** e, int b) { return std::strtoll(t, e, b); });
    one([](const char* t, char** e, int b) { return std::strtoull(t, e, b); });
  }
  errno = 0;
  tell(told, std::atoi(" -42x"), std::atol("77"), std::atoll("-0"));
  return told;
}

std::string printing(std::uint64_t seed) {
  Random random(seed);
  std::string told;
  char room[256];
  for (int i = 0; i < 60; ++i) {
    std::string spec = "%";
    for (std::uint64_t flags = below(random, 4); flags != 0; --flags) spec += "-+ #0"[below(random, 5)];
    if (below(random, 2) == 0) spec += std::to_string(below(random, 30));
    if (below(random, 2) == 0) spec += "." + (below(random, 4) == 0 ? "" : std::to_string(below(random, 25)));
    // Numbers of every size, small ones more often.
    const std::uint64_t value = random() >> below(random, 64) << (below(random, 8) == 0 ? 64 - 16 : 0);
    const std::size_t limit = below(random, 4) == 0 ? below(random, 20) : sizeof room;
    std::memset(room, '#', sizeof room);
    const auto print = [&](const char* conversion, auto... arguments) {
      const std::string format = "[" + spec + conversion + "]";
      const int length = std::snprintf(room, limit, format.c_str(), arguments...);
      tell(told, format, length, std::string_view(room, limit != 0 ? strnlen(room, limit) : 0));
    };
    switch (below(random, 12)) {
      case 0:
        print("d", static_cast<int>(value));
        break;
      case 1:
        print("ld", static_cast<long>(value));
        break;
      case 2:
        print("hhd", static_cast<int>(value));
        break;
      case 3:
        print("hu", static_cast<unsigned>(value));
        break;
      case 4:
        print("llx", static_cast<unsigned long long>(value));
        break;
      case 5:
        print("X", static_cast<unsigned>(value));
        break;
      case 6:
        print("zo", static_cast<std::size_t>(value));
        break;
      case 7:
        print("u", static_cast<unsigned>(value));
        break;
      case 8:
        print("c", 'a' + static_cast<int>(value % 26));
        break;
      case 9:
        print("s", below(random, 4) == 0 ? static_cast<const char*>(nullptr) : "some text");
        break;
      case 10:
        print("p", reinterpret_cast<void*>(value));
        break;
      default:
        spec = "%*.*";
        print("i", static_cast<int>(below(random, 40)) - 20, static_cast<int>(below(random, 20)) - 4,
              static_cast<int>(value));
    }
  }
  const int both = std::snprintf(room, sizeof room, "%s=%d%%, %hhx", "load", 99, 0x1ff);
  tell(told, both, room);
  return told;
}

}  // namespace library
