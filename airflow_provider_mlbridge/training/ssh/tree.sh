# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034,SC2154
#
# All processes of a training: found by a mark in their environment, by descent and by session, so that
# neither a new session nor a changed process title hides one. Functions only.

mlb_marked() { # pids whose environment carries the mark of the job in $mlb_dir
    # Most often there is none left, so ask once for all before asking one by one.
    cat "$mlb_proc"/[0-9]*/environ 2>/dev/null | tr '\0' '\n' | grep -qxF "MLBRIDGE_JOB_DIR=$mlb_dir" || return 0
    for mlb_entry in "$mlb_proc"/[0-9]*; do
        { tr '\0' '\n' <"$mlb_entry/environ" | grep -qxF "MLBRIDGE_JOB_DIR=$mlb_dir"; } 2>/dev/null &&
            printf '%s ' "${mlb_entry##*/}"
    done
}

mlb_process_table() { # "pid parent session" of every process that is not a zombie
    if ! [ -r "$mlb_proc/self/stat" ]; then
        LC_ALL=C ps -A -o pid= -o ppid= -o pgid= 2>/dev/null
        return
    fi
    for mlb_entry in "$mlb_proc"/[0-9]*; do
        { read -r mlb_line <"$mlb_entry/stat"; } 2>/dev/null || continue
        mlb_start_time "${mlb_line##*) }"
        case $mlb_run_state in Z* | X*) continue ;; esac
        printf '%s ' "${mlb_entry##*/}" "$mlb_parent" "$mlb_session"
    done
}

# Set $mlb_members to the pids of the job in $mlb_dir, each followed by a blank.
mlb_find_members() {
    mlb_members="$(mlb_marked)"
    mlb_leader=-
    mlb_read_child
    if mlb_alive "$mlb_child_pid" "$mlb_child_start" "$mlb_child_boot"; then
        mlb_leader=$mlb_child_pid
        case " $mlb_members" in
            *" $mlb_leader "*) ;;
            *) mlb_members="$mlb_members$mlb_leader " ;;
        esac
    fi
    # Only a living leader proves that the session is the job's: its number may have been given anew.
    mlb_table=$(mlb_process_table)
    mlb_grown=1
    while [ "$mlb_grown" = 1 ]; do
        mlb_grown=0
        # shellcheck disable=SC2086
        set -- $mlb_table
        while [ $# -ge 3 ]; do
            case " $mlb_members" in
                *" $1 "*) ;;
                *" $2 "*) mlb_members="$mlb_members$1 " mlb_grown=1 ;;
                *) [ "$3" = "$mlb_leader" ] && mlb_members="$mlb_members$1 " mlb_grown=1 ;;
            esac
            shift 3
        done
    done
}

mlb_signal() { # signal: to every process of the job in $mlb_dir
    mlb_find_members
    for mlb_member in $mlb_members; do
        kill -s "$1" "$mlb_member" 2>/dev/null
    done
}

# Wait until no process of the job is left; after $mlb_grace seconds they are killed, again and again for a
# while because a dying tree may still fork.
mlb_drain() {
    mlb_deadline=$(($(date +%s) + mlb_grace))
    while :; do
        mlb_find_members
        [ -n "$mlb_members" ] || return 0
        mlb_seconds=$(date +%s)
        if [ "$mlb_seconds" -ge $((mlb_deadline + 30)) ]; then
            return 1
        elif [ "$mlb_seconds" -ge "$mlb_deadline" ]; then
            mlb_signal KILL
        fi
        mlb_pause
    done
}

# Stop the job in $mlb_dir, of which "turn" or "timeout" says why. A living supervisor writes the end;
# without one, looking at the job does.
mlb_stop() {
    mlb_publish child 'void - - -'
    mlb_signal TERM
    mlb_drain
    mlb_look "$mlb_dir"
}
