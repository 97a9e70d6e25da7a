// SPDX-License-Identifier: Apache-2.0
#include "node-agent/publishers/recorder.h"

#include <algorithm>

namespace ullage::publishers {
namespace {

DecisionsOptions Decisions(const std::string& folder) {
  DecisionsOptions options;
  options.segments.folder = folder;
  return options;
}

}  // namespace

Recorder::Recorder(RecorderOptions options, const Bulletin& bulletin)
    : decisions_(Decisions(options.state_dir + "/past")),
      history_(HistorySegments(options.state_dir + "/past")),
      say_(std::move(options.say)),
      bulletin_(bulletin),
      thread_([this](const std::stop_token& stop) { Run(stop); }) {}

Recorder::~Recorder() {
  thread_.request_stop();
  if (thread_.joinable()) thread_.join();
}

void Recorder::Note(const Status& status) {
  ++(status ? records_ : failed_);
  if (say_ && !status && !faulty_) {
    say_("what is decided cannot be written down: " + status.error().message());
  }
  if (say_ && status && faulty_) say_("what is decided is written down again");
  faulty_ = !status;
}

void Recorder::Run(const std::stop_token& stop) {
  DecisionLog decisions(decisions_);
  SegmentWriter history(history_);
  MinuteBook book;
  std::uint64_t seen = 0;
  while (const auto report = bulletin_.Newer(seen, stop)) {
    seen = report->tick;
    Status status = decisions.Add(*report);
    if (const auto minute = book.Add(*report)) {
      const Status written = history.Append(minute->SerializeAsString());
      if (status) status = written;
    }
    Note(status);
  }
}

Result<v1::Explanation> Recorder::ExplainAt(std::string_view vm, WallTime at) const {
  const auto past = DecisionsAt(decisions_, at);
  if (!past) return past.error();
  return ExplainPast(*past, vm);
}

v1::History Recorder::HistoryOver(seconds horizon) const {
  if (horizon == seconds(0)) horizon = kDefaultHorizon;
  return Audit(ReadMinutes(history_), std::min(horizon, kMostHorizon));
}

}  // namespace ullage::publishers
