// SPDX-License-Identifier: GPL-2.0
/*
 * grab MIB: touch MIB of anonymous memory as fast as it goes, then say how long
 * the slowest page took: "longest MS". What the kernel lets it wait for memory
 * is in there.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

static double ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

int main(int argc, char **argv)
{
	size_t len = (argc > 1 ? strtoul(argv[1], NULL, 10) : 0) << 20;
	double last, now, longest = 0;
	size_t at;
	char *mem;

	if (!len) {
		fprintf(stderr, "usage: grab MIB\n");
		return 2;
	}
	mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED) {
		perror("grab: mmap");
		return 1;
	}
	last = ms();
	for (at = 0; at < len; at += 4096) {
		mem[at] = 1;
		now = ms();
		if (now - last > longest)
			longest = now - last;
		last = now;
	}
	printf("longest %.0f\n", longest);
	return 0;
}
