#!/bin/bash
# Random programs of mappings, calls on them and calls on their files, in three processes (preload_map_fuzz.c): on the
# prefix they see what they see in a local directory, mapped whole and loaded when touched. SEED and SEEDS: the
# first (if none is said: 1, and others by chance) and how many; STEPS of each. SCALE=full: 200 of 600 steps.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd
fuzz=$(find_built preload-map-fuzz) || die 'preload-map-fuzz is not built'
own_map_dir
mkdir "$tmp/local"
first=${SEED:-$((RANDOM + 2))} seeds=${SEEDS:-5} steps=${STEPS:-300}
[ "${SCALE:-}" = full ] && seeds=${SEEDS:-200} steps=${STEPS:-600}
# A write by call that ended within a page that was not there; a mapping in several regions that was moved.
known='1 27538'
[ -n "${SEED:-}" ] && known=
start_cluster 2
on mkdir "$prefix/m" || die mkdir

for seed in $known $(seq "$first" $((first + seeds - 1))); do
	timeout 60 "$fuzz" "$tmp/local" "$seed" "$steps" >"$tmp/want" || die "seed $seed, the local run: exit $?"
	[ "$(wc -l <"$tmp/want")" -gt "$steps" ] || die "seed $seed: it does nothing"
	for max in 1G 64K; do
		[ $max = 1G ] || [ $lazily = yes ] || continue
		FF3FS_MMAP_EAGER_MAX=$max FF3FS_MMAP_MEMORY=512K \
			on timeout 120 "$fuzz" "$prefix/m" "$seed" "$steps" >"$tmp/got" 2>"$tmp/err"
		status=$?
		cat "$tmp/err"
		diff "$tmp/want" "$tmp/got" >"$tmp/diff" || {
			head -n 20 "$tmp/diff"
			die "SEED=$seed STEPS=$steps: not what a local directory gives, whole up to $max"
		}
		[ $status -eq 0 ] || die "seed $seed, whole up to $max: exit $status"
	done
done
say "ok: $seeds programs of $steps steps, from seed $first"
nothing_mapped 'all of them'
exit 0
