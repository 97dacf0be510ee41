noinst_LTLIBRARIES += libff3admin.la
libff3admin_la_SOURCES = \
	%D%/backup_file.c %D%/backup_file.h \
	%D%/daemon.c %D%/daemon.h \
	%D%/httpd.c %D%/httpd.h \
	%D%/link_counters.c %D%/link_counters.h \
	%D%/json_bytes.c %D%/json_bytes.h \
	%D%/loop_call.c %D%/loop_call.h \
	%D%/metrics.c %D%/metrics.h
libff3admin_la_CFLAGS = $(AM_CFLAGS) $(MICROHTTPD_CFLAGS) $(JANSSON_CFLAGS) $(SYSTEMD_CFLAGS)
libff3admin_la_LIBADD = $(MICROHTTPD_LIBS) $(JANSSON_LIBS) $(SYSTEMD_LIBS) -lpthread

check_PROGRAMS += tests/unit-metrics tests/unit-httpd
TESTS += tests/unit-metrics tests/unit-httpd
tests_unit_metrics_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_metrics_LDADD = libff3admin.la libff3base.la $(CHECK_LIBS)
tests_unit_httpd_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_httpd_LDADD = libff3admin.la libff3base.la $(JANSSON_LIBS) $(CHECK_LIBS)

check_PROGRAMS += tests/unit-loop-call
TESTS += tests/unit-loop-call
tests_unit_loop_call_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_loop_call_LDADD = libff3admin.la libff3server.la libff3base.la $(URING_LIBS) $(CHECK_LIBS)
