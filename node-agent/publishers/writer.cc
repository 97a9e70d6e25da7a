// SPDX-License-Identifier: Apache-2.0
#include "node-agent/publishers/writer.h"

namespace ullage::publishers {
namespace {

// The client has tried and rested already when an error comes here.
constexpr kube::BackoffRange kRange{seconds(2), seconds(15)};
// A right that is missing is given by a person.
constexpr kube::BackoffRange kDeniedRange{seconds(30), seconds(300)};

}  // namespace

WriteCounts Writer::Counts() const { return {written_, failed_, dropped_}; }

void Writer::Note(const Status& status, const std::stop_token& stop) {
  if (status) {
    ++written_;
    if (fault_) Say("works again");
    fault_.reset();
    not_before_.reset();
    failures_ = 0;
    return;
  }
  if (stop.stop_requested()) return;
  ++failed_;
  const Error& error = status.error();
  if (fault_ != error.code()) Say(error.message());
  fault_ = error.code();
  const kube::BackoffRange& range = error.code() == Code::kDenied ? kDeniedRange : kRange;
  // At least half of it: with nothing at all, a failure would be repeated at the next tick.
  const milliseconds most = kube::RestCeiling(failures_, range);
  not_before_ =
      Now() + most / 2 +
      kube::FullJitter(failures_, {range.first / 2, range.cap / 2}, client_.timing().random());
  if (failures_ < 16) ++failures_;
}

}  // namespace ullage::publishers
