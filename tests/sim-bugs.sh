#!/bin/bash
# The tests of the group's rules prove themselves: each line below plants one mistake into a copy of
# metad/replica*.c, and the told histories (unit-metad-replica.c) or the simulator must find it.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ${CC:-gcc} pkg-config
check=$(pkg-config --cflags --libs check) || skip "no check library"
schedules=${SCHEDULES:-10000}
compile() { ${CC:-gcc} -std=gnu11 -O1 -w -D_GNU_SOURCE "$@"; }

mkdir "$tmp/sim"
(cd "$tmp/sim" && compile -c "$srcdir"/tests/sim/*.c) &&
	(cd "$tmp" && compile -c "$srcdir/tests/unit-metad-replica.c") || die "the tests do not build"

# plant NAME FILE SED [WORLD]: the edit must change the file, the copy must build, and a schedule must fail.
plant() {
	local name=$1 file=$2 edit=$3 world=${4:-} out
	say "planted: $name"
	rm -rf "$tmp/copy"
	mkdir -p "$tmp/copy/metad" "$tmp/copy/common"
	cp "$srcdir"/metad/replica* "$tmp/copy/metad/"
	ln -s "$srcdir/common/base" "$tmp/copy/common/base"
	sed -i -E "$edit" "$tmp/copy/metad/$file"
	! cmp -s "$tmp/copy/metad/$file" "$srcdir/metad/$file" ||
		die "the edit finds nothing to change in $file"
	(cd "$tmp/copy" && compile -c metad/replica*.c && compile -o sim "$tmp"/sim/*.o ./*.o &&
		compile -o unit "$tmp"/unit-metad-replica.o ./*.o $check) || die "it does not build"
	if ! "$tmp/copy/unit" >"$tmp/out" 2>&1; then
		say "ok: found by $(grep -o 'histories:[a-z_]*' "$tmp/out" | head -n 1)"
		return
	fi
	out=$("$tmp/copy/sim" --count "$schedules" --quiet ${world:+--world "$world"})
	case $out in
	seed*) say "ok: found by $out" ;;
	*) die "not found in $schedules schedules" ;;
	esac
}

plant 'commit of an old epoch by counting' replica_lead.c 's/ && replica_epoch_at\(r, seq\) == r->epoch//'
plant 'commit before there is a majority' replica_lead.c 's/seq = seqs\[n \/ 2\];/seq = seqs[0];/'
plant 'acknowledgement before fdatasync' replica_follow.c 's/MIN\(r->matched_seq, r->durable_seq\);/r->matched_seq;/'
plant 'vote not persisted' replica_elect.c '/r->vote = m->from;/{n;d}'
plant 'epoch of a candidate not persisted' replica_elect.c '/r->vote = r->id;/{n;d}'
plant 'vote for an older log' replica_elect.c 's/(return) m->last_epoch > epoch/\1 true || m->last_epoch > epoch/'
plant 'log not compared before it is appended to' replica_follow.c 's/replica_epoch_at\(r, m->prev_seq\) != m->prev_epoch/false/'
plant 'lease not looked at after the read' replica.c 's/now < r->lease_until;$/true;/' stopped
plant 'lease counted from the answer, not from the question' replica_lead.c 's/at = r->sent\[i\]\.at;/at = r->now;/'
plant 'vote while a primary was heard of lately' replica.c 's/return m->kind == REPLICA_VOTE && /return false \&\& /' late
plant 'vote with a damaged log' replica_elect.c 's/ && !r->damaged;/;/' bad-record
plant 'a new epoch at every start with a damaged log' replica.c 's/if \(r->epoch < disk->damaged\)/if (disk->damaged)/; s/r->epoch = disk->damaged;/r->epoch++;/' anew
plant 'who says nothing gets a copy' replica_lead.c 's/if \(!p->probing && p->match_seq/if (p->match_seq/'
plant 'two members changed at once' replica_lead.c 's/changes\(now, config\) != 1/false/'
plant 'a change before the one before is committed' replica_lead.c 's/ \|\| r->commit_seq < replica_config_seq\(r\)//'
plant 'reads go on while the role is given away' replica.c 's/ && r->hand_over == 0;$/;/; s/role == REPLICA_PRIMARY && r->commit/role <= REPLICA_PRIMARY \&\& r->commit/'
