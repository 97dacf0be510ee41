# The client core: the shim loads it, tools and programs link it.
noinst_LTLIBRARIES += libff3client.la
libff3client_la_SOURCES = \
	%D%/ff3fs.h %D%/attr_stat.h %D%/mount_mark.h %D%/internal.h %D%/recover.h %D%/replay.h %D%/batch.h %D%/slow.h \
	%D%/append.c %D%/batch.c %D%/batch_reap.c %D%/batch_slow.c %D%/board.c %D%/chunk_read.c %D%/chunk_write.c \
	%D%/client.c %D%/daemons.c %D%/dir.c %D%/file.c %D%/flusher.c %D%/fork.c %D%/hold.c %D%/recover.c %D%/replay.c \
	%D%/hot.c %D%/hot.h %D%/hot_ask.c %D%/hot_map.c %D%/hot_window.c %D%/hot_state.h %D%/inode.c \
	%D%/lease.c %D%/lease.h %D%/lease_keeper.c %D%/lease_table.c \
	%D%/lock.c \
	%D%/meta.c %D%/names.c %D%/piece.c %D%/read_ahead.c %D%/routes.c %D%/sync.c \
	%D%/texts.c %D%/user.c %D%/user_mem.c %D%/write_behind.c %D%/xattrs.c
libff3client_la_LIBADD = libff3rpc.la libff3base.la

lib_LTLIBRARIES += libff3fs.la
include_HEADERS += %D%/ff3fs.h
pkgconfig_DATA += %D%/ff3fs.pc
libff3fs_la_SOURCES =
libff3fs_la_LIBADD = libff3client.la -lpthread
# current:revision:age; see libtool's manual before changing it
libff3fs_la_LDFLAGS = $(AM_LDFLAGS) -version-info 0:0:0 -no-undefined \
	-export-symbols-regex '^ff3fs_'
EXTRA_DIST += %D%/ff3fs.pc.in tests/coherence.py tests/holders.py tests/leases.py
CLEANFILES += %D%/ff3fs.pc

# The inside, without daemons; then the calls of ff3fs.h against real ones.
check_PROGRAMS += tests/unit-client tests/e2e-client
TESTS += tests/unit-client tests/e2e-client.sh tests/e2e-coherence.sh tests/e2e-gather.sh tests/e2e-leases.sh tests/e2e-leases-leave.sh tests/fault-client.sh tests/crash-fsync.sh tests/crash-holders.sh tests/crash-holders-busy.sh tests/crash-sizes.sh
tests_unit_client_SOURCES = tests/unit-client.c
tests_unit_client_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_client_LDADD = libff3client.la $(CHECK_LIBS) -lpthread
tests_e2e_client_SOURCES = tests/e2e-client.c tests/e2e-client.h tests/e2e-client-batch.c \
	tests/e2e-client-io.c tests/e2e-client-cuts.c tests/e2e-client-load.c tests/e2e-client-many.c tests/e2e-client-names.c tests/clocks.h
tests_e2e_client_LDADD = libff3fs.la -lpthread

check_PROGRAMS += tests/e2e-hot
TESTS += tests/e2e-hot.sh
tests_e2e_hot_SOURCES = tests/e2e-hot.c tests/hot-client.c tests/hot-client.h tests/e2e-client.h
tests_e2e_hot_LDADD = libff3client.la libff3rpc.la libff3base.la -lpthread
check_PROGRAMS += tests/hot_liar
tests_hot_liar_SOURCES = tests/hot_liar.c tests/hot-client.c tests/hot-client.h tests/e2e-client.h
tests_hot_liar_LDADD = libff3client.la libff3rpc.la libff3base.la -lpthread

# Beside FUSE, memcpy and the disk.
noinst_PROGRAMS += tests/bench/hot tests/bench/cold
tests_bench_cold_SOURCES = tests/bench/cold.c common/base/pattern.h
tests_bench_cold_CFLAGS = $(AM_CFLAGS) $(URING_CFLAGS)
tests_bench_cold_LDADD = libff3fs.la $(URING_LIBS)
tests_bench_hot_SOURCES = tests/bench/hot.c tests/clocks.h
tests_bench_hot_LDADD = -lpthread
EXTRA_DIST += tests/bench/hot.sh tests/bench/cold.sh tests/bench/xrootd.sh
