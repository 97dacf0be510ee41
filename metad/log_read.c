/* Purpose: reading the log back while it is written: for members that are behind, and for what is
 * applied later than it was logged. The newest records are in memory; of the others it is known
 * which batch in which segment holds them.
 *
 * The ring has room for more than what can be appended and not yet written, so that a record is in
 * memory or on disk. A batch is read as a whole and kept until another one is: records are mostly
 * asked for in order.
 *
 * Threads: the log's owner. A read from the disk holds it up for about a millisecond. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>

#include "../common/base/crc32c.h"
#include "../common/base/log.h"
#include "log_private.h"

#define RECENT_BYTES (16u * 1024 * 1024)
/* The oldest are not looked at: what is appended while one is used must not overwrite it. */
#define RECENT_MARGIN (2u * 1024 * 1024)
#define RECENT_SLOTS (1u << 18) /* more than records that fit */
_Static_assert(RECENT_SLOTS > RECENT_BYTES / METAD_RECORD_HEADER, "each has a slot");
_Static_assert(RECENT_BYTES - RECENT_MARGIN > 3 * METAD_BATCH_MAX, "what is not written is there");

static void *map(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

int log_read_init(struct metad_log *log)
{
	log->recent.bytes = map(RECENT_BYTES);
	log->recent.slots = map(RECENT_SLOTS * sizeof *log->recent.slots);
	log->reading = map(METAD_BATCH_MAX);
	return log->recent.bytes && log->recent.slots && log->reading ? 0 : -ENOMEM;
}

void log_read_done(struct metad_log *log)
{
	if (log->recent.bytes)
		munmap(log->recent.bytes, RECENT_BYTES);
	if (log->recent.slots)
		munmap(log->recent.slots, RECENT_SLOTS * sizeof *log->recent.slots);
	if (log->reading)
		munmap(log->reading, METAD_BATCH_MAX);
}

/* --- In memory ------------------------------------------------------------------------------- */

static struct recent_slot *slot_of(const struct metad_log *log, uint64_t seq)
{
	return &log->recent.slots[seq % RECENT_SLOTS];
}

void log_recent_add(struct metad_log *log, uint64_t seq, const void *record, size_t size)
{
	struct recent *r = &log->recent;
	uint64_t at = r->head % RECENT_BYTES;

	if (at + size > RECENT_BYTES)
		r->head += RECENT_BYTES - at;
	memcpy(r->bytes + r->head % RECENT_BYTES, record, size);
	*slot_of(log, seq) = (struct recent_slot){ seq, r->head, (uint32_t)size };
	r->head += size;
}

static const void *recent_find(const struct metad_log *log, uint64_t seq, size_t *ret_size)
{
	const struct recent *r = &log->recent;
	const struct recent_slot *s = slot_of(log, seq);

	if (s->seq != seq || s->size == 0 || s->at + RECENT_BYTES < r->head + RECENT_MARGIN)
		return NULL;
	*ret_size = s->size;
	return r->bytes + s->at % RECENT_BYTES;
}

/* Only when nothing waits to be written: the ring begins anew, in memory that is warm. */
void metad_log_forget(struct metad_log *log)
{
	struct recent *r = &log->recent;

	if (log->making.n == 0 && log->cut.n == 0 && r->head % RECENT_BYTES > METAD_BATCH_MAX / 8)
		r->head = ROUND_UP(r->head, (uint64_t)RECENT_BYTES) + RECENT_BYTES;
}

/* --- Places ---------------------------------------------------------------------------------- */

int log_place_add(struct segment *s, uint64_t first_seq, uint32_t n, uint64_t offset)
{
	if (s->n_places == s->room_places) {
		uint32_t room = MAX(2 * s->room_places, 64u);
		struct place *grown = realloc(s->places, room * sizeof *grown);

		if (!grown)
			return -ENOMEM;
		s->places = grown;
		s->room_places = room;
	}
	s->places[s->n_places++] =
		(struct place){ first_seq, n, (uint32_t)(offset / METAD_LOG_BLOCK) };
	return 0;
}

void log_places_cut(struct metad_log *log, uint64_t seq)
{
	for (unsigned i = 0; i < MAX_SEGMENTS; i++) {
		struct segment *s = &log->segments[i];
		struct place *last;

		if (s->number == 0)
			continue;
		while (s->n_places > 0 && s->places[s->n_places - 1].first_seq > seq)
			s->n_places--;
		last = s->n_places > 0 ? &s->places[s->n_places - 1] : NULL;
		if (last && last->first_seq + last->n - 1 > seq)
			last->n = (uint32_t)(seq - last->first_seq + 1);
		s->last_seq = MIN(s->last_seq, seq);
	}
}

void log_segment_free(struct metad_log *log, struct segment *s)
{
	if (s->number == log->reading_number)
		log->reading_number = 0;
	s->number = 0;
	s->n_places = 0;
	log_close(&s->read_fd);
}

void log_first_update(struct metad_log *log)
{
	uint64_t first = log->last_seq + 1;

	if (log->making.n > 0)
		first = MIN(first, log->making.first_seq);
	for (unsigned i = 0; i < MAX_SEGMENTS; i++) {
		const struct segment *s = &log->segments[i];

		if (s->number != 0 && s->n_places > 0)
			first = MIN(first, s->places[0].first_seq);
	}
	log->first_seq = first;
}

/* The newest segment that holds seq. */
static struct segment *find_place(struct metad_log *log, uint64_t seq, const struct place **ret)
{
	struct segment *best = NULL;

	for (unsigned i = 0; i < MAX_SEGMENTS; i++) {
		struct segment *s = &log->segments[i];
		uint32_t low = 0, high = s->n_places;

		if (s->number == 0 || s->n_places == 0 || (best && best->number > s->number))
			continue;
		while (low + 1 < high) {
			uint32_t middle = (low + high) / 2;

			if (s->places[middle].first_seq <= seq)
				low = middle;
			else
				high = middle;
		}
		if (s->places[low].first_seq <= seq && seq < s->places[low].first_seq + s->places[low].n) {
			best = s;
			*ret = &s->places[low];
		}
	}
	return best;
}

/* --- On disk --------------------------------------------------------------------------------- */

int log_pread(int fd, void *buf, size_t len, uint64_t offset)
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

/* For reading ahead, which O_DIRECT does not. */
int log_read_fd(struct metad_log *log, struct segment *s)
{
	char path[4096];

	if (s->read_fd >= 0)
		return s->read_fd;
	snprintf(path, sizeof path, "%s/log-%03u", log->dir, (unsigned)(s - log->segments));
	s->read_fd = open(path, O_RDONLY | O_CLOEXEC);
	return s->read_fd < 0 ? -errno : s->read_fd;
}

int log_read_batch(struct metad_log *log, struct segment *s, uint64_t offset, uint8_t *buf,
		   struct metad_batch_header *h)
{
	int fd = log_read_fd(log, s), r;
	size_t padded;

	if (fd < 0)
		return fd;
	if (offset + METAD_LOG_BLOCK > log->segment_size)
		return -EBADMSG;
	r = log_pread(fd, buf, METAD_LOG_BLOCK, offset);
	if (r < 0)
		return r;
	r = metad_batch_decode(buf, log->key, h);
	if (r < 0)
		return r;
	padded = ROUND_UP(h->length, METAD_LOG_BLOCK);
	if (h->length > METAD_BATCH_MAX || offset + padded > log->segment_size)
		return -EBADMSG;
	r = log_pread(fd, buf, padded, offset);
	if (r < 0)
		return r;
	return ff3_crc32c(0, buf + METAD_BATCH_HEADER, h->length - METAD_BATCH_HEADER) == h->crc ?
		       0 :
		       -EBADMSG;
}

/* Loads the batch with seq, unless it is there, and goes to its first record. */
static int load(struct metad_log *log, uint64_t seq)
{
	const struct place *place = NULL;
	struct segment *s = find_place(log, seq, &place);
	struct metad_batch_header h;
	uint64_t offset;
	int r;

	if (!s)
		return -ENOENT;
	offset = (uint64_t)place->offset * METAD_LOG_BLOCK;
	if (log->reading_number == s->number && log->reading_offset == offset) {
		if (log->reading_seq <= seq)
			return 0;
	} else {
		log->reading_number = 0;
		r = log_read_batch(log, s, offset, log->reading, &h);
		if (r < 0)
			return r;
		log->reading_number = s->number;
		log->reading_offset = offset;
		log->reading_len = h.length;
	}
	log->reading_at = METAD_BATCH_HEADER;
	log->reading_seq = place->first_seq;
	return 0;
}

static int read_back(struct metad_log *log, uint64_t seq, const void **ret, size_t *ret_size)
{
	int r = load(log, seq);

	while (r >= 0) {
		const uint8_t *p = log->reading + log->reading_at;
		struct metad_record rec;
		size_t size;

		r = metad_record_decode(p, log->reading_len - log->reading_at, &rec, &size);
		if (r < 0 || rec.seq != log->reading_seq) {
			log->reading_number = 0;
			return -EBADMSG;
		}
		if (rec.seq == seq) {
			*ret = p;
			*ret_size = size;
			return 0;
		}
		log->reading_at += size;
		log->reading_seq++;
	}
	return r;
}

int metad_log_get(struct metad_log *log, uint64_t seq, const void **ret, size_t *ret_size)
{
	if (seq > log->last_seq || seq < log->first_seq)
		return -ENOENT;
	*ret = recent_find(log, seq, ret_size);
	return *ret ? 0 : read_back(log, seq, ret, ret_size);
}

int metad_log_get_record(struct metad_log *log, uint64_t seq, struct metad_record *ret,
			 uint64_t *ret_hash)
{
	const void *p;
	size_t size;
	int r = metad_log_get(log, seq, &p, &size);

	if (r >= 0)
		r = metad_record_decode(p, size, ret, &size);
	if (r < 0)
		return r;
	*ret_hash = metad_record_hash(p, size);
	return ret->seq == seq ? 0 : -EBADMSG;
}
