/* The memory tier's arena: blocks never overlap, everything comes back together, eviction takes
 * clean unreferenced blocks only. */
#include <check.h>

#include "../chunkd/memory.h"

#define ARENA FF3_MIB(64)
#define N 256

static int n_evicted;

static void evict(void *owner, struct chunkd_block *b)
{
	ck_assert(b->clean && b->refs == 0);
	*(struct chunkd_block **)owner = NULL;
	n_evicted++;
}

static struct chunkd_arena *new_arena(void)
{
	struct chunkd_arena *a;

	n_evicted = 0;
	ck_assert_int_eq(chunkd_arena_new(ARENA, evict, &a), 0);
	return a;
}

START_TEST(sizes)
{
	struct chunkd_arena *a = new_arena();
	struct chunkd_block *b;

	ck_assert_uint_eq(chunkd_arena_size(a), ARENA);
	for (uint32_t size = 1; size <= FF3_MIB(16); size = size * 3 + 1) {
		b = chunkd_arena_alloc(a, size);
		ck_assert_uint_ge(chunkd_block_size(b), size);
		ck_assert_uint_lt(chunkd_block_size(b), MAX(2 * size, 2 * FF3_BLOCK));
		ck_assert_uint_eq((uintptr_t)b->p % FF3_BLOCK, 0);
		chunkd_block_unref(b);
	}
	ck_assert_ptr_null(chunkd_arena_alloc(a, FF3_MIB(16) + 1));
	ck_assert_uint_eq(chunkd_arena_used(a), 0);
	chunkd_arena_free(a);
}
END_TEST

START_TEST(random_use)
{
	struct chunkd_arena *a = new_arena();
	struct chunkd_block *held[N] = { 0 };
	unsigned seed = 1;

	for (int i = 0; i < 50000; i++) {
		int k = rand_r(&seed) % N;
		uint32_t size = 1u << (12 + rand_r(&seed) % 12);

		if (held[k]) {
			/* Its content is whole: nobody else had the same bytes. */
			for (uint32_t o = 0; o < chunkd_block_size(held[k]); o += FF3_BLOCK)
				ck_assert_int_eq(*(int *)(held[k]->p + o), k);
			chunkd_block_unref(held[k]);
			held[k] = NULL;
		} else if ((held[k] = chunkd_arena_alloc(a, size))) {
			for (uint32_t o = 0; o < chunkd_block_size(held[k]); o += FF3_BLOCK)
				*(int *)(held[k]->p + o) = k;
		}
	}
	for (int k = 0; k < N; k++)
		if (held[k])
			chunkd_block_unref(held[k]);
	ck_assert_uint_eq(chunkd_arena_used(a), 0);
	for (uint64_t n = 0; n < ARENA; n += FF3_MIB(16))
		held[n / FF3_MIB(16)] = chunkd_arena_alloc(a, FF3_MIB(16));
	ck_assert_ptr_nonnull(held[3]);
	chunkd_arena_free(a);
}
END_TEST

/* A cache full of small clean blocks gives up one region for a large block, not everything. */
START_TEST(eviction_by_region)
{
	struct chunkd_arena *a = new_arena();
	size_t n = ARENA / FF3_BLOCK;
	struct chunkd_block **held = calloc(n, sizeof *held), *b;

	for (size_t i = 0; i < n; i++) {
		held[i] = chunkd_arena_alloc(a, FF3_BLOCK);
		chunkd_block_own(held[i], &held[i]);
		chunkd_block_unref(held[i]);
		chunkd_block_set_clean(held[i], true);
	}
	ck_assert_uint_eq(chunkd_arena_clean(a), ARENA);
	b = chunkd_arena_alloc(a, FF3_MIB(1));
	ck_assert_ptr_nonnull(b);
	ck_assert_int_eq(n_evicted, 256);
	chunkd_block_unref(b);
	free(held);
	chunkd_arena_free(a);
}
END_TEST

START_TEST(eviction_spares_used)
{
	struct chunkd_arena *a = new_arena();
	struct chunkd_block *held[4];

	for (int i = 0; i < 4; i++) {
		held[i] = chunkd_arena_alloc(a, FF3_MIB(16));
		chunkd_block_own(held[i], &held[i]);
		chunkd_block_unref(held[i]);
	}
	ck_assert_ptr_null(chunkd_arena_alloc(a, FF3_BLOCK)); /* all dirty */
	chunkd_block_set_clean(held[1], true);
	chunkd_block_set_clean(held[2], true);
	chunkd_block_ref(held[1]); /* being sent */
	ck_assert_ptr_nonnull(chunkd_arena_alloc(a, FF3_BLOCK));
	ck_assert_ptr_null(held[2]);
	ck_assert_ptr_nonnull(held[1]);
	ck_assert_ptr_null(chunkd_arena_alloc(a, FF3_MIB(16)));
	chunkd_arena_free(a);
}
END_TEST

/* A disowned block lives until its last reference is dropped. */
START_TEST(references)
{
	struct chunkd_arena *a = new_arena();
	struct chunkd_block *b = chunkd_arena_alloc(a, FF3_BLOCK);

	chunkd_block_own(b, &b);
	chunkd_block_set_clean(b, true);
	chunkd_block_disown(b);
	ck_assert_uint_eq(chunkd_arena_used(a), FF3_BLOCK);
	ck_assert_uint_eq(chunkd_arena_clean(a), 0);
	chunkd_block_unref(b);
	ck_assert_uint_eq(chunkd_arena_used(a), 0);
	chunkd_arena_free(a);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("chunkd-memory");
	TCase *tc = tcase_create("arena");
	SRunner *sr;
	int failed;

	suite_add_tcase(s, tc);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, sizes);
	tcase_add_test(tc, random_use);
	tcase_add_test(tc, eviction_by_region);
	tcase_add_test(tc, eviction_spares_used);
	tcase_add_test(tc, references);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
