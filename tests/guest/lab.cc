// SPDX-License-Identifier: Apache-2.0
#include "tests/guest/lab.h"

#include <signal.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "node-agent/host/text.h"

namespace ullage::tests {
namespace {

using nlohmann::json;

void Expect(const Output& output, const std::string& what) {
  if (output.status != 0) {
    throw std::runtime_error(what + " failed (" + std::to_string(output.status) +
                             "): " + output.text);
  }
}

std::string FirstLine(const std::string& text) { return text.substr(0, text.find('\n')); }

int Patience() {
  const char* const text = std::getenv("ULLAGE_PATIENCE");
  return text == nullptr ? 1 : std::max(1, std::atoi(text));
}

}  // namespace

bool Eventually(const std::function<bool()>& true_now, std::chrono::seconds patience) {
  const auto end = std::chrono::steady_clock::now() + patience * Patience();
  for (;;) {
    if (true_now()) return true;
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

std::string SourceDir() { return ULLAGE_SOURCE_DIR; }
std::string Program(const std::string& name) { return std::string(ULLAGE_BIN_DIR) + "/" + name; }

Lab::Lab(int host_mib) {
  std::string name = (std::filesystem::temp_directory_path() / "ullage-lab.XXXXXX").string();
  dir_ = mkdtemp(name.data());
  const std::string hook = dir_ + ".hook";
  // Tests cannot change libvirtd's environment: the wait is read from a file at each call.
  std::ofstream(hook) << "#!/bin/sh\nULLAGE_HOOK_WAIT=$(cat '" << dir_ << "/hook-wait') "
                      << "ULLAGE_SOCKET=/run/libvirt/ullage/agent.sock exec '"
                      << Program("ullage-libvirt-hook") << "' \"$@\"\n";
  std::filesystem::permissions(hook, std::filesystem::perms::owner_all);
  const Output up = Command({"up", "--host-mib", std::to_string(host_mib), "--hook", hook});
  std::filesystem::remove(hook);
  Expect(up, "lab up");
  SetHookWait(kHookWait);  // `up` wants an empty directory
}

void Lab::SetHookWait(std::chrono::seconds wait) const {
  std::ofstream(dir_ + "/hook-wait") << wait.count() << '\n';
}

Lab::~Lab() { Command({"down"}); }

Output Lab::Command(std::vector<std::string> words) const {
  std::vector<std::string> command{SourceDir() + "/scripts/lab", "--dir", dir_};
  command.insert(command.end(), words.begin(), words.end());
  return RunProgram(command);
}

std::vector<std::string> Lab::Inside(std::vector<std::string> command) const {
  std::vector<std::string> line{SourceDir() + "/scripts/lab", "--dir", dir_, "enter"};
  line.insert(line.end(), command.begin(), command.end());
  return line;
}

Output Lab::Virsh(std::vector<std::string> words) const {
  words.insert(words.begin(), {"virsh", "--quiet"});
  return RunProgram(Inside(std::move(words)));
}

void Lab::Define(const std::string& name, std::vector<std::string> options) const {
  options.insert(options.begin(), {"define", name});
  Expect(Command(std::move(options)), "define " + name);
}

void Lab::Boot(const std::string& name) const {
  Expect(Virsh({"start", name}), "start " + name);
  Expect(Command({"wait", name, "90"}), "boot of " + name);
}

void Lab::Guest(const std::string& name, std::vector<std::string> options) const {
  Define(name, std::move(options));
  Boot(name);
}

std::string Lab::Exec(const std::string& name, const std::string& command) const {
  const Output output = Command({"exec", name, "--", command});
  Expect(output, "in guest " + name + ": " + command);
  return output.text;
}

std::int64_t Lab::Charge(const std::string& name) const {
  const Output output = Command({"charge", name});
  Expect(output, "charge of " + name);
  return static_cast<std::int64_t>(host::ParseUnsigned(FirstLine(output.text)).value());
}

pid_t Lab::Pid(const std::string& name) const {
  const Output output = Command({"pid", name});
  Expect(output, "pid of " + name);
  return static_cast<pid_t>(host::ParseUnsigned(FirstLine(output.text)).value());
}

void Lab::Clear() const {
  std::istringstream names(Virsh({"list", "--all", "--uuid"}).text);
  for (std::string uuid; std::getline(names, uuid);) {
    if (uuid.empty()) continue;
    Virsh({"destroy", uuid});
    Virsh({"undefine", uuid});
  }
}

std::string Lab::host_cgroup() const {
  std::istringstream lines(Command({"status"}).text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("cgroup ")) return line.substr(7);
  }
  throw std::runtime_error("the lab has no host cgroup");
}

std::optional<std::int64_t> Figure(const json& object, const char* key) {
  if (!object.is_object()) return std::nullopt;
  const auto at = object.find(key);
  if (at == object.end()) return std::nullopt;
  if (at->is_string()) {
    return static_cast<std::int64_t>(host::ParseUnsigned(at->get<std::string>()).value());
  }
  return at->get<std::int64_t>();
}

AgentInLab::AgentInLab(const Lab& lab, const std::string& more_config) : lab_(lab) {
  Configure(more_config);
  Start();
}

void AgentInLab::Configure(const std::string& more_config) const {
  std::ofstream(lab_.dir() + "/agent.yaml")
      << (more_config.starts_with("mode:") ? "" : "mode: publish\n")
      << "tick: 200ms\nsocket: /run/libvirt/ullage/agent.sock\n"
      << "state_dir: " << lab_.dir() << "/state/agent\nlisten: 127.0.0.1:0\n"
      << "host: {cgroup: " << lab_.host_cgroup() << ", reserve: 0}\n"
      << "libvirt: {refresh: 500ms, proof_period: 1s, list_period: 1s, deadline: 1500ms}\n"
      << "policy: {history_min: 0s, rise_delay: 0s, rise_step: 100%, ratio_cap: 200%}\n"
      << more_config;
}

void AgentInLab::Start() {
  process_ = std::make_unique<Process>(lab_.Inside({Program("ullage-agent"), "--standalone",
                                                    "--config", lab_.dir() + "/agent.yaml"}),
                                       lab_.dir() + "/agent.log");
  if (!Eventually([&] { return !Snapshot().is_null() || !process_->alive(); }) ||
      !process_->alive()) {
    throw std::runtime_error("the agent does not come up: " + Log());
  }
}

void AgentInLab::Restart(int signal) {
  process_->Signal(signal);
  process_->Wait();
  Start();
}

json AgentInLab::Snapshot() const {
  const Output output =
      RunProgram({Program("ullagectl"), "--socket", lab_.socket(), "top", "--once", "-o", "json"});
  if (output.status != 0) return nullptr;
  return json::parse(output.text, nullptr, false);
}

json AgentInLab::Vm(const std::string& name) const {
  const json snapshot = Snapshot();
  if (!snapshot.is_object() || !snapshot.contains("vms")) return nullptr;
  for (const json& vm : snapshot["vms"]) {
    if (vm.value("name", "") == name) return vm;
  }
  return nullptr;
}

std::string AgentInLab::Text(const std::string& name, const char* key) const {
  const json vm = Vm(name);
  return vm.is_object() ? vm.value(key, "") : "";
}

std::optional<std::int64_t> AgentInLab::Capacity(const char* term) const {
  const json snapshot = Snapshot();
  if (!snapshot.is_object() || !snapshot.contains("capacity")) return std::nullopt;
  return Figure(snapshot["capacity"], term);
}

std::string AgentInLab::Log(std::size_t from) const {
  std::ostringstream text;
  text << std::ifstream(lab_.dir() + "/agent.log").rdbuf();
  return text.str().substr(std::min(from, text.str().size()));
}

std::unique_ptr<Lab> GuestTest::lab_;
std::unique_ptr<AgentInLab> GuestTest::agent_;

namespace {

// The lab ends with the program, whichever suites ran, and before static objects do.
class EndOfLab final : public testing::Environment {
 public:
  explicit EndOfLab(std::function<void()> end) : end_(std::move(end)) {}
  void TearDown() override { end_(); }

 private:
  std::function<void()> end_;
};

}  // namespace

void GuestTest::SetUpTestSuite() {
  if (lab_) return;
  lab_ = std::make_unique<Lab>(4096);
  agent_ = std::make_unique<AgentInLab>(*lab_);
  testing::AddGlobalTestEnvironment(new EndOfLab([] {
    agent_.reset();
    lab_.reset();
  }));
}

void GuestTest::SetUp() {
  ASSERT_TRUE(agent_->process().alive()) << agent_->Log();
  logged_before_ = agent_->Log().size();
}

void GuestTest::TearDown() {
  if (HasFailure()) std::cerr << "the agent's log:\n" << agent_->Log(logged_before_) << '\n';
  // A test that failed half-way may have left it dead.
  if (lab_->Virsh({"uri"}).status != 0) lab_->Command({"start-libvirtd"});
  if (!agent_->process().alive()) agent_->Start();
  lab_->SetHookWait(Lab::kHookWait);
  lab_->Clear();
}

bool GuestTest::Hinting(const std::string& name, const std::string& state) const {
  return Eventually([&] { return agent_->Text(name, "hinting") == state; });
}

}  // namespace ullage::tests
