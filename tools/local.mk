ff3fs_shared_sources = \
	%D%/cli.c %D%/cli_text.c %D%/cli.h \
	common/admin/json_bytes.c common/admin/json_bytes.h
ff3fs_transfer_sources = \
	%D%/cli_fs.c \
	%D%/pieces.c %D%/pieces.h \
	%D%/pool.c %D%/pool.h \
	%D%/progress.c %D%/progress.h \
	%D%/transfer.c %D%/transfer.h

bin_PROGRAMS += ff3fs-admin
ff3fs_admin_SOURCES = $(ff3fs_shared_sources) %D%/admin.c %D%/admin.h %D%/admin_http.c
ff3fs_admin_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS) $(CURL_CFLAGS)
ff3fs_admin_LDADD = libff3base.la $(JANSSON_LIBS) $(CURL_LIBS)
