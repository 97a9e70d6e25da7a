// SPDX-License-Identifier: Apache-2.0
#include "node-agent/sources/page_marks.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace ullage::sources {
namespace {

// The bitmap is read and written in words of 64 frames.
off_t WordOf(std::uint64_t frame) { return static_cast<off_t>(frame / 64 * 8); }
std::uint64_t BitOf(std::uint64_t frame) { return std::uint64_t{1} << frame % 64; }

}  // namespace

Result<host::PageEntry> EntryOf(host::GuestMemory& memory, std::uint64_t page) {
  const auto entries = memory.Pages({page, page + host::kPage});
  if (!entries) return entries.error();
  return entries->front();
}

Error NoFrames() { return {Code::kDenied, "pagemap: no page frame numbers without CAP_SYS_ADMIN"}; }

// Of a page of this process, which is held for sure.
bool SeesFrames(const host::Roots& roots) {
  const host::PageEntry here;
  host::PageEntry entry;
  const host::Fd pagemap(open((roots.proc + "/self/pagemap").c_str(), O_RDONLY | O_CLOEXEC));
  const auto page = reinterpret_cast<std::uintptr_t>(&here) / host::kPage;
  const ssize_t got =
      pread(pagemap.get(), &entry, sizeof entry, static_cast<off_t>(page * sizeof entry));
  return got == sizeof entry && entry.frame() != 0;
}

Result<std::unique_ptr<PageMarks>> IdleMarks::Open(const host::Roots& roots) {
  const std::string path = roots.mm + "/page_idle/bitmap";
  host::Fd bitmap(open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!bitmap.valid()) return host::FromErrno(errno, path);
  if (!SeesFrames(roots)) return NoFrames();
  return std::unique_ptr<PageMarks>(new IdleMarks(std::move(bitmap)));
}

Result<std::vector<bool>> IdleMarks::Set(host::GuestMemory& memory,
                                         const std::vector<std::uint64_t>& pages) {
  for (const std::uint64_t page : pages) {
    const auto entry = EntryOf(memory, page);
    if (!entry) return entry.error();
    if (!entry->present()) continue;
    if (entry->frame() == 0) return NoFrames();
    // Zeros leave the other frames of the word as they are.
    const std::uint64_t word = BitOf(entry->frame());
    // EINVAL and ENXIO: no frame of the kernel's lists; it stays unmarked.
    if (pwrite(bitmap_.get(), &word, sizeof word, WordOf(entry->frame())) < 0 && errno != EINVAL &&
        errno != ENXIO) {
      return host::FromErrno(errno, "page_idle");
    }
  }
  // Parts of huge pages take none.
  return Stand(memory, pages);
}

Result<std::vector<bool>> IdleMarks::Stand(host::GuestMemory& memory,
                                           const std::vector<std::uint64_t>& pages) {
  std::vector<bool> stand;
  for (const std::uint64_t page : pages) {
    const auto entry = EntryOf(memory, page);
    if (!entry) return entry.error();
    std::uint64_t word = 0;
    // The mark moves with a page that moves; one that came back into another frame has none.
    const bool read = entry->frame() != 0 && pread(bitmap_.get(), &word, sizeof word,
                                                   WordOf(entry->frame())) == sizeof word;
    stand.push_back(read && (word & BitOf(entry->frame())) != 0);
  }
  return stand;
}

}  // namespace ullage::sources
