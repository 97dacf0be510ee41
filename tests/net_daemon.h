/* A real server on a loop in its own thread, and calls to it; shared by the files of unit-net.
 * ping answers its cookie; chunk_read answers bytes that follow from (ino, offset); chunk_write
 * is answered with the CRC of what came (in version), OP_FDS with descriptors. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include <sys/socket.h>

#include <check.h>

#include "../common/net/rpc.h"
#include "../common/net/server.h"

#define CLUSTER 77
#define PAYLOAD_MAX FF3_PAYLOAD_MAX
/* Its cookie modulo 5 is the number of descriptors it is answered with; -ENOLCK if 7 divides it. */
#define OP_FDS 100
#define FDS_PER_REPLY 4

struct daemon {
	struct ff3_loop *loop, *second_loop;
	struct ff3_server *server, *second;
	pthread_t thread, second_thread;
	char address[64];
	uint16_t port;
	const char *sockets;      /* directory of a local socket besides; NULL: none */
	bool abstract;            /* listens on the abstract socket, too */
	struct ff3_links links;   /* of peer_for's options */
	bool move;                /* hellos move to the second server */
	unsigned room;            /* payloads that may be under way; 0: any number */
	atomic_uint under_way;    /* payload buffers */
	atomic_uint n_closed, n_aborted, n_requests, n_waited;
	atomic_uint second_requests;
	atomic_bool hold;         /* pings wait until a ping with cookie 0 */
	struct ff3_request *held[64];
	unsigned n_held;
	atomic_uint n_local; /* requests over local sockets */
	atomic_uint n_places; /* requests with a place for their payload */
	bool no_shm;          /* does not offer it */
	const struct ff3_tickets *tickets; /* asks for them; NULL: refuses them */
	uint64_t cluster; /* 0: CLUSTER */
	_Atomic uint64_t epoch; /* in hellos */
	const char *_Atomic primary; /* refuses hellos and names it; NULL: serves */
	struct {
		_Atomic uint64_t session, log_id, epoch;
		_Atomic uint32_t member, uid, gid;
	} hello; /* the last one */
	_Atomic uint32_t groups[4], n_groups; /* its first ones, and how many */
	struct ff3_work work;
	void (*run)(struct daemon *d);
	atomic_bool ran;
};

struct op {
	struct ff3_rpc_call call;
	uint8_t body[128], reply[256];
	uint32_t sums[8]; /* of a read's blocks, if there are no more */
	struct iovec iov;
};

uint8_t pattern_byte(uint64_t ino, uint64_t offset);
void fill(uint8_t *p, size_t len, uint64_t ino, uint64_t offset);
bool is_pattern(const uint8_t *p, size_t len, uint64_t ino, uint64_t offset);
/* The cases are run over verbs, at the address that FF3FS_TEST_RDMA names. There a peer asks by TCP first whether
 * the daemon listens for that: one connection more. */
bool net_over_verbs(void);
void *run_loop(void *loop);
void daemon_listen(struct daemon *d, const char *address);
void daemon_start(struct daemon *d);
void daemon_stop(struct daemon *d);
/* The same in a process of its own, and a peer that has one connection to it. */
pid_t daemon_apart(struct daemon *d, struct ff3_rpc_peer **peer);
void daemon_end_apart(pid_t pid, struct ff3_rpc_peer *peer);
struct ff3_rpc_peer *peer_for(const struct daemon *d, unsigned connections);
uint64_t in_ms(uint64_t ms);
void ping_init(struct op *op, uint64_t cookie);
int ping_result(struct op *op, uint64_t cookie);
int ping(struct ff3_rpc_peer *peer, uint64_t cookie);
void read_init(struct op *op, uint64_t ino, uint32_t offset, void *buf, uint32_t len, uint32_t flags);
void read_check(struct op *op, uint64_t ino, uint32_t offset);
void write_init(struct op *op, const void *buf, size_t len);
void write_check(struct op *op);

struct worker {
	struct daemon *d;
	struct ff3_rpc_peer *peer;
	pthread_t thread;
	unsigned seed;
};

/* A thread of calls of all kinds; arg is a struct worker. */
void *work(void *arg);

TCase *net_calls_case(void);
TCase *net_faults_case(void);
TCase *net_life_case(void);
TCase *net_group_case(void);
TCase *net_links_case(void);
TCase *net_shm_case(void);
TCase *net_stuck_case(void);
TCase *net_users_case(void);
