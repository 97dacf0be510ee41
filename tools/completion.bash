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

_ff3fs()
{
	local cur=${COMP_WORDS[COMP_CWORD]} command ff3fs_program options
	COMPREPLY=()
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
	dev) mapfile -t COMPREPLY < <(compgen -W 'up down env status kill pid metad chunkd' -- "$cur") ;;
	admin) mapfile -t COMPREPLY < <(compgen -W 'status nodes layout' -- "$cur") ;;
	layout)
		if ((COMP_CWORD == 2)); then
			mapfile -t COMPREPLY < <(compgen -W 'get set' -- "$cur")
		else
			_ff3fs_remote
		fi
		;;
	ls | stat | rm | mkdir | mv) _ff3fs_remote ;;
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
