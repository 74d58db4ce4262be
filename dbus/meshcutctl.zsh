#compdef meshcutctl
# SPDX-License-Identifier: GPL-2.0-or-later

# Completion of meshcutctl for zsh. tests/check/check-completion holds it against the program.

local -a verbs
verbs=(
        'status:What is on, what is refused and why'
        'stats:Counters, in all and by rule'
        'connections:Connections that are enrolled now'
        'veths:Host-side veth devices'
        'metrics:State and counters as OpenMetrics text'
        'enable:Turn shortcuts on'
        'disable:Turn shortcuts off'
        'reload:Apply the configuration'
        'check:Check the configuration without touching the service'
)

local curcontext=$curcontext state line
_arguments -C \
        '(-j --json)'{-j,--json}'[write JSON]' \
        '(-w --watch)'{-w,--watch}'[stats\: print rates each second]' \
        '(-n --limit)'{-n+,--limit=}'[connections\: at most so many]:number:' \
        '(-o --output)'{-o+,--output=}'[metrics\: write to a file]:file:_files' \
        '(- *)'{-h,--help}'[show a summary]' \
        '(- *)--version[show the version]' \
        '1:verb:->verb' \
        '*:shortcut:->arguments'

case $state in
verb) _describe -t verbs 'verb' verbs ;;
arguments)
        case $line[1] in
        enable | disable) _values -w 'shortcut' socket veth ;;
        *) _message 'no more arguments' ;;
        esac
        ;;
esac
