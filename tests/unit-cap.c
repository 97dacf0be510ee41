/* Capabilities: only what metad signed, for what it was signed, as long as it holds. */
#include <check.h>

#include "../chunkd/caps.h"

#define NOW 100000000u
#define INO 42u
#define SESSION 7u
#define USER 4321u

static const struct chunkd_bearer bearer = { SESSION, true, USER, NULL, 0 };

static struct ff3_cap_keys keys;

static struct ff3_blob sign(uint8_t buf[FF3_CAP_MAX], struct ff3_cap cap)
{
	return (struct ff3_blob){ buf, (uint32_t)ff3_cap_sign(&keys.current, &cap, buf) };
}

static struct ff3_cap good(void)
{
	return (struct ff3_cap){ .ino = INO,
				 .generation = 5,
				 .session = SESSION,
				 .expires = NOW + 100 + FF3_CAP_LIFETIME_MS,
				 .rights = FF3_CAP_READ,
				 .user = USER,
				 .group = FF3_NO_GROUP };
}

static void new_keys(void)
{
	memset(&keys, 0, sizeof keys);
	ck_assert_int_eq(ff3_cap_keys_rotate(&keys), 0);
}

START_TEST(forged)
{
	uint8_t buf[FF3_CAP_MAX];
	struct ff3_cap cap;
	struct ff3_blob b;

	new_keys();
	b = sign(buf, good());
	ck_assert_int_eq(ff3_cap_verify(&keys, b, NOW, &cap), 0);
	ck_assert_uint_eq(cap.ino, INO);
	ck_assert_uint_eq(cap.rights, FF3_CAP_READ);
	/* No bit of it may be another one, and none may be missing or too many. */
	for (uint32_t bit = 0; bit < b.len * 8; bit++) {
		buf[bit / 8] ^= (uint8_t)(1u << bit % 8);
		ck_assert_int_eq(ff3_cap_verify(&keys, b, NOW, &cap), -EACCES);
		buf[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	for (uint32_t len = 0; len < FF3_CAP_MAX; len++)
		if (len != b.len)
			ck_assert_int_eq(ff3_cap_verify(&keys, (struct ff3_blob){ buf, len }, NOW, &cap),
					 -EACCES);
	/* Somebody else's key with the same number. */
	{
		struct ff3_cap_keys other = keys;

		other.current.key[31] ^= 1;
		ck_assert_int_eq(ff3_cap_verify(&other, b, NOW, &cap), -EACCES);
	}
	/* No keys yet, and a cap that says so. */
	cap = good();
	b.len = (uint32_t)ff3_cap_sign(&(struct ff3_cap_secret){ 0 }, &cap, buf);
	ck_assert_int_eq(ff3_cap_verify(&(struct ff3_cap_keys){ 0 }, b, NOW, &cap), -EACCES);
}
END_TEST

START_TEST(expired)
{
	uint8_t buf[FF3_CAP_MAX];
	struct ff3_cap cap;
	struct ff3_blob b;

	new_keys();
	b = sign(buf, good());
	ck_assert_int_eq(ff3_cap_verify(&keys, b, good().expires - 1, &cap), 0);
	ck_assert_int_eq(ff3_cap_verify(&keys, b, good().expires, &cap), -EACCES);
}
END_TEST

START_TEST(rotated)
{
	uint8_t buf[FF3_CAP_MAX], wire[FF3_CAP_KEYS_MAX];
	struct ff3_cap_keys sent;
	struct ff3_cap cap;
	struct ff3_blob b;

	new_keys();
	b = sign(buf, good());
	for (int i = 0; i < 3; i++) {
		struct ff3_blob all = { wire, (uint32_t)ff3_cap_keys_encode(&keys, wire, sizeof wire) };

		ck_assert_uint_le(all.len, sizeof wire);
		ck_assert_int_eq(ff3_cap_keys_decode(all, &sent), 0);
		ck_assert_mem_eq(&sent, &keys, sizeof keys);
		/* The key before is good, the one before that is not. */
		ck_assert_int_eq(ff3_cap_verify(&sent, b, NOW, &cap), i < 2 ? 0 : -EACCES);
		all.len--;
		ck_assert_int_eq(ff3_cap_keys_decode(all, &sent), -EBADMSG);
		ck_assert_int_eq(ff3_cap_keys_rotate(&keys), 0);
	}
}
END_TEST

START_TEST(daemon_checks)
{
	const struct chunkd_bearer other = { SESSION + 1, true, USER, NULL, 0 };
	struct chunkd_caps *caps;
	uint8_t buf[FF3_CAP_MAX];
	uint32_t rights = 0;
	struct ff3_cap cap;
	struct ff3_blob b;

	new_keys();
	b = sign(buf, good());
	ck_assert_int_eq(chunkd_caps_new(NOW, &caps), 0);
	ck_assert_int_eq(chunkd_caps_check(caps, b, INO, &bearer, FF3_CAP_READ, NOW, &rights), -EACCES);
	chunkd_caps_set_keys(caps, &keys);
	ck_assert_int_eq(chunkd_caps_check(caps, b, INO, &bearer, FF3_CAP_READ, NOW, &rights), 0);
	ck_assert_uint_eq(rights, FF3_CAP_READ);
	/* Another file, somebody else's, more than it allows. */
	ck_assert_int_eq(chunkd_caps_check(caps, b, INO + 1, &bearer, FF3_CAP_READ, NOW, &rights), -EACCES);
	ck_assert_int_eq(chunkd_caps_check(caps, b, INO, &other, FF3_CAP_READ, NOW, &rights), -EACCES);
	ck_assert_int_eq(chunkd_caps_check(caps, b, INO, &bearer, FF3_CAP_PIN, NOW, &rights), -EACCES);
	/* From before the daemon's start, when it may have been revoked. */
	cap = good();
	cap.expires = NOW + FF3_CAP_LIFETIME_MS;
	ck_assert_int_eq(chunkd_caps_check(caps, sign(buf, cap), INO, &bearer, FF3_CAP_READ, NOW, &rights),
			 -EACCES);
	chunkd_caps_free(caps);
}
END_TEST

START_TEST(users)
{
	static const uint32_t groups[] = { 77, 78 };
	static const struct {
		const char *name;
		uint32_t user, group;
		struct chunkd_bearer bearer;
		int result;
	} cases[] = {
		{ "the user", USER, FF3_NO_GROUP, { SESSION, true, USER, groups, 2 }, 0 },
		{ "in the group", USER, 77, { SESSION, true, USER, groups, 2 }, 0 },
		{ "in the other one", USER, 78, { SESSION, true, USER, groups, 2 }, 0 },
		{ "in another one", USER, 79, { SESSION, true, USER, groups, 2 }, -EACCES },
		{ "in none", USER, 77, { SESSION, true, USER, NULL, 0 }, -EACCES },
		{ "another one in the group", USER, 77, { SESSION, true, USER + 1, groups, 2 }, -EACCES },
		{ "somebody who was root to metad", 0, FF3_NO_GROUP, { SESSION, true, USER, groups, 2 }, -EACCES },
		{ "another user", USER + 1, FF3_NO_GROUP, { SESSION, true, USER, groups, 2 }, -EACCES },
		{ "root, who became somebody", USER, 79, { SESSION, true, 0, groups, 2 }, 0 },
		{ "root in another session", USER, FF3_NO_GROUP, { SESSION + 1, true, 0, groups, 2 }, -EACCES },
		{ "nobody knows who, over a network", 0, 79, { SESSION, false, USER, groups, 2 }, 0 },
		{ "in another session", USER, FF3_NO_GROUP, { SESSION + 1, false, USER, groups, 2 }, -EACCES },
	};
	struct chunkd_caps *caps;
	uint8_t buf[FF3_CAP_MAX];
	uint32_t rights;

	new_keys();
	ck_assert_int_eq(chunkd_caps_new(NOW, &caps), 0);
	chunkd_caps_set_keys(caps, &keys);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct ff3_cap cap = good();

		cap.user = cases[i].user;
		cap.group = cases[i].group;
		ck_assert_msg(chunkd_caps_check(caps, sign(buf, cap), INO, &cases[i].bearer, FF3_CAP_READ, NOW,
						&rights) == cases[i].result, "%s", cases[i].name);
	}
	chunkd_caps_free(caps);
}
END_TEST

START_TEST(revoked)
{
	struct chunkd_caps *caps;
	uint8_t buf[FF3_CAP_MAX];
	uint32_t rights;
	struct ff3_cap cap = good();

	new_keys();
	ck_assert_int_eq(chunkd_caps_new(NOW - FF3_CAP_LIFETIME_MS, &caps), 0);
	chunkd_caps_set_keys(caps, &keys);
	chunkd_caps_revoke(caps, INO, 6, NOW);
	ck_assert_int_eq(chunkd_caps_check(caps, sign(buf, cap), INO, &bearer, FF3_CAP_READ, NOW, &rights),
			 -EACCES);
	/* An order that comes late changes nothing. */
	chunkd_caps_revoke(caps, INO, 4, NOW);
	ck_assert_int_eq(chunkd_caps_check(caps, sign(buf, cap), INO, &bearer, FF3_CAP_READ, NOW, &rights),
			 -EACCES);
	cap.generation = 6;
	ck_assert_int_eq(chunkd_caps_check(caps, sign(buf, cap), INO, &bearer, FF3_CAP_READ, NOW, &rights),
			 0);
	/* Of however many inodes caps were revoked: none that is older is good again. */
	for (uint64_t ino = 1; ino <= 20000; ino++)
		chunkd_caps_revoke(caps, ino, 6, NOW + 1);
	for (uint64_t ino = 1; ino <= 20000; ino++) {
		cap = good();
		cap.ino = ino;
		cap.expires = NOW + 1 + FF3_CAP_LIFETIME_MS;
		ck_assert_int_eq(chunkd_caps_check(caps, sign(buf, cap), ino, &bearer, FF3_CAP_READ, NOW,
						   &rights), -EACCES);
	}
	/* And those that are given out afterwards are. */
	cap.generation = 6;
	cap.expires = NOW + 2 + FF3_CAP_LIFETIME_MS;
	ck_assert_int_eq(chunkd_caps_check(caps, sign(buf, cap), cap.ino, &bearer, FF3_CAP_READ, NOW + 2,
					   &rights), 0);
	chunkd_caps_free(caps);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cap");
	TCase *tc = tcase_create("cap");
	SRunner *sr;
	int failed;

	suite_add_tcase(s, tc);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, forged);
	tcase_add_test(tc, expired);
	tcase_add_test(tc, rotated);
	tcase_add_test(tc, daemon_checks);
	tcase_add_test(tc, users);
	tcase_add_test(tc, revoked);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
