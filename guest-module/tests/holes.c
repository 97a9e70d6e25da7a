// SPDX-License-Identifier: GPL-2.0
/*
 * holes MIB [KIB]: a process that lives on in the background with MIB of base
 * pages, of which it has freed every second piece of KIB (64). Returns when
 * the holes are there.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_NOHUGEPAGE
#define MADV_NOHUGEPAGE 15
#endif

static int punch(size_t len, size_t piece)
{
	char *mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t at;

	if (mem == MAP_FAILED) {
		perror("holes: mmap");
		return 1;
	}
	madvise(mem, len, MADV_NOHUGEPAGE);
	for (at = 0; at < len; at += 4096)
		mem[at] = 1;
	for (at = 0; at + piece <= len; at += 2 * piece)
		if (madvise(mem + at, piece, MADV_DONTNEED)) {
			perror("holes: madvise");
			return 1;
		}
	return 0;
}

int main(int argc, char **argv)
{
	size_t len = (argc > 1 ? strtoul(argv[1], NULL, 10) : 0) << 20;
	size_t piece = (argc > 2 ? strtoul(argv[2], NULL, 10) : 64) << 10;
	char result = 1;
	int done[2];

	if (!len || !piece || piece % 4096) {
		fprintf(stderr, "usage: holes MIB [KIB]\n");
		return 2;
	}
	if (pipe(done)) {
		perror("holes");
		return 1;
	}
	if (!fork()) {
		setsid();
		result = punch(len, piece);
		if (write(done[1], &result, 1) != 1 || result)
			return 1;
		close(done[0]);
		close(done[1]);
		for (;;)
			pause();
	}
	close(done[1]);
	return read(done[0], &result, 1) == 1 ? result : 1;
}
