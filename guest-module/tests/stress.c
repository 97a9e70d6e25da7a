// SPDX-License-Identifier: GPL-2.0
/*
 * stress CPU MIB: takes and gives back up to MIB of memory on one CPU until
 * /run/stop exists: anonymous memory of all orders with and without huge
 * pages, forked copies of it, files on tmpfs and the page cache of /dev/vda.
 * Everything carries a pattern that is compared before it is given back: a
 * page that the host dropped while it was in use would be full of zeroes.
 * stress -x: drops one page of its own, which must be found.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define SLOTS		48
/* A dropped page loses all of these; eight a page find smaller damage, too. */
#define STRIDE		512
#define DISK_CHUNK	((size_t)1 << 20)
#define DISK_CHUNKS	32

struct slot {
	char *mem;
	size_t len;
	uint64_t seed;
};

static struct slot slots[SLOTS];
static size_t held, most;
static uint64_t state, bytes;
static int cpu, disk = -1;

static uint64_t next(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	return state ^= state << 17;
}

static void die(const char *what)
{
	perror(what);
	exit(2);
}

static uint64_t pattern(uint64_t seed, size_t at)
{
	return (seed + at) * 0x9e3779b97f4a7c15u | 1;
}

static void fill(char *mem, size_t len, uint64_t seed)
{
	size_t at;

	for (at = 0; at < len; at += STRIDE)
		*(uint64_t *)(mem + at) = pattern(seed, at);
	bytes += len;
}

static void verify(const char *what, const char *mem, size_t len, uint64_t seed)
{
	size_t at;

	for (at = 0; at < len; at += STRIDE) {
		uint64_t is = *(const uint64_t *)(mem + at);

		if (is == pattern(seed, at))
			continue;
		printf("CORRUPT %s: byte %zu of %zu is %#llx, not %#llx\n", what, at, len,
		       (unsigned long long)is, (unsigned long long)pattern(seed, at));
		exit(1);
	}
}

static void take(struct slot *s)
{
	size_t len = (size_t)4096 << next() % 13;

	if (held + len > most)
		return;
	s->mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (s->mem == MAP_FAILED)
		die("stress: mmap");
	madvise(s->mem, len, next() % 2 ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	s->len = len;
	s->seed = next();
	held += len;
	fill(s->mem, len, s->seed);
}

/* The whole of it, or its second half: huge pages are split then. */
static void give(struct slot *s)
{
	size_t keep = s->len > 4096 && next() % 4 == 0 ? s->len / 2 : 0;

	verify("memory", s->mem, s->len, s->seed);
	munmap(s->mem + keep, s->len - keep);
	held -= s->len - keep;
	s->len = keep;
	if (!keep)
		s->mem = NULL;
}

/* The child's pages are copies from its first write on, the parent's stay. */
static void copy(struct slot *s)
{
	int status;
	pid_t pid = fork();

	if (pid < 0)
		die("stress: fork");
	if (!pid) {
		verify("memory after fork", s->mem, s->len, s->seed);
		fill(s->mem, s->len, ~s->seed);
		verify("copy after fork", s->mem, s->len, ~s->seed);
		fflush(stdout);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status))
		exit(1);
	verify("memory of a parent", s->mem, s->len, s->seed);
}

static void file(void)
{
	static char buffer[DISK_CHUNK] __attribute__((aligned(4096)));
	size_t part, parts = 1 + next() % 16;
	uint64_t seed = next();
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/tmp/stress.%d", cpu);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (fd < 0)
		die("stress: open");
	for (part = 0; part < parts; part++) {
		fill(buffer, sizeof(buffer), seed + part);
		if (write(fd, buffer, sizeof(buffer)) != sizeof(buffer))
			die("stress: write");
	}
	lseek(fd, 0, SEEK_SET);
	for (part = 0; part < parts; part++) {
		if (read(fd, buffer, sizeof(buffer)) != sizeof(buffer))
			die("stress: read");
		verify("file", buffer, sizeof(buffer), seed + part);
	}
	close(fd);
	unlink(path);
}

/* A part of the disk for each CPU, written once, its page cache dropped now and then. */
static void page_cache(int first)
{
	static char buffer[DISK_CHUNK] __attribute__((aligned(4096)));
	size_t n, i;

	for (i = 0; i < (first ? DISK_CHUNKS : 8); i++) {
		n = first ? i : next() % DISK_CHUNKS;
		off_t at = ((off_t)cpu * DISK_CHUNKS + n) * DISK_CHUNK;

		if (first) {
			fill(buffer, sizeof(buffer), at);
			if (pwrite(disk, buffer, sizeof(buffer), at) != sizeof(buffer))
				die("stress: write to the disk");
			continue;
		}
		if (pread(disk, buffer, sizeof(buffer), at) != sizeof(buffer))
			die("stress: read from the disk");
		verify("page cache", buffer, sizeof(buffer), at);
		if (next() % 2)
			posix_fadvise(disk, at, sizeof(buffer), POSIX_FADV_DONTNEED);
	}
	if (first)
		fsync(disk);
}

int main(int argc, char **argv)
{
	unsigned long turns = 0;
	struct slot *s;
	cpu_set_t one;

	if (argc == 2 && !strcmp(argv[1], "-x")) {
		most = (size_t)64 << 20;
		state = 1;
		for (s = slots; !s->mem || s->len < 8192;)
			take(++s);
		madvise(s->mem + 4096, 4096, MADV_DONTNEED);
		verify("memory", s->mem, s->len, s->seed);
		return 0;
	}
	if (argc != 3) {
		fprintf(stderr, "usage: stress CPU MIB | stress -x\n");
		return 2;
	}
	cpu = atoi(argv[1]);
	most = strtoul(argv[2], NULL, 10) << 20;
	state = 0x123456789abcdefu + cpu;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	if (sched_setaffinity(0, sizeof(one), &one))
		die("stress: sched_setaffinity");
	disk = open("/dev/vda", O_RDWR);
	if (disk >= 0)
		page_cache(1);

	for (; access("/run/stop", F_OK); turns++) {
		s = &slots[next() % SLOTS];
		if (!s->mem)
			take(s);
		else if (next() % 8 == 0 && s->len <= (size_t)4 << 20)
			copy(s);
		else
			give(s);
		if (turns % 64 == 0)
			file();
		if (turns % 128 == 1 && disk >= 0)
			page_cache(0);
		/* Now and then all of it at once, as a program that ends. */
		if (turns % 1024 == 1023)
			for (s = slots; s < slots + SLOTS; s++)
				while (s->mem)
					give(s);
	}
	for (s = slots; s < slots + SLOTS; s++)
		if (s->mem)
			verify("memory at the end", s->mem, s->len, s->seed);
	printf("ok %lu turns %llu MiB\n", turns, (unsigned long long)bytes >> 20);
	return 0;
}
