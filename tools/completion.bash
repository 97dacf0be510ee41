# Bash completion of ff3fs and its programs. Options come from the programs themselves
# (--long-options), names of files on ff3fs from the cluster, if it answers at once.

_ff3fs_remote()
{
	local dir=${cur%"${cur##*/}"} name
	while read -r name; do
		COMPREPLY+=("$dir$name")
	done < <("${ff3fs_program[0]}" ls -a -U --timeout=500ms "${dir:-/}" 2>/dev/null |
		grep -F -- "${cur##*/}" | head -n 500)
	local i matching=()
	for i in "${COMPREPLY[@]}"; do
		[[ $i == "$cur"* ]] && matching+=("$i")
	done
	COMPREPLY=("${matching[@]}")
	compopt -o filenames -o nospace 2>/dev/null
}

# The values that an option's argument can have, one word each; lists are completed at their last comma.
# False: it can be anything.
_ff3fs_values()
{
	local head= words
	case $1 in
	--pin) words='memory none' ;;
	--chunk-size) words='64K 128K 256K 512K 1M 2M 4M 8M 16M' ;;
	--block) words='4K 16K 64K 256K 1M' ;;
	--mode) words='755 750 700 775 1777' ;;
	--timeout) words='500ms 5s 30s 5m' ;;
	--only) words='write-seq read-seq read-rand write-rand create stat open-read-close readdir unlink' ;;
	--options | -o) words='conf= attr_timeout= entry_timeout= allow_other ro' ;;
	--metad | --admin)
		mapfile -t COMPREPLY < <(compgen -A hostname -- "$cur")
		compopt -o nospace 2>/dev/null
		return 0
		;;
	--conf)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		compopt -o filenames 2>/dev/null
		return 0
		;;
	--dir)
		mapfile -t COMPREPLY < <(compgen -d -- "$cur")
		compopt -o filenames 2>/dev/null
		return 0
		;;
	--prefix) words='/ff3fs' ;;
	--host) words='127.0.0.1' ;;
	--jobs | -j) words='1 4 16 64' ;;
	--stripe | --chunkd | --depth | --threads | --files | --size | --memory | --time | --daemon-pid | --include | --exclude | -m)
		return 0 # any number or name
		;;
	*) return 1 ;;
	esac
	case $1 in
	--block | --only | --options | -o)
		[[ $cur == *,* ]] && head=${cur%,*},
		compopt -o nospace 2>/dev/null
		;;
	esac
	mapfile -t COMPREPLY < <(compgen -P "$head" -W "$words" -- "${cur#"$head"}")
	return 0
}

_ff3fs()
{
	local cur=${COMP_WORDS[COMP_CWORD]} command ff3fs_program options before=
	COMPREPLY=()
	((COMP_CWORD > 0)) && before=${COMP_WORDS[COMP_CWORD - 1]}
	# "--pin=mem" is three words where = breaks words.
	if [[ $cur == = ]]; then
		cur= && _ff3fs_values "$before" && return
	elif [[ $before == = ]]; then
		_ff3fs_values "${COMP_WORDS[COMP_CWORD - 2]}" && return
	elif [[ $before == -* && $cur != -* ]]; then
		_ff3fs_values "$before" && return
	elif [[ $cur == --*=* ]]; then
		before=${cur%%=*} cur=${cur#*=}
		if _ff3fs_values "$before"; then
			COMPREPLY=("${COMPREPLY[@]/#/$before=}")
			return
		fi
		cur=$before=$cur
	fi
	ff3fs_program=(ff3fs)
	options=("${COMP_WORDS[0]}")
	command=${COMP_WORDS[0]##*/}
	command=${command#ff3fs-}
	if [[ $command == ff3fs ]]; then
		if ((COMP_CWORD == 1)); then
			mapfile -t COMPREPLY < <(compgen -W "$("${COMP_WORDS[0]}" --commands \
				--long-options 2>/dev/null) --help --version" -- "$cur")
			return
		fi
		command=${COMP_WORDS[1]}
		options+=("$command")
	fi
	if [[ $cur == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$("${options[@]}" --long-options 2>/dev/null)" -- "$cur")
		[[ ${COMPREPLY[0]-} == *= ]] && compopt -o nospace 2>/dev/null
		return
	fi
	case $command in
	dev)
		local daemons='up down env status kill pid' word
		for word in "${COMP_WORDS[@]:2:COMP_CWORD-2}"; do
			case $word in
			kill | pid) daemons='metad chunkd' ;;
			up | down | env | status) daemons= ;;
			metad | chunkd) daemons='1 2 3' ;;
			esac
		done
		mapfile -t COMPREPLY < <(compgen -W "$daemons" -- "$cur")
		;;
	admin)
		case " ${COMP_WORDS[*]:1:COMP_CWORD-1} " in
		*' layout '*) _ff3fs_remote ;;
		*' backup '* | *' restore '*)
			mapfile -t COMPREPLY < <(compgen -f -- "$cur")
			compopt -o filenames 2>/dev/null
			;;
		*' admit '* | *' remove '* | *' hand-over '*) ;;
		*' metad '*) mapfile -t COMPREPLY < <(compgen -W 'backup restore members admit remove hand-over promote' -- "$cur") ;;
		*) mapfile -t COMPREPLY < <(compgen -W 'status nodes layout metad fsck' -- "$cur") ;;
		esac
		;;
	layout)
		if ((COMP_CWORD == 2)); then
			mapfile -t COMPREPLY < <(compgen -W 'get set' -- "$cur")
		else
			_ff3fs_remote
		fi
		;;
	ls | stat | rm | mkdir | mv | doctor) _ff3fs_remote ;;
	put | get | mount)
		_ff3fs_remote
		mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$cur")
		compopt -o filenames 2>/dev/null
		;;
	run | check)
		mapfile -t COMPREPLY < <(compgen -c -f -- "$cur")
		;;
	esac
}

complete -F _ff3fs ff3fs ff3fs-put ff3fs-get ff3fs-admin ff3fs-mount
