/* A page of a directory as readdir answers it: serve_readdir.c. */
#pragma once

#include "metad.h"

/* Beyond max, for the entry that is looked at last and names of its hash. */
#define METAD_PAGE_MORE 4096u

struct metad_page {
	struct metad *m; /* NULL: a reader's; attributes are as in the database */
	struct metad_db *db;
	uint8_t *p;
	size_t room, len, max;
	size_t whole;  /* length up to which no group of equal hashes is cut */
	uint64_t hash; /* of the last entry */
	bool with_attr;
	bool more; /* it is not the last one */
	int error;
};

struct metad_page metad_page(const struct ff3_req_readdir *q, uint8_t *p, size_t room);
/* From db. Negative: nothing. */
int metad_page_fill(struct metad_page *page, const struct ff3_req_readdir *q);
/* A reader's page, of the state with the records up to seq, shows what later ones have changed of attributes.
 * Returns how many have changed, or a negative errno. */
int metad_page_refresh(struct metad *m, struct metad_page *page, uint64_t seq);
void metad_page_reply(struct ff3_request *r, struct metad_page *page, uint64_t parent);
