/* Purpose: one GET of the admin endpoint through libcurl, and its problem documents as messages
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

static CURLcode perform(const char *url, struct answer *a, long *ret_status, char *error)
{
	CURL *curl = curl_easy_init();
	CURLcode code;

	if (!curl)
		return CURLE_OUT_OF_MEMORY;
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http");
	/* It is a daemon of ours on this machine or network: no proxy in between. */
	curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, TOTAL_MS);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, a);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error);
	code = curl_easy_perform(curl);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, ret_status);
	curl_easy_cleanup(curl);
	return code;
}

int admin_get(const char *address, const char *path, json_t **ret)
{
	_cleanup_free_ char *url = NULL;
	char error[CURL_ERROR_SIZE] = "";
	struct answer a = { 0 };
	long status = 0;
	json_t *doc;
	CURLcode code;

	if (asprintf(&url, "http://%s%s", address, path) < 0)
		return cli_local_error(address, -ENOMEM);
	code = perform(url, &a, &status, error);
	if (code != CURLE_OK) {
		free(a.text);
		cli_message("cannot ask %s: %s", address, *error ? error : curl_easy_strerror(code));
		if (curl_exit(code) == CLI_UNAVAILABLE)
			cli_note("hint: is metad running there? the address is --admin, FF3FS_ADMIN "
				 "or metad.admin in ff3fs.conf");
		return curl_exit(code);
	}
	doc = a.text ? json_loads(a.text, 0, NULL) : NULL;
	free(a.text);
	if (status >= 200 && status < 300 && doc) {
		*ret = doc;
		return CLI_OK;
	}
	if (status >= 200 && status < 300)
		cli_message("%s does not answer with JSON; is it an admin address?", address);
	status = doc || status >= 300 ? report(address, status, doc) : CLI_FAILURE;
	json_decref(doc);
	return (int)status;
}
