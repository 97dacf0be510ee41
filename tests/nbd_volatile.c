/* An nbdkit plugin: a disk whose write cache is lost when the power goes.
 *
 *   nbdkit nbd_volatile.so image=FILE cut=FILE seed=N
 *
 * A write changes what is read, but goes to the image only with a flush (or with FUA). When the
 * file named by cut= appears, the power is off: from then on everything fails, and of the sectors
 * that no flush has covered a random half is put into the image, the rest is lost, as a disk may
 * do. The image is then what the next start finds.
 *
 * With -DIGNORE_FLUSH a flush does nothing: the control that shows that a test notices.
 * Built and used by power-cut.sh; not part of ff3fs. */
#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define THREAD_MODEL NBDKIT_THREAD_MODEL_SERIALIZE_ALL_REQUESTS
#define SECTOR 512

static const char *image_path, *cut_path;
static uint64_t seed = 1;
static uint8_t *image, *current; /* what survives; what is read */
static uint8_t *dirty;           /* one byte for each sector: in current and not in image */
static int64_t size;
static bool off;

static int vol_config(const char *key, const char *value)
{
	if (strcmp(key, "image") == 0)
		image_path = nbdkit_realpath(value);
	else if (strcmp(key, "cut") == 0)
		cut_path = nbdkit_absolute_path(value);
	else if (strcmp(key, "seed") == 0)
		seed = strtoull(value, NULL, 10) * 2654435761u + 1;
	else
		return -1;
	return 0;
}

static int vol_get_ready(void)
{
	struct stat st;
	int fd = open(image_path, O_RDWR | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) < 0) {
		nbdkit_error("%s: %m", image_path);
		return -1;
	}
	size = st.st_size;
	image = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	current = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	dirty = calloc((size_t)size / SECTOR, 1);
	close(fd);
	return image == MAP_FAILED || current == MAP_FAILED || !dirty ? -1 : 0;
}

static void settle(int64_t sector)
{
	memcpy(image + sector * SECTOR, current + sector * SECTOR, SECTOR);
	dirty[sector] = 0;
}

static uint64_t next_random(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static bool power_is_off(void)
{
	if (!off && access(cut_path, F_OK) == 0) {
		off = true;
		for (int64_t i = 0; i < size / SECTOR; i++)
			if (dirty[i] && next_random() % 2)
				settle(i);
	}
	return off;
}

static int refuse(void)
{
	nbdkit_set_error(EIO);
	return -1;
}

static void *vol_open(int readonly)
{
	return NBDKIT_HANDLE_NOT_NEEDED;
}

static int64_t vol_get_size(void *handle)
{
	return size;
}

static int vol_can_fua(void *handle)
{
	return NBDKIT_FUA_NATIVE;
}

static int vol_pread(void *handle, void *buf, uint32_t count, uint64_t offset, uint32_t flags)
{
	memcpy(buf, current + offset, count);
	return power_is_off() ? refuse() : 0;
}

static int vol_pwrite(void *handle, const void *buf, uint32_t count, uint64_t offset,
		      uint32_t flags)
{
	int64_t first = (int64_t)offset / SECTOR, end = (int64_t)(offset + count + SECTOR - 1) / SECTOR;

	if (power_is_off())
		return refuse();
	/* A private page is a copy once it was written; until then it shows the image. Sectors
	 * that are settled look the same in both. */
	memcpy(current + offset, buf, count);
	memset(dirty + first, 1, (size_t)(end - first));
	if (flags & NBDKIT_FLAG_FUA)
		for (int64_t i = first; i < end; i++)
			settle(i);
	return 0;
}

static int vol_flush(void *handle, uint32_t flags)
{
	if (power_is_off())
		return refuse();
#ifndef IGNORE_FLUSH
	for (int64_t i = 0; i < size / SECTOR; i++)
		if (dirty[i])
			settle(i);
#endif
	return 0;
}

/* Ended without a cut, the disk had time to write its cache out. */
static void vol_unload(void)
{
	if (dirty && !power_is_off())
		vol_flush(NULL, 0);
}

static struct nbdkit_plugin plugin = {
	.name = "volatile",
	.config = vol_config,
	.get_ready = vol_get_ready,
	.open = vol_open,
	.get_size = vol_get_size,
	.can_fua = vol_can_fua,
	.pread = vol_pread,
	.pwrite = vol_pwrite,
	.flush = vol_flush,
	.unload = vol_unload,
	.errno_is_preserved = 1,
};

NBDKIT_REGISTER_PLUGIN(plugin)
