# Prints the lists of wire_ops.h, or those of ff3fs-protocol.7, in one form, for comparison:
#   struct time: u64 sec, u32 nsec
#   16 lookup (metad, READ)
#   request 16 lookup: path at
#   reply 16 lookup: attr attr
# awk -f ops-table.awk common/wire/wire_ops.h       awk -f ops-table.awk man/ff3fs-protocol.7

# --- the header ---
FILENAME ~ /\.h$/ {
	line = $0
	if (continued) line = held " " line
	if (sub(/[ \t]*\\$/, "", line)) { held = line; continued = 1; next }
	continued = 0
	if (line !~ /^#define FF3_(STRUCT|REQ|REP)_[a-z0-9_]+\(F\)/ && line !~ /^#define FF3_(OPS|STRUCTS)\(/) next
	gsub(/\/\*([^*]|\*[^\/])*\*\//, "", line)
	head = line; sub(/^#define /, "", head); sub(/\(.*/, "", head)
	body = line; sub(/^#define [A-Z0-9_a-z]+\([A-Za-z]+\)/, "", body)
	if (head == "FF3_STRUCTS") { structs = body; next }
	if (head == "FF3_OPS") { ops = body; next }
	fields[head] = ""
	while (match(body, /F\([a-z0-9]+, *[a-z0-9_]+\)/)) {
		f = substr(body, RSTART + 2, RLENGTH - 3); sub(/, */, " ", f)
		fields[head] = fields[head] (fields[head] == "" ? "" : ", ") f
		body = substr(body, RSTART + RLENGTH)
	}
}
# --- the page ---
FILENAME !~ /\.h$/ && /^\.SS struct / { name = $3; want = "struct"; next }
FILENAME !~ /\.h$/ && /^\.SS [0-9]+ / {
	op = $0; sub(/^\.SS /, "", op)
	print op
	name = $2 " " $3; want = "op"; next
}
FILENAME !~ /\.h$/ && /^(fields|request|reply):/ {
	what = $1; sub(/:$/, "", what)
	text = $0; sub(/^[a-z]+: */, "", text)
	if (text == "(empty)") text = ""
	print (what == "fields" ? "struct" : what) " " name ": " text
}
END {
	if (structs != "") {
		while (match(structs, /S\([a-z0-9_]+\)/)) {
			s = substr(structs, RSTART + 2, RLENGTH - 3)
			print "struct " s ": " fields["FF3_STRUCT_" s]
			structs = substr(structs, RSTART + RLENGTH)
		}
		while (match(ops, /OP\([^)]*\)/)) {
			s = substr(ops, RSTART + 3, RLENGTH - 4)
			split(s, part, /, */)
			print part[1] " " part[2] " (" part[3] ", " part[4] ")"
			print "request " part[1] " " part[2] ": " fields["FF3_REQ_" part[2]]
			print "reply " part[1] " " part[2] ": " fields["FF3_REP_" part[2]]
			ops = substr(ops, RSTART + RLENGTH)
		}
	}
}
