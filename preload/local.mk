# libff3fs_preload.so: what LD_PRELOAD names. It NEEDs libc only and loads libff3fs at run time.
preloaddir = $(libdir)
preload_LTLIBRARIES = libff3fs_preload.la
preload_sources = \
	%D%/aio.h \
	%D%/aio_ctx.c %D%/aio_ctx.h \
	%D%/aio_notify.c \
	%D%/async.c %D%/async.h \
	%D%/async_batch.c %D%/async_batch.h \
	%D%/calls.h \
	%D%/core.c %D%/core.h \
	%D%/dispatch.c %D%/dispatch.h %D%/dispatch_internal.h \
	%D%/dispatch_clone.c \
	%D%/dispatch_pass.c \
	%D%/dispatch_signal.c \
	%D%/exec_args.c \
	%D%/fdtab.c %D%/fdtab.h \
	%D%/fifo.c \
	%D%/fork.c \
	%D%/mount.c %D%/mount.h \
	%D%/hook.h %D%/hooks.h \
	%D%/hook_aio.c \
	%D%/hook_copy.c \
	%D%/hook_cwd.c \
	%D%/hook_dir.c \
	%D%/hook_dlopen.c \
	%D%/hook_exec.c \
	%D%/hook_fd.c \
	%D%/hook_fts.c \
	%D%/hook_ftw.c \
	%D%/hook_lock.c \
	%D%/hook_map.c \
	%D%/hook_meta.c \
	%D%/hook_names.c \
	%D%/hook_open.c \
	%D%/hook_posix_aio.c \
	%D%/hook_rw.c \
	%D%/hook_socket.c \
	%D%/hook_space.c \
	%D%/hook_spawn.c \
	%D%/hook_stat.c \
	%D%/hook_stdio.c \
	%D%/hook_sync.c \
	%D%/hook_syscall.c \
	%D%/hook_uring.c \
	%D%/hook_user.c \
	%D%/hook_vfork.c \
	%D%/hook_walk.c \
	%D%/hook_wide.c \
	%D%/hook_xattr.c \
	%D%/init.c %D%/init.h \
	%D%/leak.c \
	%D%/lock_cluster.c \
	%D%/keeper.h \
	%D%/lock_keeper.c \
	%D%/lock_shared.c \
	%D%/map.h %D%/map_fault.h \
	%D%/map_evict.c %D%/map_fault.c %D%/map_limits.c %D%/map_node.c \
	%D%/map_object.c %D%/map_private.c %D%/map_refuse.c %D%/map_region.c %D%/map_shared.c %D%/map_step.c \
	%D%/openat2.c \
	%D%/placeholder.c %D%/placeholder.h \
	%D%/posix_aio.c %D%/posix_aio.h \
	%D%/prefix.c %D%/prefix.h \
	%D%/raw.h \
	%D%/shared_map.h \
	%D%/syscalls.c %D%/syscalls.h %D%/new_calls.h \
	%D%/uring.h \
	%D%/uring_cancel.c \
	%D%/uring_files.c \
	%D%/uring_import.c \
	%D%/uring_post.c \
	%D%/uring_ring.c \
	%D%/uring_run.c \
	%D%/uring_side.c \
	%D%/uring_sqe.c \
	%D%/where.c
libff3fs_preload_la_SOURCES = $(preload_sources)
libff3fs_preload_la_CFLAGS = $(AM_CFLAGS) -fno-builtin -ftls-model=initial-exec
libff3fs_preload_la_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version -shared \
	-Wl,-Bsymbolic-functions -Wl,-z,defs

# The file is loaded by name; nothing links with it.
install-data-hook: preload-remove-la
preload-remove-la:
	rm -f $(DESTDIR)$(preloaddir)/libff3fs_preload.la
.PHONY: preload-remove-la
uninstall-hook: preload-remove-so
preload-remove-so:
	rm -f $(DESTDIR)$(preloaddir)/libff3fs_preload.so
.PHONY: preload-remove-so

# The hooks are part of this test program too.
check_PROGRAMS += tests/unit-preload
TESTS += tests/unit-preload tests/lint-needed.sh
tests_unit_preload_SOURCES = tests/unit-preload.c $(preload_sources)
tests_unit_preload_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) -fno-builtin
tests_unit_preload_LDADD = $(CHECK_LIBS)
TESTS += \
	tests/e2e-preload-aio.sh \
	tests/e2e-preload-allocators.sh \
	tests/e2e-preload-calls.sh \
	tests/e2e-preload-map.sh \
	tests/e2e-preload-map-away.sh \
	tests/e2e-preload-map-exit.sh \
	tests/e2e-preload-map-fuzz.sh \
	tests/e2e-preload-wal.sh \
	tests/e2e-preload-closed.sh \
	tests/e2e-preload-container.sh \
	tests/e2e-preload-nodes.sh \
	tests/e2e-preload-posix.sh \
	tests/e2e-preload-python.sh \
	tests/e2e-preload-tools.sh \
	tests/e2e-preload-uring.sh
check_PROGRAMS += tests/preload-aio
tests_preload_aio_SOURCES = tests/preload_aio.c tests/preload_aio.h tests/preload_aio_away.c \
	tests/preload_aio_many.c
tests_preload_aio_CFLAGS = $(AM_CFLAGS) -O1 -w
tests_preload_aio_LDADD = -lpthread -ldl
check_PROGRAMS += tests/preload-posix-aio
tests_preload_posix_aio_SOURCES = tests/preload_posix_aio.c tests/preload_show.h
tests_preload_posix_aio_CFLAGS = $(AM_CFLAGS) -O1 -w
tests_preload_posix_aio_LDADD = -lpthread
check_PROGRAMS += tests/preload-calls
tests_preload_calls_SOURCES = tests/preload_calls.c tests/preload_show.h
tests_preload_calls_CFLAGS = $(AM_CFLAGS) -O1 -w
tests_preload_calls_LDADD = -lpthread
check_PROGRAMS += tests/preload-allocators tests/preload-own-malloc
tests_preload_allocators_SOURCES = tests/preload_allocators.c tests/sure.h
tests_preload_allocators_CFLAGS = -O1 -g -Wall -fno-builtin
tests_preload_allocators_LDADD = -lpthread -ldl
tests_preload_own_malloc_SOURCES = $(tests_preload_allocators_SOURCES) tests/preload_own_malloc.c
tests_preload_own_malloc_CFLAGS = $(tests_preload_allocators_CFLAGS)
tests_preload_own_malloc_LDADD = $(tests_preload_allocators_LDADD)
check_PROGRAMS += tests/preload-closed
tests_preload_closed_SOURCES = tests/preload_closed.c
tests_preload_closed_LDADD = -lpthread
check_PROGRAMS += tests/preload-syscalls
tests_preload_syscalls_SOURCES = tests/preload_syscalls.c
tests_preload_syscalls_CFLAGS = $(AM_CFLAGS) -O1 -w
# Written for one processor: the script builds it where that is.
EXTRA_DIST += tests/preload_dispatch.c
TESTS += tests/e2e-preload-full.sh tests/e2e-preload-syscalls.sh tests/lint-syscalls.sh tests/lint-calls.sh
EXTRA_DIST += tests/map_grow.py tests/preload_nodes.py tests/preload_python.py tests/wal_writers.py
check_PROGRAMS += tests/preload-map
tests_preload_map_SOURCES = tests/preload_map.c tests/preload_show.h
tests_preload_map_CFLAGS = $(AM_CFLAGS) -O1 -w
tests_preload_map_LDADD = -lpthread
check_PROGRAMS += tests/preload-map-many
tests_preload_map_many_SOURCES = tests/preload_map_many.c
tests_preload_map_many_CFLAGS = $(AM_CFLAGS) -O1 -w
check_PROGRAMS += tests/preload-map-fork
tests_preload_map_fork_SOURCES = tests/preload_map_fork.c tests/preload_show.h
tests_preload_map_fork_CFLAGS = $(AM_CFLAGS) -O1 -w
tests_preload_map_fork_LDADD = -lpthread
check_PROGRAMS += tests/preload-map-fuzz
tests_preload_map_fuzz_SOURCES = tests/preload_map_fuzz.c tests/preload_show.h
tests_preload_map_fuzz_CFLAGS = $(AM_CFLAGS) -O1 -w
check_PROGRAMS += tests/preload-map-away
tests_preload_map_away_SOURCES = tests/preload_map_away.c tests/preload_show.h
tests_preload_map_away_CFLAGS = $(AM_CFLAGS) -O1 -w
check_PROGRAMS += tests/preload-map-exit
tests_preload_map_exit_SOURCES = tests/preload_map_exit.c tests/preload_show.h
tests_preload_map_exit_CFLAGS = $(AM_CFLAGS) -O1 -w
tests_preload_map_exit_LDADD = -lpthread

# The differential suite, with calls by function and by number.
check_PROGRAMS += tests/preload-posix tests/preload-posix-syscall
posix_sources = \
	tests/posix_async.c \
	tests/posix_attr.c \
	tests/posix_diff.c tests/posix_diff.h \
	tests/posix_dirs.c \
	tests/posix_edges.c \
	tests/posix_fds.c \
	tests/posix_flow.c \
	tests/posix_fork.c \
	tests/posix_gone.c \
	tests/posix_locks.c \
	tests/posix_maps.c \
	tests/posix_moves.c \
	tests/posix_names.c \
	tests/posix_numbers.c \
	tests/posix_open.c \
	tests/posix_passed.c \
	tests/posix_paths.c \
	tests/posix_perm.c \
	tests/posix_pointers.c \
	tests/posix_procs.c \
	tests/posix_random.c \
	tests/posix_rw.c \
	tests/posix_stdio.c \
	tests/posix_wide.c
tests_preload_posix_SOURCES = $(posix_sources)
tests_preload_posix_CFLAGS = $(AM_CFLAGS) -O1 -w
tests_preload_posix_syscall_SOURCES = $(posix_sources)
tests_preload_posix_syscall_CFLAGS = $(AM_CFLAGS) -O1 -w -DVIA_SYSCALL
check_PROGRAMS += tests/preload-uring
tests_preload_uring_SOURCES = tests/preload_uring.c tests/preload_uring.h \
	tests/preload_uring_fields.c tests/preload_uring_links.c tests/preload_uring_many.c \
	tests/preload_uring_names.c tests/preload_uring_ring.c
tests_preload_uring_CFLAGS = $(AM_CFLAGS) -w
tests_preload_uring_LDADD = $(URING_LIBS) -lpthread
# With liburing in the program itself, where only full mode finds it.
check_PROGRAMS += tests/preload-uring-inline
tests_preload_uring_inline_SOURCES = $(tests_preload_uring_SOURCES)
tests_preload_uring_inline_CFLAGS = $(AM_CFLAGS) -w
tests_preload_uring_inline_LDADD = -l:liburing.a -lpthread
