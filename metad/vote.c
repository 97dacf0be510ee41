/* Purpose: the file DIR/vote. A new one is written and synced beside it, takes its place, and the
 * directory is synced: a power cut leaves the one or the other.
 *
 * Format: numbers of 8 bytes, little-endian: magic, format, those of struct metad_vote, of each
 * member its id, log and bits (1: voter, 2: witness), and the CRC32C of all before.
 *
 * Threads: no state. */
#include "vote.h"

#include <endian.h>
#include <fcntl.h>
#include <stdio.h>

#include "../common/base/crc32c.h"

#define MAGIC 0x65746f7633464655u
#define FORMAT 1u
#define HEAD 13u
#define WORDS (HEAD + 3u * REPLICA_MEMBERS_MAX + 1u)

static void pack(const struct metad_vote *v, uint64_t w[WORDS])
{
	const uint64_t head[HEAD] = { MAGIC, FORMAT, v->id, v->log_id, v->epoch, v->vote, v->damaged,
				      v->cluster, v->log_key, v->base_seq, v->base_epoch,
				      v->base_hash, v->base_config.n };

	memset(w, 0, WORDS * sizeof *w);
	memcpy(w, head, sizeof head);
	for (uint32_t i = 0; i < v->base_config.n; i++) {
		const struct replica_member *m = &v->base_config.member[i];

		w[HEAD + 3 * i] = m->id;
		w[HEAD + 3 * i + 1] = m->log_id;
		w[HEAD + 3 * i + 2] = m->voter | (uint64_t)m->witness << 1;
	}
	for (size_t i = 0; i < WORDS; i++)
		w[i] = htole64(w[i]);
	w[WORDS - 1] = htole64(ff3_crc32c(0, w, (WORDS - 1) * sizeof *w));
}

static int unpack(uint64_t w[WORDS], struct metad_vote *v)
{
	if (le64toh(w[WORDS - 1]) != ff3_crc32c(0, w, (WORDS - 1) * sizeof *w))
		return -EBADMSG;
	for (size_t i = 0; i < WORDS; i++)
		w[i] = le64toh(w[i]);
	if (w[0] != MAGIC || w[1] != FORMAT || w[12] > REPLICA_MEMBERS_MAX)
		return -EBADMSG;
	*v = (struct metad_vote){ w[2], w[3], w[4], w[5], w[6], w[7], w[8], w[9], w[10], w[11],
				  { .n = (uint32_t)w[12] } };
	for (uint32_t i = 0; i < v->base_config.n; i++)
		v->base_config.member[i] = (struct replica_member){
			w[HEAD + 3 * i], w[HEAD + 3 * i + 1], w[HEAD + 3 * i + 2] & 1,
			w[HEAD + 3 * i + 2] >> 1 & 1,
		};
	return 0;
}

int metad_vote_load(const char *dir, struct metad_vote *ret)
{
	_cleanup_close_ int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd = -1;
	uint64_t w[WORDS];
	ssize_t n;

	if (dirfd < 0)
		return -errno;
	fd = openat(dirfd, "vote", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = pread(fd, w, sizeof w, 0);
	if (n < 0)
		return -errno;
	return n == sizeof w ? unpack(w, ret) : -EBADMSG;
}

int metad_vote_save(const char *dir, const struct metad_vote *v)
{
	_cleanup_close_ int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd = -1;
	uint64_t w[WORDS];

	if (dirfd < 0)
		return -errno;
	fd = openat(dirfd, "vote.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	pack(v, w);
	if (pwrite(fd, w, sizeof w, 0) != (ssize_t)sizeof w)
		return errno ? -errno : -EIO;
	if (fsync(fd) < 0 || renameat(dirfd, "vote.new", dirfd, "vote") < 0 || fsync(dirfd) < 0)
		return -errno;
	return 0;
}
