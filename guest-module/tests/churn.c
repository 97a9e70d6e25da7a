// SPDX-License-Identifier: GPL-2.0
/*
 * churn UNITS SOURCES OUT TMP: works like a parallel build and prints how many
 * milliseconds that took. Two jobs at a time read headers in SOURCES, use a
 * heap of 4 to 32 MiB, run small processes, keep an intermediate file in TMP
 * and write an object to OUT. A server keeps some of each unit and outlives
 * all of it, as a compiler cache does. Then everything is linked.
 *
 * churn --sources N SOURCES: makes the N headers, of 16 KiB each.
 * churn --read DIR: reads every file there once, prints the milliseconds.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define HEADER	(16 << 10)
#define HEADERS_A_UNIT	24
#define JOBS	2
#define KEPT_MAX	(64 << 10)

static char buffer[2 << 20];
static const char *sources, *out, *tmp;
static unsigned int headers;

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static double ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

/* The same numbers in every run. */
static unsigned int mix(unsigned int a, unsigned int b)
{
	unsigned int x = a * 2654435761u ^ b * 40503u;

	x ^= x >> 15;
	x *= 2246822519u;
	x ^= x >> 13;
	x *= 3266489917u;
	return x ^ x >> 16;
}

static void path_of(char *path, const char *dir, char kind, unsigned int n)
{
	snprintf(path, 256, "%s/%c%u", dir, kind, n);
}

static void put(const char *dir, char kind, unsigned int n, size_t len)
{
	char path[256];
	int fd;

	path_of(path, dir, kind, n);
	fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0644);
	if (fd < 0 || write(fd, buffer, len) != (ssize_t)len)
		fail(path);
	close(fd);
}

static void get(const char *path)
{
	int fd = open(path, O_RDONLY);

	if (fd < 0)
		fail(path);
	while (read(fd, buffer, sizeof(buffer)) > 0)
		;
	close(fd);
}

static void touch(char *mem, size_t len, unsigned int seed)
{
	size_t at;

	for (at = 0; at < len; at += 4096)
		memset(mem + at, seed, 512);
}

static size_t object(unsigned int unit)
{
	return (128 + mix(unit, 3) % 1792) << 10;
}

static void compile(unsigned int unit)
{
	size_t heap = (4 + mix(unit, 1) % 29) << 20, at;
	char path[256], *mem;
	unsigned int i;
	pid_t pid;

	mem = mmap(NULL, heap, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED)
		fail("heap");
	for (i = 0; i < HEADERS_A_UNIT; i++) {
		path_of(path, sources, 'h', mix(unit, 100 + i) % headers);
		get(path);
	}
	touch(mem, heap / 2, unit);
	put(tmp, 's', unit, (64 + mix(unit, 2) % 320) << 10);
	for (i = 0; i < 2; i++) {
		pid = fork();
		if (!pid) {
			execl("/bin/busybox", "true", NULL);
			_exit(127);
		}
		waitpid(pid, NULL, 0);
	}
	/* A heap with holes in it, and more on top of it. */
	for (at = 0; at < heap / 2; at += 256 << 10)
		madvise(mem + at, 128 << 10, MADV_DONTNEED);
	touch(mem + heap / 2, heap / 2, unit);
	path_of(path, tmp, 's', unit);
	get(path);
	put(out, 'o', unit, object(unit));
	unlink(path);
	_exit(0);
}

/* Takes a number a unit from the pipe and keeps something for it, for good. */
static void serve(int from, unsigned int units)
{
	size_t most = (size_t)units * KEPT_MAX, used = 0;
	unsigned int unit, part, len;
	char *mem;

	setsid();
	mem = mmap(NULL, most, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED)
		fail("server");
	madvise(mem, most, MADV_NOHUGEPAGE);
	while (read(from, &unit, sizeof(unit)) == sizeof(unit)) {
		for (part = 0; part < 4; part++) {
			len = (1 + mix(unit, 10 + part) % 4) * 4096;
			memset(mem + used, unit, len);
			used += len;
			usleep(2000);
		}
	}
	for (;;)
		pause();
}

static void build(unsigned int units)
{
	unsigned int unit, running = 0;
	double start = ms();
	char path[256];
	int server[2], status;
	pid_t pid;

	if (pipe(server))
		fail("pipe");
	pid = fork();
	if (!pid) {
		close(server[1]);
		serve(server[0], units);
	}
	close(server[0]);
	for (unit = 0; unit < units || running; ) {
		if (unit < units && running < JOBS) {
			if (!fork())
				compile(unit);
			if (write(server[1], &unit, sizeof(unit)) != sizeof(unit))
				fail("server");
			unit++;
			running++;
			continue;
		}
		wait(&status);
		if (status)
			exit(1);
		running--;
	}
	for (unit = 0; unit < units; unit++) {
		path_of(path, out, 'o', unit);
		get(path);
		put(out, 'l', unit, object(unit));
	}
	printf("%.0f\n", ms() - start);
}

static void read_all(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *entry;
	double start = ms();
	char path[512];

	if (!d)
		fail(dir);
	while ((entry = readdir(d)))
		if (entry->d_name[0] != '.' && entry->d_type == DT_REG) {
			snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
			get(path);
		}
	closedir(d);
	printf("%.0f\n", ms() - start);
}

int main(int argc, char **argv)
{
	unsigned int n;

	memset(buffer, 'x', sizeof(buffer));
	if (argc == 4 && !strcmp(argv[1], "--sources")) {
		for (n = 0; n < strtoul(argv[2], NULL, 10); n++)
			put(argv[3], 'h', n, HEADER);
		return 0;
	}
	if (argc == 3 && !strcmp(argv[1], "--read")) {
		read_all(argv[2]);
		return 0;
	}
	if (argc != 5) {
		fprintf(stderr, "usage: churn UNITS SOURCES OUT TMP\n");
		return 2;
	}
	sources = argv[2];
	out = argv[3];
	tmp = argv[4];
	for (;; headers++) {
		char path[256];

		path_of(path, sources, 'h', headers);
		if (access(path, R_OK))
			break;
	}
	if (!headers) {
		fprintf(stderr, "churn: no headers in %s\n", sources);
		return 2;
	}
	build(strtoul(argv[1], NULL, 10));
	return 0;
}
