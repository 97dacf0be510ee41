/* A descriptor that is closed stays closed, though others are just taking it up: argument 1 names a file
 * below the prefix. Copies of it are made unseen (by an instruction of our own), so that whoever reads
 * finds them out; while threads do, each is closed, and must then be refused. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NUMBER 700
#define ROUNDS 2000
#define READERS 3

static atomic_bool stop;
static atomic_int n_read;

static long copy_unseen(int from, int to)
{
	long r = SYS_dup3;
	register long flags __asm__("rdx") = 0;

	__asm__ volatile("syscall"
			 : "+a"(r)
			 : "D"((long)from), "S"((long)to), "d"(flags)
			 : "rcx", "r11", "memory");
	return r;
}

static void *reader(void *arg)
{
	char byte;

	while (!stop)
		if (pread(NUMBER, &byte, 1, 0) == 1)
			n_read++;
	return arg;
}

int main(int argc, char **argv)
{
	int fd = open(argc > 1 ? argv[1] : "", O_RDONLY), n_wrong = 0;
	pthread_t threads[READERS];
	char byte;

	if (fd < 0)
		abort();
	for (int i = 0; i < READERS; i++)
		if (pthread_create(&threads[i], NULL, reader, NULL) != 0)
			abort();
	for (int i = 0; i < ROUNDS; i++) {
		int before = n_read;

		if (copy_unseen(fd, NUMBER) != NUMBER)
			abort();
		while (i % 2 && n_read == before)
			sched_yield();
		if (close(NUMBER) != 0)
			abort();
		for (int k = 0; k < 50; k++)
			n_wrong += pread(NUMBER, &byte, 1, 0) >= 0 || errno != EBADF;
	}
	stop = true;
	for (int i = 0; i < READERS; i++)
		pthread_join(threads[i], NULL);
	printf("%d reads, %d of a closed descriptor\n", n_read, n_wrong);
	return n_wrong > 0;
}
