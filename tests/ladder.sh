# Sourced after functions.sh by the tests that run unchanged programs twice, on a local directory and
# below the prefix, and compare what they print and how they end. A rung is one thing that a program
# which knows nothing of us does; the numbers are those of the list:
#
#	 1 cat wc head tail md5sum cmp      e2e-preload-tools     16 git                  e2e-ladder-apps
#	 2 python files and directories     e2e-preload-python    17 sqlite, rollback     e2e-ladder-apps
#	 3 numpy                            e2e-ladder-python     18 rsync find du rm mv  e2e-preload-tools
#	 4 bash redirections                e2e-preload-tools     19 memmap over memory   e2e-ladder-python
#	 5 sort sed grep -r                 e2e-preload-tools     20 fio mmap, posixaio   e2e-ladder-fio
#	 6 subprocess, 1,000 vforks         e2e-preload-python    21 node                 e2e-ladder-apps
#	 7 fork Pool                        e2e-preload-python    22 cd, relative paths   e2e-preload-tools
#	 8 cp tar dd                        e2e-preload-tools     23 __xstat binary       e2e-preload-closed
#	 9 fio                              e2e-ladder-fio        24 scripts, dlopen      e2e-preload-closed
#	10 fails closed                     e2e-preload-closed    25 torch, safetensors   e2e-ladder-python
#	11 what a process pays              e2e-ladder-cost       26 fio io_uring         e2e-ladder-fio
#	12 allocators, valgrind, ASan       e2e-ladder-others     27 Go and static        e2e-notify
#	13 a second preload                 e2e-ladder-others     28 musl                 e2e-preload-closed
#	14 1,000 threads, SIGALRM           e2e-preload-calls     29 writable MAP_SHARED  e2e-ladder-apps
#	15 python spawn, forkserver         e2e-ladder-python

export SCRATCH=$tmp/scratch # a local directory for both runs
mkdir "$tmp/local" "$SCRATCH"
chmod 755 "$tmp/local"

# twin WHAT SCRIPT: runs it in both places, which are $D; the scripts go on in the same two trees. The
# shell itself runs under the shim, so its redirections are covered too.
twin() {
	local t0=$EPOCHREALTIME t1
	(cd / && D=$tmp/local on bash -c "$2") >"$tmp/want" 2>&1 </dev/null
	echo "status $?" >>"$tmp/want"
	t1=$EPOCHREALTIME
	(cd / && D=$prefix on bash -c "$2") >"$tmp/got" 2>&1 </dev/null
	echo "status $?" >>"$tmp/got"
	sed -i "s,$tmp/local,DIR,g" "$tmp/want"
	sed -i "s,$prefix,DIR,g" "$tmp/got"
	diff "$tmp/want" "$tmp/got" || die "$1"
	say "ok: $1 ($(wc -l <"$tmp/want") lines$(awk "BEGIN { printf \"; %.1f s, here %.1f\", $t1 - $t0, $EPOCHREALTIME - $t1 }"))"
}

# twin_with WHAT PROGRAM… -- SCRIPT: the same, or a line that says what is missing. The script must succeed
# where it is run locally: what fails in both places shows nothing.
twin_with() {
	local what=$1 p
	shift
	while [ "$1" != -- ]; do
		command -v "$1" >/dev/null || { say "not run: $what: no $1 on this machine"; return; }
		shift
	done
	twin "$what" "set -e; $2"
	tail -n 1 "$tmp/want" | grep -q '^status 0$' || { tail "$tmp/want"; die "$what: fails on a local directory"; }
}

# nothing_local: after all rungs: the prefix has not come into being on this machine.
nothing_local() {
	[ -z "$(ls -A "$prefix" 2>/dev/null)" ] || die "something was written to the machine's own $prefix"
}
