# Sourced by the lints, after functions.sh. A lint defines
#
#   lint ROOT     prints one line for each violation in the tree ROOT
#
# and then says `clean` (this tree has none) and, for every rule, plants a violation in a copy of
# the tree and says `caught`: a lint that cannot fail proves nothing.

# files ROOT: the files of the tree, relative to it, whether it is a checkout or a tarball.
files() {
	(cd "$1" && find Makefile.am configure.ac README.md .ci common preload chunkd metad tools man \
		tests -type f -not -name '*.log' -not -name '*.trs' -not -path '*/.*deps/*' \
		-not -path '*/.libs/*' -not -name '*.o' -not -name '*.lo' -not -name '.dirstamp' \
		-not -path '*/__pycache__/*' 2>/dev/null | grep -v '/\.nfs' | LC_ALL=C sort)
}
# code ROOT: of these, what people write programs in. The programs that a build in the tree itself
# makes have no suffix and stay out.
code() { files "$1" | grep -E '\.(c|h|sh|py|awk|mk|ac|am)$|^\.ci/run$'; }

clean() {
	local found
	found=$(lint "$srcdir" 2>&1)
	if [ -n "$found" ]; then
		printf '%s\n' "$found"
		die "$(printf '%s\n' "$found" | wc -l) violations"
	fi
	say "ok: the tree is clean"
}

# plant: a fresh copy of the tree in $copy.
copy=$tmp/copy
plant() {
	rm -rf "$copy"
	mkdir "$copy"
	files "$srcdir" | tar -C "$srcdir" -c -T - | tar -C "$copy" -x
	chmod -R u+w "$copy"
}
# caught WHAT PATTERN: the lint finds what was planted, and says something that matches.
caught() {
	lint "$copy" >"$tmp/caught" 2>&1
	grep -q -E -- "$2" "$tmp/caught" || { cat "$tmp/caught"; die "not caught: $1"; }
	say "ok: caught $1"
}
