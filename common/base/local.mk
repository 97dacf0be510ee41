noinst_LTLIBRARIES += libff3base.la
libff3base_la_SOURCES = \
	%D%/app_errno.h %D%/base.c %D%/base.h %D%/fd_high.c \
	%D%/conf.c %D%/conf.h %D%/links.c %D%/links.h %D%/conf_keys.h %D%/cwd_name.h \
	%D%/crc32c.c %D%/crc32c.h %D%/hash.h \
	%D%/err.c %D%/err.h %D%/err_codes.h \
	%D%/locks.c %D%/locks.h \
	%D%/log.c %D%/log.h %D%/probe.c %D%/probe.h \
	common/wire/wire.c common/wire/wire.h common/wire/wire_ops.h common/wire/hot.h
libff3base_la_CFLAGS = $(AM_CFLAGS) $(ISAL_CFLAGS)
libff3base_la_LIBADD = $(ISAL_LIBS)
