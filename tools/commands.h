/* The commands of ff3fs. Each parses its own options (argv[0] is its name) and returns an exit
 * code of cli.h.
 *
 *   C(name, one line for the overview) */
#pragma once

#define FF3FS_COMMANDS(C)                                                                          \
	C(ls, "list directories")                                                                  \
	C(stat, "show what is known of a file")                                                    \
	C(rm, "remove files and directories")                                                      \
	C(mkdir, "make directories")                                                               \
	C(mv, "rename files and directories")                                                      \
	C(layout, "show or set how files are spread over chains")                                  \
	C(df, "show capacity and use")                                                             \
	C(run, "run a program with the shim")                                                      \
	C(check, "tell whether the shim can serve a program")                                      \
	C(doctor, "look at what a job on this host would get")                                     \
	C(ticket, "make tickets, for clusters that ask for them")                                     \
	C(bench, "measure how fast the cluster is")                                               \
	C(dev, "run a local cluster for development")

#define FF3FS_COMMAND_DECLARE(name, text) int cmd_##name(int argc, char **argv);
FF3FS_COMMANDS(FF3FS_COMMAND_DECLARE)
#undef FF3FS_COMMAND_DECLARE
