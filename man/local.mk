# Built in this folder:
dist_man_MANS += %D%/ff3fs.7 %D%/ff3fs-protocol.7
dist_man_MANS += \
	%D%/ff3fs.1 \
	%D%/ff3fs-admin.1 \
	%D%/ff3fs-get.1 \
	%D%/ff3fs-put.1 \
	%D%/ff3fs.conf.5
dist_man_MANS += %D%/ff3fs-preload.7
