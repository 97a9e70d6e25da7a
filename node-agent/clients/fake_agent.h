// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "node-agent/host/file.h"
#include "ullage/v1/node_agent.pb.h"

namespace ullage::clients {

/// For tests: an agent in this process, on a real socket. Says what it is told to say.
class FakeAgent {
 public:
  explicit FakeAgent(const std::string& socket);
  FakeAgent(const FakeAgent&) = delete;
  FakeAgent& operator=(const FakeAgent&) = delete;
  ~FakeAgent();

  // Set before the first call.
  v1::Snapshot snapshot;  ///< a watch repeats it with rising ticks
  bool admits = true;
  std::string reason = "there is room";
  int unavailable = 0;  ///< so many Reserve calls fail as those of an agent that starts
  int exhausted = 0;    ///< so many Reserve calls fail as those of an agent without a thread left
  std::string invalid;  ///< Reserve answers INVALID_ARGUMENT with this

  std::vector<v1::ReserveRequest> reserved() const;
  std::vector<std::string> released() const;

 private:
  struct Parts;
  const std::unique_ptr<Parts> parts_;
};

/// For tests: an agent that is stopped. Its socket takes connections and nothing answers there.
class MuteAgent {
 public:
  explicit MuteAgent(const std::string& socket);

 private:
  const host::Fd listener_;
};

}  // namespace ullage::clients
