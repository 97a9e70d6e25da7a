// SPDX-License-Identifier: Apache-2.0
#include "qemu-backend/libvirt_qemu.h"

#include <libvirt/libvirt-qemu.h>

#include <array>
#include <cstdlib>
#include <future>
#include <utility>

#include "node-agent/host/text.h"
#include "qemu-backend/libvirt_connection.h"
#include "qemu-backend/thread.h"

namespace ullage::qemu {
namespace {

struct FreeDomain {
  void operator()(virDomain* domain) const { virDomainFree(domain); }
};
using Domain = std::unique_ptr<virDomain, FreeDomain>;

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};
using CString = std::unique_ptr<char, Free>;

Result<Domain> Find(virConnectPtr connection, const DomainRef& wanted) {
  Domain domain(virDomainLookupByUUIDString(connection, wanted.uuid.c_str()));
  if (domain == nullptr) return LastError(connection);
  if (virDomainGetID(domain.get()) != static_cast<unsigned>(wanted.id)) {
    return Error(Code::kGone, "libvirt: this start of the domain has ended");
  }
  return domain;
}

Result<std::string> Xml(virDomainPtr domain, unsigned flags) {
  const CString xml(virDomainGetXMLDesc(domain, flags));
  if (xml == nullptr) return LastError(virDomainGetConnect(domain));
  return std::string(xml.get());
}

class LibvirtQemu : public Qemu {
 public:
  LibvirtQemu(Connection connection, Domain domain)
      : connection_(std::move(connection)), domain_(std::move(domain)) {}

  Result<std::string> Xml(Definition which) override;
  Result<Run> State() override;
  Result<BalloonReport> Balloon() override;
  Result<std::string> Qmp(const std::string& command) override;
  Result<std::string> GuestAgent(const std::string& command, seconds patience) override;
  Status SetBalloon(std::uint64_t kib) override;
  Status Define(const std::string& xml) override;

 private:
  Error Failed() const { return LastError(connection_.get()); }

  const Connection connection_;  // outlives the domain's handle
  const Domain domain_;
};

Result<std::string> LibvirtQemu::Xml(Definition which) {
  if (which == Definition::kLive) return qemu::Xml(domain_.get(), 0);
  const int persistent = virDomainIsPersistent(domain_.get());
  if (persistent < 0) return Failed();
  if (persistent == 0) {
    return Error(Code::kNotFound, "libvirt: a transient domain has no persistent definition");
  }
  unsigned flags = VIR_DOMAIN_XML_INACTIVE;
  if (which == Definition::kPersistentWithSecrets) flags |= VIR_DOMAIN_XML_SECURE;
  return qemu::Xml(domain_.get(), flags);
}

Result<Run> LibvirtQemu::State() {
  int state = 0;
  if (virDomainGetState(domain_.get(), &state, nullptr, 0) < 0) return Failed();
  switch (state) {
    case VIR_DOMAIN_RUNNING:
    case VIR_DOMAIN_BLOCKED:
    case VIR_DOMAIN_SHUTDOWN:  // on its way, with its memory
      return Run::kRunning;
    case VIR_DOMAIN_PAUSED:
    case VIR_DOMAIN_PMSUSPENDED:
    case VIR_DOMAIN_CRASHED:  // kept for a look, with its memory
      return Run::kPaused;
    case VIR_DOMAIN_SHUTOFF:
      return Error(Code::kGone, "libvirt: the domain is off");
    default:
      return Run::kUnknown;
  }
}

Result<BalloonReport> LibvirtQemu::Balloon() {
  std::array<virDomainMemoryStatStruct, VIR_DOMAIN_MEMORY_STAT_NR> stats{};
  const int count = virDomainMemoryStats(domain_.get(), stats.data(), stats.size(), 0);
  if (count < 0) return Failed();
  BalloonReport report;
  for (std::size_t i = 0; i < static_cast<std::size_t>(count) && i < stats.size(); ++i) {
    const std::uint64_t value = stats[i].val;
    switch (stats[i].tag) {
      case VIR_DOMAIN_MEMORY_STAT_ACTUAL_BALLOON:
        report.actual = value;
        break;
      case VIR_DOMAIN_MEMORY_STAT_UNUSED:
        report.unused = value;
        break;
      case VIR_DOMAIN_MEMORY_STAT_AVAILABLE:
        report.available = value;
        break;
      case VIR_DOMAIN_MEMORY_STAT_USABLE:
        report.usable = value;
        break;
      case VIR_DOMAIN_MEMORY_STAT_SWAP_IN:
        report.swap_in = value;
        break;
      case VIR_DOMAIN_MEMORY_STAT_SWAP_OUT:
        report.swap_out = value;
        break;
      case VIR_DOMAIN_MEMORY_STAT_LAST_UPDATE:
        report.last_update = value;
        break;
      default:
        break;
    }
  }
  return report;
}

Result<std::string> LibvirtQemu::Qmp(const std::string& command) {
  char* text = nullptr;
  const int result = virDomainQemuMonitorCommand(domain_.get(), command.c_str(), &text, 0);
  const CString reply(text);
  if (result < 0 || reply == nullptr) return Failed();
  return std::string(reply.get());
}

Result<std::string> LibvirtQemu::GuestAgent(const std::string& command, seconds patience) {
  const CString reply(virDomainQemuAgentCommand(domain_.get(), command.c_str(),
                                                static_cast<int>(patience.count()), 0));
  if (reply == nullptr) return Failed();
  return std::string(reply.get());
}

Status LibvirtQemu::SetBalloon(std::uint64_t kib) {
  if (virDomainSetMemoryFlags(domain_.get(), kib, VIR_DOMAIN_AFFECT_LIVE) < 0) return Failed();
  return Ok();
}

Status LibvirtQemu::Define(const std::string& xml) {
  const Domain defined(virDomainDefineXMLFlags(connection_.get(), xml.c_str(), 0));
  if (defined == nullptr) return Failed();
  return Ok();
}

class LauncherQemu final : public LibvirtQemu {
 public:
  LauncherQemu(Connection connection, Domain domain, std::unique_ptr<Events> events)
      : LibvirtQemu(std::move(connection), std::move(domain)), events_(std::move(events)) {}

  Result<std::string> Xml(Definition which) override {
    if (which == Definition::kLive) return LibvirtQemu::Xml(which);
    return Error(Code::kNotFound, "KubeVirt writes a new definition at each start");
  }
  Status Define(const std::string&) override {
    return Error(Code::kDenied, "nothing is defined inside a launcher pod");
  }

 private:
  const std::unique_ptr<Events> events_;  // ends before its connection
};

Result<std::vector<Domain>> ActiveDomains(virConnectPtr connection) {
  virDomainPtr* all = nullptr;
  const int count = virConnectListAllDomains(connection, &all, VIR_CONNECT_LIST_DOMAINS_ACTIVE);
  if (count < 0) return LastError(connection);
  std::vector<Domain> domains;
  domains.reserve(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) domains.emplace_back(all[i]);
  std::free(static_cast<void*>(all));
  return domains;
}

class LibvirtHypervisor final : public Hypervisor {
 public:
  explicit LibvirtHypervisor(std::string uri) : uri_(std::move(uri)) {}

  Result<std::vector<DomainRef>> List() override;
  Result<std::string> LiveXml(const DomainRef& domain) override;
  Result<std::unique_ptr<Qemu>> Open(const DomainRef& domain) override;
  void SetEventSink(EventSink sink) override {
    sink_ = std::make_shared<const EventSink>(std::move(sink));
  }
  void Close() override {
    events_.reset();
    connection_.reset();
  }

 private:
  Status EnsureConnected();

  const std::string uri_;
  std::shared_ptr<const EventSink> sink_;
  Connection connection_;
  std::unique_ptr<Events> events_;  // ends before its connection
  bool lost_ = false;               // there was a connection before: events were missed
};

Status LibvirtHypervisor::EnsureConnected() {
  if (connection_ != nullptr && virConnectIsAlive(connection_.get()) == 1) return Ok();
  if (connection_ != nullptr) lost_ = true;
  Close();
  auto connection = Connect(uri_);
  if (!connection) return connection.error();
  connection_ = std::move(*connection);
  if (sink_ == nullptr) return Ok();
  auto events = Events::Subscribe(connection_.get(), sink_);
  if (!events) {
    connection_.reset();
    return events.error().In("events");
  }
  events_ = std::move(*events);
  if (std::exchange(lost_, false)) (*sink_)({Event::Kind::kLost, ""});
  return Ok();
}

Result<std::vector<DomainRef>> LibvirtHypervisor::List() {
  if (const Status connected = EnsureConnected(); !connected) return connected.error();
  const auto active = ActiveDomains(connection_.get());
  if (!active) return active.error();
  std::vector<DomainRef> domains;
  for (const Domain& domain : *active) {
    char uuid[VIR_UUID_STRING_BUFLEN] = "";
    const char* name = virDomainGetName(domain.get());
    const unsigned id = virDomainGetID(domain.get());
    if (name == nullptr || virDomainGetUUIDString(domain.get(), uuid) < 0) continue;
    if (id == static_cast<unsigned>(-1)) continue;  // it ended while the list was made
    domains.push_back({uuid, name, static_cast<std::int32_t>(id)});
  }
  return domains;
}

Result<std::string> LibvirtHypervisor::LiveXml(const DomainRef& domain) {
  if (connection_ == nullptr) return Error(Code::kUnavailable, "not connected");
  const auto found = Find(connection_.get(), domain);
  if (!found) return found.error();
  return qemu::Xml(found->get(), 0);
}

Result<std::unique_ptr<Qemu>> LibvirtHypervisor::Open(const DomainRef& domain) {
  auto connection = Connect(uri_);
  if (!connection) return connection.error();
  auto found = Find(connection->get(), domain);
  if (!found) return found.error();
  return std::unique_ptr<Qemu>(
      std::make_unique<LibvirtQemu>(std::move(*connection), std::move(*found)));
}

}  // namespace

std::shared_ptr<Hypervisor> ConnectLibvirt(const std::string& uri) {
  return std::make_shared<LibvirtHypervisor>(uri);
}

Result<std::unique_ptr<Qemu>> OpenLauncherDomain(const std::string& uri, const std::string& name,
                                                 const std::shared_ptr<const EventSink>& sink) {
  auto connection = Connect(uri, KeepAlive::kOff);
  if (!connection) return connection.error();
  auto active = ActiveDomains(connection->get());
  if (!active) return active.error();
  if (active->empty()) return Error(Code::kNotFound, "libvirt: no domain runs");
  if (active->size() > 1) {
    return Error(Code::kInvalid, "libvirt: " + std::to_string(active->size()) +
                                     " domains run, where a launcher has one");
  }
  Domain domain = std::move(active->front());
  const char* called = virDomainGetName(domain.get());
  if (called == nullptr || called != name) {
    return Error(Code::kInvalid, "libvirt: another domain runs, '" +
                                     host::Printable(called == nullptr ? "" : called, 64) + "'");
  }
  std::unique_ptr<Events> events;
  if (sink != nullptr) {
    auto subscribed = Events::Subscribe(connection->get(), sink);
    if (!subscribed) return subscribed.error().In("events");
    events = std::move(*subscribed);
  }
  return std::unique_ptr<Qemu>(
      std::make_unique<LauncherQemu>(std::move(*connection), std::move(domain), std::move(events)));
}

Status ProbeLibvirt(const std::string& uri, milliseconds deadline) {
  auto answer = std::make_shared<std::promise<Status>>();
  std::future<Status> told = answer->get_future();
  Status started = Launch("libvirt-probe", [answer, uri] {
    const auto connection = Connect(uri);
    answer->set_value(connection ? Ok() : Status(connection.error()));
  });
  if (!started) return started;
  if (told.wait_for(deadline) == std::future_status::ready) return told.get();
  return Error(Code::kDeadline, host::Printable(uri) + ": libvirt takes connections but does not " +
                                    "answer within " + std::to_string(deadline.count()) + " ms");
}

}  // namespace ullage::qemu
