/* Takes names and inodes into memory before anybody asks for them. */
#pragma once

#include "metad.h"

/* In the background, from now on. */
int metad_filler_new(struct metad *m);
void metad_filler_free(struct metad *m);

struct metad_filler_stats {
	bool is_filling;
	uint64_t n_taken; /* rows */
};
const struct metad_filler_stats *metad_filler_stats(const struct metad *m);
