// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace ullage::host {

/// A folder for one test, laid out like /proc or cgroupfs and removed with everything in it.
class TemporaryTree {
 public:
  TemporaryTree() {
    std::string name = (std::filesystem::temp_directory_path() / "ullage-test-XXXXXX").string();
    root_ = mkdtemp(name.data());
  }
  TemporaryTree(const TemporaryTree&) = delete;
  TemporaryTree& operator=(const TemporaryTree&) = delete;
  ~TemporaryTree() { std::filesystem::remove_all(root_); }

  std::string path(std::string_view below = "") const {
    return below.empty() ? root_ : root_ + '/' + std::string(below);
  }
  void Write(std::string_view below, std::string_view content) const {
    const std::filesystem::path file = path(below);
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary | std::ios::trunc) << content;
  }
  void Remove(std::string_view below) const { std::filesystem::remove_all(path(below)); }

 private:
  std::string root_;
};

}  // namespace ullage::host
