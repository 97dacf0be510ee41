#!/bin/bash
# What a user sees when something is wrong: the right exit code or errno, one line that says what it
# is, and nothing lost when it is right again.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd ff3fs ff3fs-put ff3fs-get
requires_python

start_cluster 2
export FF3FS_CLIENT_TIMEOUT=$(slower 1)s
head -c 3000000 /dev/urandom >"$tmp/data"
check 'put' ff3fs-put "$tmp/data" "$prefix/data"

# errno_of PYTHON: under the shim, the name of the errno that an expression fails with
errno_of() {
	on /usr/bin/python3 - "$prefix" <<-PYTHON
		import errno, os, sys
		P = sys.argv[1]
		try:
		    $1
		    print('none')
		except OSError as e:
		    print(errno.errorcode[e.errno])
	PYTHON
}

# --- Wrong addresses ----------------------------------------------------------------------------
FF3FS_CLIENT_METAD=127.0.0.1:1
refuses 'nobody at this address' '127.0.0.1:1.*refused' ff3fs ls "$prefix"
equal 'exit code' 5 "$refused_status"
case $(errno_of "os.stat(P)") in
EIO | ETIMEDOUT) say 'ok: errno under the shim' ;;
*) die "errno under the shim: $(errno_of "os.stat(P)")" ;;
esac
FF3FS_CLIENT_METAD=nonsense
refuses 'no address at all' 'nonsense' ff3fs ls "$prefix"
FF3FS_CLIENT_METAD=${chunkd_addr[1]}
refuses "another daemon's address" "${chunkd_addr[1]}" ff3fs ls "$prefix"
FF3FS_CLIENT_METAD=$metad_admin
refuses 'the HTTP address' "$metad_admin" ff3fs ls "$prefix"
FF3FS_CLIENT_METAD=$metad_addr
check 'the right address' ff3fs ls "$prefix"

# --- Frames that no client sends ----------------------------------------------------------------
frame() { "$builddir/tests/send-frame" "$1" "$2" | tr '\n' ' '; }
for address in "$metad_addr" "${chunkd_addr[1]}"; do
	equal "$address: another version" 'status 4096 closed ' "$(frame "$address" version)"
	equal "$address: another build" 'status 4096 closed ' "$(frame "$address" build)"
	for kind in magic header-crc body-crc huge-body short early cluster random:1 random:2; do
		case $(frame "$address" $kind) in
		*'closed ') ;;
		*) die "$address: $kind did not end the connection: $(frame "$address" $kind)" ;;
		esac
	done
done
for log in metad chunkd.1; do
	equal "$log's log says so once" 1 "$(grep -c "is refused: it speaks protocol version $((protocol + 1)), this daemon $protocol" "$tmp/$log.log")"
done

# A daemon of another version, or of another build, is called that.
for kind in version build; do
	mkfifo "$tmp/forged.$kind"
	/usr/bin/python3 "$srcdir/tests/forged_daemon.py" $kind >"$tmp/forged.$kind" &
	pids+=($!)
	read -r forged <"$tmp/forged.$kind"
	case $kind in
	version) says="metad at $forged speaks protocol version $((protocol + 1)), this is $protocol" ;;
	build) says="metad at $forged is of another build than this ff3fs" ;;
	esac
	FF3FS_CLIENT_METAD=$forged
	link=${FF3FS_CLIENT_TRANSPORTS-}
	export FF3FS_CLIENT_TRANSPORTS=tcp # it has nothing else
	refuses "a daemon of another $kind" "$says.*install the same version on both" ff3fs ls "$prefix"
	equal 'errno under the shim' EPROTO "$(errno_of "os.stat(P)")"
	unset FF3FS_CLIENT_TRANSPORTS
	[ -z "$link" ] || export FF3FS_CLIENT_TRANSPORTS=$link
	FF3FS_CLIENT_METAD=$metad_addr
done

equal 'unknown operation' 'status 0 status 38 ' "$(frame "$metad_addr" unknown)"
check 'all of them still serve' ff3fs-get "$prefix/data" "$tmp/back"
check 'equal' cmp "$tmp/data" "$tmp/back"

# --- Daemons that are down ----------------------------------------------------------------------
kill_daemon "$metad_pid"
refuses 'metad is down' 'refused' ff3fs stat "$prefix/data"
equal 'exit code' 5 "$refused_status"
start_metad
check 'metad is back' ff3fs stat "$prefix/data"

rm "$tmp/back"
kill_daemon "${chunkd_pid[1]}"
kill_daemon "${chunkd_pid[2]}"
refuses 'chunkd is down' "$prefix/data" ff3fs-get "$prefix/data" "$tmp/back"
equal 'exit code' 5 "$refused_status"
[ ! -e "$tmp/back" ] || die 'a failed get left a file'
case $(errno_of "open(P + '/data', 'rb').read()") in
EIO | ETIMEDOUT) say 'ok: errno of read' ;;
*) die "errno of read: $(errno_of "open(P + '/data', 'rb').read()")" ;;
esac
check 'names are served without chunkd' ff3fs ls "$prefix"
start_chunkd 1
start_chunkd 2
FF3FS_CLIENT_TIMEOUT=20s
check 'chunkd is back' ff3fs-get "$prefix/data" "$tmp/back"
check 'equal' cmp "$tmp/data" "$tmp/back"

# --- Names --------------------------------------------------------------------------------------
name255=$(printf 'n%.0s' {1..255})
check 'a name of 255 bytes' ff3fs-put "$tmp/data" "$prefix/$name255"
equal 'listed' "$name255" "$(ff3fs ls "$prefix" | grep -x 'n*')"
refuses 'a name of 256 bytes' 'too long' ff3fs-put "$tmp/data" "$prefix/${name255}n"
equal 'errno of a long name' ENAMETOOLONG "$(errno_of "open(P + '/' + 'x' * 256, 'w')")"
equal 'a name of 255 bytes of UTF-8' none "$(errno_of "open(P + '/' + 'é' * 127 + 'x', 'w').write('y')")"
# The kernel takes paths of 4,095 bytes and a NUL; so do we, counted with the prefix.
equal 'a path of 4,095 bytes' none "$(errno_of "
    d = P
    while 4095 - len(d) - 1 > 255:
        d += '/' + 'd' * 200
        os.mkdir(d)
    f = d + '/' + 'f' * (4095 - len(d) - 1)
    assert len(f) == 4095, len(f)
    open(f, 'w').write('deep')
    assert open(f).read() == 'deep'
    assert os.stat(f).st_size == 4")"
equal 'a path of 4,096 bytes' ENAMETOOLONG "$(errno_of "os.stat(P + '/x' * ((4096 - len(P)) // 2 + 1))")"
check 'removed, however deep' ff3fs rm -r "$prefix/$(printf 'd%.0s' {1..200})"

# --- Plain mistakes -----------------------------------------------------------------------------
refuses 'no such file' "$prefix/none.*no such file" ff3fs stat "$prefix/none"
equal 'exit code' 4 "$refused_status"
refuses 'get of nothing' 'no such file' ff3fs-get "$prefix/none" "$tmp/none"
equal 'exit code' 4 "$refused_status"
refuses 'put of nothing' 'no such file' ff3fs-put "$tmp/none" "$prefix/x"
refuses 'get into nowhere' 'no such file' ff3fs-get "$prefix/data" "$tmp/no/where"
refuses 'put into nowhere' 'no such file' ff3fs-put "$tmp/data" "$prefix/no/where"
refuses 'a directory without -r' 'directory' ff3fs-get "$prefix" "$tmp/dir"
fails 'usage' 2 ff3fs-put --no-such-option
fails 'usage' 2 ff3fs-get
fails 'usage' 2 ff3fs no-such-command
check 'rmdir' ff3fs mkdir "$prefix/full"
check 'a file in it' ff3fs-put "$tmp/empty.conf" "$prefix/full/file"
equal 'rmdir of a full directory' ENOTEMPTY "$(errno_of "os.rmdir(P + '/full')")"
equal 'open of a directory for writing' EISDIR "$(errno_of "open(P + '/full', 'w')")"
equal 'a file as a directory' ENOTDIR "$(errno_of "os.stat(P + '/data/x')")"
equal 'a link over a file' EEXIST "$(errno_of "os.symlink('x', P + '/data')")"
equal 'rename over the own child' EINVAL "$(errno_of "os.rename(P + '/full', P + '/full/sub')")"
equal 'a link to another file system' EXDEV "$(errno_of "os.link(P + '/data', '$tmp/linked')")"
