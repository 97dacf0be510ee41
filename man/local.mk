# Built in this folder:
dist_man_MANS += %D%/ff3fs.7 %D%/ff3fs-protocol.7
dist_man_MANS += \
	%D%/ff3fs.1 \
	%D%/ff3fs-admin.1 \
	%D%/ff3fs-get.1 \
	%D%/ff3fs-mount.8 \
	%D%/ff3fs-put.1 \
	%D%/ff3fs.conf.5

# ff3fs-preload(7) has a table of the calls, from the lists that the hooks are made of.
man_MANS = %D%/ff3fs-preload.7
calls_table_parts = $(srcdir)/man/calls-table.awk $(srcdir)/preload/hooks.h $(srcdir)/preload/calls.h
%D%/ff3fs-preload.7: %D%/ff3fs-preload.7.in $(calls_table_parts)
	$(AM_V_GEN)mkdir -p $(@D) && awk -f $(calls_table_parts) >$@.table && \
		sed -e '/^@CALLS@$$/ { r $@.table' -e 'd; }' $< >$@.tmp && rm $@.table && mv $@.tmp $@
EXTRA_DIST += %D%/ff3fs-preload.7.in %D%/calls-table.awk
CLEANFILES += %D%/ff3fs-preload.7
