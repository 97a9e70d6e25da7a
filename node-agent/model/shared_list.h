// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

namespace ullage {

/// A list that is read in each tick and changes seldom: its copies share one, until one of them is
/// edited. Safe to read from several threads; a copy is edited by who owns it.
template <typename T>
class SharedList {
 public:
  using value_type = T;
  using const_iterator = typename std::vector<T>::const_iterator;

  SharedList() = default;
  explicit SharedList(std::vector<T> all)
      : all_(std::make_shared<std::vector<T>>(std::move(all))) {}

  const_iterator begin() const { return Get().begin(); }
  const_iterator end() const { return Get().end(); }
  std::size_t size() const { return Get().size(); }
  bool empty() const { return Get().empty(); }
  const T& operator[](std::size_t i) const { return Get()[i]; }
  const std::vector<T>& Get() const {
    static const std::vector<T> kNone;
    return all_ ? *all_ : kNone;
  }

  /// Whether it is the very same list, not one that is equal.
  bool Shares(const SharedList& other) const { return all_ == other.all_; }

  /// A list of its own, to be changed.
  std::vector<T>& Edit() {
    if (!all_ || all_.use_count() > 1) all_ = std::make_shared<std::vector<T>>(Get());
    return *all_;
  }

 private:
  std::shared_ptr<std::vector<T>> all_;
};

}  // namespace ullage
