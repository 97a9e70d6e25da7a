// SPDX-License-Identifier: Apache-2.0
// Instead of gtest's own main, for tests that leave threads behind: in libvirt, or in a worker
// whose QEMU hangs. They may still be in a library whose exit handlers tear it down, libxml2's
// among them.
#include <gtest/gtest.h>

#include "qemu-backend/thread.h"

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  ullage::qemu::Leave(RUN_ALL_TESTS());
}
