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
	export srcdir builddir CC SANITIZE_FLAGS LC_ALL;

TESTS += \
	%D%/lint-includes.sh \
	%D%/lint-size.sh \
	%D%/lint-manpages.sh \
	%D%/lint-headers.sh \
	%D%/lint-text.sh

EXTRA_DIST += \
	$(filter %.sh %.py,$(TESTS)) \
	%D%/functions.sh \
	%D%/lint.sh \
	%D%/ops-table.awk \
	%D%/prepare.sh \
	%D%/with-limit.sh \
	%D%/install-packages.sh \
	%D%/proof-bare.sh \
	%D%/run.sh
EXTRA_DIST += tools/try.sh tools/try_train.py .ci/run
