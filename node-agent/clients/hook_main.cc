// SPDX-License-Identifier: Apache-2.0
// Run by the script that is libvirt's /etc/libvirt/hooks/qemu: asks the agent whether a VM may
// start.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string_view>
#include <vector>

#include "node-agent/clients/channel.h"
#include "node-agent/clients/hook.h"
#include "node-agent/clients/hook_install.h"
#include "node-agent/host/file.h"

namespace ullage::clients {
namespace {

constexpr const char* kConfig = "/etc/ullage/hook.conf";
constexpr const char* kHooks = "/etc/libvirt/hooks";

constexpr std::string_view kUsage =
    "usage: ullage-libvirt-hook --install [--hooks-dir DIR]\n"
    "       ullage-libvirt-hook --uninstall [--hooks-dir DIR]\n"
    "       ullage-libvirt-hook --version\n"
    "       (by libvirt) qemu DOMAIN OPERATION SUB-OPERATION EXTRA < domain.xml\n"
    "DIR is /etc/libvirt/hooks unless given.\n";

int Usage(std::string_view why) {
  std::cerr << "ullage-libvirt-hook: " << why << '\n' << kUsage;
  return 2;
}

int Report(const Result<std::string>& done) {
  if (!done) {
    std::cerr << "ullage-libvirt-hook: " << done.error().message() << '\n';
    return 1;
  }
  std::cout << "ullage-libvirt-hook: " << *done << '\n';
  return 0;
}

int Command(const std::vector<std::string_view>& arguments) {
  if (arguments.empty()) return Usage("nothing to do");
  const std::string_view verb = arguments[0];
  if (verb == "--help" || verb == "-h") {
    std::cout << kUsage;
    return 0;
  }
  if (verb == "--version") {
    std::cout << "ullage-libvirt-hook " ULLAGE_VERSION "\n";
    return 0;
  }
  if (verb != "--install" && verb != "--uninstall") return Usage("what libvirt passes is missing");
  std::string hooks = kHooks;
  if (arguments.size() == 3 && arguments[1] == "--hooks-dir" && !arguments[2].empty()) {
    hooks = arguments[2];
  } else if (arguments.size() != 1) {
    return Usage("only --hooks-dir DIR may follow");
  }
  return Report(verb == "--install" ? InstallHook(host::Roots().proc + "/self/exe", hooks)
                                    : UninstallHook(hooks));
}

// libvirt always passes four, and a domain may be called --install.
bool IsLibvirtsCall(int argc) { return argc == 5; }

int Main(int argc, char** argv) {
  const std::vector<std::string_view> arguments(argv + 1, argv + argc);
  if (!IsLibvirtsCall(argc)) return Command(arguments);
  std::signal(SIGPIPE, SIG_IGN);
  QuietGrpc();
  HookCall call;
  call.object = arguments[0];
  call.operation = arguments[1];
  call.sub_operation = arguments[2];
  const char* script = std::getenv("ULLAGE_HOOK_SCRIPT");  // what libvirt runs, set by itself
  call.program = script != nullptr ? script : argv[0];
  return RunHook(call, ReadHookOptions(kConfig), std::cerr);
}

// For libvirt only a start may fail: it kills a running domain for a failure at `reconnect`.
int Failed(int argc, char** argv, const char* why) {
  std::fprintf(stderr, "ullage-libvirt-hook: %s\n", why);
  return !IsLibvirtsCall(argc) || std::string_view(argv[2]) == "prepare" ? 1 : 0;
}

}  // namespace
}  // namespace ullage::clients

int main(int argc, char** argv) {
  try {
    return ullage::clients::Main(argc, argv);
  } catch (const std::exception& error) {
    return ullage::clients::Failed(argc, argv, error.what());
  } catch (...) {
    return ullage::clients::Failed(argc, argv, "unknown exception");
  }
}
