# Completion of stackctl; written by `python -m stackctl.cli.completion`, do not edit.

_stackctl_words() {
  case "$1" in
    '') echo 'up down status demo index search collections models devices api analytics tui jobs insights logs doctor config completion' ;;
    'collections') echo 'list remove' ;;
    'models') echo 'list pull verify remove import export load unload ps why alias tune run bench' ;;
    'api') echo 'env token' ;;
    'analytics') echo 'query sql top tail' ;;
    'jobs') echo 'list show watch cancel' ;;
    'insights') echo 'list show mute unmute' ;;
    'config') echo 'show path check reload' ;;
  esac
}

_stackctl_flags() {
  case "$1" in
    '') echo '--json --plain --quiet --no-start --no-color -v --verbose --debug --version --help -h' ;;
    'up') echo '--help -h' ;;
    'down') echo '--help -h' ;;
    'status') echo '--help -h' ;;
    'demo') echo '--query --down --help -h' ;;
    'index') echo '--collection -c --watch --no-watch --remove --force --detach --help -h' ;;
    'search') echo '--collection -c --mode --limit -n --path --type --help -h' ;;
    'collections') echo '--help -h' ;;
    'collections list') echo '--help -h' ;;
    'collections remove') echo '--help -h' ;;
    'models') echo '--help -h' ;;
    'models list') echo '--help -h' ;;
    'models pull') echo '--detach --help -h' ;;
    'models verify') echo '--help -h' ;;
    'models remove') echo '--help -h' ;;
    'models import') echo '--licence --help -h' ;;
    'models export') echo '--help -h' ;;
    'models load') echo '--device --pin --no-pin --ttl --replicas --latency-target --max-queued --timeout --help -h' ;;
    'models unload') echo '--device --help -h' ;;
    'models ps') echo '--help -h' ;;
    'models why') echo '--help -h' ;;
    'models alias') echo '--remove --help -h' ;;
    'models tune') echo '--detach --help -h' ;;
    'models run') echo '--option -o --query --stream --no-stream --output --timeout --pull --help -h' ;;
    'models bench') echo '--concurrency --seconds --rate --batch --input -i --option -o --query --pull --help -h' ;;
    'devices') echo '--help -h' ;;
    'api') echo '--help -h' ;;
    'api env') echo '--help -h' ;;
    'api token') echo '--help -h' ;;
    'analytics') echo '--help -h' ;;
    'analytics query') echo '--measure -m --by -b --where -w --kind --window --step --order --limit -n --others --compare --help -h' ;;
    'analytics sql') echo '--limit -n --timeout --help -h' ;;
    'analytics top') echo '--measure -m --where -w --kind --window --limit -n --help -h' ;;
    'analytics tail') echo '--follow -f --kind --lines -n --help -h' ;;
    'tui') echo '--screen --read-only --once --width --height --help -h' ;;
    'jobs') echo '--help -h' ;;
    'jobs list') echo '--help -h' ;;
    'jobs show') echo '--help -h' ;;
    'jobs watch') echo '--help -h' ;;
    'jobs cancel') echo '--help -h' ;;
    'insights') echo '--help -h' ;;
    'insights list') echo '--state --help -h' ;;
    'insights show') echo '--help -h' ;;
    'insights mute') echo '--reason --for --help -h' ;;
    'insights unmute') echo '--help -h' ;;
    'logs') echo '--follow -f --lines -n --help -h' ;;
    'doctor') echo '--repair --help -h' ;;
    'config') echo '--help -h' ;;
    'config show') echo '--daemon --help -h' ;;
    'config path') echo '--help -h' ;;
    'config check') echo '--help -h' ;;
    'config reload') echo '--help -h' ;;
    'completion') echo '--install --help -h' ;;
  esac
}

_stackctl_argument() {
  case "$1" in
    'demo') echo 'file' ;;
    'index') echo 'file' ;;
    'collections remove') echo 'live:collections' ;;
    'models pull') echo 'live:models' ;;
    'models verify') echo 'live:models' ;;
    'models remove') echo 'live:models' ;;
    'models import') echo 'file' ;;
    'models export') echo 'live:models' ;;
    'models load') echo 'live:models' ;;
    'models unload') echo 'live:models' ;;
    'models why') echo 'live:models' ;;
    'models alias') echo 'live:models' ;;
    'models tune') echo 'live:models' ;;
    'models run') echo 'live:models' ;;
    'models bench') echo 'live:models' ;;
    'jobs show') echo 'live:jobs' ;;
    'jobs watch') echo 'live:jobs' ;;
    'jobs cancel') echo 'live:jobs' ;;
    'completion') echo 'choice:bash zsh fish' ;;
  esac
}

_stackctl_values() {
  case "$1" in
    'demo --query') echo 'any' ;;
    'index --collection' | 'index -c') echo 'live:collections' ;;
    'search --collection' | 'search -c') echo 'live:collections' ;;
    'search --mode') echo 'choice:hybrid keyword semantic' ;;
    'search --limit' | 'search -n') echo 'any' ;;
    'search --path') echo 'any' ;;
    'search --type') echo 'choice:text markdown code html pdf docx' ;;
    'models import --licence') echo 'any' ;;
    'models load --device') echo 'any' ;;
    'models load --ttl') echo 'any' ;;
    'models load --replicas') echo 'any' ;;
    'models load --latency-target') echo 'any' ;;
    'models load --max-queued') echo 'any' ;;
    'models load --timeout') echo 'any' ;;
    'models unload --device') echo 'any' ;;
    'models run --option' | 'models run -o') echo 'any' ;;
    'models run --query') echo 'any' ;;
    'models run --output') echo 'any' ;;
    'models run --timeout') echo 'any' ;;
    'models bench --concurrency') echo 'any' ;;
    'models bench --seconds') echo 'any' ;;
    'models bench --rate') echo 'any' ;;
    'models bench --batch') echo 'any' ;;
    'models bench --input' | 'models bench -i') echo 'any' ;;
    'models bench --option' | 'models bench -o') echo 'any' ;;
    'models bench --query') echo 'any' ;;
    'analytics query --measure' | 'analytics query -m') echo 'any' ;;
    'analytics query --by' | 'analytics query -b') echo 'any' ;;
    'analytics query --where' | 'analytics query -w') echo 'any' ;;
    'analytics query --kind') echo 'any' ;;
    'analytics query --window') echo 'any' ;;
    'analytics query --step') echo 'any' ;;
    'analytics query --order') echo 'any' ;;
    'analytics query --limit' | 'analytics query -n') echo 'any' ;;
    'analytics sql --limit' | 'analytics sql -n') echo 'any' ;;
    'analytics sql --timeout') echo 'any' ;;
    'analytics top --measure' | 'analytics top -m') echo 'any' ;;
    'analytics top --where' | 'analytics top -w') echo 'any' ;;
    'analytics top --kind') echo 'any' ;;
    'analytics top --window') echo 'any' ;;
    'analytics top --limit' | 'analytics top -n') echo 'any' ;;
    'analytics tail --kind') echo 'any' ;;
    'analytics tail --lines' | 'analytics tail -n') echo 'any' ;;
    'tui --screen') echo 'any' ;;
    'tui --once') echo 'any' ;;
    'tui --width') echo 'any' ;;
    'tui --height') echo 'any' ;;
    'insights list --state') echo 'choice:open resolved muted all' ;;
    'insights mute --reason') echo 'any' ;;
    'insights mute --for') echo 'any' ;;
    'logs --lines' | 'logs -n') echo 'any' ;;
  esac
}

# Fill COMPREPLY with what a description such as "choice:a b" or "live:models" stands for.
_stackctl_offer() {
  local kind="$1" current="$2" IFS=$'\n'
  case "$kind" in
    choice:*) COMPREPLY=($(IFS=' '; compgen -W "${kind#choice:}" -- "$current")) ;;
    live:*)
      COMPREPLY=($("${COMP_WORDS[0]}" __complete "${kind#live:}" "$current" 2>/dev/null)) ;;
    file) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$current")) ;;
  esac
}

_stackctl() {
  local current="${COMP_WORDS[COMP_CWORD]}" path="" value="" word names i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="${COMP_WORDS[i]}"
    if [[ -n $value ]]; then
      value=""
    elif [[ $word == -* ]]; then
      value="$(_stackctl_values "$path $word")"
    else
      names=" $(_stackctl_words "$path") "
      [[ $names == *" $word "* ]] && path="${path:+$path }$word"
    fi
  done
  if [[ -n $value ]]; then
    _stackctl_offer "$value" "$current"
  elif [[ $current == -* ]]; then
    COMPREPLY=($(compgen -W "$(_stackctl_flags "$path") --json --plain --quiet --no-start --no-color -v --verbose --debug" -- "$current"))
  else
    names="$(_stackctl_words "$path")"
    if [[ -n $names ]]; then
      COMPREPLY=($(compgen -W "$names" -- "$current"))
    else
      _stackctl_offer "$(_stackctl_argument "$path")" "$current"
    fi
  fi
}

complete -F _stackctl stackctl
