// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "node-agent/kube/client.h"

namespace ullage::kube {

/// For tests: answers what it was told to, one reply an exchange, and keeps what it was asked.
class FakeTransport final : public Transport {
 public:
  struct Reply {
    int status = 200;
    std::vector<std::string> pieces{};
    std::optional<milliseconds> retry_after{};
    std::shared_ptr<const Error> error{};  ///< after the pieces
    std::function<void()> at_end{};        ///< before the exchange returns
  };

  Result<HttpHead> Exchange(const HttpRequest& request, const HttpLimits& limits,
                            const std::stop_token& stop, const Receive& receive) override {
    requests.push_back(request);
    asked_limits.push_back(limits);
    if (replies.empty()) {
      if (when_empty) when_empty();
      return Error(Code::kUnavailable, "the script is at its end");
    }
    const Reply reply = std::move(replies.front());
    replies.pop_front();
    const HttpHead head{reply.status, reply.retry_after};
    for (const std::string& piece : reply.pieces) {
      if (auto taken = receive(head, piece); !taken) return taken.error();
    }
    if (reply.at_end) reply.at_end();
    if (stop.stop_requested()) return Error(Code::kUnavailable, "stopping");
    if (reply.error) return *reply.error;
    return head;
  }

  void Say(int status, std::string body, std::optional<milliseconds> retry_after = {}) {
    replies.push_back({status, {std::move(body)}, retry_after});
  }
  void Break(Code code) {
    Reply reply;
    reply.error = std::make_shared<Error>(code, "broken");
    replies.push_back(reply);
  }

  std::deque<Reply> replies;
  std::vector<HttpRequest> requests;
  std::vector<HttpLimits> asked_limits;
  std::function<void()> when_empty;
};

/// A clock that goes on only when somebody waits.
class FakeTime final : public host::Clock, public Pause {
 public:
  Moment Now() const override { return {BootTime(now), WallTime(now)}; }
  bool For(milliseconds rest, const std::stop_token& stop) override {
    rests.push_back(rest);
    now += rest;
    return !stop.stop_requested();
  }

  milliseconds now{1000};
  std::vector<milliseconds> rests;
};

/// A range in which FullJitter() always gives 100 ms with the chance below.
inline constexpr BackoffRange kOneRest{milliseconds(100), milliseconds(100)};
inline Random AlwaysHundred() {
  return [] { return std::uint64_t{100}; };
}

}  // namespace ullage::kube
