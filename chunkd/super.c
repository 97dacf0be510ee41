/* The file "super" of a target, little-endian:
 *
 *   offset size
 *        0    8  "FF3CHUNK"
 *        8    4  format version of the whole directory: 1
 *       12    1  smallest slot class (power of two): 12
 *       13    1  largest slot class: 24
 *       14    2  zero
 *       16    8  target id
 *       24    8  node id
 *       32    8  cluster id
 *       40    8  time of making, ns
 *       48    4  CRC32C of the 48 bytes before
 *
 * It is replaced by renaming "super.new". The file "lock" is held with flock. */
#include "super.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "../common/base/crc32c.h"
#include "../common/wire/wire.h"
#include "slab.h"

#define SUPER_SIZE 52u
#define FORMAT 1u
static const char magic[8] = "FF3CHUNK";

static int make_dir(const char *dir)
{
	_cleanup_free_ char *path = strdup(dir);

	if (!path)
		return -ENOMEM;
	for (char *p = path + 1; *p; p++)
		if (*p == '/') {
			*p = '\0';
			if (mkdir(path, 0777) < 0 && errno != EEXIST)
				return -errno;
			*p = '/';
		}
	return mkdir(path, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

int chunkd_super_lock(const char *dir, int *ret_dir_fd, int *ret_lock_fd)
{
	_cleanup_close_ int dir_fd = -1, lock = -1;
	int r = make_dir(dir);

	if (r < 0)
		return r;
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0)
		return -errno;
	lock = openat(dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (lock < 0)
		return -errno;
	r = ff3_lock_file(lock);
	if (r < 0)
		return r;
	*ret_dir_fd = TAKE_FD(dir_fd);
	*ret_lock_fd = TAKE_FD(lock);
	return 0;
}

int chunkd_super_read(int dir_fd, struct chunkd_super *ret)
{
	_cleanup_close_ int fd = openat(dir_fd, "super", O_RDONLY | O_CLOEXEC);
	uint8_t buf[SUPER_SIZE];
	struct ff3_dec d = ff3_dec_init(buf + 8, SUPER_SIZE - 8);
	struct chunkd_super s;
	uint32_t version, crc;
	uint8_t min, max;
	uint16_t zero;
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, buf, sizeof buf);
	if (n < 0)
		return -errno;
	if (n != (ssize_t)sizeof buf || memcmp(buf, magic, 8) != 0)
		return -EUCLEAN;
	ff3_get_u32(&d, &version);
	ff3_get_u8(&d, &min);
	ff3_get_u8(&d, &max);
	ff3_get_u16(&d, &zero);
	ff3_get_u64(&d, &s.target);
	ff3_get_u64(&d, &s.node);
	ff3_get_u64(&d, &s.cluster);
	ff3_get_u64(&d, &s.made_ns);
	ff3_get_u32(&d, &crc);
	if (crc != ff3_crc32c(0, buf, SUPER_SIZE - 4) || version != FORMAT ||
	    min != CHUNKD_CLASS_MIN || max != CHUNKD_CLASS_MAX || !s.target || !s.node)
		return -EUCLEAN;
	*ret = s;
	return 0;
}

int chunkd_super_write(int dir_fd, const struct chunkd_super *s)
{
	_cleanup_close_ int fd = -1;
	uint8_t buf[SUPER_SIZE];
	struct ff3_enc e = ff3_enc_init(buf, sizeof buf);
	const uint8_t min = CHUNKD_CLASS_MIN, max = CHUNKD_CLASS_MAX;
	const uint32_t version = FORMAT;
	const uint16_t zero = 0;
	uint32_t crc;

	memcpy(buf, magic, sizeof magic);
	e.len = sizeof magic;
	ff3_put_u32(&e, &version);
	ff3_put_u8(&e, &min);
	ff3_put_u8(&e, &max);
	ff3_put_u16(&e, &zero);
	ff3_put_u64(&e, &s->target);
	ff3_put_u64(&e, &s->node);
	ff3_put_u64(&e, &s->cluster);
	ff3_put_u64(&e, &s->made_ns);
	crc = ff3_crc32c(0, buf, e.len);
	ff3_put_u32(&e, &crc);
	fd = openat(dir_fd, "super.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	if (write(fd, buf, e.len) != (ssize_t)e.len)
		return errno ? -errno : -EIO;
	if (fsync(fd) < 0 || renameat(dir_fd, "super.new", dir_fd, "super") < 0 ||
	    fsync(dir_fd) < 0)
		return -errno;
	return 0;
}
