/* Purpose: the files behind shared mappings, and which processes live with them.
 *
 * All processes of a user on a node that map an inode shared map the same tmpfs file, so they see each
 * other's stores as they would with a local file. In <dir>/ff3fs-maps-<uid> (0700), where dir is
 * $FF3FS_MMAP_DIR or /dev/shm:
 *
 *   registry           struct map_registry: is a call's inode mapped by anybody? One load.
 *   <fsid>-<ino>       the file's pages; a hole is what was not loaded, or zeros
 *   <fsid>-<ino>.side  a page of struct map_header, then for each page of the file the 64-bit sum
 *                      that it had when it was last in step with the cluster (0: that of zeros)
 *
 * Who lives: each process that maps it holds a shared flock on a description of the pages' file of its own.
 * Whoever gets the exclusive one is alone: the last to leave, or the first to come. The last sends
 * what is unsent and removes both files. Of a process killed as the last one they stay behind, with all
 * it had stored: the next process of the user that loads the client, or uses the file, is alone with
 * them, sends, and removes them.
 *
 * Where the directory cannot be had, or has no room for what is only read, an object is made of memfds,
 * and is this process's and its forks'.
 *
 * Threads: inside map_enter; the list also under map_lock. Fork: map_region.c. */
#include <linux/memfd.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/statfs.h>
#include <sys/mman.h>

#include "hook.h"
#include "map.h"
#include "raw.h"
#include "shared_map.h"

#define MAGIC 0x31306d3366663366ull
#define DIRENTS 4096

struct map_registry *map_registry;

static struct map_object *objects;
static char dir[PATH_MAX];
static uint64_t fsid;
static _Atomic uint64_t next_id = 1;

int map_hide(int fd)
{
	int high = fd < 0 ? fd : (int)RAW(fcntl, fd, F_DUPFD_CLOEXEC, 512);

	if (high >= 0) {
		raw_close(fd);
		fd = high;
	}
	if (fd >= 0)
		fdtab_set_internal(fd);
	return fd;
}

static void close_hidden(int *fd)
{
	if (*fd >= 0) {
		fdtab_forget(*fd);
		raw_close(*fd);
	}
	*fd = -1;
}

struct map_object *map_objects(void)
{
	return objects;
}

/* --- The directory ------------------------------------------------------------------------- */

/* It lies where everybody may make names: it must be ours alone. */
static int make_dir(void)
{
	const char *base = getenv("FF3FS_MMAP_DIR");
	struct stat st;
	unsigned uid = (unsigned)RAW(geteuid);
	int fd, r;

	if ((size_t)snprintf(dir, sizeof dir, "%s/ff3fs-maps-%u", base && *base ? base : "/dev/shm",
			     uid) >= sizeof dir - 64)
		return -ENAMETOOLONG;
	RAW(mkdirat, AT_FDCWD, dir, 0700);
	fd = (int)RAW(openat, AT_FDCWD, dir, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return fd;
	r = (int)RAW(newfstatat, fd, "", &st, AT_EMPTY_PATH);
	raw_close(fd);
	return r < 0 ? r : st.st_uid != uid || (st.st_mode & 077) ? -EACCES : 0;
}

static long map_shared(int fd, size_t n)
{
	return RAW(mmap, 0, n, PROT_READ | PROT_WRITE, fd < 0 ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED,
		   fd, 0);
}

void shared_map_start(void)
{
	char path[PATH_MAX + 32];
	int fd = -1;
	long m;

	if (map_registry)
		return;
	if (make_dir() == 0) {
		snprintf(path, sizeof path, "%s/registry", dir);
		fd = (int)RAW(openat, AT_FDCWD, path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (fd >= 0 && space_ftruncate(fd, sizeof *map_registry) < 0) {
			raw_close(fd);
			fd = -1;
		}
	}
	if (fd < 0)
		dir[0] = '\0';
	m = map_shared(fd, sizeof *map_registry);
	if (fd >= 0)
		raw_close(fd);
	if (m < 0 && m > -4096)
		return;
	__atomic_store_n(&map_registry, (struct map_registry *)m, __ATOMIC_RELEASE);
}

static int know_fsid(void)
{
	struct ff3fs_statfs st;
	struct ff3fs *fs;
	int r = fsid ? 0 : core_fs(&fs);

	if (r == 0 && !fsid)
		r = CALL(statfs, fs, &st);
	if (r == 0 && !fsid)
		fsid = st.fsid;
	return r;
}

static void name_of(uint64_t ino, const char *suffix, char out[PATH_MAX + 64])
{
	snprintf(out, PATH_MAX + 64, "%s/%" PRIx64 "-%" PRIx64 "%s", dir, fsid, ino, suffix);
}

/* --- Making and removing ------------------------------------------------------------------- */

static struct map_object *object_new(uint64_t ino)
{
	struct map_object *o = malloc(sizeof *o);

	if (!o)
		return NULL;
	*o = (struct map_object){ .ino = ino, .id = next_id++ << 1, .data = -1, .side = -1,
				  .for_child = -1, .refs = 1 };
	pthread_mutex_init(&o->state, NULL);
	return o;
}

void map_object_unref(struct map_object *o)
{
	if (!o || atomic_fetch_sub(&o->refs, 1) != 1)
		return;
	if (o->header)
		RAW(munmap, o->header, MAP_PAGE);
	close_hidden(&o->data);
	close_hidden(&o->side);
	if (o->file)
		CALL(close, o->file);
	free(o);
}

static void list_add(struct map_object *o)
{
	map_lock();
	atomic_fetch_add(&o->refs, 1);
	o->next = objects;
	objects = o;
	map_unlock();
}

static void list_remove(struct map_object *o)
{
	bool found = false;

	map_lock();
	for (struct map_object **p = &objects; *p; p = &(*p)->next)
		if (*p == o) {
			*p = o->next;
			found = true;
			break;
		}
	map_unlock();
	if (found)
		map_object_unref(o);
}

static int open_side(struct map_object *o, int fd)
{
	long m;

	o->side = map_hide(fd);
	if (o->side < 0)
		return o->side;
	if (RAW(lseek, o->side, 0, SEEK_END) < (long)MAP_PAGE &&
	    space_ftruncate(o->side, MAP_PAGE) < 0)
		return -ENOMEM;
	m = map_shared(o->side, MAP_PAGE);
	if (m < 0 && m > -4096)
		return -ENOMEM;
	o->header = (struct map_header *)m;
	return 0;
}

static void note(uint64_t ino, int by)
{
	atomic_fetch_add(&map_registry->mapped[map_slot(ino)],
			 by > 0 ? 1 : (1u << MAP_ENDED) - 1);
	atomic_fetch_add(&map_registry->objects, (uint32_t)by);
}

/* Does path still name fd? It may have been removed before the lock was had. */
static bool still_named(int fd, const char *path)
{
	struct stat a, b;

	return RAW(newfstatat, AT_FDCWD, path, &a, AT_SYMLINK_NOFOLLOW) == 0 &&
	       RAW(newfstatat, fd, "", &b, AT_EMPTY_PATH) == 0 && a.st_ino == b.st_ino &&
	       a.st_dev == b.st_dev;
}

static int destroy_held(struct map_object *o)
{
	char path[PATH_MAX + 64];
	bool writable = o->header->writable, was_dead;
	int r = map_object_send_held(o, 0, INT64_MAX);

	if (r < 0 && r != -ENOENT && r != -ESTALE) /* but a file that is gone needs nothing */
		return r;
	was_dead = atomic_exchange(&o->header->dead, 1);
	if (!was_dead) { /* before its names go: who does not find it any more finds that it has ended */
		note(o->ino, -1);
		if (writable)
			atomic_fetch_sub(&map_registry->writable[map_slot(o->ino)], 1);
	}
	if (o->named) {
		name_of(o->ino, ".side", path);
		RAW(unlinkat, AT_FDCWD, path, 0);
		name_of(o->ino, "", path);
		RAW(unlinkat, AT_FDCWD, path, 0); /* not cut: threads of a process that exits may touch it */
	}
	return 0;
}

/* Alone with its files: sends and removes them. If they cannot be sent they stay, for the next. A call
 * that found the object by name, and writes, either has its bytes in the pages that are sent, or
 * writes after them. */
static int destroy(struct map_object *o)
{
	int r;

	map_object_hold(o);
	r = destroy_held(o);
	map_object_let_go(o);
	return r;
}

static int open_data(struct map_object *o)
{
	char path[PATH_MAX + 64];

	name_of(o->ino, "", path);
	o->data = map_hide((int)RAW(openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC | O_NOFOLLOW));
	return MIN(o->data, 0);
}

/* Opens the files as they are; no lock. */
static int attach(struct map_object *o)
{
	char path[PATH_MAX + 64];
	int fd = open_data(o);

	if (fd < 0)
		return fd;
	name_of(o->ino, ".side", path);
	fd = (int)RAW(openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	o->named = true;
	return fd < 0 ? fd : open_side(o, fd);
}

/* Files that a killed process left behind: alone with them. */
static void recover(uint64_t ino)
{
	struct map_object *o = object_new(ino);
	char path[PATH_MAX + 64];

	if (!o)
		return;
	name_of(ino, "", path);
	if (attach(o) == 0 && RAW(flock, o->data, LOCK_EX | LOCK_NB) == 0 &&
	    still_named(o->data, path)) {
		if (o->header->magic != MAGIC) /* killed while it was made */
			note(ino, 1);
		o->header->magic = MAGIC;
		destroy(o);
	}
	map_object_unref(o);
}

static int make_header(struct map_object *o, const struct ff3fs_attr *a)
{
	if (space_ftruncate(o->data, a->size) < 0)
		return -ENOMEM;
	o->header->mtime_ns = a->mtime.tv_sec * 1000000000ll + a->mtime.tv_nsec;
	o->header->magic = MAGIC;
	note(o->ino, 1);
	o->alone = true;
	return 0;
}

/* Makes or joins the named files. -EAGAIN: once more. */
static int open_named(struct map_object *o, const struct ff3fs_attr *a)
{
	char path[PATH_MAX + 64];
	bool alone;
	int fd;

	name_of(o->ino, "", path);
	fd = (int)RAW(openat, AT_FDCWD, path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return fd;
	o->data = map_hide(fd);
	o->named = true;
	alone = RAW(flock, o->data, LOCK_EX | LOCK_NB) == 0;
	if (!alone)
		while (RAW(flock, o->data, LOCK_SH) == -EINTR)
			;
	if (!still_named(o->data, path))
		return -EAGAIN;
	name_of(o->ino, ".side", path);
	fd = (int)RAW(openat, AT_FDCWD, path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0 || (fd = open_side(o, fd)) < 0)
		return fd;
	if (!alone)
		return o->header->magic != MAGIC || o->header->dead ? -EAGAIN : 0;
	if (o->header->magic == MAGIC) { /* left behind */
		int r = destroy(o);

		return r < 0 ? r : -EAGAIN;
	}
	return make_header(o, a);
}

static int open_unnamed(struct map_object *o, const struct ff3fs_attr *a)
{
	int r;

	o->data = map_hide((int)RAW(memfd_create, "ff3fs-map", MFD_CLOEXEC));
	if (o->data < 0)
		return o->data;
	r = open_side(o, (int)RAW(memfd_create, "ff3fs-map-side", MFD_CLOEXEC));
	return r < 0 ? r : make_header(o, a);
}

static bool has_room(size_t n)
{
	struct statfs st;

	return dir[0] && RAW(statfs, dir, &st) == 0 && st.f_type == 0x01021994 /* tmpfs */ &&
	       (st.f_blocks == 0 || (uint64_t)st.f_bavail * (uint64_t)st.f_bsize > n + (1 << 20));
}

static int open_object(struct ofd *f, const struct ff3fs_attr *a, size_t room, bool writable,
		       struct map_object **ret)
{
	bool named = has_room(room);
	struct map_object *o;
	int r;

	if (!map_registry || (!named && writable))
		return -ENOMEM; /* stores that nobody else sees are not what was asked for */
	do {
		o = object_new(f->ino);
		if (!o)
			return -ENOMEM;
		r = named ? open_named(o, a) : open_unnamed(o, a);
		if (r < 0)
			map_object_unref(o);
	} while (r == -EAGAIN);
	if (r == 0)
		*ret = o;
	return r;
}

/* --- Joining, looking, leaving ------------------------------------------------------------- */

int map_object_join(struct ofd *f, const struct ff3fs_attr *a, size_t room, bool writable,
		    struct map_object **ret)
{
	struct map_object *o;
	int r = know_fsid();

	if (r < 0)
		return r;
	for (o = objects; o; o = o->next)
		if (o->ino == f->ino && o->n_regions > 0)
			break;
	if (o) {
		atomic_fetch_add(&o->refs, 1);
	} else {
		r = open_object(f, a, room, writable, &o);
		if (r < 0)
			return r;
		list_add(o);
	}
	/* For reading: the caller's descriptor may append, or be made to. */
	if (!o->file)
		map_object_set_file(o, CALL(file_ref, f->file), false);
	*ret = o;
	return 0;
}

void map_object_share(struct map_object *o)
{
	if (o->alone && o->named)
		RAW(flock, o->data, LOCK_SH);
	o->alone = false;
}

void map_object_leave(struct map_object *o)
{
	char path[PATH_MAX + 64];

	if (o->header->dead || o->borrowed)
		return;
	if (o->writer) {
		o->header->writers--;
		map_n_writers--;
	}
	o->writer = false;
	if (!o->named) {
		destroy(o);
	} else if (RAW(flock, o->data, LOCK_EX | LOCK_NB) == 0) {
		name_of(o->ino, "", path);
		if (still_named(o->data, path))
			destroy(o);
	}
	list_remove(o);
}

/* One of this process: mapped, or looked at before; opened. */
static struct map_object *look_here(uint64_t ino)
{
	struct map_object *o, *looked = NULL;

	for (o = objects; o; o = o->next) {
		if (o->ino == ino && o->n_regions > 0)
			return o;
		if (o->ino == ino)
			looked = o;
	}
	if (!looked)
		return NULL;
	/* names go after it is dead: what was opened is it, unless it is */
	if (looked->named && open_data(looked) == 0 && !looked->header->dead)
		return looked;
	close_hidden(&looked->data);
	list_remove(looked);
	return NULL;
}

/* Those that were looked at, and are gone, keep descriptors. */
static void forget_dead(void)
{
	for (struct map_object *o = objects, *next; o; o = next) {
		next = o->next;
		if (o->n_regions == 0 && o->header->dead)
			list_remove(o);
	}
}

struct map_object *map_object_look(uint64_t ino)
{
	struct map_object *o = look_here(ino);
	char path[PATH_MAX + 64];

	if (o) {
		atomic_fetch_add(&o->refs, 1);
		return o;
	}
	if (!dir[0] || know_fsid() < 0)
		return NULL;
	o = object_new(ino);
	if (o && attach(o) < 0) {
		map_object_unref(o);
		return NULL;
	}
	if (!o)
		return NULL;
	name_of(ino, "", path);
	if (RAW(flock, o->data, LOCK_EX | LOCK_NB) == 0) {
		if (still_named(o->data, path) && o->header->magic == MAGIC)
			destroy(o);
		map_object_unref(o);
		return NULL;
	}
	forget_dead();
	list_add(o);
	return o;
}

void map_object_close_data(struct map_object *o)
{
	close_hidden(&o->data);
}

void map_object_looked(struct map_object *o)
{
	if (o->n_regions == 0)
		map_object_close_data(o);
	map_object_unref(o);
}

void map_node_note_writable(struct map_object *o)
{
	map_registry->writable[map_slot(o->ino)]++;
	o->header->writable = 1;
}

/* --- What killed processes left ------------------------------------------------------------ */

struct dirent_ {
	uint64_t ino;
	int64_t off;
	uint16_t len;
	uint8_t type;
	char name[];
};

void map_node_sweep(void)
{
	char buf[DIRENTS];
	int fd = dir[0] ? raw_open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	bool any = false;
	long n;

	while (fd >= 0 && (n = RAW(getdents64, fd, buf, sizeof buf)) > 0) {
		for (char *p = buf; p < buf + n; p += ((struct dirent_ *)p)->len) {
			const char *name = ((struct dirent_ *)p)->name;
			char *end;
			uint64_t id = strtoull(name, &end, 16);

			if (*end != '-' || strchr(name, '.'))
				continue;
			if (!any && know_fsid() < 0)
				break;
			any = true;
			if (id == fsid)
				recover(strtoull(end + 1, NULL, 16));
		}
	}
	if (fd >= 0)
		raw_close(fd);
}
