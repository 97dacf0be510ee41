/* metad's state machine without a daemon: records made, encoded, decoded and applied, each in a
 * transaction of its own. */
#pragma once

#include "../metad/apply.h"
#include "../metad/log.h"

struct md {
	char dir[64];
	struct metad_db *db;
	struct metad_apply *apply;
	uint64_t session;
	uint64_t client_seq;
	uint64_t seq, hash;
	uint64_t next_ino;
	struct metad_cred cred;
	bool held; /* all in one transaction */
	uint8_t body[FF3_BODY_MAX];
};

/* In a new temporary directory; chain 1 exists. */
struct md *md_new(void);
void md_free(struct md *d); /* removes the directory */
void md_reopen(struct md *d);
/* Returns the operation's status. */
int md_apply(struct md *d, uint16_t op, size_t body_len);
/* A transaction that lasts until md_let_go. */
void md_hold(struct md *d);
void md_let_go(struct md *d);
struct ff3_tag md_tag(struct md *d);
static inline struct ff3_path md_at(const char *path)
{
	return (struct ff3_path){ FF3_ROOT_INO, 0, ff3_str_from(path) };
}

#define MD(d, name, p, ...)                                                                        \
	({                                                                                         \
		struct ff3_req_##name _q = { __VA_ARGS__ };                                        \
		int _r = md_apply((d), FF3_OP_##name,                                              \
				  ff3_encode_req_##name((d)->body, sizeof(d)->body, &_q));         \
		if (_r == 0)                                                                       \
			_r = ff3_decode_rep_##name((d)->apply->reply, (d)->apply->reply_len, (p)); \
		_r;                                                                                \
	})
#define MD_DO(d, name, ...)                                                                        \
	({                                                                                         \
		struct ff3_rep_##name _p;                                                          \
		MD(d, name, &_p, __VA_ARGS__);                                                     \
	})
/* The same with the next tag. */
#define MD_NEXT(d, name, ...) MD_DO(d, name, .tag = md_tag(d), __VA_ARGS__)

/* One random operation as a record; buf of 64 KiB; its times and ids come from i. */
void md_random_record(unsigned i, struct metad_record *rec, uint8_t *buf, size_t size);
