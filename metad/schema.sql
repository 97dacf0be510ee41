-- The namespace. Times are nanoseconds since 1970; unsigned 64-bit numbers are stored as the
-- signed number of the same bits. Changed only by applying log records (apply.c), so that the
-- whole database is a function of the log.

-- One row. applied_seq and applied_hash name the last log record whose effects are here.
CREATE TABLE meta (
	id              INTEGER PRIMARY KEY CHECK (id = 1),
	format          INTEGER NOT NULL,
	cluster         INTEGER NOT NULL,
	log_key         INTEGER NOT NULL,
	epoch           INTEGER NOT NULL,
	applied_seq     INTEGER NOT NULL,
	applied_hash    INTEGER NOT NULL,
	time            INTEGER NOT NULL,
	next_ino        INTEGER NOT NULL,
	n_inodes        INTEGER NOT NULL,
	next_chain      INTEGER NOT NULL,
	routing_version INTEGER NOT NULL
);

-- parent and name_hash: the directory entry it was last given, exact for directories, a hint for
-- files with several names. chunk_size, stripe: of a file, its layout (stripe is a row of
-- stripes); of a directory, its own layout or 0 (stripe is a width). The low byte of chunk_size is
-- the layout's pin (FF3_PIN_*; 0: none), and 128 of a file that may have no chunks before its end where nothing
-- was written. truncs counts truncations,
-- so that a size noted before one is not applied after it.
CREATE TABLE inodes (
	ino        INTEGER PRIMARY KEY,
	mode       INTEGER NOT NULL,
	uid        INTEGER NOT NULL,
	gid        INTEGER NOT NULL,
	nlink      INTEGER NOT NULL,
	size       INTEGER NOT NULL,
	generation INTEGER NOT NULL,
	atime      INTEGER NOT NULL,
	mtime      INTEGER NOT NULL,
	ctime      INTEGER NOT NULL,
	btime      INTEGER NOT NULL,
	parent     INTEGER NOT NULL,
	name_hash  INTEGER NOT NULL,
	chunk_size INTEGER NOT NULL,
	stripe     INTEGER NOT NULL,
	seed       INTEGER NOT NULL,
	truncs     INTEGER NOT NULL
);

-- hash orders a directory: it is the cookie of a listing.
CREATE TABLE dentries (
	parent INTEGER NOT NULL,
	hash   INTEGER NOT NULL,
	name   BLOB NOT NULL,
	ino    INTEGER NOT NULL,
	type   INTEGER NOT NULL,
	PRIMARY KEY (parent, hash, name)
) WITHOUT ROWID;

CREATE TABLE symlinks (
	ino    INTEGER PRIMARY KEY,
	target BLOB NOT NULL
);

CREATE TABLE xattrs (
	ino   INTEGER NOT NULL,
	name  BLOB NOT NULL,
	value BLOB NOT NULL,
	PRIMARY KEY (ino, name)
) WITHOUT ROWID;

-- The distinct lists of chains that files are striped over, u32 little-endian each.
CREATE TABLE stripes (
	id     INTEGER PRIMARY KEY,
	chains BLOB NOT NULL
);

-- No name any more, but perhaps open. root: of the removal that it is part of, or 0.
CREATE TABLE orphans (
	ino  INTEGER PRIMARY KEY,
	root INTEGER NOT NULL
);

-- Gone for everyone; their chunks are still to be removed from the chunk daemons.
CREATE TABLE garbage (
	ino    INTEGER PRIMARY KEY,
	stripe INTEGER NOT NULL,
	root   INTEGER NOT NULL
);

-- Directories that a removal of a whole tree has reached: they have no name, and what is in them is
-- being taken away.
CREATE TABLE trees (
	ino  INTEGER PRIMARY KEY,
	root INTEGER NOT NULL
);

-- Removals of whole trees, by the directory at the top; of those that are done, the last few. names,
-- dirs: that are gone; pending: its rows in trees; waiting: its inodes in orphans and garbage.
CREATE TABLE removals (
	root    INTEGER PRIMARY KEY,
	uid     INTEGER NOT NULL,
	began   INTEGER NOT NULL,
	ended   INTEGER NOT NULL,
	names   INTEGER NOT NULL,
	dirs    INTEGER NOT NULL,
	pending INTEGER NOT NULL,
	waiting INTEGER NOT NULL
);

-- Cut to size here; the chunk daemons may still hold bytes beyond.
CREATE TABLE truncations (
	ino      INTEGER PRIMARY KEY,
	size     INTEGER NOT NULL,
	old_size INTEGER NOT NULL
);

-- Answers to mutations, for a session that asks again. acked: what that request said.
CREATE TABLE results (
	session INTEGER NOT NULL,
	seq     INTEGER NOT NULL,
	acked   INTEGER NOT NULL,
	status  INTEGER NOT NULL,
	reply   BLOB NOT NULL,
	PRIMARY KEY (session, seq)
) WITHOUT ROWID;

CREATE TABLE nodes (
	node    INTEGER PRIMARY KEY,
	address TEXT NOT NULL,
	admin   TEXT NOT NULL
);

CREATE TABLE targets (
	target INTEGER PRIMARY KEY,
	node   INTEGER NOT NULL,
	state  INTEGER NOT NULL
);

-- members: u64 target ids little-endian, head first.
CREATE TABLE chains (
	chain   INTEGER PRIMARY KEY,
	version INTEGER NOT NULL,
	members BLOB NOT NULL
);
