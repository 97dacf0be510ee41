# Built in this folder: ff3fs-metad, and its parts as a library for the unit tests.
noinst_LTLIBRARIES += libff3metad.la
libff3metad_la_SOURCES = \
	%D%/apply.c %D%/apply.h %D%/apply_common.c %D%/apply_results.c \
	%D%/cache.c %D%/cache.h %D%/cache_set.c %D%/cache_set.h \
	%D%/db.c %D%/db.h %D%/db_private.h %D%/db_cluster.c %D%/db_commit.c %D%/db_dentry.c %D%/db_digest.c \
	%D%/db_fsck.c %D%/db_fsck.h %D%/db_fsck_chunks.c \
	%D%/db_inode.c %D%/db_member.c %D%/db_queue.c %D%/db_reader.c %D%/db_scan.c %D%/db_snapshot.c %D%/db_snapshot.h %D%/db_xattr.c \
	%D%/inode.c %D%/inode.h \
	%D%/log.c %D%/log.h %D%/log_private.h %D%/log_read.c %D%/log_recover.c \
	%D%/op_cluster.c %D%/op_internal.c %D%/op_name.c %D%/op_open.c %D%/op_rename.c %D%/op_repair.c \
	%D%/op_setattr.c %D%/op_tree.c %D%/op_xattr.c \
	%D%/path.c %D%/path.h \
	%D%/record.c %D%/record.h \
	%D%/xattr.h
libff3metad_la_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_builddir)/%D%
libff3metad_la_CFLAGS = $(AM_CFLAGS) $(SQLITE_CFLAGS)
libff3metad_la_LIBADD = libff3base.la $(SQLITE_LIBS) -lpthread

sbin_PROGRAMS += ff3fs-metad
ff3fs_metad_SOURCES = \
	%D%/main.c %D%/metad.h \
	%D%/admin.h %D%/admin_lists.c %D%/admin_members.c %D%/backup_admin.c %D%/metad_admin.c \
	%D%/fsck.c %D%/fsck.h %D%/fsck_admin.c %D%/fsck_chunks.c \
	%D%/ahead.c %D%/ahead.h \
	%D%/caps.c \
	%D%/checkpointer.c %D%/db_checkpoint.c %D%/db_checkpoint.h \
	%D%/chunk_calls.c %D%/chunk_calls.h \
	%D%/cleaner.c %D%/cleaner.h %D%/cleaner_garbage.c %D%/cleaner_trees.c %D%/cleaner_truncate.c \
	%D%/append.c %D%/file.c %D%/file.h %D%/file_wait.c \
	%D%/filler.c %D%/filler.h \
	%D%/group.c %D%/group.h %D%/group_priv.h %D%/group_admit.c %D%/group_conf.c %D%/group_copy.c \
	%D%/group_disk.c %D%/group_install.c %D%/group_link.c %D%/group_role.c %D%/group_view.c \
	%D%/group_wire.c \
	$(REPLICA_SOURCES) \
	%D%/vote.c %D%/vote.h \
	%D%/lease.c %D%/lease.h %D%/lease_set.c %D%/lease_wait.c %D%/serve_lease.c \
	%D%/lock.c %D%/pipeline.c %D%/readdir.h %D%/readers.c %D%/readers.h %D%/restored.c %D%/routes.c %D%/session.c \
	%D%/serve.c %D%/serve_mutate.c %D%/serve_read.c %D%/serve_readdir.c %D%/serve_session.c \
	%D%/worker.c %D%/worker.h
ff3fs_metad_CFLAGS = $(AM_CFLAGS) $(SQLITE_CFLAGS) $(JANSSON_CFLAGS) $(SYSTEMD_CFLAGS)
ff3fs_metad_LDADD = libff3metad.la libff3server.la libff3admin.la libff3base.la \
	$(JANSSON_LIBS) $(SYSTEMD_LIBS) $(SQLITE_LIBS) -lpthread

EXTRA_DIST += %D%/schema.sql
CLEANFILES += %D%/schema_sql.h
%D%/schema_sql.h: %D%/schema.sql
	$(AM_V_GEN)mkdir -p %D% && { echo 'static const char metad_schema_sql[] ='; \
		sed -e 's/"/\\"/g' -e 's/.*/	"&\\n"/' $(srcdir)/%D%/schema.sql; echo '	;'; } >$@.new && \
		mv $@.new $@
$(libff3metad_la_OBJECTS): %D%/schema_sql.h

dist_man_MANS += man/ff3fs-metad.8
systemdsystemunit_DATA += %D%/ff3fs-metad.service
EXTRA_DIST += %D%/ff3fs-metad.service.in
CLEANFILES += %D%/ff3fs-metad.service

# Tests.
check_PROGRAMS += tests/metad_bench
tests_metad_bench_SOURCES = tests/metad_bench.c tests/metad_client.c tests/metad_client.h tests/test_links.h
tests_metad_bench_LDADD = libff3rpc.la libff3base.la -lpthread
check_PROGRAMS += tests/metad_rates
tests_metad_rates_SOURCES = tests/bench/metad_rates.c
tests_metad_rates_CFLAGS = $(AM_CFLAGS) $(SQLITE_CFLAGS) -I$(top_builddir)
tests_metad_rates_LDADD = libff3rpc.la libff3base.la $(SQLITE_LIBS) -lpthread
$(tests_metad_rates_OBJECTS): %D%/schema_sql.h
check_PROGRAMS += tests/metad_coherent
tests_metad_coherent_SOURCES = tests/metad_coherent.c tests/metad_client.c tests/metad_client.h tests/test_links.h
tests_metad_coherent_LDADD = libff3rpc.la libff3base.la -lpthread
check_PROGRAMS += tests/metad_waits
tests_metad_waits_SOURCES = tests/bench/metad_waits.c tests/metad_client.c tests/metad_client.h tests/test_links.h
tests_metad_waits_LDADD = libff3rpc.la libff3base.la -lpthread
check_PROGRAMS += tests/metad_posix
tests_metad_posix_SOURCES = tests/metad_posix.c tests/metad_client.c tests/metad_client.h tests/test_links.h
tests_metad_posix_LDADD = libff3rpc.la libff3base.la -lpthread
check_PROGRAMS += tests/metad_drive
tests_metad_drive_SOURCES = tests/metad_drive.c tests/metad_client.c tests/metad_client.h tests/test_links.h
tests_metad_drive_LDADD = libff3rpc.la libff3base.la -lpthread
TESTS += tests/group-behind.sh tests/group-clock.sh tests/group-cut.sh tests/group-diverge.sh \
	tests/group-eio.sh tests/group-form.sh tests/group-full.sh tests/group-kill.sh tests/group-log.sh \
	tests/group-power.sh tests/group-promote.sh \
	tests/group-replaced.sh tests/group-restore.sh tests/group-stop.sh tests/group-witness.sh \
	tests/lint-failures.sh
EXTRA_DIST += tests/group.sh tests/faulty-device.sh tests/wall_clock.c
TESTS += tests/e2e-metad.sh tests/e2e-metad-checkpoint.sh tests/e2e-metad-clean.sh \
	tests/e2e-metad-fill.sh tests/e2e-metad-posix.sh tests/e2e-metad-readers.sh tests/e2e-backup.sh tests/e2e-fsck.sh tests/e2e-names.sh
check_PROGRAMS += tests/metad_fill
EXTRA_DIST += tests/bench/names.sh tests/bench/waits.sh
tests_metad_fill_SOURCES = tests/metad_fill.c tests/metad_client.c tests/metad_client.h tests/test_links.h
tests_metad_fill_CFLAGS = $(AM_CFLAGS) $(SQLITE_CFLAGS)
tests_metad_fill_LDADD = libff3metad.la libff3rpc.la libff3base.la -lpthread
check_PROGRAMS += tests/names_drive
tests_names_drive_SOURCES = tests/names_drive.c
tests_names_drive_LDADD = libff3fs.la libff3base.la -lpthread

check_PROGRAMS += tests/unit-metad-log tests/unit-metad-apply tests/unit-metad-trees tests/unit-metad-cache
TESTS += tests/unit-metad-log tests/unit-metad-apply tests/unit-metad-trees tests/unit-metad-cache
tests_unit_metad_cache_SOURCES = tests/unit-metad-cache.c tests/metad_direct.c tests/metad_direct.h
tests_unit_metad_cache_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_metad_cache_LDADD = libff3metad.la libff3base.la $(CHECK_LIBS)
tests_unit_metad_trees_SOURCES = tests/unit-metad-trees.c tests/metad_direct.c tests/metad_direct.h
tests_unit_metad_trees_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(SQLITE_CFLAGS)
tests_unit_metad_trees_LDADD = libff3metad.la libff3base.la $(CHECK_LIBS) $(SQLITE_LIBS)
tests_unit_metad_log_SOURCES = tests/unit-metad-log.c tests/metad_direct.c tests/metad_direct.h
tests_unit_metad_log_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_metad_log_LDADD = libff3metad.la libff3base.la $(CHECK_LIBS)
tests_unit_metad_apply_SOURCES = tests/unit-metad-apply.c tests/metad_direct.c tests/metad_direct.h
tests_unit_metad_apply_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_metad_apply_LDADD = libff3metad.la libff3base.la $(CHECK_LIBS)

# The rules of a group, which are pure, and the worlds in which they are tried.
REPLICA_SOURCES = %D%/replica.c %D%/replica.h %D%/replica_internal.h %D%/replica_elect.c \
	%D%/replica_follow.c %D%/replica_lead.c %D%/replica_log.c
check_PROGRAMS += tests/unit-metad-replica tests/sim/sim
TESTS += tests/unit-metad-replica tests/sim-schedules.sh tests/sim-bugs.sh
tests_unit_metad_replica_SOURCES = tests/unit-metad-replica.c $(REPLICA_SOURCES)
tests_unit_metad_replica_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_metad_replica_LDADD = $(CHECK_LIBS)
tests_sim_sim_SOURCES = $(REPLICA_SOURCES) \
	tests/sim/main.c tests/sim/sim.c tests/sim/sim.h tests/sim/sim_check.c \
	tests/sim/sim_disk.c tests/sim/sim_member.c tests/sim/sim_world.c tests/sim/sim_worlds.c

# Many schedules, on every core.
.PHONY: sim
sim: tests/sim/sim
	@n=$$(nproc); each=$$((100000 / n + 1)); pids=; \
	for i in $$(seq 0 $$((n - 1))); do \
		tests/sim/sim --from $$((1 + i * each)) --count $$each & pids="$$pids $$!"; \
	done; failed=0; for p in $$pids; do wait $$p || failed=1; done; exit $$failed
