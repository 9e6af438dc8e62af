# Sourced: runs the stages of a script and says how long each took, also when one fails.

stages_done=()
stage_running=
at_exit=()        # commands to run at the end, however it comes

# stage NAME COMMAND…: runs it; its failure ends the script.
stage() {
    local began=$SECONDS
    stage_running=$1
    shift
    printf '\n== %s\n' "$stage_running"
    # No `if` or `||` around it: they would switch `set -e` off inside.
    "$@"
    stages_done+=("$(printf '%6d s  %s' $((SECONDS - began)) "$stage_running")")
    echo "== $stage_running: $((SECONDS - began)) s"
    stage_running=
}

stages_end() {
    local status=$? command
    for command in "${at_exit[@]}"; do
        $command
    done
    printf '\n'
    ((${#stages_done[@]} == 0)) || printf '%s\n' "${stages_done[@]}"
    printf '%6d s  in all\n' "$SECONDS"
    [ -z "$stage_running" ] || printf '\n%s: %s did not succeed\n' "${0#"$PWD"/}" "$stage_running" >&2
    exit "$status"
}

trap stages_end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
