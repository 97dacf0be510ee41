# The table of calls for ff3fs-preload(7), from preload/hooks.h (aliases) and preload/calls.h:
#   awk -f calls-table.awk preload/hooks.h preload/calls.h
# With -v list=1 only the names, one in a line: what tests must call.

# A macro's body becomes one line.
{
	line = $0
	if (inside) line = held " " line
	if (line ~ /\\$/) { sub(/[ \t]*\\$/, "", line); held = line; inside = 1; next }
	inside = 0
	if (line !~ /^#define [A-Z_a-z]+\(/) next
	name = line; sub(/^#define /, "", name); sub(/\(.*/, "", name)
	sub(/^#define [A-Z_a-z]+\([^)]*\)/, "", line)
	if (name ~ /^HOOKS_/ && name != "HOOKS_ALL") aliases_of(line)
	else if (name ~ /^CALLS/) body[name] = line
}

function aliases_of(text,   part) {
	while (match(text, /[ \t]A\([A-Za-z0-9_]+, [A-Za-z0-9_]+\)/)) {
		split(substr(text, RSTART + 3, RLENGTH - 4), part, /, /)
		alias[part[2]] = alias[part[2]] " " part[1]
		text = substr(text, RSTART + RLENGTH)
	}
}

# Takes the rows of one macro in order. A string may be in several pieces.
function rows(text,   kind, name, state, what) {
	while (match(text, /(^|[ \t])(CALLS[A-Z_]*|[TCNO])\(/)) {
		kind = substr(text, RSTART, RLENGTH)
		gsub(/[ \t(]/, "", kind)
		text = substr(text, RSTART + RLENGTH)
		if (kind ~ /^CALLS/) { rows(body[kind]); continue }
		name = state = ""
		if (kind == "T") {
			flush()
			match(text, /"[^"]*"/)
			title = substr(text, RSTART + 1, RLENGTH - 2)
			text = substr(text, RSTART + RLENGTH)
			continue
		}
		match(text, /^"?[^,"]*"?, [A-Z]+, /)
		name = substr(text, 1, RLENGTH - 2)
		text = substr(text, RLENGTH + 1)
		state = name; sub(/.*, /, "", state)
		sub(/, [A-Z]+$/, "", name)
		gsub(/"/, "", name)
		what = ""
		while (match(text, /^[ \t]*"(\\.|[^"\\])*"/)) {
			piece = substr(text, RSTART, RLENGTH)
			sub(/^[ \t]*"/, "", piece); sub(/"$/, "", piece)
			what = what piece
			text = substr(text, RSTART + RLENGTH)
		}
		gsub(/\\"/, "\"", what)
		row(kind, name alias[name], state, what)
	}
}

function row(kind, names, state, what,   n, i, part) {
	if (list) {
		n = kind == "O" ? 0 : split(names, part, / /)
		for (i = 1; i <= n; i++) print part[i]
		return
	}
	if (pending && (state != last_state || what != last_what)) flush()
	pending = pending ? pending " " names : names
	last_state = state; last_what = what
}

function escape(text) {
	gsub(/-/, "\\-", text)
	gsub(/[A-Z]+_[A-Z_]+/, "\\%&", text)
	return text
}

function flush() {
	if (!pending) return
	if (title) { print "_"; printf "\\fB%s\\fR\n", title; print "_"; title = "" }
	gsub(/[A-Za-z_]+/, "\\%&", pending) # no name is divided
	printf "T{\n%s\nT}\t%s\tT{\n%s\nT}\n", pending, word[last_state], what_of(last_what)
	pending = ""
}

function what_of(text) { return text == "" ? "\\&" : escape(text) }

END {
	word["SERVED"] = "served"; word["EMULATED"] = "emulated"
	word["REFUSED"] = "refused"; word["PASSED"] = "passed on"
	if (!list) { print ".ad l"; print ".nh"; print ".TS"; print "l l l"; print "lw(30) l lw(28)."; print "Call\tHow\tNote" }
	rows(body["CALLS"])
	flush()
	if (!list) { print ".TE"; print ".hy"; print ".ad b" }
}
