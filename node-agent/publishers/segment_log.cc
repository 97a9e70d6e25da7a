// SPDX-License-Identifier: Apache-2.0
#include "node-agent/publishers/segment_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>

#include "node-agent/host/text.h"

namespace ullage::publishers {
namespace {

constexpr const char* kEnd = ".log";
// A file is this much longer than its bound, at most: the record that goes beyond it.
constexpr std::size_t kFileLimit = std::size_t{16} << 20;

std::uint32_t Checksum(std::string_view bytes) {
  return static_cast<std::uint32_t>(
      crc32(0, reinterpret_cast<const Bytef*>(bytes.data()), static_cast<uInt>(bytes.size())));
}

void AppendNumber(std::uint32_t number, std::string& to) {
  for (int shift = 0; shift < 32; shift += 8) to += static_cast<char>((number >> shift) & 0xff);
}

std::uint32_t NumberAt(std::string_view bytes, std::size_t at) {
  std::uint32_t number = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    number |= std::uint32_t{static_cast<unsigned char>(bytes[at + i])} << (8 * i);
  }
  return number;
}

// Removes the oldest files until the others are below the bound.
void Trim(const SegmentOptions& options) {
  const std::vector<Segment> segments = SegmentsOf(options);
  std::uint64_t total = 0;
  for (std::size_t i = segments.size(); i-- > 0;) {  // the newest first
    const auto& segment = segments[i];
    struct stat found {};
    if (stat(segment.path.c_str(), &found) == 0) total += static_cast<std::uint64_t>(found.st_size);
    if (total > options.total_bytes) unlink(segment.path.c_str());
  }
}

}  // namespace

std::string FrameOf(std::string_view record) {
  std::string frame;
  frame.reserve(kFrameHead + record.size());
  AppendNumber(static_cast<std::uint32_t>(record.size()), frame);
  AppendNumber(Checksum(record), frame);
  return frame.append(record);
}

std::size_t ReadFrames(std::string_view bytes, const std::function<bool(std::string_view)>& each) {
  while (bytes.size() >= kFrameHead) {
    const std::size_t size = NumberAt(bytes, 0);
    if (size > kRecordLimit || size > bytes.size() - kFrameHead) break;
    const std::string_view record = bytes.substr(kFrameHead, size);
    if (Checksum(record) != NumberAt(bytes, 4)) break;
    bytes.remove_prefix(kFrameHead + size);
    if (!each(record)) return 0;
  }
  return bytes.size();
}

std::vector<Segment> SegmentsOf(const SegmentOptions& options) {
  std::vector<Segment> segments;
  std::error_code error;
  const std::string start = options.name + "-";
  for (std::filesystem::directory_iterator at(options.folder, error), end; !error && at != end;
       at.increment(error)) {
    const std::string file = at->path().filename().string();
    if (!file.starts_with(start) || !file.ends_with(kEnd)) continue;
    const auto number = host::ParseUnsigned(
        std::string_view(file).substr(start.size(), file.size() - start.size() - 4));
    if (number) segments.push_back({*number, at->path().string()});
  }
  std::sort(segments.begin(), segments.end(),
            [](const Segment& a, const Segment& b) { return a.number < b.number; });
  return segments;
}

Result<std::string> ReadSegment(const Segment& segment) {
  auto content = host::ReadFile(segment.path, kFileLimit);
  if (!content && content.error().code() == Code::kGone) return std::string();
  return content;
}

Status SegmentWriter::Next() {
  if (auto made = host::MakeDirectories(options_.folder, 0700); !made) return made.error();
  const auto segments = SegmentsOf(options_);
  number_ = std::max(number_, segments.empty() ? 0 : segments.back().number) + 1;
  path_ = options_.folder + "/" + options_.name + "-" + std::to_string(number_) + kEnd;
  file_ = host::Fd(open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600));
  written_ = 0;
  if (!file_.valid()) return host::FromErrno(errno, path_);
  Trim(options_);
  return Ok();
}

Status SegmentWriter::Append(std::string_view record) {
  if (record.size() > kRecordLimit) {
    return Error(Code::kExhausted, "a record of " + std::to_string(record.size()) + " bytes");
  }
  if (AtStart()) {
    if (auto next = Next(); !next) return next;
  }
  const std::string frame = FrameOf(record);
  const ssize_t done = write(file_.get(), frame.data(), frame.size());
  if (done != static_cast<ssize_t>(frame.size())) {
    const int why = done < 0 ? errno : ENOSPC;
    file_ = host::Fd();  // whatever follows half a record could not be read
    if (written_ == 0) unlink(path_.c_str());
    return host::FromErrno(why, path_);
  }
  written_ += frame.size();
  return Ok();
}

}  // namespace ullage::publishers
