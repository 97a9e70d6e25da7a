// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "node-agent/model/result.h"
#include "node-agent/model/time.h"
#include "qemu-backend/qemu.h"

namespace ullage::qemu {

/// libvirt at `uri`. Nothing is opened before the first question. Each QEMU gets a connection of
/// its own: libvirtd takes 5 calls at a time from a client, and those of a hung QEMU stay.
std::shared_ptr<Hypervisor> ConnectLibvirt(const std::string& uri);

/// The domain of a launcher pod's libvirt at `uri`: its only active one, which has to be called
/// `name`. One connection, that also tells `sink` what happens (null: nobody). It has no keepalive:
/// it ends with the pod, and who asks has a deadline.
/// Whatever answers there is the pod's: hostile. libvirt's client refuses messages above 32 MiB and
/// strings above 4 MiB by closing the connection (kUnavailable), ParseDomainXml most of the rest.
/// Nothing is defined there, and KubeVirt writes a new definition at each start: the persistent one
/// counts as not there (kNotFound), `Define` is kDenied.
/// kNotFound: no domain, yet or any more; kInvalid: another one, or more.
Result<std::unique_ptr<Qemu>> OpenLauncherDomain(const std::string& uri, const std::string& name,
                                                 const std::shared_ptr<const EventSink>& sink);

/// Is libvirt there? For `--check-config` and a plain message at the start; nothing is kept.
/// kUnavailable, kDenied, kDeadline: it takes the connection and says nothing.
Status ProbeLibvirt(const std::string& uri, milliseconds deadline);

}  // namespace ullage::qemu
