// SPDX-License-Identifier: Apache-2.0
// `enclume sign`
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <optional>
#include <string_view>

#include "cli/sign/certificate.h"
#include "cli/sign/measure.h"
#include "cli/sign/rsa_key.h"
#include "cli/verb.h"
#include "cli/whole_file.h"

namespace enclume::cli {
namespace {

[[noreturn]] void usage(const std::string& what) {
  throw Failure(ExitStatus::kUsage, "sign: " + what);
}

// The number that all of the text is.
std::optional<std::int64_t> number_in(std::string_view text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < 0) return std::nullopt;
  return number;
}

bool is_day(const std::string& digits) {
  const auto number = number_in(digits);
  if (digits.size() != 8 || !number) return false;
  return std::chrono::year_month_day(std::chrono::year(static_cast<int>(*number / 10000)),
                                     std::chrono::month(static_cast<unsigned>(*number / 100 % 100)),
                                     std::chrono::day(static_cast<unsigned>(*number % 100)))
      .ok();
}

// BCD yyyymmdd of a day, of SOURCE_DATE_EPOCH or of today, in UTC.
std::uint32_t date_of(const std::string& text) {
  std::string digits = text;
  if (digits.empty()) {
    std::time_t now = std::time(nullptr);
    const char* const epoch = std::getenv("SOURCE_DATE_EPOCH");
    if (epoch != nullptr && *epoch != '\0') {
      const auto seconds = number_in(epoch);
      constexpr std::int64_t kYear10000 = 253'402'300'800;
      if (!seconds || *seconds >= kYear10000) {
        usage(fmt::format("SOURCE_DATE_EPOCH: {} is no number of seconds since 1970", epoch));
      }
      now = *seconds;
    }
    std::tm day{};
    gmtime_r(&now, &day);
    digits = fmt::format("{:04}{:02}{:02}", day.tm_year + 1900, day.tm_mon + 1, day.tm_mday);
  }
  if (!is_day(digits)) usage(fmt::format("--date: {} is no day of the form YYYYMMDD", text));
  return static_cast<std::uint32_t>(std::stoul(digits, nullptr, 16));
}

class SignVerb final : public Verb {
 public:
  const Manual& manual() const override {
    static const Manual manual{
        .name = "sign",
        .summary = "sign an enclave",
        .synopsis = "sign --key KEY [--output OUT] [OPTIONS] FILE",
        .before_options =
            {{"DESCRIPTION",
              {{"",
                "Measures the enclave in FILE and signs the measurement. Of an image of "
                "enclume_add_enclave() a "
                "copy with the SIGSTRUCT in its place is written to OUT, or FILE itself is changed. Of an "
                "SGXS "
                "stream or an Intel SDK enclave the SIGSTRUCT alone, 1808 bytes, is written to OUT, by "
                "default "
                "FILE.sig."},
               {"", "Keys are RSA-3072 with exponent 3, in PEM: enclume sign --new-key FILE makes one."}}},
             {"TWO STEPS",
              {{"", "With a key that must not come near this machine:"},
               {"enclume sign --prepare data FILE", ""},
               {"openssl dgst -sha256 -sign key.pem -out signature data", ""},
               {"enclume sign --prepared data --signature signature --key public.pem FILE", ""},
               {"",
                "The second line runs where the key is; instead of OpenSSL anything will do that makes a "
                "PKCS#1 "
                "v1.5 signature over SHA-256. The 256 bytes in data hold all that is signed, the options of "
                "the "
                "first line included."}}}},
        .after_options =
            {{"EXAMPLES",
              {{"enclume sign --new-key key.pem", ""},
               {"enclume sign --key key.pem --product-id 7 --svn 2 --output app.enclave app.unsigned", ""}}},
             {"ENVIRONMENT", {{"SOURCE_DATE_EPOCH", "Seconds since 1970: the day in the SIGSTRUCT."}}},
             {"EXIT STATUS",
              {{"0", "Done."},
               {"1", "The signature in two steps is not by this key, or over another enclave."},
               {"2", "A bad command line, or a file cannot be read, written or understood."}}}},
    };
    return manual;
  }

  void add_options(CLI::App& app) override {
    app.add_option("--key", key_, "The private key; with --signature the public one will do.")
        ->type_name("FILE");
    app.add_option("--output", output_, "Where the result goes.")->type_name("FILE");
    app.add_option("--product-id", product_id_, "ISVPRODID, by default 0.")->type_name("N");
    app.add_option("--svn", svn_, "ISVSVN, the security version, by default 0.")->type_name("N");
    app.add_option("--date", date_, "The day in the SIGSTRUCT, by default today in UTC.")
        ->type_name("YYYYMMDD");
    app.add_option("--xfrm", xfrm_,
                   "XFRM, for files that do not say it themselves; by default 3: x87 and SSE.")
        ->type_name("MASK");
    app.add_flag("--production", production_, "The enclave can't be loaded with the attribute DEBUG.");
    app.add_option("--prepare", prepare_, "Write there what is to be signed, and sign nothing.")
        ->type_name("FILE");
    app.add_option("--prepared", prepared_, "What --prepare has written.")->type_name("FILE");
    app.add_option("--signature", signature_, "Its signature, 384 bytes, big endian.")->type_name("FILE");
    app.add_option("--new-key", new_key_, "Write a new key there, readable by its owner alone, and stop.")
        ->type_name("FILE");
    app.add_option("file", file_, "The enclave to sign.")->type_name("");
  }

  ExitStatus run(const std::vector<std::string>&) override {
    if (!new_key_.empty()) {
      const std::string pem = RsaKey::generate().private_pem();
      write_file("sign", new_key_, std::as_bytes(std::span(pem)), 0600);
      return ExitStatus::kSuccess;
    }
    if (file_.empty()) usage("which file? Usage: enclume sign --key KEY [--output OUT] FILE");
    if (prepared_.empty() != signature_.empty()) usage("--prepared and --signature belong together");
    const auto bytes = read_file("sign", file_);
    const Measured measured = measure("sign", file_, bytes);
    if (!prepare_.empty()) {
      write_file("sign", prepare_, signed_bytes(unsigned_certificate(terms(measured))), 0666);
      return ExitStatus::kSuccess;
    }
    if (key_.empty()) usage("which key? --key FILE, or --prepare FILE to have it signed elsewhere");
    arch::Sigstruct sigstruct;
    if (prepared_.empty()) {
      sigstruct = unsigned_certificate(terms(measured));
      const RsaKey key = RsaKey::read(key_, true);
      if (!complete(sigstruct, key.modulus(), key.sign(signed_bytes(sigstruct)))) {
        throw Failure(ExitStatus::kInternal, "sign: the signature does not verify");
      }
    } else {
      sigstruct = signed_elsewhere(measured);
    }
    write(bytes, measured, sigstruct);
    return ExitStatus::kSuccess;
  }

 private:
  CertificateTerms terms(const Measured& measured) const {
    return {.mrenclave = measured.mrenclave,
            .product_id = product_id_,
            .svn = svn_,
            .date = date_of(date_),
            .xfrm = measured.image ? measured.image->config().xfrm : xfrm_,
            .may_debug = !production_};
  }

  arch::Sigstruct signed_elsewhere(const Measured& measured) const {
    auto sigstruct = from_signed_bytes(read_file("sign", prepared_));
    if (!sigstruct) usage(fmt::format("{} was not written by --prepare", prepared_));
    if (sigstruct->enclave_hash != measured.mrenclave) {
      throw Failure(ExitStatus::kNegative,
                    fmt::format("sign: {} is of another enclave than {}", prepared_, file_));
    }
    const auto signature = read_file("sign", signature_);
    RsaNumber number;
    if (signature.size() != number.size()) usage(fmt::format("{} has not 384 bytes", signature_));
    std::memcpy(number.data(), signature.data(), number.size());
    std::ranges::reverse(number);
    if (!complete(*sigstruct, RsaKey::read(key_, false).modulus(), number)) {
      throw Failure(ExitStatus::kNegative, fmt::format("sign: {} is no signature of {} by the key in {}",
                                                       signature_, prepared_, key_));
    }
    return *sigstruct;
  }

  void write(std::vector<std::byte> file, const Measured& measured, const arch::Sigstruct& sigstruct) const {
    const auto raw = std::as_bytes(std::span(&sigstruct, 1));
    if (measured.image) {
      std::ranges::copy(raw, file.begin() + static_cast<std::ptrdiff_t>(measured.image->sigstruct_offset()));
      write_file("sign", output_.empty() ? file_ : output_, file, 0666);
    } else {
      write_file("sign", output_.empty() ? file_ + ".sig" : output_, raw, 0666);
    }
  }

  std::string key_, output_, date_, prepare_, prepared_, signature_, new_key_, file_;
  std::uint16_t product_id_ = 0, svn_ = 0;
  std::uint64_t xfrm_ = 3;
  bool production_ = false;
};

const Registered<SignVerb> registered;

}  // namespace
}  // namespace enclume::cli
