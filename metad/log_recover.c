/* Purpose: reading the log back after a start.
 *
 * Segments are read in the order of their numbers. What a later one holds from its first record on
 * replaces what earlier ones had from there: it was cut off, or found damaged, before that segment
 * began. A segment whose records follow nothing that is here begins the log anew, if the database
 * has all that came before.
 *
 * What is told apart (n: the first record that the database lacks and the log cannot give):
 *   nothing valid from n on           the end of the log, or a batch that was never finished and
 *                                     so never acknowledged: recovery ends before n
 *   any valid batch anywhere says     record n was durable and perhaps acknowledged, and is now
 *   that n was durable                unreadable: lost_seq
 *   damage below n                    the database has it all: a warning
 * A batch says so by its durable_seq, or by holding records beyond n although batches are only
 * written one after the other.
 *
 * Threads: before serving begins. */
#include <sys/mman.h>

#include "../common/base/log.h"
#include "log_private.h"

struct scan {
	struct metad_log *log;
	uint64_t base_seq, base_hash;
	bool empty; /* nothing taken yet */
	uint64_t first, last, hash; /* of what was taken */
	bool belongs; /* the record base_seq in it is the database's, or what follows it is */
	uint64_t known_durable; /* by all valid batches seen */
	uint64_t seen;          /* highest sequence number in a valid batch */
	int (*fn)(void *arg, const struct metad_record *r, uint64_t hash);
	void *arg;
	uint8_t *buf; /* METAD_BATCH_MAX */
};

/* What was said of records behind seq is void. */
static void lower(struct scan *sc, uint64_t seq)
{
	sc->known_durable = MIN(sc->known_durable, seq);
	sc->seen = MIN(sc->seen, seq);
}

static void begin_anew(struct scan *sc, const struct metad_record *rec)
{
	for (unsigned i = 0; i < MAX_SEGMENTS; i++)
		sc->log->segments[i].n_places = 0;
	sc->log->reading_number = 0;
	sc->empty = false;
	sc->first = sc->log->first_seq = rec->seq;
	sc->last = rec->seq - 1;
	sc->hash = rec->prev_hash;
	sc->belongs = rec->seq == sc->base_seq + 1 && rec->prev_hash == sc->base_hash;
}

/* Whether rec follows the record before it that was taken, which is no longer the last. */
static bool replaces(struct scan *sc, const struct metad_record *rec)
{
	struct metad_record before;
	uint64_t hash;

	if (sc->empty || rec->seq > sc->last || rec->seq <= sc->first)
		return false;
	sc->log->last_seq = sc->last;
	if (metad_log_get_record(sc->log, rec->seq - 1, &before, &hash) < 0 || hash != rec->prev_hash)
		return false;
	log_places_cut(sc->log, rec->seq - 1);
	sc->log->reading_number = 0;
	sc->last = rec->seq - 1;
	sc->hash = hash;
	sc->belongs = sc->belongs && sc->last >= sc->base_seq;
	return true;
}

/* rec begins a batch, the first of its segment or not. Whether it is to be taken. */
static bool connects(struct scan *sc, const struct metad_record *rec, bool first)
{
	bool follows = !sc->empty && rec->seq == sc->last + 1 && rec->prev_hash == sc->hash;

	if (!follows && !(first && replaces(sc, rec))) {
		if (rec->seq > sc->base_seq + 1 || (rec->seq == sc->base_seq + 1 &&
						    rec->prev_hash != sc->base_hash))
			return false;
		if (!first && !sc->empty && rec->seq <= sc->last)
			return false;
		begin_anew(sc, rec);
	}
	if (first)
		lower(sc, sc->last);
	return true;
}

/* Takes the batch in buf. 0; fn's result. */
static int take_batch(struct scan *sc, struct segment *s, uint64_t offset, bool first,
		      const struct metad_batch_header *h)
{
	size_t at = METAD_BATCH_HEADER;
	uint32_t n = 0;

	for (; n < h->n_records; n++) {
		struct metad_record rec;
		size_t size;
		int r;

		if (metad_record_decode(sc->buf + at, h->length - at, &rec, &size) < 0 ||
		    rec.seq != h->first_seq + n || (n == 0 && !connects(sc, &rec, first)) ||
		    rec.prev_hash != sc->hash)
			break;
		sc->hash = metad_record_hash(sc->buf + at, size);
		sc->last = rec.seq;
		if (rec.seq == sc->base_seq)
			sc->belongs = sc->hash == sc->base_hash;
		at += size;
		r = sc->fn(sc->arg, &rec, sc->hash);
		if (r < 0)
			return r;
	}
	if (n > 0) {
		s->last_seq = sc->last;
		if (log_place_add(s, h->first_seq, n, offset) < 0)
			return -ENOMEM;
	}
	sc->known_durable = MAX(sc->known_durable, h->durable_seq);
	if (h->n_records > 0)
		sc->seen = MAX(sc->seen, h->first_seq + h->n_records - 1);
	return 0;
}

/* The header alone tells what was cut off, and that whatever else was seen from its first record on is
 * void: damage that was found and is made good from elsewhere. */
static void read_header(struct scan *sc, struct segment *s)
{
	struct metad_segment_header h;
	struct metad_record rec;

	if (log_pread(s->read_fd, sc->buf, METAD_LOG_BLOCK, 0) < 0 ||
	    metad_segment_decode(sc->buf, sc->log->key, &h) < 0 || h.number != s->number)
		return;
	rec = (struct metad_record){ .seq = h.first_seq, .prev_hash = h.prev_hash };
	replaces(sc, &rec);
	lower(sc, h.first_seq - 1);
}

/* Every block of the file is looked at: what follows damage may prove that it is damage. */
static int read_segment(struct scan *sc, struct segment *s)
{
	uint64_t offset = METAD_LOG_BLOCK;
	bool first = true;

	read_header(sc, s);
	while (offset < sc->log->segment_size) {
		struct metad_batch_header h;
		int r = log_read_batch(sc->log, s, offset, sc->buf, &h);

		if (r < 0 && r != -EBADMSG)
			return r;
		if (r == 0 && h.segment != s->number) /* of an earlier use of the file */
			r = -EBADMSG;
		if (r == 0) {
			r = take_batch(sc, s, offset, first, &h);
			if (r < 0)
				return r;
			first = first && h.n_records == 0;
		}
		offset += r == 0 ? ROUND_UP(h.length, METAD_LOG_BLOCK) : METAD_LOG_BLOCK;
	}
	return 0;
}

static int by_number(const void *a, const void *b)
{
	const struct segment *x = *(struct segment *const *)a, *y = *(struct segment *const *)b;

	return x->number < y->number ? -1 : x->number > y->number;
}

/* The newest number that any batch in the file tells. */
static uint64_t find_number(struct scan *sc, struct segment *s)
{
	uint64_t number = 0;

	for (uint64_t at = METAD_LOG_BLOCK; at < sc->log->segment_size; at += METAD_LOG_BLOCK) {
		struct metad_batch_header h;

		if (log_pread(s->read_fd, sc->buf, METAD_BATCH_HEADER, at) == 0 &&
		    metad_batch_decode(sc->buf, sc->log->key, &h) == 0)
			number = MAX(number, h.segment);
	}
	return number;
}

/* The header and the first batch of a segment are one write, which a power cut may tear: the newer
 * of them tells the number. */
static int read_headers(struct scan *sc, struct segment *order[MAX_SEGMENTS], unsigned *ret_files)
{
	unsigned n = 0;

	*ret_files = 0;
	for (unsigned i = 0; i < MAX_SEGMENTS; i++) {
		struct segment *s = &sc->log->segments[i];
		struct metad_segment_header h;
		struct metad_batch_header b;

		if (s->fd < 0)
			continue;
		if (log_read_fd(sc->log, s) < 0)
			return -EIO;
		++*ret_files;
		s->number = 0;
		if (log_pread(s->read_fd, sc->buf, METAD_LOG_BLOCK, 0) == 0 &&
		    metad_segment_decode(sc->buf, sc->log->key, &h) == 0)
			s->number = h.number;
		if (log_read_batch(sc->log, s, METAD_LOG_BLOCK, sc->buf, &b) == 0)
			s->number = MAX(s->number, b.segment);
		if (s->number == 0)
			s->number = find_number(sc, s);
		sc->log->next_number = MAX(sc->log->next_number, s->number);
		if (s->number != 0)
			order[n++] = s;
	}
	qsort(order, n, sizeof *order, by_number);
	return (int)n;
}

static void conclude(struct scan *sc, struct metad_log_found *ret)
{
	if (sc->empty || sc->last < sc->base_seq || !sc->belongs) {
		ret->foreign = !sc->empty && sc->last >= sc->base_seq && !sc->belongs;
		for (unsigned i = 0; i < MAX_SEGMENTS; i++)
			sc->log->segments[i].n_places = 0;
		sc->first = sc->base_seq + 1;
		sc->last = sc->base_seq;
		sc->hash = sc->base_hash;
	}
	ret->first_seq = sc->first;
	ret->last_seq = sc->last;
	ret->last_hash = sc->hash;
	if (!ret->foreign && (sc->known_durable > sc->last || sc->seen > sc->last + 1))
		ret->lost_seq = MAX(sc->known_durable, sc->seen);
	if (!ret->foreign && !ret->absent && ret->lost_seq == 0 && sc->seen < sc->base_seq)
		ff3_warning("%s: the log ends at record %" PRIu64 ", but the database has all up to "
			    "%" PRIu64 "; nothing is lost",
			    sc->log->dir, sc->seen, sc->base_seq);
	sc->log->first_seq = sc->first;
	sc->log->last_seq = sc->last;
}

static int recover(struct scan *sc, struct metad_log_found *ret)
{
	struct segment *order[MAX_SEGMENTS];
	unsigned n_files;
	int n = read_headers(sc, order, &n_files), r = 0;

	if (n < 0)
		return n;
	ret->absent = n_files == 0;
	for (int i = 0; i < n && r >= 0; i++)
		r = read_segment(sc, order[i]);
	if (r >= 0)
		conclude(sc, ret);
	for (unsigned i = 0; i < MAX_SEGMENTS; i++)
		log_close(&sc->log->segments[i].read_fd);
	return r;
}

int metad_log_recover(struct metad_log *log, uint64_t base_seq, uint64_t base_hash,
		      int (*fn)(void *arg, const struct metad_record *r, uint64_t hash), void *arg,
		      struct metad_log_found *ret)
{
	struct scan sc = { .log = log, .base_seq = base_seq, .base_hash = base_hash, .empty = true,
			   .fn = fn, .arg = arg };
	void *buf = mmap(NULL, METAD_BATCH_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			 0);
	int r;

	*ret = (struct metad_log_found){ 0 };
	if (buf == MAP_FAILED)
		return -errno;
	sc.buf = buf;
	r = recover(&sc, ret);
	munmap(buf, METAD_BATCH_MAX);
	return r;
}
