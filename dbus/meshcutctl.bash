# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash

# Completion of meshcutctl for bash. tests/check/check-completion holds it against the program.

# _meshcutctl_verb: the verb on the command line before the cursor, if any.
_meshcutctl_verb() {
        local i
        for ((i = 1; i < COMP_CWORD; i++)); do
                case ${COMP_WORDS[i]} in
                -n | --limit | -o | --output)
                        [[ ${COMP_WORDS[i + 1]} == = ]] && ((i++))
                        ((i++))
                        ;;
                -*) ;;
                *)
                        echo "${COMP_WORDS[i]}"
                        return
                        ;;
                esac
        done
}

_meshcutctl() {
        local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} verb words=
        # bash takes = for a word of its own.
        if [[ $before == = ]]; then
                before=${COMP_WORDS[COMP_CWORD - 2]}
        elif [[ $word == = ]]; then
                word=
        fi
        case $before in
        -n | --limit) return ;;
        -o | --output)
                mapfile -t COMPREPLY < <(compgen -f -- "$word")
                compopt -o filenames 2>/dev/null
                return
                ;;
        esac
        verb=$(_meshcutctl_verb)
        if [[ $word == -* ]]; then
                case $verb in
                '') words='--json --watch --limit= --output= --help --version' ;;
                status | veths | check) words='--json' ;;
                stats) words='--json --watch' ;;
                connections) words='--json --limit=' ;;
                metrics) words='--output=' ;;
                esac
        else
                case $verb in
                '') words='status stats connections veths metrics enable disable reload check' ;;
                enable | disable) words='socket veth' ;;
                esac
        fi
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
        if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]]; then compopt -o nospace 2>/dev/null; fi
        return 0
}

complete -F _meshcutctl meshcutctl
