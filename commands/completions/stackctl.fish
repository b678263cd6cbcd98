# Completion of stackctl; written by `python -m stackctl.cli.completion`, do not edit.

# Tell whether the command path typed so far is exactly the arguments.
function __stackctl_at
    set -l valued --collection --device --licence --limit --lines --mode --option --output --path --query --timeout --ttl --type -c -n -o
    set -l known 'api' 'api env' 'api token' 'collections' 'collections list' 'collections remove' 'completion' 'config' 'config check' 'config path' 'config reload' 'config show' 'demo' 'devices' 'doctor' 'down' 'index' 'jobs' 'jobs cancel' 'jobs list' 'jobs show' 'jobs watch' 'logs' 'models' 'models alias' 'models import' 'models list' 'models load' 'models ps' 'models pull' 'models remove' 'models run' 'models tune' 'models unload' 'models verify' 'models why' 'search' 'status' 'up'
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
complete -c stackctl -n '__stackctl_at' -a up -d 'Start the daemon'
complete -c stackctl -n '__stackctl_at' -a down -d 'Stop the daemon and wait until it is gone'
complete -c stackctl -n '__stackctl_at' -a status -d 'Show daemon, devices, collections, jobs and figures'
complete -c stackctl -n '__stackctl_at' -a demo -d 'Index real files of this machine and ask them a question'
complete -c stackctl -n '__stackctl_at' -a index -d 'Index files and folders into a collection'
complete -c stackctl -n '__stackctl_at' -a search -d 'Ask a collection; hits are ranked and cited'
complete -c stackctl -n '__stackctl_at' -a collections -d 'List and remove collections'
complete -c stackctl -n '__stackctl_at' -a models -d 'Pull, load, place, tune, list and remove models'
complete -c stackctl -n '__stackctl_at' -a devices -d 'List devices and what runs on them'
complete -c stackctl -n '__stackctl_at' -a api -d 'Show how other programs reach the models'
complete -c stackctl -n '__stackctl_at' -a jobs -d 'List, show, watch and cancel jobs'
complete -c stackctl -n '__stackctl_at' -a logs -d 'Show the daemon'\''s log'
complete -c stackctl -n '__stackctl_at' -a doctor -d 'Look for problems and say how to mend them'
complete -c stackctl -n '__stackctl_at' -a config -d 'Show, check and reload the configuration'
complete -c stackctl -n '__stackctl_at' -a completion -d 'Print or install shell completion'
complete -c stackctl -n 'true' -l json -d 'Print JSON.'
complete -c stackctl -n 'true' -l plain -d 'Print tab-separated lines.'
complete -c stackctl -n 'true' -l quiet -d 'Print names alone.'
complete -c stackctl -n 'true' -l no-start -d 'Never start the daemon (STACKCTL_NO_START).'
complete -c stackctl -n 'true' -l no-color -d 'No colours (NO_COLOR).'
complete -c stackctl -n 'true' -s v -l verbose -d 'Say on stderr what the daemon is asked, and how long it takes.'
complete -c stackctl -n 'true' -l debug -d 'Print tracebacks.'
complete -c stackctl -n 'true' -l version -d 'Print the version.'
complete -c stackctl -n 'true' -l help -s h -d 'Show the help.'
complete -c stackctl -n '__stackctl_at demo' -F
complete -c stackctl -n '__stackctl_at demo' -l query -x -d 'What to ask.'
complete -c stackctl -n '__stackctl_at demo' -l down -d 'Stop the daemon afterwards.'
complete -c stackctl -n '__stackctl_at index' -F
complete -c stackctl -n '__stackctl_at index' -l collection -s c -x -a '(stackctl __complete collections (commandline -ct))' -d 'Collection to index into.'
complete -c stackctl -n '__stackctl_at index' -l watch -l no-watch -d 'Keep following changes, or end that.'
complete -c stackctl -n '__stackctl_at index' -l remove -d 'Forget what was indexed from PATH; files stay.'
complete -c stackctl -n '__stackctl_at index' -l force -d 'Read unchanged files too.'
complete -c stackctl -n '__stackctl_at index' -l detach -d 'Do not wait for the job.'
complete -c stackctl -n '__stackctl_at search' -l collection -s c -x -a '(stackctl __complete collections (commandline -ct))' -d 'Collection to ask.'
complete -c stackctl -n '__stackctl_at search' -l mode -x -a 'hybrid keyword semantic' -d 'How to rank.'
complete -c stackctl -n '__stackctl_at search' -l limit -s n -x -d 'Most hits.'
complete -c stackctl -n '__stackctl_at search' -l path -x -d 'Keep what lies under a path or fits a glob.'
complete -c stackctl -n '__stackctl_at search' -l type -x -a 'text markdown code html pdf docx' -d 'Keep one type of file.'
complete -c stackctl -n '__stackctl_at collections' -a list -d 'List collections, with how much they hold and what they were fed from.'
complete -c stackctl -n '__stackctl_at collections' -a remove -d 'Delete a collection'\''s index; the files it was fed from stay.'
complete -c stackctl -n '__stackctl_at collections remove' -a '(stackctl __complete collections (commandline -ct))'
complete -c stackctl -n '__stackctl_at models' -a list -d 'List the catalogue and what is on this disk.'
complete -c stackctl -n '__stackctl_at models' -a pull -d 'Fetch a model and check every byte of it.'
complete -c stackctl -n '__stackctl_at models' -a verify -d 'Read every byte of a model again and compare it with the catalogue.'
complete -c stackctl -n '__stackctl_at models' -a remove -d 'Delete a model'\''s files from this disk.'
complete -c stackctl -n '__stackctl_at models' -a import -d 'Take a model from a folder of this machine.'
complete -c stackctl -n '__stackctl_at models' -a load -d 'Load a model before it is asked for.'
complete -c stackctl -n '__stackctl_at models' -a unload -d 'Unload a model once the requests that use it have ended.'
complete -c stackctl -n '__stackctl_at models' -a ps -d 'List the models that devices hold, with what they take.'
complete -c stackctl -n '__stackctl_at models' -a why -d 'Say on which device a model is or would be, and why.'
complete -c stackctl -n '__stackctl_at models' -a alias -d 'List aliases, or switch one to another model without a request that fails.'
complete -c stackctl -n '__stackctl_at models' -a tune -d 'Find the batch budget from which on a device gains nothing, and use it.'
complete -c stackctl -n '__stackctl_at models' -a run -d 'Run a model on texts, pictures, sounds, files or tensors.'
complete -c stackctl -n '__stackctl_at models pull' -a '(stackctl __complete models (commandline -ct))'
complete -c stackctl -n '__stackctl_at models pull' -l detach -d 'Do not wait for the job.'
complete -c stackctl -n '__stackctl_at models verify' -a '(stackctl __complete models (commandline -ct))'
complete -c stackctl -n '__stackctl_at models remove' -a '(stackctl __complete models (commandline -ct))'
complete -c stackctl -n '__stackctl_at models import' -F
complete -c stackctl -n '__stackctl_at models import' -l licence -x -d 'Licence of the model.'
complete -c stackctl -n '__stackctl_at models load' -a '(stackctl __complete models (commandline -ct))'
complete -c stackctl -n '__stackctl_at models load' -l device -x -d 'Id of a device, such as cpu:0.'
complete -c stackctl -n '__stackctl_at models load' -l pin -l no-pin -d 'Never evict it, or let it go again.'
complete -c stackctl -n '__stackctl_at models load' -l ttl -x -d 'Unload it after so many seconds without a request.'
complete -c stackctl -n '__stackctl_at models unload' -a '(stackctl __complete models (commandline -ct))'
complete -c stackctl -n '__stackctl_at models unload' -l device -x -d 'Id of a device, such as cpu:0.'
complete -c stackctl -n '__stackctl_at models why' -a '(stackctl __complete models (commandline -ct))'
complete -c stackctl -n '__stackctl_at models alias' -a '(stackctl __complete models (commandline -ct))'
complete -c stackctl -n '__stackctl_at models alias' -l remove -d 'Forget the alias.'
complete -c stackctl -n '__stackctl_at models tune' -a '(stackctl __complete models (commandline -ct))'
complete -c stackctl -n '__stackctl_at models tune' -l detach -d 'Do not wait for the job.'
complete -c stackctl -n '__stackctl_at models run' -a '(stackctl __complete models (commandline -ct))'
complete -c stackctl -n '__stackctl_at models run' -l option -s o -x -d 'One of the model'\''s own.'
complete -c stackctl -n '__stackctl_at models run' -l query -x -d 'What documents are ranked for.'
complete -c stackctl -n '__stackctl_at models run' -l stream -l no-stream -d 'Print text as it comes about, or at the end.'
complete -c stackctl -n '__stackctl_at models run' -l output -x -d 'Write vectors or results there too.'
complete -c stackctl -n '__stackctl_at models run' -l timeout -x -d 'Seconds to wait for the answer.'
complete -c stackctl -n '__stackctl_at models run' -l pull -d 'Fetch the model first if it is not here.'
complete -c stackctl -n '__stackctl_at api' -a env -d 'Print address and token of the API'\''s port as OpenAI'\''s clients read them from the shell.'
complete -c stackctl -n '__stackctl_at api' -a token -d 'Print the token of the API'\''s port; the file it lies in is in the JSON.'
complete -c stackctl -n '__stackctl_at jobs' -a list -d 'List jobs, newest first.'
complete -c stackctl -n '__stackctl_at jobs' -a show -d 'Show one job: parameters, progress, result or error.'
complete -c stackctl -n '__stackctl_at jobs' -a watch -d 'Follow a job until it ends; its failure is this command'\''s.'
complete -c stackctl -n '__stackctl_at jobs' -a cancel -d 'Ask a job to stop at its next safe point.'
complete -c stackctl -n '__stackctl_at jobs show' -a '(stackctl __complete jobs (commandline -ct))'
complete -c stackctl -n '__stackctl_at jobs watch' -a '(stackctl __complete jobs (commandline -ct))'
complete -c stackctl -n '__stackctl_at jobs cancel' -a '(stackctl __complete jobs (commandline -ct))'
complete -c stackctl -n '__stackctl_at logs' -l follow -s f -d 'Wait for new lines, across rotation.'
complete -c stackctl -n '__stackctl_at logs' -l lines -s n -x -d 'Lines to begin with.'
complete -c stackctl -n '__stackctl_at doctor' -l repair -d 'Let the daemon repair degraded areas.'
complete -c stackctl -n '__stackctl_at config' -a show -d 'Show every setting and where they come from.'
complete -c stackctl -n '__stackctl_at config' -a path -d 'Print the path of the user'\''s configuration file, whether it exists or not.'
complete -c stackctl -n '__stackctl_at config' -a check -d 'Check the configuration without the daemon; a mistake ends with 78, file and line.'
complete -c stackctl -n '__stackctl_at config' -a reload -d 'Let the daemon read the configuration again, all or nothing.'
complete -c stackctl -n '__stackctl_at config show' -l daemon -d 'What the daemon runs with, not what the files say.'
complete -c stackctl -n '__stackctl_at completion' -a 'bash zsh fish'
complete -c stackctl -n '__stackctl_at completion' -l install -d 'Write it where the shell looks for it.'
