// SPDX-License-Identifier: GPL-2.0
/* hog MIB [SECONDS]: touch MIB of anonymous memory, wait, exit. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	size_t len = (argc > 1 ? strtoul(argv[1], NULL, 10) : 0) << 20;
	size_t at;
	char *mem;

	if (!len) {
		fprintf(stderr, "usage: hog MIB [SECONDS]\n");
		return 2;
	}
	mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED) {
		perror("hog: mmap");
		return 1;
	}
	for (at = 0; at < len; at += 4096)
		mem[at] = 1;
	if (argc > 2)
		sleep(strtoul(argv[2], NULL, 10));
	return 0;
}
