# For hot.sh and run.sh, which source it: a passthrough FUSE file system (libfuse's example, uncached).

# passthrough FILE CPU: mounts, on that processor; $fuse_file is FILE through it. Otherwise $no_fuse says why not.
passthrough() {
	local example=/usr/share/doc/libfuse3-dev/examples/passthrough_ll.c i
	no_fuse=
	command -v fusermount3 >/dev/null || no_fuse='no fusermount3'
	[ -f "$example" ] || no_fuse="no $example"
	[ -z "$no_fuse" ] || return
	gcc -O2 -w -I"${example%/*}" "$example" $(pkg-config --cflags --libs fuse3) -o "$tmp/passthrough_ll" || {
		no_fuse='passthrough_ll does not compile'
		return
	}
	mkdir "$tmp/mnt"
	mkfifo "$tmp/pause"
	"$tmp/passthrough_ll" -o cache=never -f "$tmp/mnt" >"$tmp/fuse.log" 2>&1 &
	fuse_pid=$!
	cleanup_fn 'fusermount3 -u -z "$tmp/mnt"; kill $fuse_pid 2>/dev/null'
	fuse_file=$tmp/mnt$1
	for ((i = 0; i < 100; i++)); do [ -f "$fuse_file" ] && break; read -r -t 0.1 <>"$tmp/pause"; done
	[ -f "$fuse_file" ] || { no_fuse='FUSE does not mount'; return; }
	taskset -cp "$2" $fuse_pid >/dev/null
}
