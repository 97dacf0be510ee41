# The calling side; part of libff3fs.so, so it may not need liburing.
noinst_LTLIBRARIES += libff3rpc.la
libff3rpc_la_SOURCES = \
	%D%/addr.c %D%/addr.h %D%/pass.c %D%/pass.h \
	%D%/rpc.c %D%/rpc.h %D%/rpc_priv.h \
	%D%/rpc_connect.c %D%/rpc_group.c %D%/rpc_group.h %D%/rpc_link.c %D%/rpc_send.c %D%/rpc_spin.c %D%/rpc_shm.c %D%/rpc_shm.h %D%/rpc_shm_recv.c %D%/shm.h %D%/shm_map.c %D%/shm_slots.c %D%/shm_slots.h \
	%D%/spin.c %D%/spin.h %D%/ticket_file.c %D%/ticket_file.h %D%/rpc_local.c %D%/rpc_stream.c %D%/rpc_recv.c %D%/rpc_wait.c

# Daemons: loop and server, and the calling side with them.
noinst_LTLIBRARIES += libff3server.la
libff3server_la_SOURCES = \
	%D%/loop.c %D%/loop_files.c %D%/loop_lent.c %D%/loop.h %D%/loop_priv.h \
	%D%/cap.c %D%/cap.h %D%/ticket.c %D%/ticket.h \
	%D%/server.c %D%/counters.h %D%/server.h %D%/server_priv.h %D%/server_shm.c %D%/conn.c %D%/conn_user.c %D%/reply.c %D%/stall.c \
	%D%/out.c %D%/out.h
libff3server_la_CFLAGS = $(AM_CFLAGS) $(URING_CFLAGS) $(NETTLE_CFLAGS)
libff3server_la_LIBADD = libff3rpc.la $(URING_LIBS) $(NETTLE_LIBS)

check_PROGRAMS += tests/unit-net tests/unit-ticket
TESTS += tests/unit-net tests/unit-ticket tests/e2e-sockets.sh tests/e2e-tickets.sh tests/e2e-users.sh
tests_unit_ticket_SOURCES = tests/unit-ticket.c
tests_unit_ticket_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_ticket_LDADD = libff3server.la libff3base.la $(CHECK_LIBS) -lpthread
tests_unit_net_SOURCES = \
	tests/unit-net.c tests/net_daemon.c tests/net_daemon.h tests/sure.h \
	tests/unit-net-calls.c tests/unit-net-faults.c tests/unit-net-group.c tests/unit-net-life.c tests/unit-net-links.c tests/unit-net-shm.c \
	tests/unit-net-stuck.c tests/unit-net-users.c
tests_unit_net_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_net_LDADD = libff3server.la libff3base.la $(CHECK_LIBS) -lpthread

# What the machine can do at most, to compare with.
noinst_PROGRAMS += tests/bench/limits
tests_bench_limits_SOURCES = tests/bench/limits.c tests/bench/limits.h \
	tests/bench/limits_tcp.c tests/bench/limits_disk.c common/base/pattern.h
tests_bench_limits_CFLAGS = $(AM_CFLAGS) $(URING_CFLAGS)
tests_bench_limits_LDADD = $(URING_LIBS)
EXTRA_DIST += tests/bench/run.sh tests/bench/table.py tests/bench/passthrough.sh tests/bench/disk.sh

# RDMA: the one thing that links rdma-core. The others load it late (verbs_load.c), and do without
# where it is not there.
libff3rpc_la_SOURCES += %D%/verbs.h %D%/verbs_frame.h %D%/verbs_load.c \
	%D%/rpc_verbs.h %D%/rpc_verbs.c \
	%D%/rpc_verbs_send.c %D%/rpc_verbs_recv.c %D%/rpc_verbs_window.c
libff3server_la_SOURCES += %D%/server_verbs.h %D%/server_verbs.c \
	%D%/server_verbs_io.c %D%/server_verbs_listen.c %D%/server_verbs_window.c %D%/window.h
EXTRA_DIST += %D%/verbs_priv.h
if VERBS
noinst_LTLIBRARIES += libff3verbs.la
libff3verbs_la_SOURCES = %D%/verbs.h %D%/verbs_priv.h \
	%D%/verbs_device.c %D%/verbs_memory.c %D%/verbs_pin.c %D%/verbs_queue.c %D%/verbs_link.c \
	%D%/verbs_cm.c %D%/verbs_listen.c common/base/fd_high.c common/base/probe.c
libff3verbs_la_CFLAGS = $(AM_CFLAGS) $(VERBS_CFLAGS)
libff3verbs_la_LIBADD = $(VERBS_LIBS) -lpthread
pkglib_LTLIBRARIES += libff3fs_verbs.la
libff3fs_verbs_la_SOURCES =
libff3fs_verbs_la_LIBADD = libff3verbs.la
libff3fs_verbs_la_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version -no-undefined \
	-export-symbols-regex '^ff3_verbs_api$$'

check_PROGRAMS += tests/unit-verbs
tests_unit_verbs_SOURCES = tests/unit-verbs.c tests/unit-verbs-memory.c tests/verbs_daemon.c tests/verbs_daemon.h \
	tests/sure.h
tests_unit_verbs_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_verbs_LDADD = libff3verbs.la libff3base.la $(CHECK_LIBS) -lpthread
check_PROGRAMS += tests/verbs_reads
tests_verbs_reads_SOURCES = tests/verbs_reads.c
tests_verbs_reads_LDADD = libff3client.la -lpthread
check_PROGRAMS += tests/verbs_writes
tests_verbs_writes_SOURCES = tests/verbs_writes.c
tests_verbs_writes_LDADD = libff3client.la -lpthread
check_PROGRAMS += tests/verbs_hooks
tests_verbs_hooks_SOURCES = tests/verbs_hooks.c
tests_verbs_hooks_LDADD = -ldl
check_PROGRAMS += tests/verbs_stale
tests_verbs_stale_SOURCES = tests/verbs_stale.c tests/hot-client.c tests/hot-client.h
tests_verbs_stale_LDADD = libff3client.la -lpthread
endif
