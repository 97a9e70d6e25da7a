// SPDX-License-Identifier: Apache-2.0
#include "qemu-backend/libvirt_connection.h"

#include <libvirt/virterror.h>

#include <cerrno>

#include "node-agent/host/text.h"
#include "qemu-backend/event_loop.h"

namespace ullage::qemu {
namespace {

constexpr int kKeepAliveSeconds = 5;
constexpr unsigned kKeepAliveMisses = 3;

void Silence(void*, virErrorPtr) {}

// libvirt has one event loop for a process and no way to take it back. The answer is never
// destroyed either: a thread that was left behind may ask for it while the process exits.
const Status& Initialize() {
  static const Status& once = *new Status([]() -> Status {
    virSetErrorFunc(nullptr, Silence);
    if (virInitialize() < 0) return LastError(nullptr);
    return StartEventLoop();
  }());
  return once;
}

Code FromErrno(int error) {
  return error == EACCES || error == EPERM ? Code::kDenied : Code::kUnavailable;
}

Code FromLibvirt(const virError& error) {
  switch (error.code) {
    case VIR_ERR_NO_DOMAIN:
    case VIR_ERR_OPERATION_INVALID:  // "domain is not running"
      return Code::kGone;
    case VIR_ERR_OPERATION_TIMEOUT:
    case VIR_ERR_AGENT_UNRESPONSIVE:
    case VIR_ERR_AGENT_UNSYNCED:
      return Code::kDeadline;
    case VIR_ERR_NO_CONNECT:
    case VIR_ERR_INVALID_CONN:
    case VIR_ERR_RPC:
    case VIR_ERR_GNUTLS_ERROR:
      return Code::kUnavailable;
    case VIR_ERR_SYSTEM_ERROR:
      return FromErrno(error.int1);
    case VIR_ERR_AUTH_FAILED:
    case VIR_ERR_AUTH_CANCELLED:
    case VIR_ERR_AUTH_UNAVAILABLE:
    case VIR_ERR_ACCESS_DENIED:
    case VIR_ERR_OPERATION_DENIED:
      return Code::kDenied;
    case VIR_ERR_INVALID_ARG:
    case VIR_ERR_XML_ERROR:
    case VIR_ERR_XML_DETAIL:
    case VIR_ERR_XML_INVALID_SCHEMA:
    case VIR_ERR_CONFIG_UNSUPPORTED:
      return Code::kInvalid;
    case VIR_ERR_NO_SUPPORT:
    case VIR_ERR_OPERATION_UNSUPPORTED:
    case VIR_ERR_ARGUMENT_UNSUPPORTED:
      return Code::kNotFound;
    default:
      return Code::kInternal;
  }
}

using Sink = std::shared_ptr<const EventSink>;

void Tell(void* opaque, Event::Kind kind, virDomainPtr domain) {
  char uuid[VIR_UUID_STRING_BUFLEN] = "";
  if (virDomainGetUUIDString(domain, uuid) < 0) return;
  (**static_cast<Sink*>(opaque))(Event{kind, uuid});
}

int OnLifecycle(virConnectPtr, virDomainPtr domain, int, int, void* opaque) {
  Tell(opaque, Event::Kind::kChanged, domain);
  return 0;
}
void OnReboot(virConnectPtr, virDomainPtr domain, void* opaque) {
  Tell(opaque, Event::Kind::kReset, domain);
}
void OnMetadata(virConnectPtr, virDomainPtr domain, int, const char*, void* opaque) {
  Tell(opaque, Event::Kind::kChanged, domain);
}
void FreeSink(void* opaque) { delete static_cast<Sink*>(opaque); }

template <typename Callback>
int Register(virConnectPtr connection, int event, Callback callback, const Sink& sink) {
  auto mine = std::make_unique<Sink>(sink);
  // libvirt knows the real type by `event`.
  const auto generic = reinterpret_cast<virConnectDomainEventGenericCallback>(
      reinterpret_cast<void (*)()>(callback));
  const int id =
      virConnectDomainEventRegisterAny(connection, nullptr, event, generic, mine.get(), FreeSink);
  if (id >= 0) static_cast<void>(mine.release());  // FreeSink's now
  return id;
}

}  // namespace

void CloseConnection::operator()(virConnect* connection) const { virConnectClose(connection); }

Error LastError(virConnect* connection) {
  Code code = Code::kInternal;
  std::string reason;  // a call that meets a connection just lost may leave none
  if (const virError* error = virGetLastError(); error != nullptr) {
    code = FromLibvirt(*error);
    if (error->message != nullptr) reason = ": " + host::Printable(error->message);
  }
  virResetLastError();
  if (connection != nullptr && virConnectIsAlive(connection) != 1) {
    virResetLastError();
    return {Code::kUnavailable, "connection to libvirt lost" + reason};
  }
  return {code, "libvirt" + (reason.empty() ? ": unknown error" : reason)};
}

Result<Connection> Connect(const std::string& uri, KeepAlive keepalive) {
  if (const Status& ready = Initialize(); !ready) return ready.error();
  Connection connection(virConnectOpen(uri.c_str()));
  if (connection == nullptr) {
    const Error error = LastError(nullptr);
    const char* hint = error.code() == Code::kDenied ? " (may this user use libvirt?)"
                                                     : " (is libvirtd or virtqemud running?)";
    // No error of connecting is anything but a connection that is not there.
    const Code code = error.code() == Code::kDenied ? Code::kDenied : Code::kUnavailable;
    return Error(code, error.message() + hint).In(host::Printable(uri));
  }
  // Not every driver has it, and a local one needs none.
  if (keepalive == KeepAlive::kOn &&
      virConnectSetKeepAlive(connection.get(), kKeepAliveSeconds, kKeepAliveMisses) < 0) {
    virResetLastError();
  }
  return connection;
}

Result<std::unique_ptr<Events>> Events::Subscribe(virConnect* connection, const Sink& sink) {
  std::unique_ptr<Events> events(new Events(connection));
  events->lifecycle_ = Register(connection, VIR_DOMAIN_EVENT_ID_LIFECYCLE, OnLifecycle, sink);
  events->reboot_ = Register(connection, VIR_DOMAIN_EVENT_ID_REBOOT, OnReboot, sink);
  if (events->lifecycle_ < 0 || events->reboot_ < 0) return LastError(connection);
  // The rest makes news faster, the periods bring it anyway.
  events->metadata_ = Register(connection, VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, OnMetadata, sink);
  virResetLastError();
  return events;
}

// Each registration holds a reference: without this the connection would never close.
Events::~Events() {
  for (const int id : {lifecycle_, reboot_, metadata_}) {
    if (id >= 0) virConnectDomainEventDeregisterAny(connection_, id);
  }
  virResetLastError();
}

}  // namespace ullage::qemu
