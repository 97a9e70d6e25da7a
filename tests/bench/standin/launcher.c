// SPDX-License-Identifier: Apache-2.0
/* Stands in for a launcher pod's processes, where 250 real ones do not fit:
 *
 *   launcher CGROUP SOCKET ROOT DOMAIN MIB
 *
 * enters CGROUP, then has two children: one listens on SOCKET, as virt-launcher does, one is QEMU as
 * far as the host can see it. That one has ROOT as its root folder, runs ROOT/qemu-system-standin (this
 * very program, linked there), carries DOMAIN on its command line and has touched MIB of memory.
 * Says "ready" and ends, with both, when its standard input does.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define PROGRAM "/qemu-system-standin"

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void enter(const char *cgroup)
{
	char path[4096];
	FILE *file;

	snprintf(path, sizeof(path), "%s/cgroup.procs", cgroup);
	file = fopen(path, "we");
	if (!file || fprintf(file, "%d\n", (int)getpid()) < 0 || fclose(file))
		die(path);
}

/* A child that does not outlive its parent. */
static pid_t child(void)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL))
		die("prctl");
	return pid;
}

static void stay(void)
{
	for (;;)
		pause();
}

static int listener(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || strlen(path) >= sizeof(address.sun_path))
		die(path);
	strcpy(address.sun_path, path);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)))
		die(path);
	return fd;
}

static void be_virt_launcher(int fd)
{
	/* Who calls listen() is whom SO_PEERCRED names. */
	if (listen(fd, 4))
		die("listen");
	/* Nobody is served: a connection that was never accepted tells as much. */
	for (;;) {
		int peer = accept(fd, NULL, NULL);

		if (peer >= 0)
			close(peer);
	}
}

static void become_qemu(const char *root, const char *domain, const char *mib)
{
	char name[512];

	snprintf(name, sizeof(name), "guest=%s,debug-threads=on", domain);
	if (chroot(root) || chdir("/"))
		die(root);
	execl(PROGRAM, PROGRAM, "-name", name, "-m", mib, (char *)NULL);
	die(PROGRAM);
}

static void be_qemu(const char *mib)
{
	size_t size = (size_t)strtoul(mib, NULL, 10) << 20;
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		die("mmap");
	memset(memory, 1, size);
	puts("ready");
	fflush(stdout);
	stay();
}

int main(int argc, char **argv)
{
	char byte;
	int fd;

	if (argc == 5 && !strcmp(argv[1], "-name")) {
		if (prctl(PR_SET_PDEATHSIG, SIGKILL))
			die("prctl");
		be_qemu(argv[4]);
	}
	if (argc != 6) {
		fprintf(stderr, "usage: launcher CGROUP SOCKET ROOT DOMAIN MIB\n");
		return 2;
	}
	enter(argv[1]);
	fd = listener(argv[2]);
	if (child() == 0)
		be_virt_launcher(fd);
	close(fd);
	if (child() == 0)
		become_qemu(argv[3], argv[4], argv[5]);
	while (read(0, &byte, 1) > 0)
		;
	return 0;
}
