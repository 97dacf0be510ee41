/* Purpose: the admin endpoint's HTTP server: routes, limits, errors as problem documents.
 *
 * Only loopback addresses are served, and only requests whose Host names loopback: a web page in
 * a local browser must not reach the endpoint through a name that it made resolve to 127.0.0.1.
 *
 * Threads: libmicrohttpd's one internal thread runs everything but _new and _free. It is started
 * with all signals blocked, so that a daemon's signalfd sees them.
 * Fork/signal: none here. */
#include "httpd.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/socket.h>

#include "../base/err.h"
#include "../base/log.h"

#define BODY_MAX FF3_MIB(1)
#define CONNECTIONS_MAX 64
#define IDLE_SECONDS 30

struct ff3_httpd {
	struct MHD_Daemon *daemon;
	const struct ff3_http_route *routes;
	size_t n_routes;
	void *ctx;
	char address[80];
};

/* One request while it arrives. */
struct state {
	bool begun;
	bool bad_uri;
	bool too_large;
	char *body;
	size_t len;
	void (*after)(void *ctx);
};

static int http_status(int r)
{
	switch (ff3_err_errno(r)) {
	case ENOENT:
	case ESTALE:
		return MHD_HTTP_NOT_FOUND;
	case EACCES:
	case EPERM:
		return MHD_HTTP_FORBIDDEN;
	case EEXIST:
	case ENOTEMPTY:
	case EBUSY:
		return MHD_HTTP_CONFLICT;
	case EINVAL:
	case ENOTDIR:
	case EISDIR:
	case ENAMETOOLONG:
	case ELOOP:
		return MHD_HTTP_BAD_REQUEST;
	case ENOSPC:
	case EDQUOT:
		return MHD_HTTP_INSUFFICIENT_STORAGE;
	case EAGAIN:
	case ETIMEDOUT:
	case ECONNREFUSED:
	case ECONNRESET:
	case EHOSTUNREACH:
	case ENOTCONN:
		return MHD_HTTP_SERVICE_UNAVAILABLE;
	default:
		return MHD_HTTP_INTERNAL_SERVER_ERROR;
	}
}

int ff3_http_problem(json_t **ret, int status, const char *code, const char *hint,
		     const char *format, ...)
{
	const char *title = MHD_get_reason_phrase_for((unsigned)status);
	char detail[1024];
	json_t *doc;
	va_list ap;

	va_start(ap, format);
	vsnprintf(detail, sizeof detail, format, ap);
	va_end(ap);
	doc = json_pack("{s:s, s:s, s:i, s:o, s:s}", "type", "about:blank", "title", title, "status",
			status, "detail", ff3_json_bytes(detail, strlen(detail)), "code", code);
	if (doc && hint)
		json_object_set_new(doc, "hint", json_string(hint));
	*ret = doc;
	return status;
}

int ff3_http_problem_errno(json_t **ret, int r, const char *what)
{
	const char *code = strerrorname_np(ff3_err_errno(r));

	return ff3_http_problem(ret, http_status(r), code ? code : "EIO", NULL, "%s: %s", what,
				ff3_strerror(r));
}

const char *ff3_http_query(const struct ff3_http_request *request, const char *name)
{
	const char *value = NULL;

	if (MHD_lookup_connection_value_n(request->connection, MHD_GET_ARGUMENT_KIND, name,
					  strlen(name), &value, NULL) == MHD_NO)
		return NULL;
	return value ? value : "";
}

/* --- Answering ------------------------------------------------------------------------------ */

static enum MHD_Result queue(struct MHD_Connection *connection, int status, const char *type,
			     char *text, size_t len, const char *allow)
{
	struct MHD_Response *response =
		MHD_create_response_from_buffer(len, text, MHD_RESPMEM_MUST_FREE);
	enum MHD_Result r;

	if (!response) {
		free(text);
		return MHD_NO;
	}
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
	if (allow)
		MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, allow);
	r = MHD_queue_response(connection, (unsigned)status, response);
	MHD_destroy_response(response);
	return r;
}

/* Takes doc. */
static enum MHD_Result queue_json(struct MHD_Connection *connection, int status, json_t *doc,
				  const char *allow)
{
	_cleanup_free_ char *text = NULL;
	char *line;
	size_t len;

	if (!doc && status >= 400)
		ff3_http_problem(&doc, status, "ERROR", NULL, "the request failed");
	if (doc)
		text = json_dumps(doc, JSON_INDENT(2));
	json_decref(doc);
	len = text ? strlen(text) : 0;
	line = malloc(len + 1);
	if (!line)
		return MHD_NO;
	if (len) {
		memcpy(line, text, len);
		line[len++] = '\n';
	}
	return queue(connection, status,
		     status >= 400 ? "application/problem+json" : "application/json", line, len,
		     allow);
}

static enum MHD_Result queue_problem(struct MHD_Connection *connection, int status,
				     const char *code, const char *detail)
{
	json_t *doc = NULL;

	ff3_http_problem(&doc, status, code, NULL, "%s", detail);
	return queue_json(connection, status, doc, NULL);
}

static enum MHD_Result run_text(struct ff3_httpd *h, const struct ff3_http_route *route,
				const struct ff3_http_request *request)
{
	struct MHD_Connection *connection = request->connection;
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	int status;

	if (!out)
		return MHD_NO;
	status = route->text(h->ctx, request, out);
	if (fclose(out) != 0) {
		free(text);
		return queue_problem(connection, 500, "ENOMEM", "no memory for the answer");
	}
	return queue(connection, status, "text/plain; version=0.0.4; charset=utf-8", text, len, NULL);
}

static enum MHD_Result run_file(struct ff3_httpd *h, const struct ff3_http_route *route,
				const struct ff3_http_request *request)
{
	struct MHD_Connection *connection = request->connection;
	struct MHD_Response *response;
	json_t *doc = NULL;
	uint64_t size = 0;
	enum MHD_Result r;
	int fd = -1, status = route->file(h->ctx, request, &fd, &size, &doc);

	if (status != MHD_HTTP_OK)
		return queue_json(connection, status, doc, NULL);
	response = MHD_create_response_from_fd64(size, fd);
	if (!response) {
		close(fd);
		return MHD_NO;
	}
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "application/octet-stream");
	MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	r = MHD_queue_response(connection, MHD_HTTP_OK, response);
	MHD_destroy_response(response);
	return r;
}

/* --- Routes --------------------------------------------------------------------------------- */

static bool match(const char *pattern, const char *path, const char **ret_rest)
{
	const char *brace = strchr(pattern, '{');
	size_t n = brace ? (size_t)(brace - pattern) : strlen(pattern);

	*ret_rest = "";
	if (!brace)
		return strcmp(pattern, path) == 0;
	if (strncmp(pattern, path, n) == 0) {
		*ret_rest = path + n + strspn(path + n, "/");
		return true;
	}
	/* "/v1/layouts" is "/v1/layouts/" with an empty rest. */
	return strlen(path) == n - 1 && strncmp(pattern, path, n - 1) == 0;
}

/* The methods that path knows, for an Allow header. */
static void allowed(const struct ff3_httpd *h, const char *path, char *buf, size_t size)
{
	const char *rest;
	size_t n = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < h->n_routes && n < size; i++) {
		const char *method = h->routes[i].method;

		if (!match(h->routes[i].pattern, path, &rest) || strstr(buf, method))
			continue;
		n += (size_t)snprintf(buf + n, size - n, "%s%s%s", n ? ", " : "", method,
				      strcmp(method, "GET") == 0 ? ", HEAD" : "");
	}
}

static enum MHD_Result dispatch(struct ff3_httpd *h, struct ff3_http_request *request)
{
	struct MHD_Connection *connection = request->connection;
	json_t *doc = NULL;
	char allow[128];
	int status;

	for (size_t i = 0; i < h->n_routes; i++) {
		const struct ff3_http_route *route = &h->routes[i];

		if (strcmp(route->method, request->method) != 0 ||
		    !match(route->pattern, request->path, &request->rest))
			continue;
		if (route->text)
			return run_text(h, route, request);
		if (route->file)
			return run_file(h, route, request);
		status = route->json(h->ctx, request, &doc);
		return queue_json(connection, status, doc, NULL);
	}
	allowed(h, request->path, allow, sizeof allow);
	if (allow[0])
		status = ff3_http_problem(&doc, MHD_HTTP_METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED",
					  NULL, "%s is not allowed on %s (allowed: %s)",
					  request->method, request->path, allow);
	else
		status = ff3_http_problem(&doc, MHD_HTTP_NOT_FOUND, "NOT_FOUND", NULL,
					  "there is nothing at %s", request->path);
	return queue_json(connection, status, doc, allow[0] ? allow : NULL);
}

static enum MHD_Result respond(struct ff3_httpd *h, struct MHD_Connection *connection,
			       struct state *state, const char *method, const char *url)
{
	struct ff3_http_request request = { .method = method, .path = url, .rest = "",
					    .connection = connection, .after = &state->after };
	json_error_t error;
	enum MHD_Result r;

	if (strcmp(method, "HEAD") == 0)
		request.method = "GET";
	if (state->len) {
		request.body = json_loadb(state->body, state->len, JSON_DECODE_ANY, &error);
		if (!request.body)
			return queue_problem(connection, MHD_HTTP_BAD_REQUEST, "BAD_JSON", error.text);
	}
	r = dispatch(h, &request);
	json_decref(request.body);
	return r;
}

/* --- Requests ------------------------------------------------------------------------------- */

static bool host_is_loopback(const char *host)
{
	static const char *const names[] = { "localhost", "[::1]" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		size_t n = strlen(names[i]);

		if (strncasecmp(host, names[i], n) == 0 && (host[n] == ':' || host[n] == '\0'))
			return true;
	}
	return strncmp(host, "127.", 4) == 0 && host[strspn(host, "0123456789.:")] == '\0';
}

/* The first thing called for a request, with the raw target: %00 would cut the decoded path. */
static void *on_uri(void *cls, const char *uri, struct MHD_Connection *connection)
{
	struct state *state = calloc(1, sizeof *state);

	if (state)
		state->bad_uri = strstr(uri, "%00") != NULL;
	return state;
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **con_cls,
			 enum MHD_RequestTerminationCode how)
{
	const struct ff3_httpd *h = cls;
	struct state *state = *con_cls;
	void (*after)(void *ctx) = state ? state->after : NULL;

	if (state)
		free(state->body);
	free(state);
	*con_cls = NULL;
	if (after)
		after(h->ctx);
}

/* Refuses what need not be read to its end. 0: go on. */
static int begin(struct MHD_Connection *connection, const struct state *state,
		 enum MHD_Result *ret)
{
	const char *host =
		MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST);
	const char *length = MHD_lookup_connection_value(connection, MHD_HEADER_KIND,
							 MHD_HTTP_HEADER_CONTENT_LENGTH);

	if (host && !host_is_loopback(host))
		*ret = queue_problem(connection, 421, "MISDIRECTED",
				     "this endpoint answers only to a loopback Host");
	else if (state->bad_uri)
		*ret = queue_problem(connection, MHD_HTTP_BAD_REQUEST, "EINVAL",
				     "a NUL in the path");
	else if (length && strtoull(length, NULL, 10) > BODY_MAX)
		*ret = queue_problem(connection, MHD_HTTP_CONTENT_TOO_LARGE, "E2BIG",
				     "the request body is larger than 1 MiB");
	else
		return 0;
	return 1;
}

static void gather(struct state *state, const char *data, size_t len)
{
	char *body;

	if (state->too_large || state->len + len > BODY_MAX) {
		state->too_large = true;
		return;
	}
	body = realloc(state->body, state->len + len);
	if (!body) {
		state->too_large = true;
		return;
	}
	memcpy(body + state->len, data, len);
	state->body = body;
	state->len += len;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url,
				  const char *method, const char *version, const char *data,
				  size_t *data_len, void **con_cls)
{
	struct state *state = *con_cls;
	enum MHD_Result r;

	if (!state)
		return MHD_NO;
	if (!state->begun) {
		state->begun = true;
		return begin(connection, state, &r) ? r : MHD_YES;
	}
	if (*data_len) {
		gather(state, data, *data_len);
		*data_len = 0;
		return MHD_YES;
	}
	if (state->too_large)
		return queue_problem(connection, MHD_HTTP_CONTENT_TOO_LARGE, "E2BIG",
				     "the request body is larger than 1 MiB");
	return respond(cls, connection, state, method, url);
}

static void on_log(void *cls, const char *format, va_list ap) PRINTF_LIKE(2, 0);
static void on_log(void *cls, const char *format, va_list ap)
{
	char text[512];

	vsnprintf(text, sizeof text, format, ap);
	text[strcspn(text, "\n")] = '\0';
	ff3_debug("admin endpoint: %s", text);
}

/* --- Start and end -------------------------------------------------------------------------- */

/* "127.0.0.1:9733" or "[::1]:0" → one socket address. */
static int resolve(const char *address, struct sockaddr_storage *ret, socklen_t *ret_len)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM,
				  .ai_flags = AI_PASSIVE | AI_NUMERICSERV };
	struct addrinfo *list = NULL;
	const char *colon = strrchr(address, ':');
	char host[256];
	size_t n;

	if (!colon || colon == address)
		return -EINVAL;
	n = (size_t)(colon - address);
	if (address[0] == '[' && address[n - 1] == ']') {
		address++;
		n -= 2;
	}
	if (n >= sizeof host)
		return -EINVAL;
	memcpy(host, address, n);
	host[n] = '\0';
	if (getaddrinfo(host, colon + 1, &hints, &list) != 0)
		return -EINVAL;
	memcpy(ret, list->ai_addr, list->ai_addrlen);
	*ret_len = list->ai_addrlen;
	freeaddrinfo(list);
	return 0;
}

static bool is_loopback(const struct sockaddr_storage *ss)
{
	if (ss->ss_family == AF_INET)
		return (ntohl(((const struct sockaddr_in *)ss)->sin_addr.s_addr) >> 24) == 127;
	return ss->ss_family == AF_INET6 &&
	       IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)ss)->sin6_addr);
}

static int listen_on(const struct sockaddr_storage *ss, socklen_t len, int *ret_fd)
{
	_cleanup_close_ int fd = socket(ss->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int one = 1;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(fd, (const struct sockaddr *)ss, len) < 0 || listen(fd, CONNECTIONS_MAX) < 0)
		return -errno;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static void name_address(struct ff3_httpd *h, int fd)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof ss;
	char host[64], port[16];

	if (getsockname(fd, (struct sockaddr *)&ss, &len) < 0 ||
	    getnameinfo((struct sockaddr *)&ss, len, host, sizeof host, port, sizeof port,
			NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		return;
	snprintf(h->address, sizeof h->address, ss.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host,
		 port);
}

/* Takes fd when it succeeds. */
static int start_daemon(struct ff3_httpd *h, int fd)
{
	sigset_t all, old;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	h->daemon = MHD_start_daemon(
		MHD_USE_AUTO_INTERNAL_THREAD | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_request, h,
		MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_LISTEN_SOCKET, fd,
		MHD_OPTION_URI_LOG_CALLBACK, on_uri, NULL, MHD_OPTION_NOTIFY_COMPLETED,
		on_completed, h, MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX,
		MHD_OPTION_CONNECTION_TIMEOUT, IDLE_SECONDS, MHD_OPTION_END);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return h->daemon ? 0 : -ENOMEM;
}

int ff3_httpd_new(const char *address, const struct ff3_http_route *routes, size_t n_routes,
		  void *ctx, struct ff3_httpd **ret)
{
	_cleanup_free_ struct ff3_httpd *h = calloc(1, sizeof *h);
	struct sockaddr_storage ss = { 0 };
	_cleanup_close_ int fd = -1;
	socklen_t len;
	int r;

	if (!h)
		return -ENOMEM;
	h->routes = routes;
	h->n_routes = n_routes;
	h->ctx = ctx;
	r = resolve(address, &ss, &len);
	if (r < 0)
		return r;
	if (!is_loopback(&ss))
		return -EACCES;
	r = listen_on(&ss, len, &fd);
	if (r < 0)
		return r;
	name_address(h, fd);
	r = start_daemon(h, fd);
	if (r < 0)
		return r;
	TAKE_FD(fd);
	*ret = TAKE_PTR(h);
	return 0;
}

void ff3_httpd_free(struct ff3_httpd *httpd)
{
	if (!httpd)
		return;
	MHD_stop_daemon(httpd->daemon);
	free(httpd);
}

const char *ff3_httpd_address(const struct ff3_httpd *httpd)
{
	return httpd->address;
}
