# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034,SC2154
#
# All processes of a training: found by a mark in their environment, by descent and by session, so that
# neither a new session nor a changed process title hides one. Functions only.

mlb_marked() { # pids whose environment carries the mark of the job in $mlb_dir, each followed by a blank
    [ -n "$mlb_mark" ] || return 0
    # Most often there is none left, so ask once for all before asking one by one.
    cat "$mlb_proc"/[0-9]*/environ 2>/dev/null | tr '\0' '\n' | grep -qxF "MLBRIDGE_JOB_MARK=$mlb_mark" || return 0
    for mlb_entry in "$mlb_proc"/[0-9]*; do
        { tr '\0' '\n' <"$mlb_entry/environ" | grep -qxF "MLBRIDGE_JOB_MARK=$mlb_mark"; } 2>/dev/null &&
            printf '%s ' "${mlb_entry##*/}"
    done
}

mlb_process_table() { # "pid parent session start" of every process that is not a zombie
    if ! [ -r "$mlb_proc/self/stat" ]; then
        LC_ALL=C ps -A -o pid= -o ppid= -o pgid= 2>/dev/null |
            while read -r mlb_pid mlb_parent mlb_session; do
                printf '%s ' "$mlb_pid" "$mlb_parent" "$mlb_session" -
            done
        return
    fi
    for mlb_entry in "$mlb_proc"/[0-9]*; do
        { read -r mlb_line <"$mlb_entry/stat"; } 2>/dev/null || continue
        mlb_start_time "${mlb_line##*) }"
        case $mlb_run_state in Z* | X*) continue ;; esac
        printf '%s ' "${mlb_entry##*/}" "$mlb_parent" "$mlb_session" "$mlb_start"
    done
}

# Set $mlb_members to the processes of the job in $mlb_dir, each as "pid:start ".
mlb_find_members() {
    mlb_read_child
    mlb_found="$(mlb_marked)$(mlb_grouped)"
    mlb_leader=-
    if mlb_alive "$mlb_child_pid" "$mlb_child_start" "$mlb_child_boot"; then
        mlb_leader=$mlb_child_pid
        mlb_found="$mlb_found$mlb_leader "
    fi
    # Only a living leader proves that the session is the job's: its number may have been given anew.
    mlb_table=$(mlb_process_table)
    mlb_grown=1
    while [ "$mlb_grown" = 1 ]; do
        mlb_grown=0
        # shellcheck disable=SC2086
        set -- $mlb_table
        while [ $# -ge 4 ]; do
            case " $mlb_found" in
                *" $1 "*) ;;
                *" $2 "*) mlb_found="$mlb_found$1 " mlb_grown=1 ;;
                *) [ "$3" = "$mlb_leader" ] && mlb_found="$mlb_found$1 " mlb_grown=1 ;;
            esac
            shift 4
        done
    done
    mlb_members=''
    # shellcheck disable=SC2086
    set -- $mlb_table
    while [ $# -ge 4 ]; do
        case " $mlb_found" in *" $1 "*) mlb_members="$mlb_members$1:$4 " ;; esac
        shift 4
    done
}

mlb_is_still() { # pid:start: not a zombie, and not another one with its number
    mlb_pid=${1%%:*}
    if [ "${1#*:}" = - ]; then
        kill -0 "$mlb_pid" 2>/dev/null
        return
    fi
    { read -r mlb_line <"$mlb_proc/$mlb_pid/stat"; } 2>/dev/null || return 1
    mlb_start_time "${mlb_line##*) }"
    case $mlb_run_state in Z* | X*) return 1 ;; esac
    [ "$mlb_start" = "${1#*:}" ]
}

mlb_any_is_left() {
    for mlb_member in $mlb_members; do
        mlb_is_still "$mlb_member" && return 0
    done
    return 1
}

mlb_signal() { # signal: to every process of the job in $mlb_dir
    mlb_find_members
    for mlb_member in $mlb_members; do
        mlb_is_still "$mlb_member" && kill -s "$1" "${mlb_member%%:*}" 2>/dev/null
    done
}

# Wait until no process of the job is left; after $mlb_grace seconds they are killed, again and again for a
# while because a dying tree may still fork.
mlb_drain() {
    mlb_tick
    mlb_deadline=$((mlb_seconds + mlb_grace))
    while :; do
        mlb_find_members
        [ -n "$mlb_members" ] || return 0
        # To look at every process of the host is dear: first see those go that are known.
        mlb_round=0
        while [ "$mlb_round" -lt 10 ] && mlb_any_is_left; do
            mlb_round=$((mlb_round + 1))
            mlb_tick
            if [ "$mlb_seconds" -ge $((mlb_deadline + 30)) ]; then
                return 1
            elif [ "$mlb_seconds" -ge "$mlb_deadline" ]; then
                mlb_signal KILL
                mlb_round=10
            fi
            mlb_pause
        done
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

mlb_being_stopped() { # whether somebody is at it; $mlb_stoppers were until now
    mlb_stoppers=0
    while [ -e "$mlb_dir/stopper.$((mlb_stoppers + 1))" ]; do
        mlb_stoppers=$((mlb_stoppers + 1))
    done
    [ "$mlb_stoppers" -gt 0 ] || return 1
    read -r mlb_pid mlb_since mlb_since_boot <"$mlb_dir/stopper.$mlb_stoppers"
    mlb_alive "$mlb_pid" "$mlb_since" "$mlb_since_boot"
}

# Stop the job in $mlb_dir, unless another process is at it. For a process of its own.
mlb_take_the_stop() {
    mlb_self
    mlb_mine=$mlb_identity
    until mlb_being_stopped; do
        mlb_publish "stopper.$((mlb_stoppers + 1))" "$mlb_mine"
        [ $? -eq 1 ] && continue
        # If others were killed while they waited, to wait again leads nowhere.
        [ "$mlb_stoppers" -lt 2 ] || mlb_grace=0
        mlb_stop
        return
    done
}

# See to it that somebody stops the job in $mlb_dir.
mlb_see_to_the_stop() {
    mlb_being_stopped && return
    mlb_stops=$((mlb_stops + 1))
    (
        trap '' HUP
        mlb_role=stopper$mlb_stops
        mlb_take_the_stop
    ) </dev/null >/dev/null 2>&1 &
}
