// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "node-agent/model/guest_module.h"
#include "node-agent/model/result.h"
#include "qemu-backend/backoff.h"
#include "qemu-backend/inquiry.h"
#include "qemu-backend/qemu.h"

namespace ullage::qemu {

struct Common;

/// The way into one guest: reads our driver's counters and sets its parameters through QEMU's
/// guest agent, on a thread and a connection of its own. A guest agent answers when it likes to;
/// whoever asks it must not be the one who asks QEMU.
class GuestLink : public std::enable_shared_from_this<GuestLink> {
 public:
  GuestLink(std::shared_ptr<Common> common, const DomainRef& domain);
  GuestLink(const GuestLink&) = delete;
  GuestLink& operator=(const GuestLink&) = delete;

  struct Word {
    GuestAgent state = GuestAgent::kUnknown;
    std::string fault;
    std::optional<GuestModule> module;
  };
  /// Never blocks for longer than a copy takes.
  Word Latest(BootTime now) const;

  /// Whether there is an agent that may be asked. The thread begins with the first that is.
  void SetUsable(bool usable);
  /// The guest was reset: what it said before is void.
  void OnReset();
  /// As GuestWriter::Write.
  Status QueueWrite(const std::string& parameter, const std::string& value, BootTime now);

  void Stop();
  bool AwaitExit(milliseconds patience);

 private:
  void Run();
  milliseconds Turn();
  Status Visit(const std::map<std::string, std::string>& writes);
  Status EnsureOpen();
  Result<GuestModule> ReadModule();
  void ReadParameters(GuestModule& module);
  Status WriteParameter(const std::string& name, const std::string& value);
  Result<std::string> ReadFile(const std::string& path);
  Status WriteFile(const std::string& path, const std::string& content);
  template <typename T>
  Result<T> Tell(const char* what, const std::string& command,
                 Result<T> (*parse)(std::string_view reply));
  void NoteLoad(const GuestModule& module);
  void Publish(GuestModule&& module);
  void Fail(const Error& error);

  const std::shared_ptr<Common> common_;
  const DomainRef domain_;
  Inquiry inquiry_;

  // Below: guarded by inquiry_.mutex().
  Word word_;
  std::map<std::string, std::string> wishes_;
  bool started_ = false;
  bool stopped_ = false;
  bool usable_ = false;
  bool fresh_ = false;  ///< somebody has come or gone: ask at once
  bool reset_ = false;

  // Below: the thread's own.
  std::unique_ptr<Qemu> qemu_;
  Backoff backoff_;
  BootTime due_{};
  bool late_ = false;
  std::string complaint_;  ///< of this visit: what failed and did not end it
  std::optional<GuestModule> last_;
  std::map<std::string, std::string> written_;
};

}  // namespace ullage::qemu
