// SPDX-License-Identifier: Apache-2.0
#include "qemu-backend/libvirt_qemu.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <thread>

#include "node-agent/host/file.h"
#include "node-agent/host/temporary_tree.h"
#include "qemu-backend/directory.h"
#include "qemu-backend/domain_xml.h"

// libvirt's own pretended hypervisor, "test:///default", lives in its client library: one running
// domain called "test", no daemon, no QEMU.

// glib's and libvirt's own locks are futexes, which TSan does not see.
#if defined(__SANITIZE_THREAD__)
extern "C" const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() {
  return "called_from_lib:libglib-2.0.so\ncalled_from_lib:libvirt.so\nrace:libvirt.so\n";
}
#endif

namespace ullage::qemu {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr const char* kTest = "test:///default";

TEST(Libvirt, ListsAndDescribes) {
  const auto hypervisor = ConnectLibvirt(kTest);
  hypervisor->SetEventSink([](const Event&) {});
  const auto domains = hypervisor->List();
  ASSERT_TRUE(domains.ok()) << domains.error().message();
  ASSERT_THAT(*domains, SizeIs(1));
  EXPECT_EQ((*domains)[0].name, "test");
  const auto xml = hypervisor->LiveXml((*domains)[0]);
  ASSERT_TRUE(xml.ok()) << xml.error().message();
  const auto facts = ParseDomainXml(*xml);
  ASSERT_TRUE(facts.ok()) << facts.error().message();
  EXPECT_EQ(facts->uuid, (*domains)[0].uuid);
  EXPECT_EQ(facts->memory, Bytes::GiB(8));
  hypervisor->Close();
}

TEST(Libvirt, AnswersForOneDomain) {
  const auto hypervisor = ConnectLibvirt(kTest);
  const DomainRef domain = hypervisor->List().value().at(0);
  const auto qemu = hypervisor->Open(domain);
  ASSERT_TRUE(qemu.ok()) << qemu.error().message();
  EXPECT_EQ((*qemu)->State().value(), Run::kRunning);
  EXPECT_TRUE((*qemu)->Xml(Definition::kLive).ok());
  EXPECT_TRUE((*qemu)->Xml(Definition::kPersistent).ok());
  EXPECT_EQ((*qemu)->Qmp("{}").error().code(), Code::kNotFound);  // no QEMU
  EXPECT_EQ((*qemu)->Define("<domain>").error().code(), Code::kInvalid);
}

TEST(Libvirt, KnowsAStartThatHasEnded) {
  const auto hypervisor = ConnectLibvirt(kTest);
  DomainRef domain = hypervisor->List().value().at(0);
  ++domain.id;
  EXPECT_EQ(hypervisor->Open(domain).error().code(), Code::kGone);
  EXPECT_EQ(hypervisor->LiveXml(domain).error().code(), Code::kGone);
  domain.uuid = "00000000-0000-4000-8000-000000000001";
  EXPECT_EQ(hypervisor->Open(domain).error().code(), Code::kGone);
}

TEST(Libvirt, SaysPlainlyThatNobodyIsThere) {
  const auto status =
      ProbeLibvirt("qemu+unix:///system?socket=/nonexistent/libvirt-sock", seconds(10));
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code(), Code::kUnavailable);
  EXPECT_THAT(status.error().message(), HasSubstr("/nonexistent/libvirt-sock"));
  EXPECT_THAT(status.error().message(), HasSubstr("is libvirtd or virtqemud running?"));
  EXPECT_EQ(ProbeLibvirt("nonsense:///\x1B", seconds(10)).error().code(), Code::kUnavailable);
  EXPECT_TRUE(ProbeLibvirt(kTest, seconds(10)).ok());
}

TEST(Libvirt, DoesNotWaitForADaemonThatSaysNothing) {
  const host::TemporaryTree tree;
  const std::string path = tree.path("sock");
  host::Fd listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(listen(listener.get(), 5), 0);
  const auto status = ProbeLibvirt("qemu+unix:///system?socket=" + path, milliseconds(200));
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code(), Code::kDeadline);
}

TEST(Libvirt, CarriesADirectory) {
  const host::SystemClock clock;
  LibvirtOptions options;
  options.uri = kTest;
  options.run_dir = "/nonexistent";
  const auto directory = LibvirtDirectory::Start(options, clock);
  for (int i = 0; i < 1000; ++i) {
    const auto listing = directory->Latest();
    if (listing.vms.size() == 1 && listing.vms[0].answered_at) break;
    std::this_thread::sleep_for(milliseconds(10));
  }
  const auto listing = directory->Latest();
  ASSERT_THAT(listing.vms, SizeIs(1));
  EXPECT_EQ(listing.fault, "");
  EXPECT_EQ(listing.vms[0].spec.name, "test");
  EXPECT_EQ(listing.vms[0].run, Run::kRunning);
  EXPECT_EQ(listing.vms[0].spec.guest_memory, Bytes::GiB(8));
}

}  // namespace
}  // namespace ullage::qemu
