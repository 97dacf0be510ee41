/* The HTTP JSON endpoint of a daemon: a small server over libmicrohttpd.
 *
 * Threads: handlers run one at a time on the server's one thread, never on a loop of the daemon;
 * loop_call.h takes a snapshot from a loop. Start and free belong to one thread.
 * Fork: the server exists in the parent only; a daemon does not fork while it serves.
 *
 * What the daemons serve, and ff3fs-admin and ff3fs dev read. Ids of 64 bits are strings of 16 hex
 * digits, sizes are bytes, a list is {"items": [...], "next": null}:
 *
 *   GET /healthz             200 {"status": "ok"} while the process lives
 *   GET /readyz              200 {"status": "ready"}, or 503 and a problem: it does not serve yet
 *   GET /metrics             Prometheus text
 *   GET /v1/status           metad: {"daemon": "metad", "version", "cluster", "instance",
 *                            "uptime_seconds", "listen", "state": "healthy" | "degraded",
 *                            "nodes", "targets", "chains", "inodes", "removals", "sessions", "capacity",
 *                            "used", "free"}
 *                            chunkd: {"daemon": "chunkd", "version", "cluster", "instance",
 *                            "uptime_seconds", "listen", "node", "state", "targets", "capacity",
 *                            "used", "memory", "memory_used"}
 *   GET /v1/nodes            metad: {"node", "address", "admin", "seen_ms" (null: never),
 *                            "state": "up" | "down", "targets": n}
 *   GET /v1/targets          {"target", "node", "state": "serving" | "offline", "capacity",
 *                            "used"}; chunkd: its own, with "path"
 *   GET /v1/chains           metad: {"chain": n, "version": n, "members": [target...]}
 *   GET /v1/removals         metad: trees being removed, and the last ones that were: {"removal",
 *                            "uid", "began", "ended" (null: it goes on), "names", "directories",
 *                            "pending", "waiting"}
 *   POST /v1/fsck            metad: {"repair": bool} begins a check: 202, or 409 while there is one
 *   GET /v1/fsck?from=N      {"state": "idle" | "running" | "done" | "failed", "phase", "done", "total",
 *                            "found", "repaired", "repair", "items": [{"kind", "ino", "path", "text",
 *                            "repaired", "repair"}], "next": N or null, "targets_away": [target...]}
 *   DELETE /v1/fsck          ends it
 *   POST /v1/metad/backup    metad: begins a backup: 202, or 409 while there is one
 *   GET /v1/metad/backup     {"state": "idle" | "running" | "ready" | "failed", "done", "total",
 *                            "backup": {"cluster", "epoch", "seq", "time", "inodes", "size"} (ready),
 *                            "error" (failed)}
 *   DELETE /v1/metad/backup  ends or drops it
 *   GET /v1/metad/backup/data  the file, once (backup_file.h)
 *   GET /v1/layouts/{path}   metad: {"path", "chunk_size", "stripe", "seed", "own",
 *                            "pinned", "chains": [n...]}; 404 where there is nothing
 *   GET /v1/metad/members    metad: {"id", "address", "state": "voter" | "learner" | "replaced" |
 *                            "outside", "witness", "primary", "connected", "log_id", "match_seq",
 *                            "heard_ms"}, beside the list "role", "member", "primary" (its address),
 *                            "epoch", "last_seq", "durable_seq", "commit_seq", "applied_seq",
 *                            "serving", "damaged"; a checkpoint under way: "copied", "copy_size"
 *   POST /v1/metad/members/ID/admit, …/ID/remove, /v1/metad/hand-over[/ID], /v1/metad/promote
 *                            metad: {"status": "ok", "id"}; 409 with "primary" from who is not it */
#pragma once

#include <jansson.h>
#include <stdio.h>

#include "../base/base.h"
#include "json_bytes.h"

struct ff3_httpd;

struct ff3_http_request {
	const char *method; /* "GET" also for a HEAD request */
	const char *path;   /* decoded, without the query */
	const char *rest;   /* what {path} of the route's pattern matched, without leading slashes */
	json_t *body;       /* of a request that had one; borrowed, may be NULL */
	void *connection;   /* for ff3_http_query */
	/* What a handler sets here is called, on the server's thread, when its answer was sent or cannot be. */
	void (**after)(void *ctx);
};

/* Answers request with an HTTP status and a document in ret (a new reference; may be left NULL).
 * For a status of 400 and above the document is a problem: see ff3_http_problem. */
typedef int ff3_http_json_fn(void *ctx, const struct ff3_http_request *request, json_t **ret);
/* Answers with text/plain written to out; the HTTP status. */
typedef int ff3_http_text_fn(void *ctx, const struct ff3_http_request *request, FILE *out);

/* Answers with the first size bytes of a file, whose descriptor is then closed: 200; or with a problem. */
typedef int ff3_http_file_fn(void *ctx, const struct ff3_http_request *request, int *ret_fd,
			     uint64_t *ret_size, json_t **ret);

/* One of json, text and file is set. pattern is a whole path, "/v1/status", or ends in "{path}", which
 * matches any rest, the empty one included: "/v1/layouts/{path}". The first that matches wins.
 * A GET route answers HEAD too. */
struct ff3_http_route {
	const char *method;
	const char *pattern;
	ff3_http_json_fn *json;
	ff3_http_text_fn *text;
	ff3_http_file_fn *file;
};

/* Serves routes (kept, not copied) on address, "127.0.0.1:9733", "localhost:0" or "[::1]:0".
 * Only loopback addresses: -EACCES for another one. -EINVAL: not an address. -EADDRINUSE … */
int ff3_httpd_new(const char *address, const struct ff3_http_route *routes, size_t n_routes,
		  void *ctx, struct ff3_httpd **ret);
/* Waits for the handler that is running. Accepts NULL. */
void ff3_httpd_free(struct ff3_httpd *httpd);
/* "127.0.0.1:9733": where it listens in fact. */
const char *ff3_httpd_address(const struct ff3_httpd *httpd);

/* The value of a query parameter; NULL if it is absent, "" for "?name". */
const char *ff3_http_query(const struct ff3_http_request *request, const char *name);

/* Makes an application/problem+json document and returns status, for `return ff3_http_problem(…)`.
 * code: a word for programs ("ENOENT"); hint: what the caller can do, or NULL. */
int ff3_http_problem(json_t **ret, int status, const char *code, const char *hint,
		     const char *format, ...) PRINTF_LIKE(5, 6);
/* The same for a negative errno or code of err.h: "what: No such file or directory". */
int ff3_http_problem_errno(json_t **ret, int r, const char *what);
