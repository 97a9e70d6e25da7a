// SPDX-License-Identifier: Apache-2.0
// The loads of tests/bench/run overhead, in the guest:
//   load faults MIB ROUNDS WORKERS   each worker maps MIB, touches every 4 KiB page, unmaps; ROUNDS times
//   load saw MIB MS...               for each MS: allocate, touch and free MIB, then sleep for the rest of MS
//   load drain MIB SECONDS DISK FILE touch MIB, say "touched", wait for a line, free it, say "freed"; then for
//                                    SECONDS a write of 4 KiB to DISK each ms, late ones left out. FILE: a line
//                                    for each write, when it began (us from the freeing) and the us that it took
//   load hot MIB COLD FILE WAKE      touch MIB and COLD MIB, then read and write one byte of each page of MIB, ten
//                                    times a second, for ever; FILE: the ms of each time. Once WAKE exists, COLD
//                                    is touched once, and FILE gets the line "woke" and the seconds. Each time
//                                    begins with an empty TLB: an emulated one is resized by what 100 ms have
//                                    needed, and a loop is six times slower or not by chance
// faults prints the seconds that it took, saw those of each tooth, sleep left out.
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096U
#define HUGE_PAGE (2U << 20)

static int64_t Now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void SleepUntil(int64_t ns) {
  const struct timespec until = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR) {
  }
}

static void Die(const char *what) {
  fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
  exit(1);
}

static size_t Number(const char *text) {
  char *end = NULL;
  errno = 0;
  const unsigned long value = strtoul(text, &end, 10);
  if (errno != 0 || *text < '0' || *text > '9' || *end != '\0' || value > 1U << 24) {
    fprintf(stderr, "load: no number: %s\n", text);
    exit(2);
  }
  return value;
}

// Huge or not is said for each load, so that a figure does not hang on the guest's own setting.
static volatile char *Map(size_t bytes, int advice) {
  void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) Die("mmap");
  if (madvise(memory, bytes, advice) != 0) Die("madvise");
  return memory;
}

static void Touch(volatile char *memory, size_t bytes, size_t step) {
  for (size_t offset = 0; offset < bytes; offset += step) memory[offset] = 1;
}

static void Unmap(volatile char *memory, size_t bytes) {
  if (munmap((void *)memory, bytes) != 0) Die("munmap");
}

static void Faults(size_t bytes, size_t rounds, size_t workers) {
  const int64_t start = Now();
  for (size_t worker = 0; worker < workers; ++worker) {
    const pid_t child = fork();
    if (child < 0) Die("fork");
    if (child > 0) continue;
    for (size_t round = 0; round < rounds; ++round) {
      volatile char *memory = Map(bytes, MADV_NOHUGEPAGE);
      Touch(memory, bytes, PAGE);
      Unmap(memory, bytes);
    }
    _exit(0);
  }
  for (size_t worker = 0; worker < workers; ++worker) {
    int status = 0;
    if (wait(&status) < 0 || status != 0) Die("a worker has failed");
  }
  printf("%.6f\n", (double)(Now() - start) / 1e9);
}

// Linux flushes all of it where more than 33 pages are unmapped (tlb_single_page_flush_ceiling).
static void FlushTlb(void) {
  volatile char *memory = Map((size_t)64 * PAGE, MADV_NOHUGEPAGE);
  Touch(memory, (size_t)64 * PAGE, PAGE);
  Unmap(memory, (size_t)64 * PAGE);
}

static void Saw(size_t bytes, char **periods) {
  for (; *periods != NULL; ++periods) {
    const int64_t start = Now();
    volatile char *memory = Map(bytes, MADV_HUGEPAGE);
    Touch(memory, bytes, HUGE_PAGE);
    Unmap(memory, bytes);
    printf("%.6f\n", (double)(Now() - start) / 1e9);
    SleepUntil(start + (int64_t)Number(*periods) * 1000000);
  }
}

static void Drain(size_t bytes, size_t seconds, const char *disk, const char *samples) {
  const int fd = open(disk, O_WRONLY | O_DIRECT | O_SYNC);
  if (fd < 0) Die(disk);
  FILE *out = fopen(samples, "w");
  if (out == NULL) Die(samples);
  void *block = NULL;
  if (posix_memalign(&block, PAGE, PAGE) != 0) Die("posix_memalign");
  memset(block, 1, PAGE);

  volatile char *memory = Map(bytes, MADV_HUGEPAGE);
  Touch(memory, bytes, HUGE_PAGE);
  puts("touched");
  fflush(stdout);
  if (getchar() == EOF) Die("standard input");
  Unmap(memory, bytes);
  puts("freed");
  fflush(stdout);

  const int64_t start = Now();
  for (int64_t due = start; due < start + (int64_t)seconds * 1000000000; due += 1000000) {
    SleepUntil(due);
    const int64_t begun = Now();
    if (pwrite(fd, block, PAGE, (begun - start) / 1000000 % 1024 * PAGE) != PAGE) Die("write");
    const int64_t ended = Now();
    fprintf(out, "%lld %lld\n", (long long)(begun - start) / 1000, (long long)(ended - begun) / 1000);
    if (due < ended - 1000000) due += (ended - due) / 1000000 * 1000000;
  }
  if (fclose(out) != 0) Die(samples);
}

static void Fill(volatile char *memory, size_t bytes) {
  for (size_t page = 0; page < bytes; page += PAGE) {
    // Something to compress, and no two pages alike.
    for (size_t word = 0; word < 16; ++word) ((volatile uint32_t *)(memory + page))[word * 32] = (uint32_t)(page + word);
  }
}

static void Hot(size_t hot_bytes, size_t cold_bytes, const char *file, const char *wake) {
  volatile char *hot = Map(hot_bytes, MADV_NOHUGEPAGE);
  volatile char *cold = Map(cold_bytes, MADV_NOHUGEPAGE);
  Fill(hot, hot_bytes);
  Fill(cold, cold_bytes);
  FILE *out = fopen(file, "w");
  if (out == NULL) Die(file);
  setvbuf(out, NULL, _IOLBF, 0);
  fputs("touched\n", out);
  for (;;) {
    FlushTlb();
    const int64_t start = Now();
    for (size_t page = 0; page < hot_bytes; page += PAGE) ++hot[page];
    fprintf(out, "%.3f\n", (double)(Now() - start) / 1e6);
    SleepUntil(start + 100000000);
    if (access(wake, F_OK) != 0) continue;
    const int64_t woken = Now();
    Touch(cold, cold_bytes, PAGE);
    fprintf(out, "woke %.6f\n", (double)(Now() - woken) / 1e9);
    unlink(wake);
  }
}

int main(int argc, char **argv) {
  const char *what = argc > 2 ? argv[1] : "";
  if (strcmp(what, "faults") == 0 && argc == 5) {
    Faults(Number(argv[2]) << 20, Number(argv[3]), Number(argv[4]));
  } else if (strcmp(what, "saw") == 0 && argc > 3) {
    Saw(Number(argv[2]) << 20, argv + 3);
  } else if (strcmp(what, "drain") == 0 && argc == 6) {
    Drain(Number(argv[2]) << 20, Number(argv[3]), argv[4], argv[5]);
  } else if (strcmp(what, "hot") == 0 && argc == 6) {
    Hot(Number(argv[2]) << 20, Number(argv[3]) << 20, argv[4], argv[5]);
  } else {
    fputs("usage: load faults MIB ROUNDS WORKERS | saw MIB MS... | drain MIB SECONDS DISK FILE |"
          " hot MIB COLD FILE WAKE\n", stderr);
    return 2;
  }
  return 0;
}
