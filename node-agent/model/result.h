// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace ullage {

/// What went wrong, coarse enough to act on.
enum class Code {
  kInvalid,      ///< the input is not what it has to be
  kNotFound,     ///< it never was there
  kGone,         ///< it was there and vanished (ENOENT, ENODEV while reading)
  kDenied,       ///< permission
  kUnavailable,  ///< the other side does not answer; try again later
  kDeadline,     ///< it did not answer in time
  kExists,       ///< somebody else holds it
  kExhausted,    ///< there is no room
  kInternal,
};

constexpr std::string_view Name(Code code) {
  switch (code) {
    case Code::kInvalid:
      return "invalid";
    case Code::kNotFound:
      return "not found";
    case Code::kGone:
      return "gone";
    case Code::kDenied:
      return "permission denied";
    case Code::kUnavailable:
      return "unavailable";
    case Code::kDeadline:
      return "deadline exceeded";
    case Code::kExists:
      return "exists";
    case Code::kExhausted:
      return "no room";
    case Code::kInternal:
      return "internal";
  }
  return "internal";
}

/// The one error currency: a code and a message that reads outermost context first
/// ("reading host memory: /proc/meminfo: no MemAvailable line").
class Error {
 public:
  Error(Code code, std::string message) : code_(code), message_(std::move(message)) {}

  Code code() const { return code_; }
  const std::string& message() const { return message_; }

  Error In(std::string_view context) const {
    return {code_, std::string(context) + ": " + message_};
  }

 private:
  Code code_;
  std::string message_;
};

/// A value or an Error. Libraries that throw are caught in the file that calls them; everything
/// above speaks Result.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT(*-explicit-*)
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT(*-explicit-*)

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  /// Only when ok().
  T& value() & { return *std::get_if<0>(&state_); }
  const T& value() const& { return *std::get_if<0>(&state_); }
  T&& value() && { return std::move(*std::get_if<0>(&state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return std::get_if<0>(&state_); }
  const T* operator->() const { return std::get_if<0>(&state_); }

  /// Only when !ok().
  const Error& error() const { return *std::get_if<1>(&state_); }

  Result In(std::string_view context) && {
    if (ok()) return std::move(*this);
    return error().In(context);
  }

 private:
  std::variant<T, Error> state_;
};

/// A success without a value.
struct Done {};
using Status = Result<Done>;
inline Status Ok() { return Done{}; }

}  // namespace ullage
