// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "node-agent/host/file.h"
#include "node-agent/model/result.h"

namespace ullage::publishers {

/// Records in files that are only appended to. A record is framed by its length and its CRC-32,
/// both 4 bytes, little-endian; what a crash left half written ends what can be read of its file.
inline constexpr std::size_t kFrameHead = 8;
/// The longest record.
inline constexpr std::size_t kRecordLimit = std::size_t{2} << 20;

std::string FrameOf(std::string_view record);

/// Hands over each whole record until one says false. Returns the bytes at the end that are none.
std::size_t ReadFrames(std::string_view bytes, const std::function<bool(std::string_view)>& each);

struct SegmentOptions {
  std::string folder;
  std::string name;                                    ///< files are NAME-<number>.log
  std::size_t segment_bytes = std::size_t{512} << 10;  ///< a longer file is followed by another
  std::size_t total_bytes = std::size_t{8} << 20;      ///< of all files; the oldest go
};

struct Segment {
  std::uint64_t number;
  std::string path;
};

/// In the order in which they were written. Files of other names are none.
std::vector<Segment> SegmentsOf(const SegmentOptions& options);

/// Its content; a file that has gone meanwhile is empty.
Result<std::string> ReadSegment(const Segment& segment);

/// Appends. For one thread; others may read meanwhile.
class SegmentWriter {
 public:
  explicit SegmentWriter(SegmentOptions options) : options_(std::move(options)) {}

  const SegmentOptions& options() const { return options_; }
  /// The next record begins a file: whoever reads it has nothing before it. After a start it always
  /// does, because the last file may end with half a record.
  bool AtStart() const { return !file_.valid() || written_ >= options_.segment_bytes; }
  Status Append(std::string_view record);

 private:
  Status Next();

  const SegmentOptions options_;
  host::Fd file_;
  std::string path_;
  std::uint64_t number_ = 0;
  std::size_t written_ = 0;
};

}  // namespace ullage::publishers
