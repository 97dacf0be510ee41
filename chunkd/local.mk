# The chunk daemon. libff3chunkd.la: everything but main, for the tests as well.
noinst_LTLIBRARIES += libff3chunkd.la
libff3chunkd_la_SOURCES = \
	%D%/caps.c %D%/caps.h \
	%D%/cut.c \
	%D%/expose.c %D%/expose.h \
	%D%/flush.c \
	%D%/grant.h \
	%D%/index.c %D%/index.h \
	%D%/io.h \
	%D%/memory.c %D%/memory.h \
	%D%/read.c \
	%D%/recover.c \
	%D%/slab.c %D%/slab.h \
	%D%/store.c %D%/store.h %D%/store_impl.h \
	%D%/super.c %D%/super.h \
	%D%/table.c \
	%D%/write.c
libff3chunkd_la_CFLAGS = $(AM_CFLAGS) $(SQLITE_CFLAGS)
libff3chunkd_la_LIBADD = libff3base.la $(SQLITE_LIBS)

sbin_PROGRAMS += ff3fs-chunkd
ff3fs_chunkd_SOURCES = \
	%D%/main.c %D%/daemon.h \
	%D%/chunkd_admin.c \
	%D%/io_uring.c \
	%D%/greet.c %D%/register.c \
	%D%/segment.c \
	%D%/serve.c %D%/serve_expose.c %D%/serve_list.c \
	%D%/window.c
ff3fs_chunkd_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS) $(SYSTEMD_CFLAGS)
ff3fs_chunkd_LDADD = libff3chunkd.la libff3server.la libff3admin.la libff3base.la \
	$(JANSSON_LIBS) $(SYSTEMD_LIBS) -lpthread

check_PROGRAMS += tests/unit-chunkd-memory tests/unit-chunkd-store tests/unit-chunkd-many
TESTS += tests/unit-chunkd-memory tests/unit-chunkd-store tests/unit-chunkd-many

tests_unit_chunkd_memory_SOURCES = tests/unit-chunkd-memory.c
tests_unit_chunkd_memory_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_chunkd_memory_LDADD = libff3chunkd.la $(CHECK_LIBS)

tests_unit_chunkd_store_SOURCES = \
	tests/unit-chunkd-store.c tests/chunkd_world.c tests/chunkd_world.h \
	tests/chunkd_io_sync.c tests/chunkd_io_sync.h chunkd/io_uring.c
tests_unit_chunkd_store_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_chunkd_store_LDADD = libff3chunkd.la libff3server.la libff3base.la $(CHECK_LIBS) -lpthread

check_PROGRAMS += tests/chunkd_drive
tests_chunkd_drive_SOURCES = tests/chunkd_drive.c tests/test_links.h
tests_chunkd_drive_LDADD = libff3rpc.la libff3base.la -lpthread

TESTS += tests/e2e-chunkd.sh tests/fault-disk-chunkd.sh tests/fault-rot.sh

systemdsystemunit_DATA += %D%/ff3fs-chunkd.service
EXTRA_DIST += %D%/ff3fs-chunkd.service.in
CLEANFILES += %D%/ff3fs-chunkd.service
dist_man_MANS += man/ff3fs-chunkd.8

# The daemon with a planted bug, to show that the power-cut test notices it.
check_PROGRAMS += tests/chunkd_without_sync
tests_chunkd_without_sync_SOURCES = $(ff3fs_chunkd_SOURCES)
tests_chunkd_without_sync_CFLAGS = $(ff3fs_chunkd_CFLAGS) -DCHUNKD_PLANT_NO_SLAB_SYNC
tests_chunkd_without_sync_LDADD = $(ff3fs_chunkd_LDADD)
TESTS += tests/crash-power-chunkd.sh tests/crash-power-metad.sh
EXTRA_DIST += tests/nbd-device.sh tests/power-device.sh

tests_unit_chunkd_many_SOURCES = \
	tests/unit-chunkd-many.c tests/chunkd_world.c tests/chunkd_world.h \
	tests/chunkd_io_sync.c tests/chunkd_io_sync.h chunkd/io_uring.c
tests_unit_chunkd_many_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_chunkd_many_LDADD = $(tests_unit_chunkd_store_LDADD)

check_PROGRAMS += tests/unit-cap tests/unit-chunkd-expose
TESTS += tests/unit-cap tests/unit-chunkd-expose
tests_unit_cap_SOURCES = tests/unit-cap.c
tests_unit_cap_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_cap_LDADD = libff3chunkd.la libff3server.la libff3base.la $(CHECK_LIBS) -lpthread
tests_unit_chunkd_expose_SOURCES = \
	tests/unit-chunkd-expose.c tests/chunkd_world.c tests/chunkd_world.h \
	tests/chunkd_io_sync.c tests/chunkd_io_sync.h chunkd/io_uring.c
tests_unit_chunkd_expose_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_chunkd_expose_LDADD = $(tests_unit_chunkd_store_LDADD)
