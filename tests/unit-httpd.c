/* The admin endpoint's HTTP server, spoken to over a plain socket. */
#include "../common/admin/httpd.h"

#include <arpa/inet.h>
#include <check.h>
#include <sys/socket.h>

static int on_status(void *ctx, const struct ff3_http_request *request, json_t **ret)
{
	const char *limit = ff3_http_query(request, "limit");

	*ret = json_pack("{s:s, s:s*}", "daemon", (const char *)ctx, "limit", limit);
	return 200;
}

static int on_layout(void *ctx, const struct ff3_http_request *request, json_t **ret)
{
	if (strcmp(request->rest, "none") == 0)
		return ff3_http_problem_errno(ret, -ENOENT, request->rest);
	*ret = json_pack("{s:o}", "path", ff3_json_bytes(request->rest, strlen(request->rest)));
	return 200;
}

static int on_post(void *ctx, const struct ff3_http_request *request, json_t **ret)
{
	if (!json_is_object(request->body))
		return ff3_http_problem(ret, 400, "EINVAL", "send {\"a\": 1}", "no object");
	*ret = json_incref(request->body);
	return 201;
}

static int on_metrics(void *ctx, const struct ff3_http_request *request, FILE *out)
{
	fputs("up 1\n", out);
	return 200;
}

static const struct ff3_http_route routes[] = {
	{ "GET", "/v1/status", on_status, NULL, NULL },
	{ "GET", "/v1/layouts/{path}", on_layout, NULL, NULL },
	{ "POST", "/v1/nodes", on_post, NULL, NULL },
	{ "GET", "/v1/nodes", on_status, NULL, NULL },
	{ "GET", "/metrics", NULL, on_metrics, NULL },
};

static struct ff3_httpd *httpd;

static void start(void)
{
	ck_assert_int_eq(ff3_httpd_new("127.0.0.1:0", routes, ARRAY_SIZE(routes), "test", &httpd), 0);
}

static void stop(void)
{
	ff3_httpd_free(httpd);
}

/* Sends text and returns everything that comes back until the server closes. */
static char *talk(const char *text, size_t len)
{
	struct sockaddr_in sin = { .sin_family = AF_INET };
	const char *colon = strrchr(ff3_httpd_address(httpd), ':');
	_cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM, 0);
	static char buf[1 << 16];
	size_t n = 0;
	ssize_t r;

	sin.sin_port = htons((uint16_t)atoi(colon + 1));
	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sin, sizeof sin), 0);
	while (len > 0 && (r = send(fd, text, len, MSG_NOSIGNAL)) > 0) {
		text += r;
		len -= (size_t)r;
	}
	while (n < sizeof buf - 1 && (r = read(fd, buf + n, sizeof buf - 1 - n)) > 0)
		n += (size_t)r;
	buf[n] = '\0';
	return buf;
}

static char *request(const char *method, const char *target, const char *body)
{
	char text[4096];
	int n = snprintf(text, sizeof text,
			 "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
			 "Content-Length: %zu\r\n\r\n%s",
			 method, target, strlen(body), body);

	return talk(text, (size_t)n);
}

static void has(const char *text, const char *part)
{
	ck_assert_msg(strstr(text, part) != NULL, "no \"%s\" in:\n%s", part, text);
}

START_TEST(get_answers_json)
{
	char *a = request("GET", "/v1/status?limit=5%20x", "");

	has(a, "HTTP/1.1 200 ");
	has(a, "Content-Type: application/json\r\n");
	has(a, "\"daemon\": \"test\"");
	has(a, "\"limit\": \"5 x\"");
	ck_assert_ptr_null(strstr(request("GET", "/v1/status", ""), "limit"));
}
END_TEST

START_TEST(head_has_no_body)
{
	char *a = request("HEAD", "/v1/status", "");

	has(a, "HTTP/1.1 200 ");
	ck_assert_str_eq(strstr(a, "\r\n\r\n"), "\r\n\r\n");
}
END_TEST

START_TEST(path_pattern)
{
	has(request("GET", "/v1/layouts/a/b%20c", ""), "\"path\": \"a/b c\"");
	has(request("GET", "/v1/layouts/", ""), "\"path\": \"\"");
	has(request("GET", "/v1/layouts", ""), "\"path\": \"\"");
	has(request("GET", "/v1/layouts/%ff%c3%a9", ""), "\"path\": \"\xef\xbf\xbd\xc3\xa9\"");
	has(request("GET", "/v1/layoutsx", ""), "HTTP/1.1 404 ");
	has(request("GET", "/v1/layouts/a%00b", ""), "HTTP/1.1 400 ");
}
END_TEST

START_TEST(problems)
{
	char *a = request("GET", "/v1/layouts/none", "");

	has(a, "HTTP/1.1 404 ");
	has(a, "Content-Type: application/problem+json\r\n");
	has(a, "\"code\": \"ENOENT\"");
	has(a, "\"detail\": \"none: No such file or directory\"");
	has(request("GET", "/nothing", ""), "\"code\": \"NOT_FOUND\"");
	a = request("DELETE", "/v1/nodes", "");
	has(a, "HTTP/1.1 405 ");
	has(a, "Allow: POST, GET, HEAD\r\n");
}
END_TEST

START_TEST(post_takes_json)
{
	char *a = request("POST", "/v1/nodes", "{\"a\": 1}");

	has(a, "HTTP/1.1 201 ");
	has(a, "\"a\": 1");
	has(request("POST", "/v1/nodes", "{\"a\": "), "\"code\": \"BAD_JSON\"");
	a = request("POST", "/v1/nodes", "");
	has(a, "HTTP/1.1 400 ");
	has(a, "\"hint\": \"send {\\\"a\\\": 1}\"");
}
END_TEST

START_TEST(body_is_limited)
{
	static const char head[] = "POST /v1/nodes HTTP/1.1\r\nHost: 127.0.0.1\r\n"
				   "Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n200000\r\n";
	static const char big[] = "POST /v1/nodes HTTP/1.1\r\nHost: localhost:1\r\n"
				  "Connection: close\r\nContent-Length: 9999999\r\n\r\n";
	size_t len = sizeof head - 1 + (2 << 20) + 7;
	_cleanup_free_ char *text = malloc(len);

	memcpy(text, head, sizeof head - 1);
	memset(text + sizeof head - 1, ' ', 2 << 20);
	memcpy(text + len - 7, "\r\n0\r\n\r\n", 7);
	has(talk(text, len), "HTTP/1.1 413 ");
	has(talk(big, sizeof big - 1), "HTTP/1.1 413 ");
}
END_TEST

START_TEST(metrics_are_text)
{
	char *a = request("GET", "/metrics", "");

	has(a, "Content-Type: text/plain");
	has(a, "\r\n\r\nup 1\n");
}
END_TEST

START_TEST(foreign_host_is_refused)
{
	static const char text[] = "GET /v1/status HTTP/1.1\r\nHost: evil.example\r\n"
				   "Connection: close\r\n\r\n";

	has(talk(text, sizeof text - 1), "HTTP/1.1 421 ");
}
END_TEST

START_TEST(addresses)
{
	struct ff3_httpd *h = NULL;

	ck_assert_int_eq(ff3_httpd_new("0.0.0.0:0", routes, 1, NULL, &h), -EACCES);
	ck_assert_int_eq(ff3_httpd_new("192.0.2.1:0", routes, 1, NULL, &h), -EACCES);
	ck_assert_int_eq(ff3_httpd_new("[::]:0", routes, 1, NULL, &h), -EACCES);
	ck_assert_int_eq(ff3_httpd_new("127.0.0.1", routes, 1, NULL, &h), -EINVAL);
	ck_assert_int_eq(ff3_httpd_new("127.0.0.1:http", routes, 1, NULL, &h), -EINVAL);
	ck_assert_int_eq(ff3_httpd_new(ff3_httpd_address(httpd), routes, 1, NULL, &h), -EADDRINUSE);
	ck_assert_ptr_null(h);
	ck_assert_int_eq(ff3_httpd_new("localhost:0", routes, 1, NULL, &h), 0);
	ff3_httpd_free(h);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("httpd");
	TCase *tc = tcase_create("httpd");
	SRunner *sr = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(tc, start, stop);
	tcase_add_test(tc, get_answers_json);
	tcase_add_test(tc, head_has_no_body);
	tcase_add_test(tc, path_pattern);
	tcase_add_test(tc, problems);
	tcase_add_test(tc, post_takes_json);
	tcase_add_test(tc, body_is_limited);
	tcase_add_test(tc, metrics_are_text);
	tcase_add_test(tc, foreign_host_is_refused);
	tcase_add_test(tc, addresses);
	suite_add_tcase(s, tc);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
