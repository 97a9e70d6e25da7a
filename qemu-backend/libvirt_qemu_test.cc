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

class LauncherLibvirt : public ::testing::Test {
 protected:
  // libvirt's pretended hypervisor with these domains.
  std::string Running(const std::vector<std::string>& names) {
    std::string xml = "<node>";
    for (const std::string& name : names) {
      xml += "<domain type='test'><name>" + name +
             "</name><memory>1048576</memory><os><type>hvm</type></os></domain>";
    }
    tree_.Write("node.xml", xml + "</node>");
    return "test://" + tree_.path("node.xml");
  }
  // A libvirt that says `bytes` to whoever asks anything, until the test ends.
  std::string Saying(const std::string& bytes) {
    const std::string path = tree_.path("sock");
    listener_ = host::Fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(listen(listener_.get(), 5), 0);
    server_ = std::jthread([this, bytes] {
      const host::Fd client(accept(listener_.get(), nullptr, nullptr));
      char question[4096];
      if (recv(client.get(), question, sizeof question, 0) <= 0) return;
      // Its reader may hang up in the middle of it.
      send(client.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      while (recv(client.get(), question, sizeof question, 0) > 0) continue;
    });
    return "qemu+unix:///session?socket=" + path;
  }
  static Error Refusal(const std::string& uri) {
    const auto qemu = OpenLauncherDomain(uri, "default_vm2", nullptr);
    EXPECT_FALSE(qemu.ok());
    return qemu ? Error(Code::kInternal, "it was taken") : qemu.error();
  }

  host::TemporaryTree tree_;
  host::Fd listener_;
  std::jthread server_;
};

TEST_F(LauncherLibvirt, HasItsOneDomain) {
  const auto sink = std::make_shared<const EventSink>([](const Event&) {});
  const auto qemu = OpenLauncherDomain(Running({"default_vm2"}), "default_vm2", sink);
  ASSERT_TRUE(qemu.ok()) << qemu.error().message();
  EXPECT_EQ((*qemu)->State().value(), Run::kRunning);
  EXPECT_EQ(ParseDomainXml((*qemu)->Xml(Definition::kLive).value()).value().name, "default_vm2");
  EXPECT_EQ((*qemu)->Xml(Definition::kPersistent).error().code(), Code::kNotFound);
  EXPECT_EQ((*qemu)->Xml(Definition::kPersistentWithSecrets).error().code(), Code::kNotFound);
  EXPECT_EQ((*qemu)->Define("<domain/>").error().code(), Code::kDenied);
}

TEST_F(LauncherLibvirt, WithOthersIsRefused) {
  EXPECT_EQ(Refusal(Running({"default_vm3"})).code(), Code::kInvalid);
  EXPECT_EQ(Refusal(Running({"default_vm2", "default_vm3"})).code(), Code::kInvalid);
  EXPECT_EQ(Refusal(Running({})).code(), Code::kNotFound) << "not there yet";
}

// libvirt's own header of a message: its length, all of it, in four bytes; then what it is.
TEST_F(LauncherLibvirt, ThatSaysAHundredMegabytesIsNotListenedTo) {
  const Error error = Refusal(Saying(std::string("\x06\x40\x00\x00", 4) + std::string(8192, 'x')));
  EXPECT_EQ(error.code(), Code::kUnavailable);
  EXPECT_THAT(error.message(), HasSubstr("too large"));
}

TEST_F(LauncherLibvirt, ThatSpeaksNonsenseIsNotListenedTo) {
  EXPECT_EQ(Refusal(Saying("HTTP/1.1 200 OK\r\n\r\n")).code(), Code::kUnavailable);
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
