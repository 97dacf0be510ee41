#!/bin/bash
# Everyday programs below the prefix: what each prints, and its exit status, must be what it is on a
# local directory. The shell itself runs under the shim, so its redirections are covered too.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
. "$srcdir/tests/ladder.sh"
requires ff3fs-metad ff3fs-chunkd

start_cluster 2

seq 1 20000 >"$tmp/scratch/numbers"
head -c 3000001 /dev/urandom >"$tmp/scratch/random"

twin 'copies in' 'cp $SCRATCH/numbers $SCRATCH/random $D/ && ls $D; cmp $SCRATCH/random $D/random'
twin 'cat wc head tail md5sum cmp' 'cd $D; cat numbers | md5sum; wc numbers random; head -3 numbers
	tail -n 2 numbers; tail -c 10 random | od -c; md5sum numbers random; cmp -n 100 numbers random | wc -l
	sha1sum <random; od -An -tx1 -j 2999990 random'
twin 'redirections' 'cd $D; echo one >f; echo two >>f; cat <f; exec 7<f; read x <&7; echo $x; cat <&7; exec 7<&-
	{ read x; cat; } <f; (echo a; /bin/echo b; echo c) >g; cat g; echo to both | tee h | cat; cat h
	/bin/echo err 2>e >&2; cat e; cat <<<here >i; cat i; : >empty; test -s empty; echo $?
	printf "%s\n" x y z >j; while read l; do echo "[$l]"; done <j; exec 8<>j; read y <&8; echo new >&8; cat j; exec 8>&-
	set -C; echo no >j; echo $?; set +C; { echo in; echo err >&2; } >k 2>&1; cat k; cat nonexistent; ls -d .'
twin 'stdio: sort sed awk grep' 'cd $D; sort -rn <numbers | head -3; sort -n numbers -o sorted; cmp numbers sorted
	sed -n 5p <numbers; sed -i s/^7$/seven/ numbers; grep -n seven numbers; grep -c 99 <numbers
	awk "{s+=\$1} END {print s}" numbers; uniq numbers | wc -l; paste numbers numbers | tail -1; cut -c1 numbers | sort -u
	tr 1 2 <numbers | md5sum; comm -12 numbers numbers | wc -l; join numbers numbers 2>/dev/null | wc -l; nl numbers | tail -1'
# (dd asks for memory in a way that AddressSanitizer takes for an error.)
[ -n "${SANITIZE_FLAGS:-}" ] || twin 'dd' 'cd $D; dd if=random of=r7 bs=7 count=1000 status=none; cmp -n 7000 random r7
	dd if=random of=rs bs=1k skip=3 seek=5 count=10 status=none; md5sum rs; dd if=/dev/zero of=rs bs=1 count=3 seek=100 conv=notrunc status=none; md5sum rs
	dd if=random bs=64k status=none | md5sum; dd of=rd bs=4k oflag=append conv=notrunc status=none <random; cmp random rd
	dd if=random of=dir bs=1M oflag=direct status=none; md5sum dir; dd if=random iflag=direct bs=1M status=none | md5sum'
twin 'trees' 'cd $D; cp -r /etc/apt t1; cp -a t1 t2; diff -r t1 t2 && echo same; tar cf - t1 | (mkdir x; tar xf - -C x); diff -r t1 x/t1 && echo same
	find t1 | LC_ALL=C sort; find t1 -type f -size +0 | wc -l; grep -rl deb t1 | LC_ALL=C sort; du -a --apparent-size t1 | wc -l
	mv t2 t3; ls; rm -r t1 x; ls -d t*; mkdir -p p/q/r; rmdir p/q/r; rmdir p; echo $?; rm -rf p t3; ls'
twin 'links' 'cd $D; ln -s f s; readlink s; cat s; ln f l; stat -c "%h %s %F" f l s; ln -s nowhere dangling; cat dangling; test -L dangling; echo $?
	ln -s $D/f abs; cat abs; readlink -f abs; ln -s .. up; ls up/f 2>&1 | wc -l; ln -s loop loop; cat loop; realpath s; rm s l dangling abs up loop'
twin 'attributes' 'cd $D; chmod 640 f; stat -c "%a %F %s" f; touch -d @1000000000.5 f; stat -c "%Y %X" f; chmod 000 f; stat -c %a f; chmod 644 f
	touch new; test -f new; echo $?; test f -nt new; echo $?; truncate -s 12345 new; stat -c "%s" new; mkdir -m 711 d; stat -c "%a %F" d; umask 077; touch u; stat -c %a u; mkdir v; stat -c %a v; rm -r new d u v'
twin 'working directory' 'mkdir -p $D/w/x; cd $D/w; pwd; /bin/pwd; cat ../f; echo hi >x/file; cd x; cat file ../../f; (cd ..; ls); cd ..; ls; sh -c "cd x; pwd; cat file"
	cd - >/dev/null; env -i /bin/pwd 2>&1 | wc -l; cd /; pwd; cd $D/w/../w; /bin/pwd; rm -r $D/w'
twin 'temporary files' 'cd $D; mktemp -p . | wc -c; mktemp -d tXXXXXX | wc -c; ls | wc -l; rm -rf tmp.* t??????; ls | wc -l'
twin 'programs below it' 'cd $D; cp /bin/echo prog; ./prog ran; $D/prog ran; printf "#!/bin/sh\necho script \$0 \$@\n" >scr; chmod +x scr; ./scr 1 2; $D/scr; PATH=$D:$PATH scr by path
	printf "echo no head\n" >nohead; chmod +x nohead; ./nohead; chmod -x scr; ./scr; env ./prog env; sh -c "exec ./prog exec"; xargs ./prog <<<"a b"; find . -name prog -exec {} found \;; timeout 5 ./prog timed; rm prog scr nohead'
twin 'locks' 'cd $D; flock lk true; echo $?; flock lk sleep 1 & while flock -n lk true; do :; done; flock -n lk true; echo $?; wait; flock -n lk true; echo $?
	(flock 9; flock -n lk true; echo held $?) 9>lk; flock -n lk true; echo free $?; exec 9>lk; flock -s 9; flock -s -n lk true; echo $?; flock -n lk true; echo $?; flock -u 9; flock -w 5 lk true; echo $?; rm lk'
twin 'other tools' 'cd $D; split -b 1M random sp.; cat sp.* | cmp - random; rm sp.*; gzip -k numbers; zcat numbers.gz | cmp - numbers; xz -0 -k numbers; xzcat numbers.xz | cmp - numbers
	shuf -n 5 numbers | wc -l; split -n 3 numbers pn.; wc -l pn.*; install -D -m 755 f a/b/c; ls -R a; tac numbers | head -1; csplit -s numbers 5 && ls xx*; stat -c %s random; df . | wc -l; rm -rf a xx* pn.* numbers.*'
# What reads and writes wide characters: columns are counted, and a line is turned, by character.
twin_with 'wide characters' rev column -- 'export LC_ALL=C.UTF-8; cd $D; printf "a\303\244b\344\270\255\nlonger line\tx\n" >wide; rev wide; rev <wide >turned; rev turned | cmp - wide
	column -t wide; column -t <wide >table; cat table; column -c 40 numbers | md5sum; fold -w 3 wide; fmt -w 8 wide; expand wide; wc -m wide; rev numbers | rev | cmp - numbers; rm wide turned table'
if command -v perl >/dev/null; then
	twin 'perl' 'perl -e "opendir(D,\$ARGV[0]); print join(\" \", sort readdir D), qq(\n); open F,q(>),qq(\$ARGV[0]/p) or die; print F q(x)x100000; close F; print -s qq(\$ARGV[0]/p), qq(\n); open F,qq(\$ARGV[0]/p); seek F,99990,0; read F,\$b,100; print length \$b,qq(\n); chdir \$ARGV[0]; print join(q( ),sort glob(q(*))),qq(\n); unlink q(p)" $D'
fi
if command -v node >/dev/null; then
	twin 'node' 'node -e "const fs=require(\"fs\"),p=\"$D/node\";fs.mkdirSync(p);fs.writeFileSync(p+\"/a\",\"x\".repeat(1e5));fs.copyFileSync(p+\"/a\",p+\"/b\");console.log(fs.readFileSync(p+\"/b\").length,fs.readdirSync(p).length);fs.createReadStream(p+\"/a\").on(\"data\",d=>console.log(d.length)).on(\"close\",()=>{fs.rmSync(p,{recursive:true});console.log(fs.existsSync(p))})"'
fi
if command -v rsync >/dev/null; then
	twin 'rsync' 'cd $D; rsync -a /etc/apt/ r/; echo x >>r/sources.list; rsync -ac --delete --inplace /etc/apt/ r/; diff -r /etc/apt r && echo same; rsync -a r/ $SCRATCH/out/; diff -r r $SCRATCH/out && echo same; rm -r r $SCRATCH/out'
fi
if command -v sqlite3 >/dev/null; then
	twin 'sqlite' 'cd $D; sqlite3 q.db "create table t(a);insert into t select value from generate_series(1,5000);pragma integrity_check;select sum(a) from t"; for i in 1 2 3 4; do (sqlite3 -cmd ".timeout 20000" q.db "insert into t values(1)") & done; wait; sqlite3 q.db "select count(*) from t"; rm q.db'
fi
twin 'a link of the machine that leads there' 'L=$SCRATCH/link; mkdir -p $D/real/sub; echo there >$D/real/f; ln -s $D/real $L; cat $L/f; ls $L; echo new >$L/g; cat $D/real/g; (cd $L && ls && cat sub/../f); stat -c %s $L/f
	mv $L/g $L/h; rm $L/h; mkdir $L/m; rmdir $L/m; ls -l $L/ | wc -l; readlink $L | wc -l; realpath $L/sub | sed "s,.*real,real,"; test -d $L/sub; echo $?; cp /etc/hostname $L/; find $L/ | wc -l; grep -c there <$L/f; cat $L/none; rm -r $D/real $L'
nothing_local
