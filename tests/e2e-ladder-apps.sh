#!/bin/bash
# Programs that people name when they ask whether it works: git, SQLite, rsync, a C project that is configured
# and built below the prefix, node, DuckDB, an MPI program of two ranks.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
. "$srcdir/tests/ladder.sh"
requires ff3fs-metad ff3fs-chunkd

duckdb=${DUCKDB_NPM:-${XDG_CACHE_HOME:-~/.cache}/ff3fs-test} # where install-packages.sh puts it, if there is an npm
start_cluster 2
export HOME=$tmp/scratch GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_DATE='2020-01-01T00:00:00Z' GIT_COMMITTER_DATE='2020-01-01T00:00:00Z'
for who in AUTHOR COMMITTER; do export GIT_${who}_NAME=somebody GIT_${who}_EMAIL=somebody@example.org; done

# The dates are fixed, so that every object's name must be the same in both places.
twin_with '16: git' git -- 'cd $D; git init -q -b main repo; cd repo; mkdir -p a/b; for i in 1 2 3 4 5 6; do seq $i 2000 >a/b/$i; echo $i >$i; git add .; git commit -qm "commit $i"; done
	git log --format="%h %s"; git status -s; echo changed >3; git diff --stat; git stash -q; git stash pop -q; git status -s; git checkout -q 3; git tag -am tagged v1
	git checkout -qb side HEAD~3; echo side >side; git add side; git commit -qm side; git merge -q -m merged main; git log --oneline | wc -l; git checkout -q main; git rebase -q side; git rev-parse HEAD
	git gc -q; ls .git/objects/pack | sed "s/.*[.]//"; git fsck --strict --full; git verify-pack .git/objects/pack/*.idx; git grep -c 1999; git mv side other; git commit -qam moved
	cd ..; git clone -q repo clone; git clone -q --bare file://$D/repo bare.git; diff -r -x .git repo clone; git -C clone fsck; cd clone; git status -sb; echo more >>1; git commit -qam more
	git push -q ../bare.git main; git -C ../bare.git log --format=%h -3; git archive HEAD | tar t | wc -l; git worktree add -q ../tree side; ls ../tree; git clean -qfdx; git rm -qr a; ls; cd ..; rm -rf repo clone bare.git tree; ls'

# An aborted transaction leaves a journal that the next one to open the file rolls back.
sqlite='pragma cache_size=20; create table t(i integer primary key, s text); begin; insert into t select value, hex(zeroblob(50)) || value from generate_series(1,5000); commit;
	create index x on t(s); delete from t where i%3=0; vacuum; pragma integrity_check; select count(*), sum(i), min(s) from t;'
for mode in delete truncate persist wal; do
	twin_with "17, 29: sqlite, journal_mode=$mode" sqlite3 -- "cd \$D; sqlite3 q.db 'pragma journal_mode=$mode; $sqlite'
	for i in 1 2 3; do (sqlite3 -cmd '.timeout 30000' q.db 'insert into t(s) values(\"one\")') & done; wait; sqlite3 q.db \"select count(*) from t where s='one'\"
	{ printf '%s\n' 'pragma cache_size=2; begin; update t set s=s||1;' '.shell kill -9 \$PPID' | sqlite3 q.db; } 2>/dev/null || echo killed; ls | wc -l; sqlite3 q.db 'pragma integrity_check; select count(*), sum(i) from t'; sqlite3 q.db .dump | md5sum; rm q.db*; ls"
done

# A write-ahead log that was not written back, and what a killed process left of one.
twin_with '29: sqlite, journal_mode=wal' sqlite3 -- "cd \$D; sqlite3 q.db 'pragma journal_mode=wal; $sqlite'; sqlite3 q.db 'pragma wal_autocheckpoint=0; insert into t(s) select value from generate_series(1,3000); select count(*) from t'
	{ printf '%s\n' 'insert into t(s) values(7);' '.shell kill -9 \$PPID' | sqlite3 q.db; } 2>/dev/null || echo killed; ls; sqlite3 q.db 'pragma integrity_check; select count(*), sum(i) from t; pragma wal_checkpoint(truncate)'; sqlite3 q.db .dump | md5sum; ls; rm q.db"

# rsync compares whole seconds: what it is to find changed must not hang on how long the first run took.
twin_with '18: rsync' rsync -- 'cd $D; mkdir -p src/sub; seq 1 100000 >src/big; ln -s big src/link; ln src/big src/hard; touch -d @1000000000 src/big src/sub/old; chmod 640 src/sub/old; truncate -s 200000 src/sparse
	rsync -aH src/ dst/; diff -r src dst; stat -c "%n %a %Y %h" dst/sub/old dst/hard; rm src/hard; echo x >>src/big; touch -d @1100000000 src; rsync -aHi --delete src/ dst/; rsync -a --inplace --no-whole-file --append-verify src/ dst/
	rsync -ain --checksum src/ dst/; rsync -aS src/ sparse/; cmp src/sparse sparse/sparse; rsync -a --link-dest=$D/dst src/ linked/; stat -c %h linked/big; rsync -a src/ $SCRATCH/out/; diff -r src $SCRATCH/out
	rsync -a --remove-source-files $SCRATCH/out/ back/; diff -r src back; rm -rf $SCRATCH/out; find . | LC_ALL=C sort; rm -rf src dst sparse linked back'

# autotools, a library, generated code, and the program run from where it was built.
mkdir "$SCRATCH/project"
(
	cd "$SCRATCH/project" || exit
	printf '%s\n' 'AC_INIT([small], [1.0])' 'AM_INIT_AUTOMAKE([foreign subdir-objects])' 'AC_PROG_CC' 'AM_PROG_AR' 'AC_PROG_RANLIB' \
		'AC_CHECK_FUNCS([getline])' 'AC_CONFIG_HEADERS([config.h])' 'AC_CONFIG_FILES([Makefile])' 'AC_OUTPUT' >configure.ac
	printf '%s\n' 'lib_LIBRARIES = libsmall.a' 'libsmall_a_SOURCES = lib/a.c lib/b.c lib/small.h' 'nodist_libsmall_a_SOURCES = table.h' 'bin_PROGRAMS = small' \
		'small_SOURCES = main.c' 'small_LDADD = libsmall.a' 'BUILT_SOURCES = table.h' 'CLEANFILES = table.h' 'TESTS = small' 'table.h:' \
		'	seq -s , 1 100 | sed "s/.*/static const int table[] = { & };/" >$@' >Makefile.am
	mkdir lib
	echo 'int a(void); int b(int);' >lib/small.h
	printf '%s\n' '#include "small.h"' '#include "table.h"' 'int a(void) { return table[99]; }' >lib/a.c
	printf '%s\n' '#include "small.h"' 'int b(int x) { return x + a(); }' >lib/b.c
	printf '%s\n' '#include <config.h>' '#include <stdio.h>' '#include "lib/small.h"' 'int main(void) { printf("%s %d\n", PACKAGE_STRING, b(HAVE_GETLINE)); return 0; }' >main.c
)
twin_with '16: a C project' gcc make autoreconf -- 'cd $D; cp -r $SCRATCH/project .; cd project; autoreconf -i >log 2>&1; mkdir build; cd build; ../configure -q --prefix=$D/inst; make -s -j2 >log 2>&1; ./small; gcc -c -g -O2 -I. -I.. ../main.c -o o.o; cmp o.o main.o || echo built otherwise
	make check 2>/dev/null | grep "^# PASS"; touch ../lib/b.c; make -s >log 2>&1; make -s install >log 2>&1; $D/inst/bin/small; nm $D/inst/lib/libsmall.a | grep -c " T "; make -s distdir; ls small-1.0; make -s clean; find . -name "*.o"; ls; cd $D; rm -rf project inst'

cat >"$SCRATCH/streams.js" <<'JS'
const fs = require('fs'), fsp = fs.promises, path = require('path'), crypto = require('crypto'), zlib = require('zlib');
const { pipeline } = require('stream/promises'), D = path.join(process.env.D, 'node');
(async () => {
	await fsp.mkdir(path.join(D, 'a/b'), { recursive: true });
	const f = path.join(D, 'big'), sum = (p) => crypto.createHash('md5').update(fs.readFileSync(p)).digest('hex');
	const w = fs.createWriteStream(f, { highWaterMark: 10000 });
	for (let i = 0; i < 3000; i++) if (!w.write(String(i).repeat(200))) await new Promise((r) => w.once('drain', r));
	await new Promise((r) => w.end(r));
	console.log(fs.statSync(f).size, sum(f));
	await pipeline(fs.createReadStream(f), zlib.createGzip(), fs.createWriteStream(f + '.gz'));
	await pipeline(fs.createReadStream(f + '.gz'), zlib.createGunzip(), fs.createWriteStream(f + '2', { flags: 'wx' }));
	console.log(sum(f + '2') === sum(f));
	let n = 0;
	for await (const part of fs.createReadStream(f, { start: 5, end: 1000004, highWaterMark: 777 })) n += part.length;
	console.log(n);
	await Promise.all([...Array(50).keys()].map(async (i) => {
		await fsp.writeFile(path.join(D, 'a', 'f' + i), 'x'.repeat(i * 100));
		await fsp.appendFile(path.join(D, 'a', 'f' + i), 'end');
	}));
	console.log((await fsp.readdir(path.join(D, 'a'), { withFileTypes: true })).map((e) => e.name + e.isDirectory()).sort().join());
	console.log((await Promise.all([...Array(50).keys()].map((i) => fsp.readFile(path.join(D, 'a', 'f' + i))))).reduce((s, b) => s + b.length, 0));
	const h = await fsp.open(f, 'r+');
	await h.write(Buffer.from('hello'), 0, 5, 100);
	await h.writev([Buffer.from('one'), Buffer.from('two')], 200);
	const { buffer, bytesRead } = await h.read(Buffer.alloc(16), 0, 16, 198);
	console.log(bytesRead, buffer.toString(), (await h.stat()).size);
	await h.truncate(1234); await h.sync(); await h.utimes(1e9, 1.5e9); await h.chmod(0o640); await h.close();
	const s = fs.statSync(f);
	console.log(s.size, s.mtimeMs, s.mode.toString(8));
	await fsp.copyFile(f, f + '3', fs.constants.COPYFILE_EXCL);
	await fsp.copyFile(f, f + '3', fs.constants.COPYFILE_EXCL).catch((e) => console.log(e.code, e.syscall));
	fs.cpSync(path.join(D, 'a'), path.join(D, 'c'), { recursive: true });
	await fsp.rename(path.join(D, 'c'), path.join(D, 'd')); await fsp.symlink('big', path.join(D, 'l')); await fsp.link(f, path.join(D, 'hard'));
	console.log(await fsp.readlink(path.join(D, 'l')), fs.realpathSync(path.join(D, 'l')) === f, (await fsp.stat(f)).nlink);
	for (const bad of ['none', 'a', 'big/x']) await fsp.readFile(path.join(D, bad)).catch((e) => console.log(e.code, e.syscall));
	console.log(fs.existsSync(path.join(D, 'none')), fs.accessSync(f, fs.constants.W_OK), path.basename(await fsp.mkdtemp(path.join(D, 't-'))).length);
	await fsp.rm(D, { recursive: true }); console.log(fs.existsSync(D));
})().catch((e) => { console.log(e); process.exit(1); });
JS
twin_with '21: node' node -- 'node $SCRATCH/streams.js'

cat >"$SCRATCH/duck.mjs" <<'JS'
import { createRequire } from 'node:module';
import fs from 'node:fs';
const { DuckDBInstance } = createRequire(process.env.NPM + '/')('@duckdb/node-api'), D = process.env.D + '/duck';
fs.mkdirSync(D + '/spill', { recursive: true });
const c = await (await DuckDBInstance.create(':memory:')).connect();
const q = async (s) => (await c.runAndReadAll(s)).getRows().map((r) => r.map(String).join('|')).join(';');
// So much that one thread can sort it, and spills, if the other one gets no processor.
for (const s of [`memory_limit='100MB'`, 'threads=2', 'preserve_insertion_order=false', `temp_directory='${D}/spill'`]) await c.run('set ' + s);
await c.run(`copy (select range i, hash(range) k, md5(range::varchar) s from range(1200000)) to '${D}/a.parquet' (row_group_size 20000)`);
console.log(await q(`select count(*), sum(i), bit_xor(k) from '${D}/a.parquet'`), await q(`select s from '${D}/a.parquet' where i in (7, 555555) order by i`));
let spilled = 0;
const watch = setInterval(() => { spilled = Math.max(spilled, fs.readdirSync(D + '/spill').length); }, 5);
await c.run(`copy (select * from '${D}/a.parquet' order by s) to '${D}/sorted.parquet'`);
clearInterval(watch);
console.log(spilled > 0, await q(`select count(*), sum(i), bit_xor(k), min(s), max(s) from '${D}/sorted.parquet'`), await q(`select s from '${D}/sorted.parquet' order by s limit 3`));
await c.run(`copy (select i, i % 4 p from '${D}/a.parquet' where i < 20000) to '${D}/parts' (format parquet, partition_by (p))`);
console.log(fs.readdirSync(D + '/parts').sort().join(), await q(`select count(*) from read_parquet('${D}/parts/*/*.parquet', hive_partitioning=true) where p = 3`));
await c.run(`attach '${D}/x.db' as x`); await c.run(`create table x.t as select * from '${D}/a.parquet' where i < 50000`); await c.run('delete from x.t where i % 2 = 0');
await c.run('detach x'); await c.run(`attach '${D}/x.db' as y (read_only)`); console.log(await q('select count(*), sum(i) from y.t'), fs.readdirSync(D).sort().join());
fs.rmSync(D, { recursive: true });
process.exit(0);
JS
if [ -d "$duckdb/node_modules/@duckdb/node-api" ]; then
	NPM=$duckdb twin_with 'DuckDB' node -- 'node $SCRATCH/duck.mjs'
else
	say "not run: DuckDB: no @duckdb/node-api in $duckdb"
fi

cat >"$SCRATCH/mpi.c" <<'C'
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
enum { BLOCK = 65536, BLOCKS = 16 };
int main(int argc, char **argv)
{
	static char out[BLOCK], in[BLOCK];
	int rank, ranks, bad = 0, all = 0;
	MPI_File f;
	MPI_Status st;
	MPI_Offset size;
	MPI_Init(&argc, &argv);
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &ranks);
	if (MPI_File_open(MPI_COMM_WORLD, argv[1], MPI_MODE_CREATE | MPI_MODE_RDWR, MPI_INFO_NULL, &f))
		MPI_Abort(MPI_COMM_WORLD, 1);
	for (int i = 0; i < BLOCKS; i++) { /* turns: blocks of one rank alone, then of all together */
		memset(out, 'a' + (i * ranks + rank) % 26, BLOCK);
		if (i % 2)
			MPI_File_write_at(f, (MPI_Offset)(i * ranks + rank) * BLOCK, out, BLOCK, MPI_CHAR, &st);
		else
			MPI_File_write_at_all(f, (MPI_Offset)(i * ranks + rank) * BLOCK, out, BLOCK, MPI_CHAR, &st);
	}
	MPI_File_sync(f);
	MPI_Barrier(MPI_COMM_WORLD);
	for (int i = 0; i < BLOCKS * ranks; i++) {
		MPI_File_read_at(f, (MPI_Offset)i * BLOCK, in, BLOCK, MPI_CHAR, &st);
		memset(out, 'a' + i % 26, BLOCK);
		bad += memcmp(in, out, BLOCK) != 0;
	}
	MPI_File_get_size(f, &size);
	MPI_File_close(&f);
	MPI_Reduce(&bad, &all, 1, MPI_INT, MPI_SUM, 0, MPI_COMM_WORLD);
	if (rank == 0)
		printf("%d ranks, %lld bytes, %d bad\n", ranks, (long long)size, all);
	MPI_Finalize();
	return 0;
}
C
if command -v mpicc >/dev/null; then
	mpicc -O1 -o "$SCRATCH/mpi" "$SCRATCH/mpi.c" || die 'cannot build the MPI program'
fi
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_btl_vader_single_copy_mechanism=none PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe
for io in ompio romio321; do
	twin_with "MPI, $io" mpicc mpirun -- "mpirun --oversubscribe -n 2 --mca io $io \$SCRATCH/mpi \$D/mpi-file; md5sum \$D/mpi-file; rm \$D/mpi-file*; ls \$D"
done
nothing_local
