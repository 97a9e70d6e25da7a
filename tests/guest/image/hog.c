// SPDX-License-Identifier: Apache-2.0
// hog MIB [--hold SECONDS]: the program whose memory comes back when it exits.
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static double Now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int Number(const char *text, uint64_t max, uint64_t *value) {
  char *end = NULL;
  errno = 0;
  *value = strtoull(text, &end, 10);
  return errno == 0 && *text >= '0' && *text <= '9' && *end == '\0' && *value <= max;
}

// When the guest is too small, the kernel has to end this program and not the guest's init.
static void OfferToOomKiller(void) {
  FILE *score = fopen("/proc/self/oom_score_adj", "w");
  if (score == NULL) return;
  fputs("1000", score);
  fclose(score);
}

int main(int argc, char **argv) {
  uint64_t mib = 0;
  uint64_t hold = 0;
  const int well_formed =
      (argc == 2 || (argc == 4 && strcmp(argv[2], "--hold") == 0 && Number(argv[3], UINT32_MAX, &hold))) &&
      Number(argv[1], 1U << 24, &mib) && mib > 0;
  if (!well_formed) {
    fputs("usage: hog MIB [--hold SECONDS]\n", stderr);
    return 2;
  }
  OfferToOomKiller();

  const size_t bytes = (size_t)mib << 20;
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  const double start = Now();
  volatile char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    fprintf(stderr, "hog: no %llu MiB: %s\n", (unsigned long long)mib, strerror(errno));
    return 1;
  }
  for (size_t offset = 0; offset < bytes; offset += page) memory[offset] = 1;
  printf("hog: touched %llu MiB in %.2f s\n", (unsigned long long)mib, Now() - start);
  fflush(stdout);
  if (hold > 0) sleep((unsigned)hold);
  return 0;
}
