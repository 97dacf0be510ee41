/* Purpose: working directories of ours. The kernel cannot be told on a program's behalf that it is in
 * one, so the supervisor remembers it for each process that has said chdir. (After fchdir the kernel
 * knows: the directory's stand-in, whose name tells.)
 *
 * A child begins where its parent is: it is looked for upwards when it makes its first call. Before a
 * parent goes elsewhere, its children of before are noted.
 *
 * Threads: `lock` guards the table. A process is its id and the time of its start. */
#include "notify.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>

struct place {
	struct place *next;
	pid_t pid;
	unsigned long long start;
	uint64_t ino; /* 0: one of the machine's */
};

static struct place *places;
static unsigned n_places;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

struct process {
	pid_t pid, parent;
	unsigned long long start;
};

/* Of a process or one of its threads. */
static int look_up(pid_t id, struct process *ret)
{
	char path[64], line[256];
	FILE *f;
	int tgid = 0;

	snprintf(path, sizeof path, "/proc/%d/status", id);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	while (tgid == 0 && fgets(line, sizeof line, f))
		if (sscanf(line, "Tgid: %d", &tgid) == 1)
			break;
	fclose(f);
	snprintf(path, sizeof path, "/proc/%d/stat", tgid);
	f = tgid ? fopen(path, "re") : NULL;
	if (!f)
		return -ESRCH;
	ret->pid = tgid;
	/* 4th and 22nd field, after a name in parentheses that may hold anything */
	line[0] = '\0';
	if (fgets(line, sizeof line, f) && strrchr(line, ')') &&
	    sscanf(strrchr(line, ')') + 1,
		   " %*c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
		   &ret->parent, &ret->start) == 2) {
		fclose(f);
		return 0;
	}
	fclose(f);
	return -ESRCH;
}

static struct place *find(const struct process *p)
{
	for (struct place *q = places; q; q = q->next)
		if (q->pid == p->pid && q->start == p->start)
			return q;
	return NULL;
}

/* Processes that have ended are forgotten from time to time. */
static void forget_ended(void)
{
	static unsigned limit = 64;
	struct process p;

	if (n_places < limit)
		return;
	for (struct place **q = &places, *dead; *q;) {
		if (look_up((*q)->pid, &p) == 0 && p.start == (*q)->start) {
			q = &(*q)->next;
			continue;
		}
		dead = *q;
		*q = dead->next;
		n_places--;
		free(dead);
	}
	limit = MAX(64u, 2 * n_places);
}

static int note(const struct process *p, uint64_t ino)
{
	struct place *q = find(p);

	if (!q) {
		forget_ended();
		q = malloc(sizeof *q);
		if (!q)
			return -ENOMEM;
		*q = (struct place){ places, p->pid, p->start, 0 };
		places = q;
		n_places++;
	}
	q->ino = ino;
	return 0;
}

/* Its own, or that of the nearest ancestor. */
static uint64_t current(const struct process *p)
{
	struct process at = *p;
	struct place *q;
	int depth = 0;

	while (!(q = find(&at)))
		if (at.parent <= 1 || ++depth > 64 || look_up(at.parent, &at) < 0)
			return 0;
	if (depth > 0)
		note(p, q->ino);
	return q->ino;
}

uint64_t notify_cwd_get(const struct seccomp_notif *n)
{
	struct process p;
	uint64_t ino = 0;

	/* Nobody has ever gone there. */
	if (!__atomic_load_n(&places, __ATOMIC_ACQUIRE))
		return 0;
	pthread_mutex_lock(&lock);
	if (look_up((pid_t)n->pid, &p) == 0)
		ino = current(&p);
	pthread_mutex_unlock(&lock);
	return ino;
}

/* The children that p has now stay where they are. */
static void settle_children(const struct process *p, uint64_t ino)
{
	char path[64];
	struct process child;
	struct dirent *e;
	int id;
	DIR *d;

	snprintf(path, sizeof path, "/proc/%d/task", p->pid);
	d = opendir(path);
	while (d && (e = readdir(d))) {
		char name[96];
		FILE *f;

		snprintf(name, sizeof name, "%s/%d/children", path, atoi(e->d_name));
		f = e->d_name[0] == '.' ? NULL : fopen(name, "re");
		while (f && fscanf(f, "%d", &id) == 1)
			if (look_up(id, &child) == 0 && !find(&child) && note(&child, ino) == 0)
				settle_children(&child, ino);
		if (f)
			fclose(f);
	}
	if (d)
		closedir(d);
}

int notify_cwd_set(const struct seccomp_notif *n, uint64_t ino)
{
	struct process p;
	int r;

	if (ino == 0 && !__atomic_load_n(&places, __ATOMIC_ACQUIRE))
		return 0;
	pthread_mutex_lock(&lock);
	r = look_up((pid_t)n->pid, &p);
	if (r == 0) {
		settle_children(&p, current(&p));
		r = note(&p, ino);
	}
	pthread_mutex_unlock(&lock);
	return r;
}
