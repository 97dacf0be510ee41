/* Tickets: only what the cluster's key signed, as long as it holds; and nothing that comes in their place harms. */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../common/net/ticket.h"
#include "../common/net/ticket_file.h"

#define NOW 100000000u

static char dir[] = "/tmp/unit-ticket.XXXXXX";
static struct ff3_tickets t;
static uint8_t buf[FF3_TICKET_MAX / 2];
static struct ff3_ticket got;

static const char *in_dir(const char *name)
{
	static char path[64];

	snprintf(path, sizeof path, "%s/%s", dir, name);
	return path;
}

static void begin(void)
{
	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_int_eq(ff3_tickets_make_key(in_dir("key")), 0);
	ck_assert_int_eq(ff3_tickets_load(in_dir("key"), &t), 0);
}

static void end(void)
{
	unlink(in_dir("key"));
	unlink(in_dir("file"));
	rmdir(dir);
}

static struct ff3_blob text_of(const char *s)
{
	return (struct ff3_blob){ s, (uint32_t)strlen(s) };
}

static int verify(struct ff3_blob text)
{
	return ff3_ticket_verify(&t, text, NOW, buf, &got);
}

START_TEST(signed_and_forged)
{
	uint32_t list[FF3_TICKET_GROUPS];
	struct ff3_ticket ticket = { .uid = 7, .gid = 8, .expires = NOW + 1,
				     .groups = { list, 4 * (uint32_t)(_i ? FF3_TICKET_GROUPS : 0) } };
	char text[FF3_TICKET_MAX + 1], longer[FF3_TICKET_MAX + 3];
	uint32_t len;

	for (uint32_t i = 0; i < FF3_TICKET_GROUPS; i++)
		list[i] = i * 0x01010101u;
	ff3_ticket_sign(&t, &ticket, text);
	len = (uint32_t)strlen(text);
	ck_assert(_i ? len == FF3_TICKET_MAX : len < FF3_TICKET_MAX);
	ck_assert_int_eq(verify(text_of(text)), 0);
	ck_assert(got.uid == 7 && got.gid == 8 && got.expires == NOW + 1 && got.groups.len == ticket.groups.len);
	ck_assert(got.groups.len == 0 || memcmp(got.groups.p, list, got.groups.len) == 0);
	/* No digit of it may be another one, and none may be missing or too many. */
	for (uint32_t i = 0; i < len; i++) {
		char was = text[i];

		text[i] = was == '0' ? '1' : '0';
		ck_assert_int_eq(verify(text_of(text)), -EKEYREJECTED);
		text[i] = ' ';
		ck_assert_int_eq(verify(text_of(text)), -EKEYREJECTED);
		text[i] = '\xff';
		ck_assert_int_eq(verify(text_of(text)), -EKEYREJECTED);
		text[i] = was;
		if (i > 0)
			ck_assert_int_eq(verify((struct ff3_blob){ text, i }), -EKEYREJECTED);
	}
	for (const char *more = "0 \n"; *more; more++) {
		snprintf(longer, sizeof longer, "%s%c", text, *more);
		ck_assert_int_eq(verify(text_of(longer)), -EKEYREJECTED);
		snprintf(longer, sizeof longer, "%s%c%c", text, *more, *more);
		ck_assert_int_eq(verify(text_of(longer)), -EKEYREJECTED);
	}
	ck_assert_int_eq(verify(text_of("")), -ENOKEY);
}
END_TEST

START_TEST(time_and_key)
{
	struct ff3_ticket ticket = { .uid = 7, .expires = NOW };
	struct ff3_tickets other = t;
	char text[FF3_TICKET_MAX + 1];

	ff3_ticket_sign(&t, &ticket, text);
	ck_assert_int_eq(verify(text_of(text)), -EKEYEXPIRED);
	ck_assert_int_eq(ff3_ticket_verify(&t, text_of(text), NOW - 1, buf, &got), 0);
	other.key[0] ^= 1;
	ck_assert_int_eq(ff3_ticket_verify(&other, text_of(text), NOW - 1, buf, &got), -EKEYREJECTED);
}
END_TEST

/* Of no use a while after the hello that it was made for. */
START_TEST(daemons_own)
{
	uint64_t before = ff3_realtime_ns() / FF3_NSEC_PER_MSEC, after;
	char text[FF3_TICKET_MAX + 1];
	int len = ff3_tickets_own(&t, text);

	after = ff3_realtime_ns() / FF3_NSEC_PER_MSEC;
	ck_assert_int_eq(len, (int)strlen(text));
	ck_assert_int_eq(ff3_ticket_verify(&t, text_of(text), before, buf, &got), 0);
	ck_assert(got.uid == 0 && got.gid == 0 && got.groups.len == 0);
	ck_assert(got.expires >= before + 600000 && got.expires <= after + 600000);
	ck_assert_int_eq(ff3_ticket_verify(&t, text_of(text), got.expires, buf, &got), -EKEYEXPIRED);
	ck_assert_int_eq(ff3_tickets_own(NULL, text), 0);
	ck_assert_str_eq(text, "");
}
END_TEST

/* Each byte a multiple of what a hello may carry: nothing of it is believed, or written past a buffer. */
START_TEST(noise)
{
	static char text[4 * FF3_TICKET_MAX];

	srandom((unsigned)_i);
	for (int i = 0; i < 2000; i++) {
		uint32_t len = 1 + (uint32_t)random() % sizeof text;

		for (uint32_t k = 0; k < len; k++)
			text[k] = "0123456789abcdefABCDEF \n\t\xff"[(size_t)random() % (_i ? 26 : 22)];
		ck_assert_int_eq(verify((struct ff3_blob){ text, len }), -EKEYREJECTED);
	}
}
END_TEST

static void write_file(const char *text, size_t len)
{
	int fd = open(in_dir("file"), O_WRONLY | O_CREAT | O_TRUNC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, len), (ssize_t)len);
	close(fd);
}

START_TEST(files)
{
	char text[FF3_TICKET_MAX + 1], many[FF3_TICKET_MAX + 2];
	struct ff3_tickets other = { .key = { 0 } };

	ck_assert_int_eq(ff3_tickets_make_key(in_dir("key")), -EEXIST);
	ck_assert_int_eq(ff3_tickets_load(in_dir("none"), &other), -ENOENT);
	ck_assert_int_eq(ff3_ticket_read(dir, text), -EISDIR);
	write_file("abc\n", 4);
	ck_assert_int_eq(ff3_ticket_read(in_dir("file"), text), 3);
	ck_assert_str_eq(text, "abc");
	ck_assert_int_eq(ff3_tickets_load(in_dir("file"), &other), -EBADMSG);
	write_file("abc\ndef\n", 8);
	ck_assert_int_eq(ff3_ticket_read(in_dir("file"), text), -EBADMSG);
	write_file("", 0);
	ck_assert_int_eq(ff3_ticket_read(in_dir("file"), text), 0);
	memset(many, 'a', sizeof many);
	write_file(many, FF3_TICKET_MAX);
	ck_assert_int_eq(ff3_ticket_read(in_dir("file"), text), FF3_TICKET_MAX);
	write_file(many, FF3_TICKET_MAX + 1);
	ck_assert_int_eq(ff3_ticket_read(in_dir("file"), text), -EBADMSG);
	ck_assert_int_eq(other.key[0], 0);
	ck_assert_int_eq(chmod(in_dir("key"), 0640), 0);
	ck_assert_int_eq(ff3_tickets_load(in_dir("key"), &other), -EPERM);
	ck_assert_int_eq(other.key[0], 0);
}
END_TEST

int main(void)
{
	TCase *tc = tcase_create("ticket");
	Suite *s = suite_create("ticket");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_loop_test(tc, signed_and_forged, 0, 2);
	tcase_add_test(tc, time_and_key);
	tcase_add_test(tc, daemons_own);
	tcase_add_loop_test(tc, noise, 0, 2);
	tcase_add_test(tc, files);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
