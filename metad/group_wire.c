/* Purpose: the core's messages as frames, with the log's records as payload. A message whose records
 * are many bytes goes as several.
 *
 * Threads: the loop's. */
#include "../common/base/log.h"
#include "group_priv.h"

/* Of records in one frame; a single larger one has a frame to itself. */
#define PAYLOAD_MAX (512u * 1024)


/* --- Out ------------------------------------------------------------------------------------- */

static void send_one(struct group_peer *p, const struct replica_message *m, const struct group_entries *e,
		     size_t size, bool witness)
{
	struct ff3_req_member q = {
		.to = m->to,
		.kind = m->kind,
		.flags = (m->pre ? FF3_MEMBER_PRE : 0u) | (m->transfer ? FF3_MEMBER_TRANSFER : 0u) |
			 (m->granted ? FF3_MEMBER_GRANTED : 0u),
		.epoch = m->epoch,
		.last_seq = m->last_seq,
		.last_epoch = m->last_epoch,
		.prev_seq = m->prev_seq,
		.prev_epoch = m->prev_epoch,
		.commit_seq = m->commit_seq,
		.match_seq = m->match_seq,
		.round = m->round,
		/* A witness has no database to compare. */
		.check_seq = witness ? 0 : m->check_seq,
		.check_hash = witness ? 0 : m->check_hash,
		.n_entries = e->n,
	};
	uint8_t body[256];
	size_t len = ff3_encode_req_member(body, sizeof body, &q);
	uint8_t *to = ff3_out_frame(p->out, FF3_OP_member, body, len, size);

	for (uint32_t i = 0; to && i < e->n; i++) {
		memcpy(to, e->record[i], e->size[i]);
		to += e->size[i];
	}
}

/* Copies: a record that is read back is there until the next is. */
static int gather(struct metad_group *g, const struct replica_message *m, uint32_t from, uint8_t *room,
		  struct group_entries *e, size_t *ret_size)
{
	size_t size = 0;

	e->n = 0;
	while (from + e->n < m->n_entries) {
		const void *record;
		size_t n;
		int r = metad_log_get(g->m->log, m->prev_seq + 1 + from + e->n, &record, &n);

		if (r < 0)
			return r;
		if (e->n > 0 && size + n > PAYLOAD_MAX)
			break;
		memcpy(room + size, record, n);
		e->record[e->n] = room + size;
		e->size[e->n++] = n;
		size += n;
	}
	*ret_size = size;
	return 0;
}

static void send_entries(struct metad_group *g, struct group_peer *p, const struct replica_message *m)
{
	static uint8_t room[PAYLOAD_MAX + FF3_BODY_MAX + 65536];
	struct replica_message part = *m;
	uint32_t done = 0;

	while (done < m->n_entries) {
		struct group_entries e;
		size_t size;
		int r = gather(g, m, done, room, &e, &size);

		if (r < 0) {
			ff3_log_errno(r, "cannot read log record %" PRIu64 " back for member %" PRIu64,
				      m->prev_seq + 1 + done, p->id);
			return;
		}
		part.prev_seq = m->prev_seq + done;
		part.prev_epoch = replica_epoch_at(g->core, part.prev_seq);
		send_one(p, &part, &e, size, g->witness);
		done += e.n;
	}
}

void group_send(struct metad_group *g, const struct replica_message *m)
{
	struct group_peer *p = group_peer(g, m->to);
	const struct group_entries none = { 0 };

	if (!p || !p->out || !ff3_out_is_up(p->out))
		return;
	if (m->n_entries > 0)
		send_entries(g, p, m);
	else
		send_one(p, m, &none, 0, g->witness);
}

/* --- In -------------------------------------------------------------------------------------- */

/* Record i of the message, whose config goes to *config if it has one. */
static int take_entry(const uint8_t *p, size_t len, uint64_t seq, struct replica_entry *entry,
		      struct replica_config *config, size_t *ret_size)
{
	struct metad_record rec;
	int r = metad_record_decode(p, len, &rec, ret_size);

	if (r < 0)
		return r;
	if (rec.seq != seq)
		return -EBADMSG;
	*entry = (struct replica_entry){ .epoch = rec.epoch };
	if (rec.op != METAD_OP_members)
		return 0;
	entry->config = config;
	return metad_members_decode(rec.payload, config);
}

int group_receive(struct metad_group *g, const struct metad_conn *from, struct ff3_request *r)
{
	static struct replica_config configs[REPLICA_ENTRIES_MAX];
	struct replica_entry entries[REPLICA_ENTRIES_MAX];
	struct group_entries in = { 0 };
	struct replica_message m;
	struct replica_event e = { .kind = REPLICA_MESSAGE, .message = &m };
	struct ff3_req_member q;
	size_t at = 0;

	if (ff3_decode_req_member(r->body, r->header.body_len, &q) < 0 ||
	    q.n_entries > REPLICA_ENTRIES_MAX || q.kind > REPLICA_TRANSFER)
		return -EBADMSG;
	for (; in.n < q.n_entries; in.n++) {
		const uint8_t *p = (const uint8_t *)r->payload + at;
		size_t size;

		if (take_entry(p, r->header.payload_len - at, q.prev_seq + 1 + in.n, &entries[in.n],
			       &configs[in.n], &size) < 0)
			return -EBADMSG;
		in.record[in.n] = p;
		in.size[in.n] = size;
		at += size;
	}
	if (at != r->header.payload_len)
		return -EBADMSG;
	m = (struct replica_message){
		.kind = (enum replica_message_kind)q.kind,
		.from = from->member,
		.to = q.to,
		.log_id = from->log_id,
		.epoch = q.epoch,
		.pre = q.flags & FF3_MEMBER_PRE,
		.transfer = q.flags & FF3_MEMBER_TRANSFER,
		.granted = q.flags & FF3_MEMBER_GRANTED,
		.last_seq = q.last_seq,
		.last_epoch = q.last_epoch,
		.prev_seq = q.prev_seq,
		.prev_epoch = q.prev_epoch,
		.commit_seq = q.commit_seq,
		.match_seq = q.match_seq,
		.round = q.round,
		.check_seq = g->witness ? 0 : q.check_seq,
		.check_hash = q.check_hash,
		.n_entries = q.n_entries,
		.entries = entries,
	};
	/* What is not here cannot be behind anything: such a log begins with a copy. */
	if (!g->m->log && q.n_entries > 0)
		return 0;
	group_step(g, &e, &in);
	metad_group_turn(g->m);
	return 0;
}
