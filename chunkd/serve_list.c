/* Purpose: telling what chunks a target holds, page by page, for fsck.
 * Threads: the target's. */
#include "daemon.h"

#define PAGE 4096u
#define ENTRY 24u

void handle_chunk_list(struct chunkd_target *target, struct ff3_request *r)
{
	_cleanup_free_ struct chunkd_listed *list = calloc(PAGE, sizeof *list);
	_cleanup_free_ uint8_t *chunks = malloc(PAGE * ENTRY), *body = malloc(PAGE * ENTRY + 64);
	struct ff3_enc e = ff3_enc_init(chunks, PAGE * ENTRY);
	struct ff3_req_chunk_list req;
	struct ff3_rep_chunk_list p;
	size_t n;
	int status = ff3_decode_req_chunk_list(r->body, r->header.body_len, &req);

	if (status == 0 && (!list || !chunks || !body))
		status = -ENOMEM;
	if (status < 0) {
		ff3_request_fail(r, status);
		return;
	}
	p.cursor = chunkd_store_list(chunkd_target_store(target), req.cursor, list, PAGE, &n);
	for (size_t i = 0; i < n; i++) {
		const struct ff3_chunk c = { list[i].ino, list[i].index, list[i].len, list[i].version };

		ff3_put_chunk(&e, &c);
	}
	p.chunks = (struct ff3_blob){ chunks, (uint32_t)e.len };
	ff3_request_reply(r, 0, body, ff3_encode_rep_chunk_list(body, PAGE * ENTRY + 64, &p));
}
