#!/usr/bin/python3
"""table.py RESULTS DIR: the rounds of run.sh as a table on stdout, DIR/bench.json, and what gnuplot
needs for DIR/bench.png. A ratio is taken within a round, or comes with the row; shown is the median of the rounds."""
import json
import statistics
import sys

KIB, MIB = 1 << 10, 1 << 20
NAMES = {4 * KIB: "4 KiB", 64 * KIB: "64 KiB", MIB: "1 MiB"}

BARE = {"tcp_pread": "bare TCP, file", "tcp_memory": "bare TCP, memory"}


def find(rows, name, block, depth):
    for r in rows or []:
        if r["name"] == name and r["block"] == block and r["depth"] == depth:
            return r
    return None


class Line:
    """One comparison: ours (part, name) against a limit (part, name), or against a fixed rate."""

    def __init__(self, title, ours, limit, block, depth, target, one_at_a_time=False, limit_depth=None):
        self.title, self.target, self.one = title, target, one_at_a_time
        self.ours, self.limit, self.block, self.depth = ours, limit, block, depth
        self.limit_depth = limit_depth or depth
        self.ratios, self.ours_rows, self.limit_rows = [], [], []

    def add(self, parts):
        a = find(parts.get(self.ours[0]), self.ours[1], self.block, self.depth)
        b = find(parts.get(self.limit[0]), self.limit[1], self.block, self.limit_depth)
        if not a or not b:
            return
        self.ours_rows.append(a)
        self.limit_rows.append(b)
        # One at a time, the median latency: a pause of the machine does not move it.
        if "ratio" in a:
            self.ratios.append(a["ratio"])
        elif self.one and a["p50_us"] and b["p50_us"]:
            self.ratios.append(b["p50_us"] / a["p50_us"])
        else:
            self.ratios.append(a["ops_per_s"] / b["ops_per_s"])

    def ratio(self):
        return statistics.median(self.ratios)

    def median(self, rows, key):
        return statistics.median(r[key] for r in rows)


def lines():
    for block, target in ((4 * KIB, 0.75), (64 * KIB, 0.8), (MIB, 0.9)):
        for limit in ("tcp_pread", "tcp_memory"):
            yield Line(f"read {NAMES[block]}, one at a time / {BARE[limit]}", ("one-core", "read-rand"),
                       ("one-core-limit", limit), block, 1, target, True)
    for block in NAMES:
        yield Line(f"shm: read {NAMES[block]}, one at a time / {BARE['tcp_memory']}",
                   ("one-core-shm", "read-rand"), ("one-core-limit", "tcp_memory"), block, 1, 1, True)
    for block in NAMES:
        yield Line(f"shm: read {NAMES[block]}, not pinned / ff3fs by TCP", ("many-shm", "read-rand"),
                   ("many-tcp", "read-rand"), block, 1, 1, True)
    for way in ("tcp", "shm"):
        for block in NAMES:
            yield Line(f"{way}: read {NAMES[block]}, 16 at once / {BARE['tcp_pread']}",
                       (f"many-{way}", "read-rand"), ("many-limit", "tcp_pread"), block, 16, None)
    for way, target in (("tcp", 0.75), ("shm", 0.9)):
        for block in NAMES:
            for depth in (1, 8, 32):
                yield Line(f"{way}: cold read {NAMES[block]}, {depth} at once / disk",
                           (f"cold-{way}", "read-rand"), (f"cold-{way}", "disk_read"), block, depth, target)
    yield Line("shm: exposed memory, 4 KiB / passthrough FUSE", ("hot", "exposed"), ("hot", "fuse"),
               4 * KIB, 1, 3)
    yield Line("shm: exposed memory, 1 MiB / memcpy", ("hot", "exposed"), ("hot", "copy"), MIB, 1, 0.7)
    yield Line("write 1 MiB in sequence + fsync / disk", ("write", "write-seq"),
               ("write-limit", "disk_write"), MIB, 1, 0.7, limit_depth=8)


FILES = (("create", "create+write+close", 8000), ("open-read-close", "open+read+close", 15000),
         ("stat", "stat", 40000), ("readdir", "readdir entries", 2000000), ("unlink", "unlink", None))


def main():
    path, out = sys.argv[1:]
    rounds = {}
    with open(path) as f:
        for line in f:
            d = json.loads(line)
            rounds.setdefault(d["round"], {}).setdefault(d["part"], []).extend(d["rows"])
    done = []
    for line in lines():
        for n in sorted(rounds):
            line.add(rounds[n])
        if line.ratios:
            done.append(line)

    print(f"{'median of ' + str(len(rounds)) + ' rounds':<52} {'ratio':>6} {'goal':>5} {'(spread)':>12} "
          f"{'ops/s':>10} {'limit':>10} {'CPU us':>8} {'limit':>8}")
    summary = []
    for l in done:
        low, high = min(l.ratios), max(l.ratios)
        print(f"{l.title:<52} {l.ratio():>6.2f} {l.target or '':>5} {f'{low:.2f}-{high:.2f}':>12} "
              f"{l.median(l.ours_rows, 'ops_per_s'):>10.0f} {l.median(l.limit_rows, 'ops_per_s'):>10.0f} "
              f"{l.median(l.ours_rows, 'cpu_us_per_op'):>8.1f} "
              f"{l.median(l.limit_rows, 'cpu_us_per_op'):>8.1f}")
        summary.append({"title": l.title, "ratio": l.ratio(), "goal": l.target, "ratios": l.ratios})
    print()
    print(f"{'files, one thread':<46} {'per s':>10} {'goal':>10} {'(spread)':>20} {'CPU us':>8} {'p50 us':>8}")
    for name, title, goal in FILES:
        rows = [r for n in sorted(rounds) for r in rounds[n].get("files", []) if r["name"] == name]
        if not rows:
            continue
        rates = [r["ops_per_s"] for r in rows]
        cpu = statistics.median(r["cpu_us_per_op"] for r in rows)
        p50 = statistics.median(r["p50_us"] for r in rows)
        print(f"{title:<46} {statistics.median(rates):>10.0f} {goal or '':>10} "
              f"{f'{min(rates):.0f}-{max(rates):.0f}':>20} {cpu:>8.2f} {p50:>8.1f}")
        summary.append({"title": title, "per_s": statistics.median(rates), "goal": goal, "rates": rates})

    with open(f"{out}/bench.json", "w") as f:
        json.dump({"summary": summary, "rounds": rounds}, f, indent=1)
    plot(out, done)


def plot(out, done):
    with open(f"{out}/bench.dat", "w") as f:
        for l in reversed(done):
            f.write(f"\"{l.title}\"\t{l.ratio():.3f}\t{min(l.ratios):.3f}\t{max(l.ratios):.3f}\t"
                    f"{l.target or 'NaN'}\n")
    top = max(1.25, max(max(l.ratios) for l in done) * 1.05) if done else 1.25
    with open(f"{out}/bench.gp", "w") as f:
        f.write(f"""set terminal pngcairo noenhanced size 1100,{140 + 30 * len(done)} font "sans,11"
set output "{out}/bench.png"
set title "ff3fs / limit, measured in the same run (median of the rounds; whiskers: all rounds)"
set xrange [0:{min(top, 2.5):.2f}]
set yrange [-0.7:{len(done)}.2]
set xlabel "ratio (1 = the limit)"
set grid xtics
set style fill solid 0.85 noborder
set key bottom right box opaque
set lmargin 46
set ytics nomirror
set border 3
set arrow 1 from 1,graph 0 to 1,graph 1 nohead lc rgb "#444444" dt 2
plot "{out}/bench.dat" using ($2/2):0:($2/2):(0.32):ytic(1) with boxxyerror lc rgb "#4a7ebb" title "ff3fs", \\
  "" using 2:0:3:4 with xerrorbars pt 0 lc rgb "#1f3864" notitle, \\
  "" using 5:0 with points pt 9 ps 1.3 lc rgb "#c0504d" title "goal"
""")


main()
