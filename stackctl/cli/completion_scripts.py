"""The text of each shell's completion script, from a list of nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stackctl.cli.completion import Flag, Node

HEAD = "# Completion of stackctl; written by `python -m stackctl.cli.completion`, do not edit.\n"


def bash(nodes: Sequence[Node]) -> str:
    """Give the bash script: two look-ups, by command path and by ``path flag``."""
    words, flags, arguments, values = [], [], [], []
    for node in nodes:
        key = " ".join(node.words)
        if node.children:
            words.append(f"    '{key}') echo '{' '.join(n for n, _ in node.children)}' ;;")
        names = " ".join(n for flag in node.flags for n in flag.names)
        flags.append(f"    '{key}') echo '{names}' ;;")
        if node.argument not in ("none", "any"):
            arguments.append(f"    '{key}') echo '{node.argument}' ;;")
        for flag in node.flags:
            if flag.values != "none":
                keys = " | ".join(f"'{key} {name}'" for name in flag.names)
                values.append(f"    {keys}) echo '{flag.values}' ;;")
    return _BASH.format(
        head=HEAD,
        words="\n".join(words),
        flags="\n".join(flags),
        arguments="\n".join(arguments),
        values="\n".join(values),
        globals=_global_names(nodes),
    )


_BASH = """{head}
_stackctl_words() {{
  case "$1" in
{words}
  esac
}}

_stackctl_flags() {{
  case "$1" in
{flags}
  esac
}}

_stackctl_argument() {{
  case "$1" in
{arguments}
  esac
}}

_stackctl_values() {{
  case "$1" in
{values}
  esac
}}

# Fill COMPREPLY with what a description such as "choice:a b" or "live:models" stands for.
_stackctl_offer() {{
  local kind="$1" current="$2" IFS=$'\\n'
  case "$kind" in
    choice:*) COMPREPLY=($(IFS=' '; compgen -W "${{kind#choice:}}" -- "$current")) ;;
    live:*)
      COMPREPLY=($("${{COMP_WORDS[0]}}" __complete "${{kind#live:}}" "$current" 2>/dev/null)) ;;
    file) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$current")) ;;
  esac
}}

_stackctl() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" path="" value="" word names i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="${{COMP_WORDS[i]}}"
    if [[ -n $value ]]; then
      value=""
    elif [[ $word == -* ]]; then
      value="$(_stackctl_values "$path $word")"
    else
      names=" $(_stackctl_words "$path") "
      [[ $names == *" $word "* ]] && path="${{path:+$path }}$word"
    fi
  done
  if [[ -n $value ]]; then
    _stackctl_offer "$value" "$current"
  elif [[ $current == -* ]]; then
    COMPREPLY=($(compgen -W "$(_stackctl_flags "$path") {globals}" -- "$current"))
  else
    names="$(_stackctl_words "$path")"
    if [[ -n $names ]]; then
      COMPREPLY=($(compgen -W "$names" -- "$current"))
    else
      _stackctl_offer "$(_stackctl_argument "$path")" "$current"
    fi
  fi
}}

complete -F _stackctl stackctl
"""


def zsh(nodes: Sequence[Node]) -> str:
    """Give the zsh script: a function a command, each with its own ``_arguments``."""
    functions = "\n".join(_zsh_function(node, nodes) for node in nodes)
    return _ZSH.format(head=HEAD, functions=functions)


_ZSH = """#compdef stackctl
{head}
_stackctl_live() {{
  # _arguments puts options for compadd before the kind.
  local -a names
  names=(${{(f)"$(stackctl __complete $@[-1] "$PREFIX" 2>/dev/null)"}})
  compadd "${{(@)@[1,-2]}}" -a names
}}

{functions}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
  _stackctl "$@"
else
  compdef _stackctl stackctl
fi
"""


def _zsh_function(node: Node, nodes: Sequence[Node]) -> str:
    name = "_".join(("_stackctl", *node.words)).replace("-", "_")
    # The root's own flags may follow a command as well.
    flags = node.flags if not node.words else (*node.flags, *_globals(nodes))
    lines = [f"    {_zsh_flag(flag)} \\" for flag in flags]
    if not node.children:
        action = _zsh_action(node.argument)
        rest = (
            [f"    '*:{action[0]}:{action[1]}'"] if node.argument != "none" else ["    && ret=0"]
        )
        body = "\n".join(["  _arguments -s \\", *lines, *rest])
        return f"{name}() {{\n  local ret=1\n{body}\n}}\n"
    choices = "\n".join(f"    {_quote(f'{n}:{help_}')}" for n, help_ in node.children)
    cases = "\n".join(
        f"        {child}) {name}_{child.replace('-', '_')} ;;" for child, _ in node.children
    )
    return (
        f"{name}() {{\n  local curcontext=$curcontext state line\n"
        f"  local -a commands=(\n{choices}\n"
        f"  )\n  _arguments -C -s \\\n" + "\n".join(lines) + "\n"
        "    '1:command:->command' '*::argument:->argument'\n"
        "  case $state in\n    command) _describe command commands ;;\n    argument)\n"
        f"      case $line[1] in\n{cases}\n      esac ;;\n  esac\n}}\n"
    )


def _zsh_flag(flag: Flag) -> str:
    help_ = flag.help.replace("[", "(").replace("]", ")").replace(":", " ")
    value = ""
    if flag.values != "none":
        action = _zsh_action(flag.values)
        value = f":{action[0]}:{action[1]}"
    return " ".join(_quote(f"{name}[{help_}]{value}") for name in flag.names)


def _zsh_action(kind: str) -> tuple[str, str]:
    word, _, rest = kind.partition(":")
    actions = {
        "choice": ("choice", f"({rest})"),
        "live": (rest, f"_stackctl_live {rest}"),
        "file": ("file", "_files"),
    }
    return actions.get(word, ("value", " "))


def fish(nodes: Sequence[Node]) -> str:
    """Give the fish script: one ``complete`` a command, flag and argument."""
    lines = []
    for node in nodes:
        here = f"__stackctl_at {' '.join(node.words)}".strip()
        for name, help_ in node.children:
            lines.append(_fish(here, f"-a {name} -d {_quote(help_)}"))
        if node.argument != "none":
            offered = _fish_values(node.argument)
            lines += [_fish(here, offered)] if offered else []
        for flag in node.flags:
            if node.words and "--help" in flag.names:
                continue  # the root's flags may stand anywhere, and this is one
            lines.append(_fish_flag(here if node.words else "true", flag))
    valued = sorted(
        {n for node in nodes for f in node.flags if f.values != "none" for n in f.names}
    )
    words = sorted({" ".join(node.words) for node in nodes if node.words})
    return _FISH.format(
        head=HEAD,
        valued=" ".join(valued),
        paths=" ".join(_quote(word) for word in words),
        lines="\n".join(lines),
    )


_FISH = """{head}
# Tell whether the command path typed so far is exactly the arguments.
function __stackctl_at
    set -l valued {valued}
    set -l known {paths}
    set -l path
    set -l skip 0
    for word in (commandline -opc)[2..-1]
        if test $skip -eq 1
            set skip 0
        else if contains -- $word $valued
            set skip 1
        else if contains -- (string join ' ' $path $word) $known
            set -a path $word
        end
    end
    test "$path" = "$argv"
end

complete -c stackctl -f
{lines}
"""


def _fish(condition: str, rest: str) -> str:
    return f"complete -c stackctl -n {_quote(condition)} {rest}"


def _fish_flag(condition: str, flag: Flag) -> str:
    names = " ".join(
        f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in flag.names
    )
    value = "" if flag.values == "none" else f" -x {_fish_values(flag.values)}".rstrip()
    return _fish(condition, f"{names}{value} -d {_quote(flag.help)}")


def _fish_values(kind: str) -> str:
    word, _, rest = kind.partition(":")
    offered = {
        "choice": f"-a {_quote(rest)}",
        "live": f"-a '(stackctl __complete {rest} (commandline -ct))'",
        "file": "-F",
    }
    return offered.get(word, "")


def _globals(nodes: Sequence[Node]) -> tuple[Flag, ...]:
    """The root's flags that may follow a command."""
    # Deferred with its reason: data of another module, needed by the generator alone.
    from stackctl.cli.arguments import MOVABLE

    return tuple(flag for flag in nodes[0].flags if set(flag.names) <= MOVABLE)


def _global_names(nodes: Sequence[Node]) -> str:
    return " ".join(name for flag in _globals(nodes) for name in flag.names)


def _quote(text: str) -> str:
    escaped = text.replace("'", "'\\''")
    return f"'{escaped}'"
