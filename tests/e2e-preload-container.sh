#!/bin/bash
# A container that knows nothing of ff3fs gets it by its environment and one directory: no network, no other processes,
# an own user namespace, and none of the libraries that ff3fs needs. What is missing there is named.
# transport: unix shm (there is no network)
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires bwrap ff3fs-metad ff3fs-chunkd ff3fs-put ff3fs-get
[ -z "$sanitizer_runtime" ] || skip 'a sanitizer wants to be everywhere first'
bwrap --unshare-all --ro-bind / / true 2>/dev/null || skip 'no namespaces for bubblewrap'
needs=$(ldd "$library" | awk '$1 ~ /^libisal/ { print $3 }')
[ -n "$needs" ] || die 'the library needs nothing'

mkdir "$tmp/sockets" "$tmp/pack"
export FF3FS_METAD_SOCKETS=$tmp/sockets FF3FS_CHUNKD_SOCKETS=$tmp/sockets
start_cluster 2
printf '[client]\nprefix = %s\nmetad = %s\nsockets = /opt/sockets\ntimeout = 5s\n' "$prefix" "$metad_addr" >"$tmp/pack/ff3fs.conf"
cp "$shim" "${library%/*}/libff3fs.so.0" "$needs" "$tmp/pack/"
head -c 3000000 /dev/urandom >"$tmp/data"
check 'put' ff3fs-put -q "$tmp/data" "$prefix/data"

# inside COMMAND…
inside() {
	timeout 60 bwrap --unshare-all --uid 1000 --gid 1000 --clearenv --setenv PATH /usr/bin:/bin --ro-bind / / \
		--ro-bind /dev/null "$(realpath "$needs")" --tmpfs /opt --ro-bind "$tmp/pack" /opt/ff3fs \
		--ro-bind "$tmp/sockets" /opt/sockets --dev /dev --proc /proc --tmpfs /tmp --chdir / \
		--setenv LD_PRELOAD /opt/ff3fs/libff3fs_preload.so --setenv FF3FS_CONF /opt/ff3fs/ff3fs.conf "$@"
}
inside cat "$prefix/data" >"$tmp/got" || die 'reading'
check 'a container reads' cmp "$tmp/data" "$tmp/got"
fails 'another user may not write there' 1 inside cp /etc/hostname "$prefix/data"
on chmod 777 "$prefix/." || die 'chmod'
check 'it writes' inside cp "$prefix/data" "$prefix/copy"
check 'what it wrote is there' ff3fs-get -q "$prefix/copy" "$tmp/copy"
check 'the bytes' cmp "$tmp/data" "$tmp/copy"
check 'workers of a job' inside /usr/bin/python3 -c "
import multiprocessing, mmap
def work(i):
    with open('$prefix/data', 'rb') as f:
        return mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)[i * 1000:i * 1000 + 1000]
whole = open('$prefix/data', 'rb').read()
with multiprocessing.get_context('fork').Pool(4) as pool:
    assert b''.join(pool.map(work, range(3000))) == whole"

rm "$tmp/pack/${needs##*/}"
inside cat "$prefix/data" >"$tmp/got" 2>"$tmp/err" && die 'it works without a library'
equal 'no bytes' 0 "$(stat -c %s "$tmp/got")"
grep -q "^ff3fs preload: cannot load the client library: .*${needs##*/}" "$tmp/err" || { cat "$tmp/err"; die 'what is missing is not named'; }
say 'ok: what is missing is named'
