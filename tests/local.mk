# Tests. Each folder registers its own in its local.mk:
#   check_PROGRAMS += tests/unit-x    tests_unit_x_SOURCES = tests/unit-x.c …
#   TESTS += tests/unit-x tests/e2e-x.sh
# A script needs no other line: every script in TESTS goes into the tarball by itself.
TEST_EXTENSIONS = .sh .py
LOG_COMPILER = bash $(top_srcdir)/tests/with-limit.sh
SH_LOG_COMPILER = bash $(top_srcdir)/tests/with-limit.sh bash
PY_LOG_COMPILER = bash $(top_srcdir)/tests/with-limit.sh /usr/bin/python3
AM_TESTS_ENVIRONMENT = \
	srcdir='$(abs_top_srcdir)'; builddir='$(abs_top_builddir)'; \
	CC='$(CC)'; SANITIZE_FLAGS='$(SANITIZE_FLAGS)'; LC_ALL=C.UTF-8; \
	TRANSPORT='$(TRANSPORT)'; \
	export srcdir builddir CC SANITIZE_FLAGS LC_ALL TRANSPORT;

TESTS += \
	%D%/e2e-verbs.sh \
	%D%/e2e-train.sh \
	%D%/e2e-transports.sh \
	%D%/e2e-scale.sh \
	%D%/e2e-torture.sh \
	%D%/e2e-locks.sh \
	%D%/e2e-append.sh \
	%D%/e2e-failover.sh \
	%D%/e2e-failover-net.sh \
	%D%/e2e-metad-list.sh \
	%D%/e2e-posix.sh \
	%D%/fault-return.sh \
	%D%/fault-start.sh \
	%D%/fault-errors.sh \
	%D%/fault-full.sh \
	%D%/crash-kill.sh \
	%D%/power-cut.sh \
	%D%/lint-includes.sh \
	%D%/lint-dist.sh \
	%D%/lint-size.sh \
	%D%/lint-manpages.sh \
	%D%/lint-clang.sh \
	%D%/lint-headers.sh \
	%D%/lint-text.sh \
	%D%/lint-transports.sh

# Unchanged programs, compared with a local directory: see ladder.sh.
TESTS += \
	%D%/e2e-ladder-apps.sh \
	%D%/e2e-ladder-cost.sh \
	%D%/e2e-ladder-fio.sh \
	%D%/e2e-ladder-others.sh \
	%D%/e2e-ladder-python.sh

EXTRA_DIST += \
	$(filter %.sh %.py,$(TESTS)) \
	%D%/nbd_volatile.c \
	%D%/late_clock.c \
	%D%/forged_daemon.py \
	%D%/posix_twin.py \
	%D%/power_load.py \
	%D%/crash_load.py \
	%D%/lock_hosts.py \
	%D%/lock_signal.py \
	%D%/append_same.py \
	%D%/failover_load.py \
	%D%/hold_frames.py \
	%D%/bench/failover.sh \
	%D%/bench/failover.py \
	%D%/scale_files.py \
	%D%/bench/cost.c \
	%D%/functions.sh %D%/away.sh %D%/hot.sh \
	%D%/ladder.sh \
	%D%/ladder_python.py \
	%D%/lint.sh \
	%D%/ops-table.awk \
	%D%/prepare.sh \
	%D%/tsan.supp \
	%D%/with-limit.sh \
	%D%/vm/machine.sh %D%/vm/init %D%/vm/guest.sh %D%/vm/all.sh %D%/vm/suite.sh %D%/vm/cannot %D%/vm/rdma-pages.sh %D%/vm/rdma-posix.sh %D%/vm/rdma-device.sh \
	%D%/vm/rdma-doctor.sh %D%/vm/rdma-links.sh %D%/vm/rdma-memlock.sh %D%/vm/cluster.sh %D%/vm/rdma-data.sh \
	%D%/vm/network.sh %D%/vm/rdma-away.sh %D%/vm/rdma-cost.sh %D%/vm/rdma-fork.sh %D%/vm/rdma-user.sh %D%/vm/rdma-hooks.sh %D%/vm/rdma-hot.sh %D%/vm/rdma-net.sh \
	%D%/vm/samples.py %D%/vm/rdma-reads.sh %D%/vm/rdma-faults.sh %D%/vm/rdma-train.sh %D%/vm/rdma-windows.sh \
	%D%/install-packages.sh \
	%D%/proof-bare.sh \
	%D%/run.sh
EXTRA_DIST += tools/try.sh tools/try_train.py .ci/run

# Frames that no client sends.
check_PROGRAMS += %D%/send-frame
%C%_send_frame_SOURCES = %D%/send-frame.c
%C%_send_frame_LDADD = libff3base.la

check_PROGRAMS += %D%/unit-base %D%/unit-wire
TESTS += %D%/unit-base %D%/unit-wire
%C%_unit_base_SOURCES = %D%/unit-base.c
%C%_unit_base_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
%C%_unit_base_LDADD = libff3base.la $(CHECK_LIBS)
%C%_unit_wire_SOURCES = %D%/unit-wire.c
%C%_unit_wire_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
%C%_unit_wire_LDADD = libff3base.la $(CHECK_LIBS)

# Its own build, without the sanitizers: they belong to what is preloaded into it.
check_PROGRAMS += %D%/torture
%C%_torture_SOURCES = %D%/torture.c
%C%_torture_SOURCES += %D%/torture.h %D%/torture_async.c %D%/torture_child.c %D%/torture_files.c
%C%_torture_SOURCES += %D%/torture_maps.c %D%/torture_names.c %D%/torture_signal.c %D%/torture_uring.c
%C%_torture_CFLAGS = -Wall
%C%_torture_LDADD = -lpthread
