# Sourced by tests/run.sh and tools/try.sh.  prepare TOP BUILD [OPTION…]: a configured build
# directory. What is out of date in one that is there already, make itself finds out.
prepare() {
	local top=$1 build=$2
	shift 2
	if [ -f "$top/config.status" ]; then
		echo "$top was configured in place: run 'make distclean' there first" >&2
		return 1
	fi
	( # the lock: both scripts may be started at once
		flock 9
		[ -f "$top/configure" ] && [ -f "$top/Makefile.in" ] || (cd "$top" && autoreconf -i)
	) 9<"$top" || return 1
	[ -f "$build/Makefile" ] || (cd "$build" && "$top/configure" CFLAGS="${CFLAGS:--O2 -g}" "$@")
}
