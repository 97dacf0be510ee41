/* Purpose: reading the log back after a start.
 *
 * What is told apart (n: the first record that the database lacks and the log cannot give):
 *   nothing valid from n on           the end of the log, or a batch that was never finished and
 *                                     so never acknowledged: recovery ends before n
 *   any valid batch anywhere says     record n was durable and perhaps acknowledged, and is now
 *   that n was durable                unreadable: refuse to start, lose nothing
 *   damage below n                    the database has it all: a warning
 * A batch says so by its durable_seq, or by holding records beyond n although batches are only
 * written one after the other.
 *
 * Threads: before serving begins. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>

#include "../common/base/crc32c.h"
#include "../common/base/log.h"
#include "log_private.h"

struct replay {
	struct metad_log *log;
	uint64_t seq; /* of the last record applied, or skipped because the database has it */
	uint64_t hash;
	uint64_t known_durable; /* by all valid batches seen */
	uint64_t seen;          /* highest sequence number in a valid batch */
	int (*fn)(void *arg, const struct metad_record *r, uint64_t hash);
	void *arg;
	uint8_t *buf; /* METAD_BATCH_MAX */
};

static int read_at(int fd, void *buf, size_t len, uint64_t offset)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = pread(fd, (uint8_t *)buf + done, len - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
		done += (size_t)n;
	}
	return 0;
}

/* The whole batch at offset into rp->buf. 0, -EBADMSG if there is none, -errno. */
static int read_batch(struct replay *rp, const struct segment *s, uint64_t offset,
		      struct metad_batch_header *h)
{
	size_t padded;
	int r;

	if (offset + METAD_LOG_BLOCK > rp->log->segment_size)
		return -EBADMSG;
	r = read_at(s->read_fd, rp->buf, METAD_LOG_BLOCK, offset);
	if (r < 0)
		return r;
	r = metad_batch_decode(rp->buf, rp->log->key, h);
	if (r < 0)
		return r;
	padded = ROUND_UP(h->length, METAD_LOG_BLOCK);
	if (h->length > METAD_BATCH_MAX || offset + padded > rp->log->segment_size)
		return -EBADMSG;
	r = read_at(s->read_fd, rp->buf, padded, offset);
	if (r < 0)
		return r;
	if (ff3_crc32c(0, rp->buf + METAD_BATCH_HEADER, h->length - METAD_BATCH_HEADER) != h->crc)
		return -EBADMSG;
	rp->known_durable = MAX(rp->known_durable, h->durable_seq);
	if (h->n_records > 0)
		rp->seen = MAX(rp->seen, h->first_seq + h->n_records - 1);
	return 0;
}

/* Gives the records that are wanted to fn. -EBADMSG: not what should be here. */
static int replay_batch(struct replay *rp, const struct metad_batch_header *h)
{
	size_t at = METAD_BATCH_HEADER;

	for (uint32_t i = 0; i < h->n_records; i++) {
		struct metad_record rec;
		size_t size;
		uint64_t hash;
		int r = metad_record_decode(rp->buf + at, h->length - at, &rec, &size);

		if (r < 0)
			return r;
		hash = metad_record_hash(rp->buf + at, size);
		at += size;
		if (rec.seq == rp->seq && hash != rp->hash) {
			ff3_error("log record %" PRIu64 " is not the one that the database applied: the "
				  "log and the database do not belong together",
				  rec.seq);
			return -ESTALE;
		}
		if (rec.seq <= rp->seq)
			continue;
		if (rec.seq != rp->seq + 1 || rec.prev_hash != rp->hash)
			return -EBADMSG;
		r = rp->fn(rp->arg, &rec, hash);
		if (r < 0)
			return r == -EBADMSG ? -EIO : r;
		rp->seq = rec.seq;
		rp->hash = hash;
	}
	return 0;
}

/* Every block of the file is looked at: what follows damage may prove that it is damage. */
static int replay_segment(struct replay *rp, const struct segment *s)
{
	uint64_t offset = METAD_LOG_BLOCK;

	while (offset < rp->log->segment_size) {
		struct metad_batch_header h;
		int r = read_batch(rp, s, offset, &h);

		if (r == 0 && h.segment == s->number)
			r = replay_batch(rp, &h);
		else if (r == 0)
			r = -EBADMSG;
		if (r < 0 && r != -EBADMSG)
			return r;
		offset += r == 0 ? ROUND_UP(h.length, METAD_LOG_BLOCK) : METAD_LOG_BLOCK;
	}
	return 0;
}

static int by_number(const void *a, const void *b)
{
	const struct segment *x = *(struct segment *const *)a, *y = *(struct segment *const *)b;

	return x->number < y->number ? -1 : x->number > y->number;
}

/* The header and the first batch of a segment are one write, which a power cut may tear: the newer
 * of them tells the number. Files that tell none are looked at too. */
static unsigned read_headers(struct replay *rp, struct segment *order[MAX_SEGMENTS])
{
	unsigned n = 0;

	for (unsigned i = 0; i < MAX_SEGMENTS; i++) {
		struct segment *s = &rp->log->segments[i];
		struct metad_segment_header h;
		struct metad_batch_header b;

		if (s->fd < 0)
			continue;
		if (read_at(s->read_fd, rp->buf, METAD_LOG_BLOCK, 0) == 0 &&
		    metad_segment_decode(rp->buf, rp->log->key, &h) == 0)
			s->number = h.number;
		if (read_batch(rp, s, METAD_LOG_BLOCK, &b) == 0)
			s->number = MAX(s->number, b.segment);
		order[n++] = s;
	}
	qsort(order, n, sizeof *order, by_number);
	return n;
}

/* For reading ahead, which O_DIRECT does not. */
static int open_for_reading(struct metad_log *log)
{
	char path[4096];

	for (unsigned i = 0; i < MAX_SEGMENTS; i++) {
		if (log->segments[i].fd < 0)
			continue;
		snprintf(path, sizeof path, "%s/log-%03u", log->dir, i);
		log->segments[i].read_fd = open(path, O_RDONLY | O_CLOEXEC);
		if (log->segments[i].read_fd < 0)
			return -errno;
	}
	return 0;
}

static void close_after_reading(struct metad_log *log)
{
	for (unsigned i = 0; i < MAX_SEGMENTS; i++)
		ff3_closep(&log->segments[i].read_fd);
}

void metad_log_may_be_absent(struct metad_log *log)
{
	log->may_be_absent = true;
}

static int replay_all(struct replay *rp)
{
	struct segment *order[MAX_SEGMENTS];
	unsigned n = read_headers(rp, order);
	uint64_t had = rp->seq;
	int r = 0;

	if (n == 0 && had > 0 && !rp->log->may_be_absent) {
		ff3_error("%s: the database has applied %" PRIu64 " operations, but there is no log",
			  rp->log->dir, had);
		return -ENODATA;
	}
	for (unsigned i = 0; i < n && r >= 0; i++)
		r = replay_segment(rp, order[i]);
	if (r < 0)
		return r;
	if (rp->known_durable > rp->seq || rp->seen > rp->seq + 1) {
		ff3_error("%s: log record %" PRIu64 " is unreadable, but records up to %" PRIu64
			  " were acknowledged: the log is damaged; not starting",
			  rp->log->dir, rp->seq + 1, MAX(rp->known_durable, rp->seen));
		return -EBADMSG;
	}
	if (rp->seen < had)
		ff3_warning("%s: the log ends at record %" PRIu64 ", but the database has all up to "
			    "%" PRIu64 "; nothing is lost",
			    rp->log->dir, rp->seen, had);
	return 0;
}

int metad_log_replay(struct metad_log *log, uint64_t after_seq, uint64_t after_hash,
		     int (*fn)(void *arg, const struct metad_record *r, uint64_t hash), void *arg)
{
	struct replay rp = { .log = log, .seq = after_seq, .hash = after_hash, .fn = fn, .arg = arg };
	void *buf = mmap(NULL, METAD_BATCH_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			 0);
	int r;

	if (buf == MAP_FAILED)
		return -errno;
	rp.buf = buf;
	r = open_for_reading(log);
	if (r >= 0)
		r = replay_all(&rp);
	close_after_reading(log);
	munmap(buf, METAD_BATCH_MAX);
	return r;
}
