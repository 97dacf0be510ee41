ff3fs_shared_sources = \
	%D%/cli.c %D%/cli_text.c %D%/cli.h \
	common/admin/json_bytes.c common/admin/json_bytes.h
ff3fs_transfer_sources = \
	%D%/cli_fs.c \
	%D%/pieces.c %D%/pieces.h \
	%D%/pool.c %D%/pool.h \
	%D%/progress.c %D%/progress.h \
	%D%/transfer.c %D%/transfer.h %D%/transfer_job.c

bin_PROGRAMS += ff3fs ff3fs-put ff3fs-get
ff3fs_SOURCES = \
	$(ff3fs_shared_sources) %D%/cli_fs.c \
	%D%/main.c %D%/commands.h \
	%D%/where.c %D%/where.h \
	%D%/pool.c %D%/pool.h \
	%D%/notify.c %D%/notify.h %D%/notify_calls.c %D%/notify_cwd.c %D%/notify_file.c \
	%D%/notify_filter.c %D%/notify_path.c \
	%D%/cmd_df.c %D%/cmd_layout.c %D%/cmd_ls.c %D%/cmd_mkdir.c %D%/cmd_mv.c %D%/cmd_rm.c \
	%D%/cmd_check.c %D%/cmd_run.c %D%/cmd_stat.c %D%/cmd_ticket.c \
	common/net/ticket.c common/net/ticket.h common/net/ticket_file.c common/net/ticket_file.h \
	%D%/program.c %D%/program.h \
	%D%/cmd_doctor.c %D%/doctor.h %D%/doctor_host.c %D%/doctor_shim.c %D%/doctor_cluster.c \
	%D%/bench.c %D%/bench.h %D%/bench_files.c %D%/bench_io.c %D%/bench_measure.c \
	common/base/pattern.h \
	%D%/dev.c %D%/dev.h %D%/dev_conf.c %D%/dev_group.c %D%/dev_http.c %D%/dev_process.c
ff3fs_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS) $(NETTLE_CFLAGS)
ff3fs_LDADD = libff3fs.la libff3base.la $(JANSSON_LIBS) $(NETTLE_LIBS) -lpthread

ff3fs_put_SOURCES = \
	$(ff3fs_shared_sources) $(ff3fs_transfer_sources) %D%/put.c %D%/put.h %D%/put_file.c
ff3fs_put_CFLAGS = $(ff3fs_CFLAGS)
ff3fs_put_LDADD = libff3fs.la libff3base.la $(JANSSON_LIBS) -lpthread

ff3fs_get_SOURCES = \
	$(ff3fs_shared_sources) $(ff3fs_transfer_sources) %D%/get.c %D%/get.h %D%/get_file.c
ff3fs_get_CFLAGS = $(ff3fs_CFLAGS)
ff3fs_get_LDADD = $(ff3fs_put_LDADD)

bin_PROGRAMS += ff3fs-admin
ff3fs_admin_SOURCES = \
	$(ff3fs_shared_sources) %D%/admin.c %D%/admin.h %D%/admin_http.c %D%/admin_members.c %D%/admin_metad.c %D%/admin_fsck.c \
	%D%/progress.c %D%/progress.h common/admin/backup_file.c common/admin/backup_file.h
ff3fs_admin_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS) $(CURL_CFLAGS)
ff3fs_admin_LDADD = libff3base.la $(JANSSON_LIBS) $(CURL_LIBS) -lpthread

if FUSE
bin_PROGRAMS += ff3fs-mount
endif
ff3fs_mount_SOURCES = \
	$(ff3fs_shared_sources) %D%/cli_fs.c \
	%D%/mount.c %D%/mount.h \
	%D%/mount_dir.c %D%/mount_file.c %D%/mount_lock.c %D%/mount_names.c %D%/mount_users.c %D%/mount_wire.c
ff3fs_mount_CFLAGS = $(ff3fs_CFLAGS) $(FUSE_CFLAGS)
ff3fs_mount_LDADD = $(ff3fs_put_LDADD) $(FUSE_LIBS)

# Bash looks for a file of the command's name.
bashcompletiondir = $(datadir)/bash-completion/completions
bashcompletion_DATA = %D%/completion/ff3fs
EXTRA_DIST += %D%/completion.bash tests/mount_model.py tests/static_calls.c tests/walk.go
CLEANFILES += %D%/completion/ff3fs
%D%/completion/ff3fs: %D%/completion.bash
	$(AM_V_GEN)mkdir -p $(@D) && cp $< $@
install-data-hook:
	for name in ff3fs-put ff3fs-get ff3fs-admin ff3fs-mount; do \
		ln -sf ff3fs $(DESTDIR)$(bashcompletiondir)/$$name; done
uninstall-hook:
	for name in ff3fs-put ff3fs-get ff3fs-admin ff3fs-mount; do \
		rm -f $(DESTDIR)$(bashcompletiondir)/$$name; done

check_PROGRAMS += tests/unit-tools
TESTS += tests/unit-tools tests/lint-options.sh tests/e2e-dev.sh tests/e2e-tools.sh tests/e2e-put-get.sh \
	tests/e2e-admin.sh tests/e2e-completion.sh tests/e2e-doctor.sh tests/e2e-mount.sh tests/e2e-notify.sh
tests_unit_tools_SOURCES = \
	tests/unit-tools.c $(ff3fs_shared_sources) \
	%D%/pool.c %D%/pool.h %D%/progress.c %D%/progress.h
tests_unit_tools_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_tools_LDADD = libff3base.la $(JANSSON_LIBS) $(CHECK_LIBS) -lpthread
