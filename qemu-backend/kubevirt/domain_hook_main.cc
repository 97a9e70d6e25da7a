// SPDX-License-Identifier: Apache-2.0
// ullage-domain-hook: a sidecar in virt-launcher's pod that switches the balloon's features on in
// the domain that is about to start. docs/kubevirt-hooks.md says who needs it.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>

#include "qemu-backend/kubevirt/hook_server.h"

namespace ullage::hooks {
namespace {

constexpr int kUsage = 2;
constexpr const char* kHooks = "/var/run/kubevirt-hooks";

void Say(const std::string& line) {
  std::fprintf(stderr, "ullage-domain-hook: %s\n", line.c_str());
}

// Before the first thread starts: all of them inherit it.
sigset_t BlockSignals() {
  std::signal(SIGPIPE, SIG_IGN);
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGTERM}) sigaddset(&signals, signal);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return signals;
}

int Serve(HookServerOptions options) {
  const sigset_t signals = BlockSignals();
  options.say = Say;
  options.shut_down = [] { kill(getpid(), SIGTERM); };
  const auto server = HookServer::Start(options);
  if (!server) {
    Say(server.error().message());
    return 1;
  }
  for (const std::string& socket : (*server)->sockets()) Say("listening on " + socket);
  int signal = 0;
  while (sigwait(&signals, &signal) != 0) {
  }
  Say("ending");
  (*server)->Stop();
  return 0;
}

int Main(int argc, char** argv) {
  HookServerOptions options;
  CLI::App app("Switches free page reporting and autodeflate on in domains of KubeVirt.",
               "ullage-domain-hook");
  app.set_version_flag("--version", "ullage-domain-hook " ULLAGE_VERSION);
  app.add_option("--socket-dir", options.socket_dir,
                 "serve the hook sidecar API in this folder; " + std::string(kHooks) +
                     " unless --plugin-socket is given");
  app.add_option("--plugin-socket", options.plugin_socket,
                 "serve KubeVirt 1.9's domain hook on this socket");
  app.add_flag("--override-off", options.rewrite.override_off,
               "switch reporting on also where the cluster's disableFreePageReporting is set");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsage;
  }
  if (options.socket_dir.empty() && options.plugin_socket.empty()) options.socket_dir = kHooks;
  return Serve(options);
}

}  // namespace
}  // namespace ullage::hooks

int main(int argc, char** argv) {
  try {
    return ullage::hooks::Main(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "ullage-domain-hook: %s\n", error.what());
    return 1;
  }
}
