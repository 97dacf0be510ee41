/* common/net: fork, moving between loops, restart; and the loop by itself. */
#include <arpa/inet.h>
#include <poll.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "../common/base/crc32c.h"
#include "../common/net/loop_priv.h"
#include "net_daemon.h"

/* The child speaks on connections of its own, and what was under way is over for it. */
START_TEST(fork_child)
{
	struct daemon d = { .hold = true };
	struct ff3_rpc_peer *peer;
	struct op op;
	struct ff3_rpc_call *call = &op.call;
	pid_t pid;
	int status;

	daemon_start(&d);
	peer = peer_for(&d, 2);
	ck_assert_int_eq(ping(peer, 0), 0);
	ping_init(&op, 3);
	ck_assert_int_eq(ff3_rpc_start(peer, call), 0);
	ff3_rpc_before_fork();
	pid = fork();
	if (pid == 0) {
		ff3_rpc_fork_child(true);
		ff3_rpc_after_fork(peer, 10);
		if (ff3_rpc_wait(&call, 1, in_ms(5000)) != 0 || call->status != -ECONNRESET)
			_exit(1);
		for (int i = 0; i < 100; i++)
			if (ping(peer, 0) < 0)
				_exit(2);
		_exit(0);
	}
	ff3_rpc_fork_parent();
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	/* The child's pings let the parent's go. */
	ck_assert_int_eq(ff3_rpc_wait(&call, 1, in_ms(5000)), 0);
	ck_assert_int_eq(ping_result(&op, 3), 0);
	ff3_rpc_peer_free(peer);
	daemon_stop(&d);
}
END_TEST

START_TEST(hand_over)
{
	struct daemon d = { .move = true };
	struct worker w[4];

	daemon_start(&d);
	for (unsigned i = 0; i < ARRAY_SIZE(w); i++) {
		w[i] = (struct worker){ .d = &d, .peer = peer_for(&d, 2), .seed = i };
		ck_assert_int_eq(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(w); i++) {
		pthread_join(w[i].thread, NULL);
		ff3_rpc_peer_free(w[i].peer);
	}
	daemon_stop(&d);
	ck_assert_uint_gt(d.n_requests, 0);
	ck_assert_uint_eq(d.n_requests, d.second_requests);
}
END_TEST

static void free_server(struct ff3_work *w)
{
	struct daemon *d = CONTAINER_OF(w, struct daemon, work);

	ff3_server_free(TAKE_PTR(d->server));
	d->ran = true;
}

/* Freeing a server whose loop runs, with connections and unanswered requests; then another one
 * on the same loop. */
START_TEST(server_free_while_running)
{
	struct daemon d = { .hold = true };
	struct ff3_rpc_peer *peer;
	struct op op;
	struct ff3_rpc_call *call = &op.call;

	daemon_start(&d);
	peer = peer_for(&d, 1);
	ping_init(&op, 3);
	ck_assert_int_eq(ff3_rpc_start(peer, call), 0);
	while (d.n_requests == 0)
		sched_yield();
	d.work.fn = free_server;
	ff3_loop_post(d.loop, &d.work);
	ck_assert_int_eq(ff3_rpc_wait(&call, 1, in_ms(5000)), 0);
	ck_assert_int_eq(call->status, -ECONNRESET);
	while (!d.ran || d.n_closed == 0)
		sched_yield();
	ck_assert_int_eq(ping(peer, 1), -ECONNREFUSED);
	ff3_rpc_peer_free(peer);
	daemon_stop(&d);
}
END_TEST

START_TEST(restart_and_idle)
{
	struct daemon d = { 0 };
	struct ff3_rpc_peer *peer;
	char address[64];

	daemon_start(&d);
	peer = peer_for(&d, 4);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(ping(peer, 1), 0);
		ff3_rpc_close_idle(peer, FF3_NSEC_PER_SEC * 1000);
		ck_assert_int_eq(ping(peer, 2), 0);
		ff3_rpc_close_idle(peer, 0);
	}
	ck_assert_int_eq(ping(peer, 1), 0);
	snprintf(address, sizeof address, "%s", d.address);
	daemon_stop(&d);
	ck_assert_uint_eq(d.n_closed, 4 + net_over_verbs());
	ck_assert_int_lt(ping(peer, 1), 0);
	ck_assert_int_eq(ping(peer, 1), -ECONNREFUSED);
	daemon_listen(&d, address);
	ck_assert_int_eq(ping(peer, 1), 0);
	ff3_rpc_peer_free(peer);
	daemon_stop(&d);
}
END_TEST

/* Requests that are never answered but one-way. */
START_TEST(one_way)
{
	struct daemon d = { 0 };
	struct ff3_rpc_peer *peer;
	struct op op;

	daemon_start(&d);
	peer = peer_for(&d, 1);
	for (unsigned i = 0; i < 100; i++) {
		ping_init(&op, i);
		op.call.one_way = true;
		ck_assert_int_eq(ff3_rpc_start(peer, &op.call), 0);
		ck_assert(ff3_rpc_is_done(&op.call));
	}
	ck_assert_int_eq(ping(peer, 1), 0);
	ck_assert_uint_eq(d.n_requests, 101);
	ff3_rpc_peer_free(peer);
	daemon_stop(&d);
}
END_TEST

/* --- The loop ------------------------------------------------------------------------------ */

struct loop_case {
	struct ff3_loop *loop;
	struct ff3_timer timers[4];
	unsigned fired[4], n_fired;
	struct ff3_io io;
	int results[700];
	unsigned n_results;
	struct ff3_io many[600];
	char bytes[600];
	struct ff3_work works[100];
	unsigned n_works;
	pthread_t thread;
};

static struct loop_case *the_case;

static void on_timer(struct ff3_timer *t)
{
	struct loop_case *c = the_case;

	c->fired[c->n_fired++] = (unsigned)(t - c->timers);
	if (c->n_fired == 3)
		ff3_loop_stop(c->loop);
}

static void on_io(struct ff3_io *io, int res)
{
	the_case->results[the_case->n_results++] = res;
	if (the_case->n_results == 600)
		ff3_loop_stop(the_case->loop);
}

static void on_work(struct ff3_work *w)
{
	ck_assert_ptr_eq(w, &the_case->works[the_case->n_works++]);
	if (the_case->n_works == ARRAY_SIZE(the_case->works))
		ff3_loop_stop(the_case->loop);
}

static void *post_all(void *arg)
{
	struct loop_case *c = arg;

	for (unsigned i = 0; i < ARRAY_SIZE(c->works); i++)
		ff3_loop_post(c->loop, &c->works[i]);
	return NULL;
}

START_TEST(loop_alone)
{
	struct loop_case *c = the_case = calloc(1, sizeof *c);
	char name[] = "/tmp/unit-net-XXXXXX";
	int fd = mkstemp(name);

	ck_assert_int_ge(fd, 0);
	unlink(name);
	ck_assert_int_eq(ff3_loop_new(8, &c->loop), 0);
	for (unsigned i = 0; i < 4; i++)
		c->timers[i].fn = on_timer;
	ff3_loop_timer_arm(c->loop, &c->timers[0], 30 * FF3_NSEC_PER_MSEC);
	ff3_loop_timer_arm(c->loop, &c->timers[1], 10 * FF3_NSEC_PER_MSEC);
	ff3_loop_timer_arm(c->loop, &c->timers[2], 20 * FF3_NSEC_PER_MSEC);
	ff3_loop_timer_arm(c->loop, &c->timers[3], 5 * FF3_NSEC_PER_MSEC);
	ff3_loop_timer_cancel(c->loop, &c->timers[3]);
	ff3_loop_timer_arm(c->loop, &c->timers[0], 1 * FF3_NSEC_PER_MSEC);
	ck_assert_int_eq(ff3_loop_run(c->loop), 0);
	ck_assert_uint_eq(c->n_fired, 3);
	ck_assert_uint_eq(c->fired[0], 0);
	ck_assert_uint_eq(c->fired[1], 1);
	ck_assert_uint_eq(c->fired[2], 2);
	ff3_loop_free(c->loop);

	/* Far more operations than the queue holds, armed before the loop ran at all. */
	ck_assert_int_eq(ff3_loop_new(8, &c->loop), 0);
	ck_assert_int_eq(ff3_loop_register_memory(c->loop, c->bytes, sizeof c->bytes), 0);
	ck_assert_int_eq(ff3_loop_register_file(c->loop, fd), 0);
	for (unsigned i = 0; i < 600; i++) {
		c->many[i].fn = on_io;
		c->bytes[i] = (char)i;
		ff3_loop_write(c->loop, fd, &c->bytes[i], 1, i, &c->many[i]);
	}
	ck_assert_int_eq(ff3_loop_run(c->loop), 0);
	ck_assert_uint_eq(c->n_results, 600);
	for (unsigned i = 0; i < 600; i++)
		ck_assert_int_eq(c->results[i], 1);
	ff3_loop_unregister_file(c->loop, fd);
	c->n_results = 599;
	c->io.fn = on_io;
	ff3_loop_fdatasync(c->loop, fd, &c->io);
	ck_assert_int_eq(ff3_loop_run(c->loop), 0);
	ck_assert_int_eq(c->results[599], 0);

	for (unsigned i = 0; i < ARRAY_SIZE(c->works); i++)
		c->works[i].fn = on_work;
	ck_assert_int_eq(pthread_create(&c->thread, NULL, post_all, c), 0);
	ck_assert_int_eq(ff3_loop_run(c->loop), 0);
	pthread_join(c->thread, NULL);
	ff3_loop_free(c->loop);
	close(fd);
	free(c);
}
END_TEST

static void unpost_next(struct ff3_work *w)
{
	the_case->n_works++;
	ff3_loop_unpost(the_case->loop, w + 1);
}

/* --- Memory that files are read to ------------------------------------------------------------- */

#define LENT_READ FF3_KIB(64)
#define LENT_FILE (2 * FF3_LENT_PIECE)

static void stop_after_one(struct ff3_io *io, int res)
{
	the_case->results[0] = res;
	ff3_loop_stop(the_case->loop);
}

static char lent_bytes[LENT_FILE];

static void read_lent(int fd, char *to, size_t len, size_t from)
{
	the_case->io.fn = stop_after_one;
	memset(to, 0x55, len);
	ff3_loop_read(the_case->loop, fd, to, len, from, &the_case->io);
	ck_assert_int_eq(ff3_loop_run(the_case->loop), 0);
	ck_assert_int_eq(the_case->results[0], (int)len);
	ck_assert(memcmp(to, lent_bytes + from, len) == 0);
}

static char *shared(size_t size)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	ck_assert(p != MAP_FAILED);
	return p;
}

/* Until the piece has a slot, or was refused one; with a slot, the bytes go where it says. */
static void read_until_registered(int fd, struct ff3_lent *l, size_t piece, size_t len)
{
	bool possible = ff3_loop_files(the_case->loop)->n_lent_slots > 0;

	for (size_t at = 0; at < 3 * FF3_LENT_PIECE; at += len)
		read_lent(fd, l->base + piece * FF3_LENT_PIECE + at % (MIN(l->size, FF3_LENT_PIECE)), len,
			  (at * 3 + piece * 4096) % (LENT_FILE - len));
	ck_assert(!possible || l->slot[piece] != -1);
}

START_TEST(lent_memory)
{
	struct loop_case *c = the_case = calloc(1, sizeof *c);
	char name[] = "/tmp/unit-net-XXXXXX", arena[4096];
	struct ff3_lent a, b, *many;
	int fd = mkstemp(name), used;

	ck_assert_int_ge(fd, 0);
	unlink(name);
	for (size_t i = 0; i < LENT_FILE; i++)
		lent_bytes[i] = (char)(i / 512 * 7 + i / 65536 + i % 5);
	ck_assert_int_eq(pwrite(fd, lent_bytes, LENT_FILE, 0), (ssize_t)LENT_FILE);
	ck_assert_int_eq(ff3_loop_new(8, &c->loop), 0);
	ck_assert_int_eq(ff3_loop_register_memory(c->loop, arena, sizeof arena), 0);

	ff3_loop_lend(c->loop, &a, shared(2 * FF3_LENT_PIECE), 2 * FF3_LENT_PIECE);
	for (unsigned i = 0; i < 1000; i++)
		read_lent(fd, a.base, 4096, i * 4096 % LENT_FILE);
	ck_assert_int_eq(a.slot[0], -1); /* small reads are not worth it */
	read_until_registered(fd, &a, 0, LENT_READ);
	ck_assert_int_eq(a.slot[1], -1);
	read_until_registered(fd, &a, 1, LENT_READ);
	/* In both pieces, and partly outside. */
	for (unsigned i = 0; i < 100; i++)
		read_lent(fd, a.base + FF3_LENT_PIECE - LENT_READ / 2, LENT_READ, i * 4096);

	/* The slot of memory that has gone is another's. */
	used = a.slot[0];
	ff3_loop_lend(c->loop, &b, shared(LENT_READ), LENT_READ);
	ff3_loop_take_back(&a);
	ck_assert_int_eq(munmap(a.base, a.size), 0);
	read_until_registered(fd, &b, 0, LENT_READ);
	ck_assert_int_eq(b.slot[0], used);

	/* More than there are slots: the last ones do without, until one is free. */
	many = calloc(FF3_LENT_SLOTS, sizeof *many);
	for (unsigned i = 0; i < FF3_LENT_SLOTS; i++) {
		ff3_loop_lend(c->loop, &many[i], shared(LENT_READ), LENT_READ);
		for (unsigned k = 0; k < 64; k++)
			read_lent(fd, many[i].base, LENT_READ, i * 4096);
	}
	ck_assert_int_eq(many[FF3_LENT_SLOTS - 1].slot[0], used < 0 ? used : -1);
	ff3_loop_take_back(&b);
	ff3_loop_take_back(&b);
	read_until_registered(fd, &many[FF3_LENT_SLOTS - 1], 0, LENT_READ);

	ff3_loop_free(c->loop);
	for (unsigned i = 0; i < FF3_LENT_SLOTS; i++) {
		ff3_loop_take_back(&many[i]);
		munmap(many[i].base, LENT_READ);
	}
	munmap(b.base, LENT_READ);
	close(fd);
	free(many);
	free(c);
}
END_TEST

/* Neither before a turn nor in the middle of it. */
START_TEST(unposted)
{
	struct loop_case *c = the_case = calloc(1, sizeof *c);

	ck_assert_int_eq(ff3_loop_new(8, &c->loop), 0);
	for (unsigned i = 0; i < 5; i++) {
		c->works[i].fn = unpost_next;
		ff3_loop_post(c->loop, &c->works[i]);
	}
	ff3_loop_unpost(c->loop, &c->works[4]);
	ff3_loop_unpost(c->loop, &c->works[4]);
	ck_assert_int_eq(ff3_loop_step(c->loop, true), 0);
	ck_assert_uint_eq(c->n_works, 2);
	ff3_loop_post(c->loop, &c->works[0]);
	ck_assert_int_eq(ff3_loop_step(c->loop, true), 0);
	ck_assert_uint_eq(c->n_works, 3);
	ff3_loop_free(c->loop);
	free(c);
}
END_TEST

/* --- What completes together ---------------------------------------------------------------- */

#define TOGETHER 10u
#define TOGETHER_ROUNDS 50u

static struct {
	struct ff3_loop *loop;
	int fd;
	sem_t armed;
	struct ff3_io polls[TOGETHER];
	unsigned n_came;      /* of this round */
	unsigned n_rounds;    /* that are over */
	unsigned n_turns;     /* in which some came */
	bool came_now;
} together;

static void on_together(struct ff3_io *io, int res)
{
	ck_assert_int_eq(res, POLLIN);
	together.n_came++;
	together.came_now = true;
}

static void together_arm(void)
{
	together.n_came = 0;
	for (unsigned i = 0; i < TOGETHER; i++) {
		together.polls[i].fn = on_together;
		ff3_loop_poll(together.loop, together.fd, &together.polls[i]);
	}
	sem_post(&together.armed);
}

static void together_turn(void *arg)
{
	uint64_t value;

	together.n_turns += together.came_now;
	together.came_now = false;
	if (together.n_came < TOGETHER)
		return;
	ck_assert_int_eq(read(together.fd, &value, sizeof value), sizeof value);
	if (++together.n_rounds == TOGETHER_ROUNDS)
		ff3_loop_stop(together.loop);
	else
		together_arm();
}

static void until_asleep(pid_t tid)
{
	char path[64], state = 0;

	snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)tid);
	while (state != 'S') {
		FILE *f = fopen(path, "re");

		ck_assert_ptr_nonnull(f);
		ck_assert_int_eq(fscanf(f, "%*d (%*[^)]) %c", &state), 1);
		fclose(f);
		sched_yield();
	}
}

static void *together_write(void *arg)
{
	static const uint64_t one = 1;

	for (unsigned i = 0; i < TOGETHER_ROUNDS; i++) {
		sem_wait(&together.armed);
		until_asleep(*(pid_t *)arg);
		ck_assert_int_eq(write(together.fd, &one, sizeof one), sizeof one);
	}
	return NULL;
}

/* On one core with who makes them complete, a sleeping loop finds all of them when it is awake. */
START_TEST(completions_together)
{
	pid_t tid = gettid();
	pthread_t thread;
	cpu_set_t old, here;

	ck_assert_int_eq(sched_getaffinity(0, sizeof old, &old), 0);
	CPU_ZERO(&here);
	CPU_SET((unsigned)sched_getcpu(), &here);
	ck_assert_int_eq(sched_setaffinity(0, sizeof here, &here), 0);
	together.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ck_assert_int_ge(together.fd, 0);
	ck_assert_int_eq(sem_init(&together.armed, 0, 0), 0);
	ck_assert_int_eq(ff3_loop_new(0, &together.loop), 0);
	ff3_loop_set_idle(together.loop, together_turn, NULL);
	together_arm();
	ck_assert_int_eq(pthread_create(&thread, NULL, together_write, &tid), 0);
	ck_assert_int_eq(ff3_loop_run(together.loop), 0);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(together.n_rounds, TOGETHER_ROUNDS);
	/* The first one alone, and then the others: twice as many. */
	ck_assert_uint_le(together.n_turns, TOGETHER_ROUNDS + TOGETHER_ROUNDS / 5);
	ff3_loop_free(together.loop);
	sem_destroy(&together.armed);
	close(together.fd);
	sched_setaffinity(0, sizeof old, &old);
}
END_TEST

/* Nobody is awake when nothing happens, however lively it was before. */
START_TEST(idle)
{
	struct daemon d = { .hold = true };
	struct ff3_rpc_interrupt interrupt = { 0 };
	struct ff3_rpc_peer *peer;
	struct ff3_rpc_call *call;
	struct op op;
	uint64_t before;

	daemon_start(&d);
	peer = peer_for(&d, 1);
	for (int i = 0; i < 1000; i++)
		ck_assert_int_eq(ping(peer, 0), 0);
	/* Both sides wait: the client for an answer that does not come, in both ways in which one can wait. */
	ping_init(&op, 3);
	call = &op.call;
	before = ff3_now_ns(CLOCK_PROCESS_CPUTIME_ID);
	ck_assert_int_eq(ff3_rpc_start(peer, call), 0);
	ck_assert_int_eq(ff3_rpc_wait_interruptible(&call, 1, in_ms(500), &interrupt), -ETIMEDOUT);
	ck_assert_int_eq(ff3_rpc_wait(&call, 1, in_ms(500)), -ETIMEDOUT);
	/* Of the second; an emulated machine needs its time for the ticks. */
	ck_assert_uint_lt(ff3_now_ns(CLOCK_PROCESS_CPUTIME_ID) - before, 200 * FF3_NSEC_PER_MSEC);
	ff3_rpc_peer_free(peer);
	daemon_stop(&d);
}
END_TEST

TCase *net_life_case(void)
{
	TCase *t = tcase_create("life");

	tcase_set_timeout(t, 60);
	tcase_add_test(t, fork_child);
	tcase_add_test(t, hand_over);
	tcase_add_test(t, server_free_while_running);
	tcase_add_test(t, restart_and_idle);
	tcase_add_test(t, one_way);
	tcase_add_test(t, loop_alone);
	tcase_add_test(t, lent_memory);
	tcase_add_test(t, unposted);
	tcase_add_test(t, completions_together);
	tcase_add_test(t, idle);
	return t;
}
