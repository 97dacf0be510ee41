/* Purpose: requests to the admin endpoint through libcurl, and its problem documents as messages
 * and exit codes. Threads: one. */
#include "admin.h"

#include <curl/curl.h>

#include "cli.h"

#define ANSWER_MAX FF3_MIB(64)
#define CONNECT_MS 5000L
#define TOTAL_MS 30000L

struct answer {
	char *text;
	size_t len;
};

static size_t on_data(char *data, size_t size, size_t n, void *arg)
{
	struct answer *a = arg;
	size_t len = size * n;
	char *text;

	if (a->len + len > ANSWER_MAX)
		return 0;
	text = realloc(a->text, a->len + len + 1);
	if (!text)
		return 0;
	memcpy(text + a->len, data, len);
	a->text = text;
	a->len += len;
	text[a->len] = '\0';
	return len;
}

static int curl_exit(CURLcode code)
{
	switch (code) {
	case CURLE_COULDNT_CONNECT:
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_OPERATION_TIMEDOUT:
	case CURLE_RECV_ERROR:
	case CURLE_SEND_ERROR:
	case CURLE_GOT_NOTHING:
		return CLI_UNAVAILABLE;
	case CURLE_URL_MALFORMAT:
		return CLI_USAGE;
	default:
		return CLI_FAILURE;
	}
}

static int status_exit(long status)
{
	switch (status) {
	case 401:
	case 403:
		return CLI_AUTH;
	case 404:
		return CLI_NOT_FOUND;
	case 503:
		return CLI_UNAVAILABLE;
	case 507:
		return CLI_NO_SPACE;
	default:
		return CLI_FAILURE;
	}
}

/* Tells a problem document. */
static int report(const char *address, long status, const json_t *problem)
{
	const char *detail = json_string_value(json_object_get(problem, "detail"));
	const char *hint = json_string_value(json_object_get(problem, "hint"));

	if (detail)
		cli_message("%s", detail);
	else
		cli_message("%s answers with HTTP status %ld", address, status);
	if (hint)
		cli_note("hint: %s", hint);
	return status_exit(status);
}

struct exchange {
	const char *address, *path, *method;
	char *body; /* or NULL */
	struct answer answer; /* unless fn takes it */
	int (*fn)(void *arg, const char *p, size_t len);
	void *arg;
	CURL *curl;
	long status;
	char error[CURL_ERROR_SIZE];
};

/* Pieces of an answer that is no problem. */
static size_t on_piece(char *data, size_t size, size_t n, void *arg)
{
	struct exchange *x = arg;

	curl_easy_getinfo(x->curl, CURLINFO_RESPONSE_CODE, &x->status);
	if (!x->fn || x->status >= 300)
		return on_data(data, size, n, &x->answer);
	return x->fn(x->arg, data, size * n) == 0 ? size * n : 0;
}

static CURLcode perform(struct exchange *x, const char *url)
{
	struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
	CURLcode code;

	x->curl = curl_easy_init();
	if (!x->curl || !headers)
		return CURLE_OUT_OF_MEMORY;
	curl_easy_setopt(x->curl, CURLOPT_URL, url);
	curl_easy_setopt(x->curl, CURLOPT_PROTOCOLS_STR, "http");
	/* It is a daemon of ours on this machine or network: no proxy in between. */
	curl_easy_setopt(x->curl, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(x->curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
	if (x->fn) { /* however long it takes, as long as something comes */
		curl_easy_setopt(x->curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
		curl_easy_setopt(x->curl, CURLOPT_LOW_SPEED_TIME, TOTAL_MS / 1000);
	} else {
		curl_easy_setopt(x->curl, CURLOPT_TIMEOUT_MS, TOTAL_MS);
	}
	if (strcmp(x->method, "GET") != 0) {
		curl_easy_setopt(x->curl, CURLOPT_CUSTOMREQUEST, x->method);
		curl_easy_setopt(x->curl, CURLOPT_POSTFIELDS, x->body ? x->body : "");
		curl_easy_setopt(x->curl, CURLOPT_HTTPHEADER, headers);
	}
	curl_easy_setopt(x->curl, CURLOPT_WRITEFUNCTION, on_piece);
	curl_easy_setopt(x->curl, CURLOPT_WRITEDATA, x);
	curl_easy_setopt(x->curl, CURLOPT_ERRORBUFFER, x->error);
	code = curl_easy_perform(x->curl);
	curl_easy_getinfo(x->curl, CURLINFO_RESPONSE_CODE, &x->status);
	curl_easy_cleanup(x->curl);
	curl_slist_free_all(headers);
	return code;
}

/* 0 and, if ret is not NULL, the document. */
static int exchange(struct exchange *x, json_t **ret)
{
	_cleanup_free_ char *url = NULL;
	json_t *doc;
	CURLcode code;
	int r;

	if (asprintf(&url, "http://%s%s", x->address, x->path) < 0)
		return cli_local_error(x->address, -ENOMEM);
	code = perform(x, url);
	if (code != CURLE_OK) {
		free(x->answer.text);
		if (code == CURLE_WRITE_ERROR && x->fn)
			return CLI_FAILURE; /* told by fn's owner */
		cli_message("cannot ask %s: %s", x->address, *x->error ? x->error : curl_easy_strerror(code));
		if (curl_exit(code) == CLI_UNAVAILABLE)
			cli_note("hint: is metad running there? the address is --admin, FF3FS_ADMIN "
				 "or metad.admin in ff3fs.conf");
		return curl_exit(code);
	}
	if (x->fn && x->status < 300)
		return CLI_OK;
	doc = x->answer.text ? json_loads(x->answer.text, 0, NULL) : NULL;
	free(x->answer.text);
	if (x->status >= 200 && x->status < 300 && doc) {
		*ret = doc;
		return CLI_OK;
	}
	if (x->status >= 200 && x->status < 300)
		cli_message("%s does not answer with JSON; is it an admin address?", x->address);
	r = doc || x->status >= 300 ? report(x->address, x->status, doc) : CLI_FAILURE;
	json_decref(doc);
	return r;
}

int admin_get(const char *address, const char *path, json_t **ret)
{
	struct exchange x = { .address = address, .path = path, .method = "GET" };

	return exchange(&x, ret);
}

int admin_post(const char *address, const char *path, json_t *body, json_t **ret)
{
	_cleanup_free_ char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	struct exchange x = { .address = address, .path = path, .method = "POST", .body = text };

	json_decref(body);
	return exchange(&x, ret);
}

int admin_fetch(const char *address, const char *path,
		int (*fn)(void *arg, const char *p, size_t len), void *arg)
{
	struct exchange x = { .address = address, .path = path, .method = "GET", .fn = fn, .arg = arg };

	return exchange(&x, NULL);
}
