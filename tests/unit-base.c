/* common/base: checksums, error codes, sizes, configuration. */
#include <check.h>
#include <stdio.h>
#include <sys/stat.h>

#include "../common/base/locks.h"
#include "../common/base/conf.h"
#include "../common/base/crc32c.h"
#include "../common/base/err.h"

static char dir[] = "/tmp/ff3fs-unit-base.XXXXXX";

static const char *write_file(const char *text)
{
	static char path[64];
	FILE *f;

	snprintf(path, sizeof path, "%s/conf", dir);
	f = fopen(path, "we");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs(text, f), 0);
	ck_assert_int_eq(fclose(f), 0);
	return path;
}

START_TEST(crc32c)
{
	uint8_t zeros[32] = { 0 }, data[5000];
	uint32_t whole;

	ck_assert_uint_eq(ff3_crc32c(0, "123456789", 9), 0xe3069283);
	ck_assert_uint_eq(ff3_crc32c(0, zeros, 32), 0x8a9136aa); /* RFC 3720 */
	ck_assert_uint_eq(ff3_crc32c(0, NULL, 0), 0);
	for (size_t i = 0; i < sizeof data; i++)
		data[i] = (uint8_t)(i * 31 + i / 256);
	whole = ff3_crc32c(0, data, sizeof data);
	for (size_t cut = 0; cut <= sizeof data; cut += 7)
		ck_assert_uint_eq(ff3_crc32c(ff3_crc32c(0, data, cut), data + cut, sizeof data - cut),
				  whole);
}
END_TEST

START_TEST(errors)
{
	ck_assert_uint_eq(ff3_err_to_wire(0), 0);
	ck_assert_uint_eq(ff3_err_to_wire(5), 0);
	ck_assert_uint_eq(ff3_err_to_wire(-ENOENT), 2);
	ck_assert_int_eq(ff3_err_from_wire(2), -ENOENT);
	ck_assert_int_eq(ff3_err_from_wire(ff3_err_to_wire(FF3_E_VERSION)), FF3_E_VERSION);
	ck_assert_int_eq(ff3_err_from_wire(99999), -EIO); /* of a later version */
	ck_assert_uint_eq(ff3_err_to_wire(-31337), EIO);
	ck_assert_int_eq(ff3_err_errno(FF3_E_CHECKSUM), EIO);
	ck_assert_int_eq(ff3_err_errno(-EXDEV), EXDEV);
	ck_assert_int_eq(ff3_err_errno(3), 0);
	ck_assert_int_eq(ff3_err_class(FF3_E_NO_TARGET), FF3_CLASS_REFRESH_ROUTE);
	ck_assert_str_eq(ff3_strerror(-ENOSPC), "No space left on device");
	ck_assert_str_eq(ff3_strerror(FF3_E_CLUSTER), "peer belongs to another cluster");
	ck_assert_ptr_nonnull(ff3_strerror(-123456));
	/* What an application sees is always an errno, and every code travels. */
#define ROUND(wire, name, eno, class, text)                                                        \
	ck_assert_int_eq(ff3_err_from_wire(ff3_err_to_wire(FF3_E_##name)), FF3_E_##name);          \
	ck_assert_int_eq(ff3_err_errno(FF3_E_##name), eno);
	FF3_DOMAIN_ERRORS(ROUND)
#define ROUND_ERRNO(wire, name, class)                                                             \
	ck_assert_int_eq(ff3_err_from_wire(ff3_err_to_wire(-name)), -name);                        \
	ck_assert_uint_eq(ff3_err_to_wire(-name), wire);
	FF3_ERRNOS(ROUND_ERRNO)
}
END_TEST

START_TEST(sizes)
{
	static const struct {
		const char *text;
		uint64_t value;
	} good[] = { { "0", 0 },		{ "4096", 4096 },      { "64M", FF3_MIB(64) },
		     { "1.5G", 3 * FF3_GIB(1) / 2 }, { "2t", (uint64_t)2 << 40 }, { "8KiB", 8192 } };
	static const char *const bad[] = { "", "M", "-1", "1X", "1 M x", "nan", "1e40T", "0x" };
	uint64_t v = 77;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_msg(ff3_parse_size(bad[i], &v) < 0, "%s was taken", bad[i]);
	ck_assert_uint_eq(v, 77);
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		ck_assert_int_eq(ff3_parse_size(good[i].text, &v), 0);
		ck_assert_uint_eq(v, good[i].value);
	}
}
END_TEST

START_TEST(conf_order)
{
	struct ff3_conf conf;
	const char *file = write_file("; a comment\n[client]\nprefix = /data:/more ; comment\n"
				      "timeout = 5s\n[chunkd]\nmemory = 2G\nflush = 250\n");

	ck_assert_int_eq(ff3_conf_load(&conf, file), 0);
	ck_assert_str_eq(conf.client.prefix, "/data:/more");
	ck_assert_uint_eq(conf.client.timeout, 5000);
	ck_assert_uint_eq(conf.chunkd.memory, FF3_GIB(2));
	ck_assert_uint_eq(conf.chunkd.flush, 250);
	ck_assert_uint_eq(conf.metad.stripe, 16); /* the default */
	ff3_conf_done(&conf);

	ck_assert_int_eq(setenv("FF3FS_CLIENT_TIMEOUT", "100ms", 1), 0);
	ck_assert_int_eq(ff3_conf_load(&conf, file), 0);
	ck_assert_uint_eq(conf.client.timeout, 100);
	ff3_conf_done(&conf);
	ck_assert_int_eq(setenv("FF3FS_CLIENT_TIMEOUT", "soon", 1), 0);
	ck_assert_int_eq(ff3_conf_load(&conf, file), -EINVAL);
	ck_assert_ptr_nonnull(strstr(conf.error, "FF3FS_CLIENT_TIMEOUT=soon"));
	ff3_conf_done(&conf);
}
END_TEST

START_TEST(conf_errors)
{
	static const struct {
		const char *text, *error;
	} bad[] = {
		{ "[client]\nprefix = /x\n[metad]\nlisen = 1\n",
		  ":4: unknown key 'lisen' in [metad] (did you mean 'listen'?)" },
		{ "[client]\nzzzzzzzzzz = 1\n\nyyyy = 2\n", ":2: unknown key 'zzzzzzzzzz' in [client]" },
		{ "[cleint]\nprefix = 1\n", ":2: unknown section [cleint]" },
		{ "[client]\n\ntimeout = often\n", ":3: [client] timeout = often: expected a time" },
		{ "[client\nprefix = 1\n", ":1: not a [section] line" },
		{ "[client]\nprefix\n", ":2: not a 'key = value' line" },
	};
	struct ff3_conf conf;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		const char *file = write_file(bad[i].text);

		ck_assert_int_eq(ff3_conf_load(&conf, file), -EINVAL);
		ck_assert_msg(strstr(conf.error, bad[i].error) && strstr(conf.error, file),
			      "%s does not have %s", conf.error, bad[i].error);
		ff3_conf_done(&conf);
	}
	ck_assert_int_eq(ff3_conf_load(&conf, "/nowhere/ff3fs.conf"), -ENOENT);
	ck_assert_ptr_nonnull(strstr(conf.error, "/nowhere/ff3fs.conf"));
	ff3_conf_done(&conf);
	ck_assert_int_eq(ff3_conf_load(&conf, dir), -EISDIR);
	ff3_conf_done(&conf);
}
END_TEST

START_TEST(conf_long_line)
{
	char text[3000], path[2000];
	struct ff3_conf conf;

	memset(path, 'p', sizeof path);
	path[0] = '/';
	path[sizeof path - 1] = '\0';
	snprintf(text, sizeof text, "[chunkd]\ntargets = %s\n", path);
	ck_assert_int_eq(ff3_conf_load(&conf, write_file(text)), 0);
	ck_assert_str_eq(conf.chunkd.targets, path);
	ff3_conf_done(&conf);
}
END_TEST

START_TEST(conf_print)
{
	char text[16384] = "", *out = NULL;
	size_t len = 0, n = 0;
	struct ff3_conf printed, defaults;
	FILE *f = open_memstream(&out, &len);

	/* What is printed, without the comment signs, is a configuration: the defaults. */
	ff3_conf_print(f);
	fclose(f);
	for (size_t i = 0; i < len && n < sizeof text - 1; i++)
		if (out[i] != '#' || (i > 0 && out[i - 1] != '\n') || out[i + 1] == ' ')
			text[n++] = out[i];
	free(out);
	ck_assert_int_eq(ff3_conf_load(&defaults, write_file("")), 0);
	ck_assert_int_eq(ff3_conf_load(&printed, write_file(text)), 0);
	ck_assert_str_eq(printed.chunkd.targets, defaults.chunkd.targets);
	ck_assert_uint_eq(printed.client.write_hold, defaults.client.write_hold);
	ck_assert_uint_eq(printed.metad.lease, 60000);
	ff3_conf_done(&printed);
	ff3_conf_done(&defaults);
}
END_TEST

START_TEST(random_numbers)
{
	uint64_t all = 0, last = 0;

	for (int i = 0; i < 1000; i++) {
		uint64_t v = ff3_random_u64();

		ck_assert_uint_ne(v, 0);
		ck_assert_uint_ne(v, last);
		all |= last = v;
	}
	ck_assert_uint_eq(all, UINT64_MAX);
}
END_TEST

/* Random record locks of two owners of one domain and one of another, against an array with a cell for
 * every byte. */
enum { BYTES = 24, OWNERS = 3 };

static uint64_t cell_domain(unsigned owner)
{
	return owner < 2 ? 1 : 2;
}

START_TEST(lock_ranges)
{
	uint8_t model[OWNERS][BYTES] = { { 0 } };
	struct ff3_locks l = { 0 };

	srand(7);
	for (int step = 0; step < 20000; step++) {
		unsigned owner = (unsigned)rand() % OWNERS, a = (unsigned)rand() % BYTES,
			 b = (unsigned)rand() % BYTES;
		struct ff3_lock want = { .domain = cell_domain(owner),
					 .session = 10 + owner / 2,
					 .owner = owner,
					 .first = MIN(a, b),
					 .last = MAX(a, b),
					 .kind = FF3_LOCK_RECORD,
					 .type = (uint8_t)(rand() % FF3_LOCK_TYPES) };
		bool conflict = false, any = false;

		for (unsigned o = 0; o < OWNERS; o++)
			for (uint64_t i = want.first; i <= want.last; i++)
				conflict |= cell_domain(o) != want.domain && model[o][i] + want.type > 2 &&
					    model[o][i] && want.type;
		for (unsigned i = 0; i < BYTES; i++)
			any |= model[owner][i] != FF3_LOCK_NONE;
		ck_assert_int_eq(ff3_locks_any(&l, &want), any);
		ck_assert_int_eq(ff3_locks_held(&l, &want), model[owner][want.first]);
		if (want.type != FF3_LOCK_NONE)
			ck_assert_int_eq(ff3_locks_conflict(&l, &want) != NULL, conflict);
		if (conflict)
			continue;
		ck_assert_int_eq(ff3_locks_set(&l, &want), 0);
		for (uint64_t i = want.first; i <= want.last; i++)
			model[owner][i] = want.type;
	}
	ff3_locks_drop_session(&l, 10);
	ff3_locks_drop_session(&l, 11);
	ck_assert_uint_eq(l.n, 0);
	ff3_locks_done(&l);
}
END_TEST

/* Who sets a flock had the domain's own: what others of it are noted with is corrected. */
START_TEST(lock_flock)
{
	struct ff3_lock a = { .domain = 1, .session = 1, .last = UINT64_MAX }, b = a, other = a;
	struct ff3_locks l = { 0 };

	b.session = 2;
	other.domain = 2;
	a.type = FF3_LOCK_EXCLUSIVE;
	ck_assert_int_eq(ff3_locks_set(&l, &a), 0);
	b.type = FF3_LOCK_SHARED;
	ck_assert_int_eq(ff3_locks_set(&l, &b), 0);
	ck_assert_int_eq(ff3_locks_held(&l, &a), FF3_LOCK_SHARED);
	other.type = FF3_LOCK_SHARED;
	ck_assert_ptr_null(ff3_locks_conflict(&l, &other));
	other.type = FF3_LOCK_EXCLUSIVE;
	ck_assert_ptr_nonnull(ff3_locks_conflict(&l, &other));
	b.type = FF3_LOCK_NONE; /* the last of the domain */
	ck_assert_int_eq(ff3_locks_set(&l, &b), 0);
	ck_assert_ptr_null(ff3_locks_conflict(&l, &other));
	ck_assert_uint_eq(l.n, 0);
	ff3_locks_done(&l);
}
END_TEST

static void remove_dir(void)
{
	char path[64];

	snprintf(path, sizeof path, "%s/conf", dir);
	unlink(path);
	rmdir(dir);
}

int main(void)
{
	Suite *s = suite_create("base");
	TCase *c = tcase_create("base");
	SRunner *r = srunner_create(s);
	int failed;

	if (!mkdtemp(dir))
		return 99;
	unsetenv("FF3FS_CONF");
	unsetenv("FF3FS_PREFIX");
	tcase_add_test(c, crc32c);
	tcase_add_test(c, errors);
	tcase_add_test(c, sizes);
	tcase_add_test(c, conf_order);
	tcase_add_test(c, conf_errors);
	tcase_add_test(c, conf_long_line);
	tcase_add_test(c, conf_print);
	tcase_add_test(c, random_numbers);
	tcase_add_test(c, lock_ranges);
	tcase_add_test(c, lock_flock);
	suite_add_tcase(s, c);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	remove_dir();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
