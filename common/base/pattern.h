/* Bytes that follow from their position, for benchmarks and tests that check what they read while
 * they time it. Word i of the stream `seed` is (i + seed) * an odd constant, so that a block from
 * another place, another file or of zeros never matches. Pure, thread-safe. */
#pragma once

#include "base.h"

#define FF3_PATTERN_FACTOR 0x9e3779b97f4a7c15ull

/* offset and len are multiples of 8; p is aligned to 8. */
static inline void ff3_pattern_fill(void *p, size_t len, uint64_t seed, uint64_t offset)
{
	uint64_t *w = p, v = (offset / 8 + seed) * FF3_PATTERN_FACTOR;

	for (size_t i = 0; i < len / 8; i++, v += FF3_PATTERN_FACTOR)
		w[i] = v;
}

static inline bool ff3_pattern_check(const void *p, size_t len, uint64_t seed, uint64_t offset)
{
	const uint64_t *w = p;
	uint64_t v = (offset / 8 + seed) * FF3_PATTERN_FACTOR, wrong = 0;

	for (size_t i = 0; i < len / 8; i++, v += FF3_PATTERN_FACTOR)
		wrong |= w[i] ^ v;
	return wrong == 0;
}
