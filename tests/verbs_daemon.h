/* One side of a link of the module for RDMA, a daemon in a thread of its own, and the words in which a test is the
 * other; shared by the files of unit-verbs. The daemon does what each message asks for and says when it is done. */
#pragma once

#include <check.h>
#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>

#include "../common/net/verbs.h"

#define PORT "7471"
#define LIMIT_NS (20 * FF3_NSEC_PER_SEC)
#define OWN 8192u

extern const struct ff3_verbs_api ff3_verbs_api;
static const struct ff3_verbs_api *const v = &ff3_verbs_api;
extern const char *verbs_address; /* FF3FS_TEST_RDMA */

/* What a client asks for: as its message says. */
struct order {
	enum { ECHO, WRITE_TO, READ_FROM, HANG_UP, VANISH, EXPOSE, REVOKE, SHOW_OWN } what;
	uint32_t fill; /* WRITE_TO: the bytes; the answer to READ_FROM is their CRC */
	struct ff3_verbs_piece piece;
};

/* What tests may look at of the daemon. */
extern struct verbs_daemon {
	pthread_t thread;
	struct ff3_verbs_listener *listener;
	struct ff3_verbs_queue *queue;
	struct ff3_verbs_device *device;
	struct ff3_verbs_memory arena, own;
	uint8_t *block; /* of the arena */
	int stop_fd;
	_Atomic int n_links, n_accepted, n_dead;
	uint32_t pending; /* READ_FROM under way: its length */
	struct ff3_verbs_window *window;
	struct ff3_verbs_piece exposed;
	struct ff3_verbs_link *vanished;
} served;

struct addrinfo *resolve(const char *host, const char *port);
void daemon_start(void);
void daemon_stop(void);

/* The client's side. */
struct ff3_verbs_link *connect_to(const char *port);
void send_to(struct ff3_verbs_link *link, const void *p, size_t len);
void ask(struct ff3_verbs_link *link, int what, uint32_t fill, const void *p, uint32_t len,
		uint32_t rkey);
/* Sleeps until an event that is not NONE; one, or two that came together. */
int next_events(struct ff3_verbs_link *link, struct ff3_verbs_event e[2]);
struct ff3_verbs_event next_event(struct ff3_verbs_link *link);
void expect(struct ff3_verbs_link *link, const void *want, uint32_t len);
void expect_dead(struct ff3_verbs_link *link);

bool all_bytes(const uint8_t *p, uint8_t byte, size_t len);
void *pages(size_t len);

/* unit-verbs-memory.c */
void verbs_memory_tests(TCase *links, TCase *windows_too);
